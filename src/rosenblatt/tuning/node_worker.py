"""Actor of a machine of a cluster: trains the work items that it is given on all its cores, or on one of its GPUs."""

from __future__ import annotations

import time
import traceback
from contextlib import suppress
from functools import partial
from queue import Empty
from threading import Lock
from typing import Any

import numpy as np

from rosenblatt.training.compiled.dispatch import start_step_compiler
from rosenblatt.training.workers import WorkerPool
from rosenblatt.tuning.attempts import IDLE_WAIT_S, Attempt, Collection
from rosenblatt.tuning.device_workers import DeviceWorker
from rosenblatt.tuning.packing import load_shared, pack_results, unpack_item
from rosenblatt.tuning.work_queue import WorkItem, WorkResult
from rosenblatt.tuning.worker_output import WorkerOutput


class NodeWorker:
    """Trains work items on this machine; its methods are called from several threads at once.

    Args:
        threads: items to train at a time, on a CPU.
        device: "cpu", or the device of PyTorch that trains them.
    """

    def __init__(self, threads: int, device: str) -> None:
        self._workers: WorkerPool | DeviceWorker
        if device == "cpu":
            start_step_compiler()
            self._workers = WorkerPool(threads)
        else:
            self._workers = DeviceWorker(device)
        self._shared: dict[int, Any] = {}
        self._items: dict[tuple[int, int], tuple[Attempt, int, WorkItem]] = {}  # by trial and fold
        self._lock, self._output = Lock(), WorkerOutput()

    @property
    def threads(self) -> int:
        """Number of items that are trained at a time."""
        return self._workers.threads

    def load(self, released: list[int], keys: list[int], *contents: bytes) -> int:
        """Load shared objects after some were released; returns the number of items that are trained at a time."""
        for key in released:
            self._shared.pop(key, None)
        for key, content in zip(keys, contents, strict=True):
            self._shared[key] = load_shared(content, self._shared)
        return self.threads

    def submit(self, attempts: list[Attempt], contents: list[bytes]) -> None:
        """Add packed items whose shared objects are loaded."""
        for attempt, content in zip(attempts, contents, strict=True):
            item = unpack_item(content, self._shared)
            member = item.trial.folds.members[item.index]
            with self._lock:
                self._items[attempt.trial, attempt.fold] = attempt, len(member.history) if member else 0, item
            if isinstance(self._workers, WorkerPool):
                self._workers.submit(partial(self._train, item))
            else:
                self._output.begin(item.key)
                self._workers.submit(item)

    def collect(self, window_s: float) -> Collection:
        """Wait for results, and for more of them as long as the threads have other items to train, `window_s` at most.

        Returns no results if there are none for a while.
        """
        results = list[WorkResult]()
        try:
            with suppress(Empty):
                results += self._next(IDLE_WAIT_S)
                end = time.monotonic() + window_s
                while True:
                    wait_s = end - time.monotonic() if len(self._items) - len(results) > self.threads else 0.0
                    results += self._next(max(wait_s, 0.0))
        except Exception as error:  # noqa: BLE001 - the controller raises it again
            traceback.print_exception(error)  # into the log of this machine
            return self._pack(results)._replace(error=(type(error).__name__, str(error)))
        return self._pack(results)

    def close(self) -> Collection:
        """Stop training; returns what was trained so far."""
        self._workers.close()
        results = [result for result in self._workers.drain() if result is not None]
        self._workers.put(None)  # for a collection that waits
        self._output.release()
        return self._pack(results)

    def _train(self, item: WorkItem, stop: np.ndarray) -> WorkResult:
        with self._output.training(item.key):
            return item(stop)

    def _next(self, timeout: float) -> list[WorkResult]:
        """The next result; none if its item was skipped. Raises Empty after `timeout` seconds."""
        result = self._workers.get(timeout)
        return [] if result is None else [result]

    def _pack(self, results: list[WorkResult]) -> Collection:
        with self._lock:
            items = [self._items.pop((result.trial, result.fold)) for result in results]
        packed = [(*item, self._add_output(result)) for item, result in zip(items, results, strict=True)]
        content = pack_results(packed) if packed else b""
        return Collection([attempt for attempt, *_ in packed], sum(r.seconds for r in results), content)

    def _add_output(self, result: WorkResult) -> WorkResult:
        """A result with what was printed for its item."""
        return result._replace(output=self._output.take((result.trial, result.fold)))
