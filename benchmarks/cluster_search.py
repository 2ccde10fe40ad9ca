"""Part `search` of cluster.py: a search on two nodes of Ray against one on threads. Other parts use it, too."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import polars as pl
import psutil
from cluster_objectives import FEATURES, ROWS, make_rows

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.dimensions import log_uniform, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.ray_connection import RayConnection
from rosenblatt.tuning.ray_workers import RayWorkers
from rosenblatt.tuning.workers import MakeWorkers, Workers

SPACE = {"learning_rate": log_uniform(1e-4, 1e-1), "dropout": uniform(0.0, 0.5)}


def make_search(
    trials: int,
    make_workers: MakeWorkers,
    rows: int = ROWS,
    space: dict[str, Any] = SPACE,
    n_validation: int = 0,
    **options: Any,
) -> SearchCoordinator:
    """A search on a table of random numbers, whose first rows are those of the validation, if there are any."""
    x, y = make_rows(rows)
    frame = pl.DataFrame({f"x{k}": x[:, k] for k in range(FEATURES)})
    target = Target(names=("y",), task="binary", labels=("no", "yes"))
    settings = {
        "trials": trials,
        "epochs": 10,
        "folds": 2,
        "stopping": "none",
        "hidden_sizes": (32,),
        "numeric_encoding": "standard",
        "patience": 1000,
        "repeats": 1,
        "validate_on": "folds",
    }
    if n_validation:
        settings |= {"folds": "auto", "validate_on": "auto"}
    spec = Spec.from_hyperparameters(**settings | options).with_search_space(space)
    train = Dataset(frame[n_validation:], y[n_validation:])
    validation = Dataset(frame[:n_validation], y[:n_validation]) if n_validation else None
    return SearchCoordinator(
        spec,
        PreparedData(train, lambda spec: target.with_loss(spec, train.y), validation),
        make_workers=make_workers,
    )


@contextmanager
def ray_cluster() -> Iterator[str]:
    """Two nodes with one core each; gives the address."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


class Speed(NamedTuple):
    """Speed and cost of a search."""

    trials_per_second: float
    processor_seconds_per_trial: float


def measure_speed(trials: int, workers: Workers) -> Speed:
    """Run a search, after a small one that compiles and loads everything; close the workers."""
    make_search(8, lambda _: KeptOpen(workers)).run()
    search, started, used = make_search(trials, lambda _: KeptOpen(workers)), time.perf_counter(), processor_seconds()
    search.run()
    seconds, used = time.perf_counter() - started, processor_seconds() - used
    workers.close()
    n_trials = len(search.history.trials)
    return Speed(n_trials / seconds, used / n_trials)


def processor_seconds() -> float:
    """Processor time of this process and all that it has started, so far."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


class KeptOpen:
    """Workers that stay open after a search."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._workers, name)

    def close(self) -> None:
        """Do nothing."""


def measure_search(trials: int, repeats: int) -> dict[str, float]:
    """Speed of a search with and without Ray."""
    speeds: dict[str, list[Speed]] = {"threads": [], "ray": []}
    with ray_cluster() as address:
        connection = RayConnection("benchmark", address=address)
        for _ in range(repeats):
            speeds["threads"].append(measure_speed(trials, WorkerPool(2)))
            workers = RayWorkers(connection, print, lambda: WorkerPool(2))
            speeds["ray"].append(measure_speed(trials, workers))
    rates, costs = (
        {name: statistics.median(value[number] for value in values) for name, values in speeds.items()}
        for number in (0, 1)
    )
    return {
        **{f"trials a second, {name}": rate for name, rate in rates.items()},
        **{f"processor seconds a trial, {name}": cost for name, cost in costs.items()},
        "speed with Ray": rates["ray"] / rates["threads"],
        "speed with Ray by processor time": costs["threads"] / costs["ray"],
    }
