"""How much sooner a search comes to a score than Optuna round PyTorch, and than scikit-learn's searches.

    python benchmarks/search.py [--tables german,housing] [--seeds 5] [--trials 60] [--epochs 50] [--json]

The same space, the same folds, the same cores for all. Each peer gets its full budget: so many trials of so many
epochs at most. Ours then searches until its best validation score is as good as the peer's; the table holds the peer's
time over ours, the median over seeds. Peers:

- Optuna: TPE with its SuccessiveHalvingPruner, one process a core with one thread each on a shared journal, round a
  PyTorch loop by hand: tensors made once, fused Adam, batches by indexing, folds in step, patience as ours.
- scikit-learn: RandomizedSearchCV (as many trials) and HalvingRandomSearchCV (resource: epochs) over its MLP, n_jobs =
  cores; the one that comes to a given score sooner cannot be told from outside, so each is compared with its own score.

The score is the mean over folds of the log loss (classes) or mean squared error (values, standardized), of the best
epoch for the PyTorch peer and for ours; scikit-learn has no score of epochs: its last one counts. All get the same
matrix: standardized numbers, one-hot categories. Small tables: five folds; wine and adult: one fifth held out.

Also printed: trials a minute where nothing is stopped early; the share of the search in which the cores were busy, with
the default space; the time that sampling takes of 1,000 trials; peak memory.
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

from rosenblatt.data.dataset import Data
from rosenblatt.data.schema.inference import infer
from rosenblatt.data.splits import Fold, validation_folds
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import ask
from rosenblatt.models.prepared import Prepared
from rosenblatt.spec.dimensions import choice, integer, log_uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.training.workers import cores
from rosenblatt.tuning.coordinator import Search

LARGE = {"wine quality", "adult"}
WIDTHS, RATES, DECAYS, ACTIVATIONS = (16, 32, 64, 128), (1e-4, 3e-2), (1e-6, 1e-1), ("relu", "tanh")
PATIENCE = 10


def batches(n: int) -> tuple[int, ...]:
    return (16, 32, 64) if n < 5000 else (64, 128, 256)


def load(name: str) -> tuple[np.ndarray, np.ndarray, bool, list[Fold]]:
    """The matrix, what is to be predicted, whether it is classes, and the folds."""
    training, _ = split(name, SHARED)
    _, target, task, _ = TABLES[name]
    question = ask(training.frame, [target], task)  # type: ignore[arg-type]
    typed = infer(training.frame.drop(target), 64).read(training.frame)
    of_classes = bool(question.labels)
    y = question.y if of_classes else question.y.ravel()
    if not of_classes:
        y = (y - y.mean()) / y.std()
    spec = Spec.of(numbers="standard")
    prepared = Prepared(Data(typed, question.y), lambda one: question.target(question.y, one))
    x = np.asarray(prepared.rows(prepared.resolved(spec)).x)
    folds = validation_folds(len(y), 5, 1, 0, y)
    return x, y.astype(np.float32), of_classes, folds[:1] if name in LARGE else folds


# PyTorch, by hand


def objective(x: np.ndarray, y: np.ndarray, of_classes: bool, folds: list[Fold], epochs: int, trial: Any) -> float:
    """Train the folds of a trial in step; report each epoch's mean of the best scores so far."""
    import optuna
    import torch
    from torch import nn

    torch.manual_seed(trial.number)
    width, layers = trial.suggest_categorical("width", WIDTHS), trial.suggest_int("layers", 1, 3)
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[trial.suggest_categorical("activation", ACTIVATIONS)]
    rate = trial.suggest_float("rate", *RATES, log=True)
    decay = trial.suggest_float("decay", *DECAYS, log=True)
    size = trial.suggest_categorical("batch", batches(len(y)))
    loss = nn.BCEWithLogitsLoss() if of_classes else nn.MSELoss()
    learners = []
    for fold in folds:
        sizes = [x.shape[1], *[width] * layers]
        parts = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), activation())]
        net = nn.Sequential(*parts, nn.Linear(width, 1))
        optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay, fused=True)
        tensors = [torch.from_numpy(a) for a in (x[fold.rows], y[fold.rows], x[fold.spared], y[fold.spared])]
        learners.append((net, optimizer, tensors))
    best, when = [np.inf] * len(folds), [0] * len(folds)
    for epoch in range(epochs):
        for k, (net, optimizer, (tx, ty, vx, vy)) in enumerate(learners):
            if epoch - when[k] >= PATIENCE:
                continue
            order = torch.randperm(len(ty))
            sx, sy = tx[order], ty[order]
            for start in range(0, len(ty), size):
                optimizer.zero_grad(set_to_none=True)
                loss(net(sx[start : start + size])[:, 0], sy[start : start + size]).backward()
                optimizer.step()
            with torch.no_grad():
                score = float(loss(net(vx)[:, 0], vy))
            if score < best[k]:
                best[k], when[k] = score, epoch
        trial.report(float(np.mean(best)), epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
        if all(epoch - at >= PATIENCE for at in when):
            break
    return float(np.mean(best))


def _work(journal: str, name: str, epochs: int, seed: int, trials: int, pruned: bool) -> None:
    import optuna
    import torch

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    x, y, of_classes, folds = load(name)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(journal))
    pruner = optuna.pruners.SuccessiveHalvingPruner(3, 3) if pruned else optuna.pruners.NopPruner()
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True, sampler=sampler, pruner=pruner)
    done = optuna.study.MaxTrialsCallback(trials, states=None)
    study.optimize(lambda t: objective(x, y, of_classes, folds, epochs, t), callbacks=[done])


def optuna_and_torch(name: str, epochs: int, seed: int, trials: int, pruned: bool = True) -> tuple[float, float]:
    """The best score, and the seconds from the first trial's start to the last one's end."""
    import optuna

    with tempfile.TemporaryDirectory() as folder:
        journal = f"{folder}/journal"
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=_work, args=(journal, name, epochs, 1000 * seed + k, trials, pruned))
            for k in range(cores())
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(journal))
        study = optuna.load_study(storage=storage, study_name="s")
        known = [trial for trial in study.trials if trial.datetime_complete]
        seconds = (
            max(trial.datetime_complete for trial in known) - min(trial.datetime_start for trial in known)
        ).total_seconds()
        return study.best_value, seconds


# scikit-learn


def scikit_learn(name: str, epochs: int, seed: int, trials: int, halving: bool) -> tuple[float, float]:
    """The best score, and the seconds of `fit`."""
    from scipy.stats import loguniform
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV, RandomizedSearchCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    x, y, of_classes, folds = load(name)
    space = {
        "hidden_layer_sizes": [(w,) * layers for w in WIDTHS for layers in (1, 2, 3)],
        "activation": list(ACTIVATIONS),
        "learning_rate_init": loguniform(*RATES),
        "alpha": loguniform(*DECAYS),
        "batch_size": list(batches(len(y))),
    }
    network = (MLPClassifier if of_classes else MLPRegressor)(random_state=seed, max_iter=epochs)
    scoring = "neg_log_loss" if of_classes else "neg_mean_squared_error"
    shared = {"scoring": scoring, "cv": [tuple(fold) for fold in folds], "n_jobs": cores(), "random_state": seed}
    shared |= {"refit": False}
    if halving:
        search = HalvingRandomSearchCV(
            network.set_params(max_iter=3), space, n_candidates=trials, resource="max_iter", max_resources=epochs,
            min_resources=3, **shared,
        )  # fmt: skip
    else:
        search = RandomizedSearchCV(network, space, n_iter=trials, **shared)
    started = time.perf_counter()
    with warnings.catch_warnings(action="ignore"):
        os.environ["PYTHONWARNINGS"] = "ignore"
        search.fit(x, y)
    return -float(np.nanmax(search.cv_results_["mean_test_score"])), time.perf_counter() - started


# Ours


def new_search(name: str, epochs: int, seed: int, trials: int, stopping: str = "asha") -> Search:
    x, y, of_classes, folds = load(name)
    spec = Spec.of(
        epochs=epochs, patience=PATIENCE, numbers="none", dropout=0, clip_norm=0, seed=seed, trials=trials,
        initializer="lecun_uniform", weight_scale=3**-0.5, bias_initializer="uniform",  # as PyTorch's
        stopping=stopping, **({"first_rung": 3} if stopping == "asha" else {}),
    ).searching(
        {
            "hidden_layers": integer(1, 3),
            "hidden_width": choice(*WIDTHS),
            "activation": choice(*ACTIVATIONS),
            "learning_rate": log_uniform(*RATES),
            "weight_decay": log_uniform(*DECAYS),
            "batch_size": choice(*batches(len(y))),
        }
    )  # fmt: skip
    if of_classes:
        target = Target(names=("y",), task="binary", labels=(0, 1))
    else:
        target = Target(
            names=("y",), task="regression", log=(False,), center=(0.0,), scale=(1.0,), low=(-1e9,), high=(1e9,)
        )
    frame = pl.DataFrame({f"x{i}": column.astype(np.float64) for i, column in enumerate(x.T)})
    data = Data(frame, y.astype(np.float64) if of_classes else y.astype(np.float64).reshape(-1, 1))
    return Search(spec, Prepared(data, lambda _: target, splits=folds))


def ours(name: str, epochs: int, seed: int, goals: dict[str, float], most: float) -> dict[str, float]:
    """The seconds until each goal is reached by a trial scored on all folds; infinite where it is not in `most`."""
    search = new_search(name, epochs, seed, 100_000)
    reached = dict.fromkeys(goals, float("inf"))
    started, complete = time.perf_counter(), len(search.folds)

    def watch(_: Any) -> None:
        scores = [trial.mean_score(complete) for trial in search.trials if trial.trained == complete]
        best = -max(scores, default=-np.inf)
        for goal, value in goals.items():
            if best <= value and reached[goal] == float("inf"):
                reached[goal] = time.perf_counter() - started
        if all(seconds < float("inf") for seconds in reached.values()):
            raise KeyboardInterrupt

    search.run(time.monotonic() + most, watch)
    return reached


def measure(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """The ratios of one table."""
    rows = []
    ours(name, 2, 0, {"any": np.inf}, 20)  # compiled before it is measured
    for seed in range(asked.seeds):
        peers = {
            "optuna": optuna_and_torch(name, asked.epochs, seed, asked.trials),
            "random": scikit_learn(name, asked.epochs, seed, asked.trials, halving=False),
            "halving": scikit_learn(name, asked.epochs, seed, asked.trials, halving=True),
        }
        goals = {peer: score for peer, (score, _) in peers.items()}
        found = ours(name, asked.epochs, seed, goals, 2 * max(seconds for _, seconds in peers.values()))
        rows.append({peer: seconds / found[peer] for peer, (_, seconds) in peers.items()})
        details = "; ".join(
            f"{peer} {score:.4f} in {seconds:.1f} s, ours {found[peer]:.2f} s"
            for peer, (score, seconds) in peers.items()
        )
        print(f"  {name}, seed {seed}: {details}", file=sys.stderr, flush=True)
    result: dict[str, Any] = {"table": name}
    result |= {f"faster than {peer}": float(np.median([row[peer] for row in rows])) for peer in rows[0]}
    return result


def rates(asked: argparse.Namespace) -> dict[str, float]:
    """Trials a minute where none is stopped early, on german."""
    search = new_search("german", asked.epochs, 0, asked.trials, "none")
    search.run()
    _, seconds = optuna_and_torch("german", asked.epochs, 0, asked.trials, pruned=False)
    _, theirs = scikit_learn("german", asked.epochs, 0, asked.trials, halving=False)
    return {
        "rosenblatt": 60 * asked.trials / search.wall,
        "optuna": 60 * asked.trials / seconds,
        "scikit-learn": 60 * asked.trials / theirs,
    }


def overheads() -> dict[str, float]:
    """Cores busy with the default space, and what 1,000 trials cost to propose, as a share of the threads' time."""
    training, _ = split("german", SHARED)
    question = ask(training.frame, ["risk"])
    typed = infer(training.frame.drop("risk"), 64).read(training.frame)
    prepared = Prepared(Data(typed, question.y), lambda one: question.target(question.y, one))
    busy = Search(Spec.of(minutes=0.5), prepared)
    busy.run(time.monotonic() + 30)
    search, asking = new_search("german", 50, 0, 1000), 0.0
    for name in ("ask", "tell"):
        decide = search._deciders[name]

        def timed(*arguments: Any, _decide: Any = decide) -> Any:
            nonlocal asking
            started = time.thread_time()
            answer = _decide(*arguments)
            asking += time.thread_time() - started
            return answer

        search._deciders[name] = timed
    search.run()
    return {
        "cores busy": busy.utilization,
        "sampling, share of the cores' time": asking / (search.wall * search.threads),
        "seconds of 1,000 trials": search.wall,
        "seconds of sampling": asking,
        "peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", default="german,housing,abalone,wine quality,adult")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--tables-only", action="store_true", help="leave out rates and overheads")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    asked = parser.parse_args()
    if not Path(SHARED).is_dir():
        sys.exit(f"The folder {SHARED} is missing.")
    result: dict[str, Any] = {"tables": [measure(name, asked) for name in asked.tables.split(",") if name]}
    if not asked.tables_only:
        result |= {"trials a minute": rates(asked), **overheads()}
    if asked.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{'table':14} {'Optuna + PyTorch':>17} {'random search':>14} {'halving':>8}   (times faster)")
    for row in result["tables"]:
        peers = [row[f"faster than {peer}"] for peer in ("optuna", "random", "halving")]
        print(f"{row['table']:14} {peers[0]:16.1f}x {peers[1]:13.1f}x {peers[2]:7.1f}x")
    told = ", ".join(f"{name} {rate:.0f}" for name, rate in result.get("trials a minute", {}).items())
    print(f"trials a minute at equal epochs, german: {told}" if told else "")
    for name, value in overheads_of(result).items():
        print(f"{name}: {value:.3g}")


def overheads_of(result: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in result.items() if name not in ("tables", "trials a minute")}


if __name__ == "__main__":
    main()
