"""Time to a given score: Rosenblatt's search against Optuna with PyTorch, and against scikit-learn's searches.

    python benchmarks/search.py [--tables german,housing] [--seeds 5] [--trials 60] [--epochs 50] [--json]

All use the same space, folds and cores. Each peer first uses its full budget of trials and epochs. Rosenblatt then
searches until its best validation score is as good as the peer's. The table holds the peer's time divided by
Rosenblatt's, as the median over seeds. Peers:

- Optuna: TPE with SuccessiveHalvingPruner around a PyTorch training loop; one process with one thread per core, on a
  shared journal. Tensors are created once, Adam is fused, batches are taken by indexing, folds are trained in step, and
  the patience is the same.
- scikit-learn: RandomizedSearchCV (the same number of trials) and HalvingRandomSearchCV (resource: epochs) over its
  MLP, with n_jobs = cores. When they reach a given score is not observable, so each is compared at its final score.

The score is the mean over folds of the log loss (classification) or mean squared error (standardized regression). It is
that of the best epoch, except for scikit-learn, whose last epoch counts. All train on the same matrix: standardized
numbers, one-hot categories. Small tables have five folds; wine and adult hold out one fifth.

Also printed: trials per minute without early stopping; the fraction of the time in which cores are busy, with the
default space; the time of sampling 1,000 trials, and of one proposal of TPE after 50, 200 and 500 trials; peak memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from quality import SHARED, TABLES, split

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.splits import Fold, validation_folds
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import detect_task
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.dimensions import choice, integer, log_uniform
from rosenblatt.spec.scoring import Direction
from rosenblatt.spec.spec import Spec
from rosenblatt.training.workers import cores
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.default_spaces import default_space
from rosenblatt.tuning.samplers import Sampler
from rosenblatt.tuning.space import Space

HOLDOUT_TABLES = {"wine quality", "adult"}
WIDTHS, LEARNING_RATES, WEIGHT_DECAYS, ACTIVATIONS = (16, 32, 64, 128), (1e-4, 3e-2), (1e-6, 1e-1), ("relu", "tanh")
PATIENCE = 10


def batch_sizes(n: int) -> tuple[int, ...]:
    return (16, 32, 64) if n < 5000 else (64, 128, 256)


def load_table(name: str) -> tuple[np.ndarray, np.ndarray, bool, list[Fold]]:
    """The inputs, the targets, whether they are classes, and the folds."""
    training, _ = split(name, SHARED)
    _, target, task, _ = TABLES[name]
    supervised_task = detect_task(training.frame, [target], task)  # type: ignore[arg-type]
    typed = infer_schema(training.frame.drop(target), 64).read(training.frame)
    is_classification = bool(supervised_task.labels)
    y = supervised_task.y if is_classification else supervised_task.y.ravel()
    if not is_classification:
        y = (y - y.mean()) / y.std()
    spec = Spec.from_hyperparameters(numeric_encoding="standard")
    prepared = PreparedData(
        Dataset(typed, supervised_task.y), lambda spec: supervised_task.target(supervised_task.y, spec)
    )
    x = np.asarray(prepared.rows(prepared.resolve(spec)).x)
    folds = validation_folds(len(y), 5, 1, 0, y)
    return x, y.astype(np.float32), is_classification, folds[:1] if name in HOLDOUT_TABLES else folds


# PyTorch, by hand


def objective(
    x: np.ndarray, y: np.ndarray, is_classification: bool, folds: list[Fold], epochs: int, trial: Any
) -> float:
    """Train the folds of a trial in step, and report the mean of their best scores after each epoch."""
    import optuna
    import torch
    from torch import nn

    torch.manual_seed(trial.number)
    width, layers = trial.suggest_categorical("width", WIDTHS), trial.suggest_int("layers", 1, 3)
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[trial.suggest_categorical("activation", ACTIVATIONS)]
    learning_rate = trial.suggest_float("rate", *LEARNING_RATES, log=True)
    weight_decay = trial.suggest_float("decay", *WEIGHT_DECAYS, log=True)
    batch_size = trial.suggest_categorical("batch", batch_sizes(len(y)))
    loss = nn.BCEWithLogitsLoss() if is_classification else nn.MSELoss()
    networks = []
    for fold in folds:
        sizes = [x.shape[1], *[width] * layers]
        layers_list = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), activation())]
        net = nn.Sequential(*layers_list, nn.Linear(width, 1))
        optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
        tensors = [torch.from_numpy(a) for a in (x[fold.train], y[fold.train], x[fold.validation], y[fold.validation])]
        networks.append((net, optimizer, tensors))
    best, best_epochs = [np.inf] * len(folds), [0] * len(folds)
    for epoch in range(epochs):
        for k, (net, optimizer, (tx, ty, vx, vy)) in enumerate(networks):
            if epoch - best_epochs[k] >= PATIENCE:
                continue
            order = torch.randperm(len(ty))
            sx, sy = tx[order], ty[order]
            for start in range(0, len(ty), batch_size):
                optimizer.zero_grad(set_to_none=True)
                loss(net(sx[start : start + batch_size])[:, 0], sy[start : start + batch_size]).backward()
                optimizer.step()
            with torch.no_grad():
                score = float(loss(net(vx)[:, 0], vy))
            if score < best[k]:
                best[k], best_epochs[k] = score, epoch
        trial.report(float(np.mean(best)), epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
        if all(epoch - best_epoch >= PATIENCE for best_epoch in best_epochs):
            break
    return float(np.mean(best))


def _run_worker(journal: str, name: str, epochs: int, seed: int, trials: int, pruned: bool) -> None:
    import optuna
    import torch

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    x, y, is_classification, folds = load_table(name)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(journal))
    pruner = optuna.pruners.SuccessiveHalvingPruner(3, 3) if pruned else optuna.pruners.NopPruner()
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True, sampler=sampler, pruner=pruner)
    stop_callback = optuna.study.MaxTrialsCallback(trials, states=None)
    study.optimize(lambda t: objective(x, y, is_classification, folds, epochs, t), callbacks=[stop_callback])


def run_optuna(name: str, epochs: int, seed: int, trials: int, pruned: bool = True) -> tuple[float, float]:
    """The best score, and the seconds from the start of the first trial to the end of the last."""
    import optuna

    with tempfile.TemporaryDirectory() as folder:
        journal = f"{folder}/journal"
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=_run_worker, args=(journal, name, epochs, 1000 * seed + k, trials, pruned))
            for k in range(cores())
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(journal))
        study = optuna.load_study(storage=storage, study_name="s")
        complete_trials = [trial for trial in study.trials if trial.datetime_complete]
        seconds = (
            max(trial.datetime_complete for trial in complete_trials)
            - min(trial.datetime_start for trial in complete_trials)
        ).total_seconds()
        return study.best_value, seconds


# scikit-learn


def run_scikit_learn(name: str, epochs: int, seed: int, trials: int, halving: bool) -> tuple[float, float]:
    """The best score, and the seconds of `fit`."""
    from scipy.stats import loguniform
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV, RandomizedSearchCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    x, y, is_classification, folds = load_table(name)
    space = {
        "hidden_layer_sizes": [(w,) * layers for w in WIDTHS for layers in (1, 2, 3)],
        "activation": list(ACTIVATIONS),
        "learning_rate_init": loguniform(*LEARNING_RATES),
        "alpha": loguniform(*WEIGHT_DECAYS),
        "batch_size": list(batch_sizes(len(y))),
    }
    network = (MLPClassifier if is_classification else MLPRegressor)(random_state=seed, max_iter=epochs)
    scoring = "neg_log_loss" if is_classification else "neg_mean_squared_error"
    options = {"scoring": scoring, "cv": [tuple(fold) for fold in folds], "n_jobs": cores(), "random_state": seed}
    options |= {"refit": False}
    if halving:
        search = HalvingRandomSearchCV(
            network.set_params(max_iter=3), space, n_candidates=trials, resource="max_iter", max_resources=epochs,
            min_resources=3, **options,
        )  # fmt: skip
    else:
        search = RandomizedSearchCV(network, space, n_iter=trials, **options)
    started = time.perf_counter()
    with warnings.catch_warnings(action="ignore"):
        os.environ["PYTHONWARNINGS"] = "ignore"
        search.fit(x, y)
    return -float(np.nanmax(search.cv_results_["mean_test_score"])), time.perf_counter() - started


# Ours


def new_search(name: str, epochs: int, seed: int, trials: int, stopping: str = "asha") -> SearchCoordinator:
    x, y, is_classification, folds = load_table(name)
    spec = Spec.from_hyperparameters(
        epochs=epochs, patience=PATIENCE, numeric_encoding="none", dropout=0, clip_norm=0, seed=seed, trials=trials,
        initializer="lecun_uniform", weight_scale=3**-0.5, bias_initializer="uniform",  # as PyTorch's
        stopping=stopping, **({"min_epochs": 3} if stopping == "asha" else {}),
    ).with_search_space(
        {
            "hidden_layers": integer(1, 3),
            "hidden_width": choice(*WIDTHS),
            "activation": choice(*ACTIVATIONS),
            "learning_rate": log_uniform(*LEARNING_RATES),
            "weight_decay": log_uniform(*WEIGHT_DECAYS),
            "batch_size": choice(*batch_sizes(len(y))),
        }
    )  # fmt: skip
    if is_classification:
        target = Target(names=("y",), task="binary", labels=(0, 1))
    else:
        target = Target(
            names=("y",), task="regression", log=(False,), center=(0.0,), scale=(1.0,), low=(-1e9,), high=(1e9,)
        )
    frame = pl.DataFrame({f"x{i}": column.astype(np.float64) for i, column in enumerate(x.T)})
    data = Dataset(frame, y.astype(np.float64) if is_classification else y.astype(np.float64).reshape(-1, 1))
    return SearchCoordinator(spec, PreparedData(data, lambda _: target, splits=folds))


def run_rosenblatt(name: str, epochs: int, seed: int, goals: dict[str, float], max_seconds: float) -> dict[str, float]:
    """Seconds until a trial scored on all folds reaches each goal, or inf if that takes longer than `max_seconds`."""
    search = new_search(name, epochs, seed, 100_000)
    goal_seconds = dict.fromkeys(goals, float("inf"))
    started, n_folds = time.perf_counter(), len(search.plan.folds)

    def watch(_: Any) -> None:
        scores = [trial.mean_score(n_folds) for trial in search.history.trials if trial.folds.n_trained == n_folds]
        best = min(scores, default=np.inf)
        for goal, value in goals.items():
            if best <= value and goal_seconds[goal] == float("inf"):
                goal_seconds[goal] = time.perf_counter() - started
        if all(seconds < float("inf") for seconds in goal_seconds.values()):
            raise KeyboardInterrupt

    search.run(time.monotonic() + max_seconds, watch)
    return goal_seconds


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Speedups on one table."""
    rows = []
    run_rosenblatt(name, 2, 0, {"any": np.inf}, 20)  # so that the training loop is compiled
    for seed in range(arguments.seeds):
        peers = {
            "optuna": run_optuna(name, arguments.epochs, seed, arguments.trials),
            "random": run_scikit_learn(name, arguments.epochs, seed, arguments.trials, halving=False),
            "halving": run_scikit_learn(name, arguments.epochs, seed, arguments.trials, halving=True),
        }
        goals = {peer: score for peer, (score, _) in peers.items()}
        goal_seconds = run_rosenblatt(
            name, arguments.epochs, seed, goals, 2 * max(seconds for _, seconds in peers.values())
        )
        rows.append({peer: seconds / goal_seconds[peer] for peer, (_, seconds) in peers.items()})
        details = "; ".join(
            f"{peer} {score:.4f} in {seconds:.1f} s, ours {goal_seconds[peer]:.2f} s"
            for peer, (score, seconds) in peers.items()
        )
        print(f"  {name}, seed {seed}: {details}", file=sys.stderr, flush=True)
    result: dict[str, Any] = {"table": name}
    result |= {f"faster than {peer}": float(np.median([row[peer] for row in rows])) for peer in rows[0]}
    return result


def trials_per_minute(arguments: argparse.Namespace) -> dict[str, float]:
    """Trials per minute without early stopping, on german."""
    search = new_search("german", arguments.epochs, 0, arguments.trials, "none")
    search.run()
    _, optuna_seconds = run_optuna("german", arguments.epochs, 0, arguments.trials, pruned=False)
    _, scikit_learn_seconds = run_scikit_learn("german", arguments.epochs, 0, arguments.trials, halving=False)
    return {
        "rosenblatt": 60 * arguments.trials / search.history.wall_seconds,
        "optuna": 60 * arguments.trials / optuna_seconds,
        "scikit-learn": 60 * arguments.trials / scikit_learn_seconds,
    }


def overheads() -> dict[str, float]:
    """Utilization of the cores with the default space, and the cost of sampling 1,000 trials."""
    training, _ = split("german", SHARED)
    supervised_task = detect_task(training.frame, ["risk"])
    typed = infer_schema(training.frame.drop("risk"), 64).read(training.frame)
    prepared = PreparedData(
        Dataset(typed, supervised_task.y), lambda spec: supervised_task.target(supervised_task.y, spec)
    )
    default_search = SearchCoordinator(Spec.from_hyperparameters(minutes=0.5), prepared)
    default_search.run(time.monotonic() + 30)
    search, sampling_seconds = new_search("german", 50, 0, 1000), 0.0
    sampler = search.policy.sampler
    for name in ("ask", "tell"):
        method = getattr(sampler, name)

        def timed(*arguments: Any, _method: Any = method) -> Any:
            nonlocal sampling_seconds
            started = time.thread_time()
            result = _method(*arguments)
            sampling_seconds += time.thread_time() - started
            return result

        setattr(sampler, name, timed)
    search.run()
    return {
        "cores busy": default_search.utilization,
        "sampling, fraction of the cores' time": sampling_seconds / (search.history.wall_seconds * search.threads),
        "seconds of 1,000 trials": search.history.wall_seconds,
        "seconds of sampling": sampling_seconds,
        "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def proposal_seconds() -> dict[str, float]:
    """Seconds of a proposal of TPE over the default space, mean over 20 proposals around 50, 200 and 500 trials."""
    spec = Spec.from_hyperparameters(sampler="tpe", trials=1000)
    spec = spec.with_search_space(default_space(spec, "binary", 1000))
    sampler = Sampler(spec.search, Space.from_spec(spec), 0, Direction.MINIMIZE)
    rng, seconds = np.random.default_rng(0), []
    for number in range(510):
        started = time.perf_counter()
        sampler.ask(number)
        seconds.append(time.perf_counter() - started)
        sampler.tell(number, float(rng.normal()), 50, 1000, finished=True)
    return {f"seconds of a proposal after {n} trials": float(np.mean(seconds[n - 10 : n + 10])) for n in (50, 200, 500)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", default="german,housing,abalone,wine quality,adult")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--tables-only", action="store_true", help="skip the rates and overheads")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args()
    if not Path(SHARED).is_dir():
        sys.exit(f"The folder {SHARED} is missing.")
    result: dict[str, Any] = {"tables": [measure(name, options) for name in options.tables.split(",") if name]}
    if not options.tables_only:
        result |= {"trials per minute": trials_per_minute(options), **overheads(), **proposal_seconds()}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{'table':14} {'Optuna + PyTorch':>17} {'random search':>14} {'halving':>8}   (times faster)")
    for row in result["tables"]:
        peers = [row[f"faster than {peer}"] for peer in ("optuna", "random", "halving")]
        print(f"{row['table']:14} {peers[0]:16.1f}x {peers[1]:13.1f}x {peers[2]:7.1f}x")
    rates_text = ", ".join(f"{name} {rate:.0f}" for name, rate in result.get("trials per minute", {}).items())
    print(f"trials per minute at equal epochs, german: {rates_text}" if rates_text else "")
    for name, value in select_overheads(result).items():
        print(f"{name}: {value:.3g}")


def select_overheads(result: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in result.items() if name not in ("tables", "trials per minute")}


if __name__ == "__main__":
    main()
