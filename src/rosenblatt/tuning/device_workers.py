"""Worker that trains the work items of a search on a GPU, networks of the same shape together in one stack."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Condition, Thread
from typing import cast

import numpy as np

from rosenblatt.data.cores import cores
from rosenblatt.errors import SpecError
from rosenblatt.training.member import Member
from rosenblatt.training.population import record_epoch
from rosenblatt.training.rows import DenseRows
from rosenblatt.training.workers import MessageQueue
from rosenblatt.tuning.work_queue import WorkItem

MAX_IN_FLIGHT = 64  # work items submitted at a time
BATCHING_DELAY_S = 0.05  # seconds without a new item, after which the waiting items are stacked


class DeviceWorker(MessageQueue):
    """One thread that trains the submitted items on a device; waiting items take the lanes that become free.

    It replaces `WorkerPool` if networks are trained on a GPU. Raises SpecError for a device that does not exist.
    """

    threads = MAX_IN_FLIGHT

    def __init__(self, device: str) -> None:
        from rosenblatt.training.torch.lanes import find_device

        super().__init__()
        self._device, self._pending, self._condition = find_device(device), deque[WorkItem](), Condition()
        # by the id of the member: its work item, and its start as a `time.perf_counter`
        self._active: dict[int, tuple[WorkItem, float]] = {}
        # for out-of-fold predictions on the CPU, so that the device does not wait for them
        self._post_executor = ThreadPoolExecutor(cores())
        self._worker = Thread(target=self._run, daemon=True)
        self._worker.start()

    def submit(self, item: WorkItem) -> None:
        """Queue a work item."""
        with self._condition:
            self._pending.append(item)
            self._condition.notify()

    def close(self) -> None:
        """Stop after the current training step, and wait for the thread to end; waiting items are skipped."""
        self.stop[0] = 1
        with self._condition:
            self._condition.notify()
        self._worker.join()
        self._post_executor.shutdown()

    def _run(self) -> None:
        try:
            while True:
                with self._condition:
                    while not self._pending and not self.stop[0]:
                        self._condition.wait()
                    while not self.stop[0] and self._condition.wait(BATCHING_DELAY_S):
                        pass
                if self.stop[0]:
                    break
                self._train()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for results
            self.put(error)
        for item, started in self._active.values():  # whose training was cut short
            self.put(item.failure("", time.perf_counter() - started))

    def _train(self) -> None:
        """Train the item that has waited longest, together with all waiting items of the same shape."""
        from rosenblatt.training.torch.lanes import StackKey, stack_key, train_lanes

        first_member = self._start(self._pop(0))
        if first_member is None:
            return
        table, key = cast("DenseRows", self._active[id(first_member)][0].trial.rows), stack_key(first_member)

        def same_shape_indices() -> list[int]:
            """Indices of the waiting items of this shape."""
            members = [(index, item, self._member(item)) for index, item in enumerate(list(self._pending))]
            return [
                index
                for index, item, member in members
                if member is not None and item.trial.rows is table and stack_key(member) == key
            ]

        def next_member(_: StackKey) -> Member | None:
            while indices := same_shape_indices():
                member = self._start(self._pop(indices[0]))
                if member is not None:
                    return member
            return None

        try:
            train_lanes(
                first_member,
                table,
                self._device,
                1 + len(same_shape_indices()),
                next_member,
                self._on_epoch_end,
                self.stop,
            )
        except MemoryError as error:  # even a single network does not fit
            for item, started in self._active.values():
                self.put(item.failure(str(error), time.perf_counter() - started))
            self._active.clear()

    @staticmethod
    def _member(item: WorkItem) -> Member | None:
        """The member of an item, or None if it cannot be built; `_start` reports that."""
        try:
            return item.member()
        except SpecError:
            return None

    def _pop(self, index: int) -> WorkItem:
        with self._condition:
            self._pending.rotate(-index)
            item = self._pending.popleft()
            self._pending.rotate(index)
        return item

    def _start(self, item: WorkItem) -> Member | None:
        """The member of an item, or None if there is nothing to train; the result is reported then."""
        started = time.perf_counter()
        try:
            member = item.member()
        except SpecError as error:
            self.put(item.failure(str(error)))
            return None
        if member is None or member.finished or len(member.history) >= min(item.target_epochs, member.epochs):
            self.put(item.finish(started))
            return None
        self._active[id(member)] = item, started
        return member

    def _on_epoch_end(self, member: Member, loss: float, validation: tuple[np.ndarray, float] | None) -> bool:
        item, started = self._active[id(member)]
        record = record_epoch(member, loss, validation, item.scorer)
        if record is not None and not member.finished and record.epoch < min(item.target_epochs, member.epochs):
            return True
        del self._active[id(member)]
        self._post_executor.submit(self._finish, item, started)
        return False

    def _finish(self, item: WorkItem, started: float) -> None:
        try:
            self.put(item.finish(started))
        except MemoryError as error:
            self.put(item.failure(str(error), time.perf_counter() - started))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for results
            self.put(error)
