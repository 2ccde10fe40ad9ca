"""Part `peers` of cluster.py: Rosenblatt, Ray Tune, and Optuna with joblib and Dask, on two processes of one core.

Each searches at random in the space of cluster_objectives.py. What is not measured: the start of processes, their first
trials (imports, compilation), and their table.
"""

from __future__ import annotations

import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import cluster_objectives
from cluster_objectives import (
    BATCH_SIZES,
    DROPOUTS,
    EPOCHS,
    HIDDEN_SIZES,
    LEARNING_RATES,
    N_VALIDATION,
    OBJECTIVES,
)
from cluster_search import KeptOpen, make_search, processor_seconds, ray_cluster

import rosenblatt
from rosenblatt.spec.dimensions import choice, log_uniform, uniform
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.ray_connection import RayConnection
from rosenblatt.tuning.ray_workers import RayWorkers
from rosenblatt.workflows.tune_search import FunctionSearch

CORES = 2
N_AHEAD = 2  # trials that wait for each core, where the peer lets its user decide
N_WARM_UP = 4
N_COOL_DOWN = 2 * CORES  # last trials of Ray Tune, which ends actors as soon as none waits; they do not count
Objective = Callable[[dict[str, Any]], float]
SPACE = {
    "learning_rate": log_uniform(*LEARNING_RATES),
    "dropout": uniform(*DROPOUTS),
    "hidden_sizes": choice(*HIDDEN_SIZES),
    "batch_size": choice(*BATCH_SIZES),
}

RAY_TUNE_SETTINGS = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no files of results for each trial
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",  # nor of the state of the search
    "RAY_USAGE_STATS_ENABLED": "0",
}


class Meter:
    """Time and processor time from the end of the first trials, which start and load everything, to that of the last.

    Args:
        trials: to measure, after N_WARM_UP others.
    """

    def __init__(self, trials: int) -> None:
        self.trials, self._n_completed = trials, 0
        self.seconds = self.processor_seconds = 0.0

    def begin(self) -> None:
        self.seconds, self.processor_seconds = time.perf_counter(), processor_seconds()

    def end(self) -> None:
        self.seconds = time.perf_counter() - self.seconds
        self.processor_seconds = processor_seconds() - self.processor_seconds

    def count(self) -> None:
        """Count a completed trial; processes must still run when the last is counted, or their time is lost."""
        self._n_completed += 1
        if self._n_completed == N_WARM_UP:
            self.begin()
        elif self._n_completed == N_WARM_UP + self.trials:
            self.end()


Search = Callable[[Meter], list[float]]
"""Runs the trials of a meter after those that warm up; returns their validation losses."""


class Rate(NamedTuple):
    """Speed, cost and quality of a search."""

    trials_per_minute: float
    processor_seconds_per_trial: float
    best_loss: float
    median_loss: float


@contextmanager
def open_rosenblatt() -> Iterator[Search]:
    """`rosenblatt fit --on`: networks of Rosenblatt on two nodes of Ray."""
    with ray_cluster() as address:
        workers = RayWorkers(RayConnection("benchmark", address=address), lambda _: None, lambda: WorkerPool(CORES))

        def run(trials: int) -> list[float]:
            settings: dict[str, Any] = {"sampler": "random", "optimizer": "adam", "epochs": EPOCHS}
            search = make_search(
                trials, lambda _: KeptOpen(workers), n_validation=N_VALIDATION, space=SPACE, **settings
            )
            search.run()
            return [trial.score for trial in search.history.trials]

        def search(meter: Meter) -> list[float]:
            run(N_WARM_UP)
            meter.begin()
            losses = run(meter.trials)
            meter.end()
            return losses

        try:
            yield search
        finally:
            workers.close()


@contextmanager
def open_tune(objective: Objective, store: str | None = None) -> Iterator[Search]:
    """`rosenblatt.tune(on=...)` on the same cluster; by default with a run for each trial in a store of SQLite."""

    def train(params: Any, _run: Any) -> float:
        return objective(params)

    def search(meter: Meter) -> list[float]:
        end_trial = FunctionSearch.end_trial

        def end_and_count(*arguments: Any) -> None:
            end_trial(*arguments)
            meter.count()

        with patch.object(FunctionSearch, "end_trial", end_and_count):
            n_trials = N_WARM_UP + meter.trials
            options = {"trials": n_trials, "sampler": "random", "on": "benchmark", "progress": False, "store": store}
            result = rosenblatt.tune(train, SPACE, **options)
        assert all(trial.score is not None for trial in result.trials), [trial.reason for trial in result.trials]
        return [trial.score for trial in result.trials[N_WARM_UP:]]

    path = [*sys.path, ""]
    with ray_cluster() as address, tempfile.TemporaryDirectory() as folder, chdir(folder), patch("sys.path", path):
        shutil.copy(cluster_objectives.__file__, folder)  # the working folder is sent

        @contextmanager
        def open_cluster(*_: Any) -> Iterator[RayConnection]:
            yield RayConnection("benchmark", address=address)

        with patch("rosenblatt.cluster.open.open_cluster", open_cluster):
            yield search


@contextmanager
def open_tune_without_store(objective: Objective) -> Iterator[Search]:
    """The same without a store, as the studies of Optuna and the trials of Ray Tune are not stored here either."""
    with open_tune(objective, "none") as search:
        yield search


@contextmanager
def open_ray_tune(objective: Objective) -> Iterator[Search]:
    """Ray Tune on the same cluster, with actors that are used again, without checkpoints and logs."""
    os.environ |= RAY_TUNE_SETTINGS
    import ray
    from ray import tune

    space = {
        "learning_rate": tune.loguniform(*LEARNING_RATES),
        "dropout": tune.uniform(*DROPOUTS),
        "hidden_sizes": tune.choice(HIDDEN_SIZES),
        "batch_size": tune.choice(BATCH_SIZES),
    }

    def train(config: dict[str, Any]) -> dict[str, float]:
        return {"loss": objective(config)}

    class Count(tune.Callback):
        def __init__(self, meter: Meter) -> None:
            self._meter = meter

        def on_trial_complete(self, *_: Any, **__: Any) -> None:
            self._meter.count()

    def search(meter: Meter) -> list[float]:
        settings = {"max_concurrent_trials": CORES, "reuse_actors": True, "metric": "loss", "mode": "min"}
        config = tune.TuneConfig(num_samples=N_WARM_UP + meter.trials + N_COOL_DOWN, **settings)
        with tempfile.TemporaryDirectory() as folder:
            run_config = tune.RunConfig(storage_path=folder, verbose=0, callbacks=[Count(meter)])
            trainable = tune.with_resources(train, {"cpu": 1})
            results = tune.Tuner(trainable, param_space=space, tune_config=config, run_config=run_config).fit()
            return [result.metrics["loss"] for result in results][N_WARM_UP:-N_COOL_DOWN]

    with ray_cluster() as address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield search
        finally:
            ray.shutdown()


def ask(study: Any) -> tuple[Any, dict[str, Any]]:
    """A trial of Optuna and its hyperparameters."""
    trial = study.ask()
    return trial, {
        "learning_rate": trial.suggest_float("learning_rate", *LEARNING_RATES, log=True),
        "dropout": trial.suggest_float("dropout", *DROPOUTS),
        "hidden_sizes": HIDDEN_SIZES[trial.suggest_int("hidden_sizes", 0, len(HIDDEN_SIZES) - 1)],
        "batch_size": trial.suggest_categorical("batch_size", BATCH_SIZES),
    }


def make_study() -> Any:
    """A study in memory, whose trials are asked for and told by this process."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(sampler=optuna.samplers.RandomSampler())


def evaluate(objective: Objective, number: int, config: dict[str, Any]) -> tuple[int, float]:
    return number, objective(config)


@contextmanager
def open_optuna_joblib(objective: Objective) -> Iterator[Search]:
    """Optuna, whose trials two processes of joblib train."""
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    with Parallel(n_jobs=CORES, return_as="generator_unordered", pre_dispatch=CORES * (1 + N_AHEAD)) as parallel:

        def search(meter: Meter) -> list[float]:
            study = make_study()

            def tasks() -> Iterator[Any]:
                for _ in range(N_WARM_UP + meter.trials):
                    trial, config = ask(study)
                    yield delayed(evaluate)(objective, trial.number, config)

            for number, loss in parallel(tasks()):
                study.tell(number, loss)
                meter.count()
            return [trial.value for trial in study.trials[N_WARM_UP:]]

        yield search
    get_reusable_executor().shutdown(wait=True)


@contextmanager
def open_optuna_dask(objective: Objective) -> Iterator[Search]:
    """Optuna, whose trials two workers of Dask train, with one core each."""
    from distributed import Client, LocalCluster, as_completed

    with (
        LocalCluster(n_workers=CORES, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):

        def search(meter: Meter) -> list[float]:
            study, n_trials, n_submitted = make_study(), N_WARM_UP + meter.trials, 0

            def submit() -> Any:
                nonlocal n_submitted
                n_submitted += 1
                trial, config = ask(study)
                return client.submit(evaluate, objective, trial.number, config, pure=False)

            completed = as_completed([submit() for _ in range(CORES * (1 + N_AHEAD))], with_results=True)
            for _, (number, loss) in completed:
                study.tell(number, loss)
                meter.count()
                if n_submitted < n_trials:
                    completed.add(submit())
            return [trial.value for trial in study.trials[N_WARM_UP:]]

        yield search


SEARCHES = {
    "rosenblatt.tune": open_tune,
    "rosenblatt.tune without a store": open_tune_without_store,
    "Ray Tune": open_ray_tune,
    "Optuna + joblib": open_optuna_joblib,
    "Optuna + Dask": open_optuna_dask,
}


def measure_rate(search: Search, trials: int) -> Rate:
    """Run a search."""
    meter = Meter(trials)
    losses = search(meter)
    assert len(losses) == trials, f"{len(losses)} trials instead of {trials}"
    rate = 60 * trials / meter.seconds
    return Rate(rate, meter.processor_seconds / trials, min(losses), statistics.median(losses))


def measure_peers(
    trials: int, repeats: int, functions: list[str], searches: list[str] | None = None
) -> list[dict[str, Any]]:
    """Speed of searches with each function, medians of repeats in turn; the first search is the one to compare with.

    By default these are `rosenblatt fit --on`, which trains no function, and all of SEARCHES.
    """
    openers: dict[str, Callable[[], Any]] = {} if searches else {"rosenblatt fit": open_rosenblatt}
    for function in functions:
        for name in searches or SEARCHES:
            openers[f"{name}, {function}"] = partial(SEARCHES[name], OBJECTIVES[function])
    rates: dict[str, list[Rate]] = {name: [] for name in openers}
    for _ in range(repeats):
        for name, open_search in openers.items():
            with open_search() as search:
                rates[name].append(measure_rate(search, trials))
    first, *_ = rates
    return [describe(name, values, first, rates[first]) for name, values in rates.items()]


def describe(name: str, rates: list[Rate], reference_name: str, reference: list[Rate]) -> dict[str, Any]:
    """A row of the table; ratios are of repeats in the same turn."""
    row = {field.replace("_", " "): statistics.median(getattr(r, field) for r in rates) for field in Rate._fields}
    pairs = list(zip(reference, rates, strict=True))
    wall = statistics.median(a.trials_per_minute / b.trials_per_minute for a, b in pairs)
    cost = statistics.median(b.processor_seconds_per_trial / a.processor_seconds_per_trial for a, b in pairs)
    return {"search": name} | row | {f"{reference_name} is faster by": wall, "the same by processor time": cost}
