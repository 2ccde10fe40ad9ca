"""Part `simulate` of cluster.py: the coordinator of a search, with machines that pretend to train in virtual time."""

from __future__ import annotations

import heapq
import time
from queue import Empty
from typing import Any, NamedTuple

import numpy as np
from cluster_search import make_search

from rosenblatt.training.workers import MessageQueue, WorkerPool
from rosenblatt.tuning.attempts import Attempt
from rosenblatt.tuning.packing import ItemPacker, load_shared, pack_results, unpack_item, unpack_results
from rosenblatt.tuning.ray_dispatch import COLLECTION_WINDOW_PER_NODE_S, COLLECTION_WINDOW_S
from rosenblatt.tuning.work_queue import WorkItem, WorkResult

SIMULATED_ROWS = 2_000
ROUND_TRIP_S = 0.01  # from a machine to the controller and back
STOP = np.zeros(1, np.uint8)


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


def measure_simulation(nodes: list[int], item_seconds: float, trials_per_node: int) -> list[dict[str, float]]:
    """Simulate each number of machines, with recorded durations that are scaled to a mean of `item_seconds`."""
    durations = record_durations()
    if item_seconds:
        durations *= item_seconds / durations.mean()
    return [simulate(n, durations, trials_per_node) for n in nodes]
