"""Speed of a search on many machines: what Ray costs on this one, and how far the controller scales.

    python benchmarks/cluster.py search [--trials 1000] [--repeats 3] [--json]
    python benchmarks/cluster.py up --wheels FOLDER [--machines 3] [--json]
    python benchmarks/cluster.py simulate [--nodes 4] [--trials-per-node 250] [--item-seconds 2] [--json]
    python benchmarks/cluster.py network [--repeats 3] [--json]

search: small trials, all trained to their end, on two nodes of Ray with one core each, against two threads without
Ray, both on this machine, which should have two free cores. The nodes share them with the controller, the driver and
the processes of Ray. The figure is the speed with Ray divided by the speed without, medians over repeats in turn;
starting the workers does not count, as it happens once for a search. The ratio of the processor times, of all processes
together, says the same on a machine that does other work too.

up: `rosenblatt cluster up` on bare machines, made of namespaces on this one (needs root), with an index that serves the
wheels of FOLDER (pip download -r <(rosenblatt cluster requirements) -d FOLDER), by uv if it is on PATH, or else by pip.

simulate: the coordinator of a search with workers that only pretend to train: an item takes as long as one that was
recorded (scaled to a mean of --item-seconds), and its result comes back after the time for which machines collect
results. The clock is virtual, but advances by the processor time that the controller really needs to propose, pack,
unpack, compare and promote. Efficiency is the busy time of the machines divided by their number and the duration.

network: one convolutional network on two processes with one core each, connected by gloo without Ray, against one
process with one core, with the same batches. The figure is the time of an epoch on one divided by that on two.
"""

from __future__ import annotations

import heapq
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import psutil
from cluster_network import measure_network
from common import make_parser

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.dimensions import log_uniform, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.training.workers import MessageQueue, WorkerPool
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.packing import Attempt, ItemPacker, load_shared, pack_results, unpack_item, unpack_results
from rosenblatt.tuning.ray_connection import RayConnection
from rosenblatt.tuning.ray_dispatch import COLLECTION_WINDOW_PER_NODE_S, COLLECTION_WINDOW_S
from rosenblatt.tuning.ray_workers import RayWorkers
from rosenblatt.tuning.work_queue import WorkItem, WorkResult
from rosenblatt.tuning.workers import MakeWorkers, Workers

ROWS, FEATURES = 20_000, 20
SPACE = {"learning_rate": log_uniform(1e-4, 1e-1), "dropout": uniform(0.0, 0.5)}
SIMULATED_ROWS = 2_000
ROUND_TRIP_S = 0.01  # from a machine to the controller and back
STOP = np.zeros(1, np.uint8)


def make_search(trials: int, make_workers: MakeWorkers, rows: int = ROWS, **options: Any) -> SearchCoordinator:
    """A search on a table of random numbers."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, FEATURES))
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0).astype(float)
    frame = pl.DataFrame({f"x{k}": x[:, k] for k in range(FEATURES)})
    target = Target(names=("y",), task="binary", labels=("no", "yes"))
    settings = {
        "trials": trials,
        "epochs": 10,
        "folds": 2,
        "stopping": "none",
        "hidden_sizes": (32,),
        "numeric_encoding": "standard",
    }
    settings |= {"patience": 1000, "repeats": 1, "validate_on": "folds"} | options
    spec = Spec.from_hyperparameters(**settings).with_search_space(SPACE)
    prepared = PreparedData(Dataset(frame, y), lambda spec: target.with_loss(spec, y))
    return SearchCoordinator(spec, prepared, make_workers=make_workers)


# Speed with Ray


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
    make_search(8, lambda _: _KeptOpen(workers)).run()
    search, started, used = make_search(trials, lambda _: _KeptOpen(workers)), time.perf_counter(), processor_seconds()
    search.run()
    seconds, used = time.perf_counter() - started, processor_seconds() - used
    workers.close()
    n_trials = len(search.history.trials)
    return Speed(n_trials / seconds, used / n_trials)


def processor_seconds() -> float:
    """Processor time of this process and all that it has started, so far."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


class _KeptOpen:
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


# Simulation


class _Event(NamedTuple):
    """The end of an item, or the arrival of its result at the controller."""

    time: float
    is_arrival: bool
    number: int
    node: int
    duration: float
    item: WorkItem
    content: bytes


class SimulatedWorkers(MessageQueue):
    """Machines with one thread each that pretend to train, on a virtual clock.

    Args:
        nodes: number of machines.
        durations: seconds of recorded items; each item takes one of them.
    """

    def __init__(self, nodes: int, durations: np.ndarray) -> None:
        super().__init__()
        self.threads, self.busy_seconds, self.controller_seconds, self.now = nodes, 0.0, 0.0, 0.0
        self.latency_s = max(COLLECTION_WINDOW_S, COLLECTION_WINDOW_PER_NODE_S * nodes)
        self._durations, self._n_submitted = durations, 0
        self._queue = [(0.0, node) for node in range(nodes)]  # when each machine is free
        self._free_at = [0.0] * nodes
        self._events = list[_Event]()
        self._shared: dict[int, Any] = {}
        self._packer, self._left_at = ItemPacker(), time.thread_time()

    def _account(self) -> None:
        """Advance the clock by the time of the controller since the last call."""
        seconds = time.thread_time() - self._left_at
        self.now, self.controller_seconds = self.now + seconds, self.controller_seconds + seconds
        self._left_at = time.thread_time()

    def submit(self, work: WorkItem) -> None:
        """Give an item to the machine that is free first."""
        packed = self._packer.pack(work, 1)
        new = self._packer.take_new()
        self._account()
        for key, content in new:
            self._shared[key] = load_shared(content, self._shared)
        duration = float(self._durations[self._n_submitted % len(self._durations)])
        free_at, node = heapq.heappop(self._queue)
        end = self._free_at[node] = max(free_at, self.now) + duration
        heapq.heappush(self._queue, (end, node))
        heapq.heappush(self._events, _Event(end, False, self._n_submitted, node, duration, work, packed.content))
        self._n_submitted += 1
        self.busy_seconds += duration
        self._left_at = time.thread_time()

    def get(self, timeout: float = 0.0) -> Any:
        """The result that comes next."""
        self._account()
        while self._events and not self._events[0].is_arrival:
            event = heapq.heappop(self._events)  # the end of an item: it waits for others, until its machine is idle
            arrives_at = min(event.time + self.latency_s, max(self._free_at[event.node], event.time)) + ROUND_TRIP_S
            heapq.heappush(self._events, event._replace(time=arrives_at, is_arrival=True))
        if not self._events:
            raise Empty
        event = heapq.heappop(self._events)
        result = _pretend(unpack_item(event.content, self._shared), event.duration)
        self.now, self._left_at = max(self.now, event.time), time.thread_time()
        (packed,) = unpack_results(result)
        packed.install(event.item)
        self._account()
        return packed.result

    def close(self) -> None:
        """There is nothing to close."""


def _pretend(item: WorkItem, seconds: float) -> bytes:
    """The packed result of an item that a machine has trained for one epoch, as if for all."""
    member = item.member()
    assert member is not None
    first = len(member.history)
    if not first:
        WorkItem(item.trial, item.index, item.fold, 1, None, is_last_rung=False)(STOP)
    member.history += [
        member.history[-1]._replace(epoch=epoch + 1) for epoch in range(len(member.history), item.target_epochs)
    ]
    member.finished = len(member.history) >= member.epochs
    result = WorkResult(item.trial.number, item.index, seconds, "")
    return pack_results([(Attempt(item.trial.number, item.index, 1), first, item, result)])


def record_durations() -> np.ndarray:
    """Seconds of the items of a real search on one thread."""
    make_search(4, lambda _: WorkerPool(1)).run()  # compiles
    search = make_search(40, lambda _: WorkerPool(1))
    search.run()
    return np.array([seconds for trial in search.history.trials for seconds in trial.folds.seconds.values()])


def simulate(nodes: int, durations: np.ndarray, trials_per_node: int) -> dict[str, float]:
    """Run the coordinator with simulated machines."""
    trials = nodes * trials_per_node
    workers = SimulatedWorkers(nodes, durations)
    search = make_search(trials, lambda _: workers, SIMULATED_ROWS, sampler="random", stopping="asha")
    search.run()
    n_trials = len(search.history.trials)
    return {
        "nodes": nodes,
        "trials": n_trials,
        "seconds of an item": float(durations.mean()),
        "efficiency": workers.busy_seconds / (nodes * workers.now),
        "trials a second": n_trials / workers.now,
        "trials a second that the controller keeps up with": n_trials / workers.controller_seconds,
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("part", choices=("search", "simulate", "network", "up"))
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nodes", default="4")
    parser.add_argument("--item-seconds", type=float, default=0.0, help="by default as recorded")
    parser.add_argument("--trials-per-node", type=int, default=250)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--machines", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]]
    if options.part == "search":
        rows = [measure_search(options.trials, options.repeats)]
    elif options.part == "network":
        rows = [measure_network(options.repeats)]
    elif options.part == "up":
        from cluster_up import measure_up  # for root on Linux

        rows = [measure_up(options.wheels, options.machines)]
    else:
        durations = record_durations()
        if options.item_seconds:
            durations *= options.item_seconds / durations.mean()
        nodes = [int(number) for number in options.nodes.split(",")]
        rows = [simulate(n, durations, options.trials_per_node) for n in nodes]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            ", ".join(
                f"{name} {value if isinstance(value, str) else format(value, ',.4g')}" for name, value in row.items()
            )
        )


if __name__ == "__main__":
    main()
