"""Worker that trains the work items of a search on a GPU, trials of one shape together in one stack.

It takes the place of a pool of threads (`workers.WorkerPool`) where networks are trained on a GPU.
"""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Condition, Thread
from typing import cast

import numpy as np

from rosenblatt.errors import SpecError
from rosenblatt.training.member import Member
from rosenblatt.training.population import record_epoch
from rosenblatt.training.rows import DenseRows
from rosenblatt.training.workers import MessageQueue, cores
from rosenblatt.tuning.trials import WorkItem, WorkResult

MAX_IN_FLIGHT = 64  # work that is given out at a time
BATCHING_DELAY = 0.05  # seconds without new work, after which a stack is made of what there is


class DeviceWorker(MessageQueue):
    """One thread that trains, on a device, what it is given; what waits takes the lanes that become free."""

    threads = MAX_IN_FLIGHT

    def __init__(self, device: str) -> None:
        from rosenblatt.training.torch.lanes import find_device

        super().__init__()
        self._device, self._pending, self._condition = find_device(device), deque[WorkItem](), Condition()
        self._active: dict[int, tuple[WorkItem, float]] = {}  # by member: its work, and when it began
        # for what is predicted on the CPU, so that the device need not wait
        self._post_executor = ThreadPoolExecutor(cores())
        self._worker = Thread(target=self._run, daemon=True)
        self._worker.start()

    def submit(self, item: WorkItem) -> None:
        """Have this done."""
        with self._condition:
            self._pending.append(item)
            self._condition.notify()

    def close(self) -> None:
        """Stop within a step, and wait until it has ended; what is not begun is left out."""
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
                    while not self.stop[0] and self._condition.wait(BATCHING_DELAY):
                        pass
                if self.stop[0]:
                    break
                self._train()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that listens
            self.put(error)
        for item, started in self._active.values():  # stopped half-way
            self.put(WorkResult(item.trial.number, item.index, time.perf_counter() - started, ""))

    def _train(self) -> None:
        """Train what waited longest, and with it all that is of its shape."""
        from rosenblatt.training.torch.lanes import StackKey, stack_key, train_lanes

        first_member = self._start(self._pop(0))
        if first_member is None:
            return
        table, key = cast("DenseRows", self._active[id(first_member)][0].trial.rows), stack_key(first_member)

        def same_shape_indices() -> list[int]:
            """The places of what waits and is of this shape."""
            members = [(index, item, self._member(item)) for index, item in enumerate(list(self._pending))]
            return [
                index
                for index, unit, member in members
                if member is not None and unit.trial.rows is table and stack_key(member) == key
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
        except MemoryError as error:  # of one network alone
            for item, started in self._active.values():
                self.put(WorkResult(item.trial.number, item.index, time.perf_counter() - started, str(error)))
            self._active.clear()

    @staticmethod
    def _member(item: WorkItem) -> Member | None:
        """The member of some work; None where there is none, which is told of in its turn."""
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
        """The member of some work; None where there is nothing to be done."""
        started = time.perf_counter()
        try:
            member = item.member()
        except SpecError as error:
            self.put(WorkResult(item.trial.number, item.index, 0.0, str(error)))
            return None
        if member is None or member.finished or len(member.history) >= min(item.target_epochs, member.epochs):
            self.put(item.finish(started))
            return None
        self._active[id(member)] = item, started
        return member

    def _on_epoch_end(self, member: Member, loss: float, validation: tuple[np.ndarray, float] | None) -> bool:
        item, started = self._active[id(member)]
        record = record_epoch(member, loss, validation, item.score)
        if record is not None and not member.finished and record.epoch < min(item.target_epochs, member.epochs):
            return True
        del self._active[id(member)]
        self._post_executor.submit(self._finish, item, started)
        return False

    def _finish(self, item: WorkItem, started: float) -> None:
        try:
            self.put(item.finish(started))
        except MemoryError as error:
            self.put(WorkResult(item.trial.number, item.index, time.perf_counter() - started, str(error)))
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that listens
            self.put(error)
