"""In: work of a search, a fold of a trial and a rung each. Out: the same done, trials of one shape as one, on a device.

It takes the place of a crew of threads (`population.Crew`) where networks are trained on a GPU.
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
from rosenblatt.training.population import noted
from rosenblatt.training.rows import Rows
from rosenblatt.training.workers import Telling, cores
from rosenblatt.tuning.trials import Done, Unit

IN_FLIGHT = 64  # work that is given out at a time
SETTLED = 0.05  # seconds without new work, after which a stack is made of what there is


class LaneCrew(Telling):
    """One thread that trains, on a device, what it is given; what waits takes the lanes that become free."""

    threads = IN_FLIGHT

    def __init__(self, device: str) -> None:
        from rosenblatt.training.torch.lanes import device_of

        super().__init__()
        self._device, self._waiting, self._more = device_of(device), deque[Unit](), Condition()
        self._held: dict[int, tuple[Unit, float]] = {}  # by member: its work, and when it began
        self._after = ThreadPoolExecutor(cores())  # for what is predicted on the CPU, so that the device need not wait
        self._worker = Thread(target=self._labor, daemon=True)
        self._worker.start()

    def give(self, work: Unit) -> None:
        """Have this done."""
        with self._more:
            self._waiting.append(work)
            self._more.notify()

    def close(self) -> None:
        """Stop within a step, and wait until it has ended; what is not begun is left out."""
        self.stop[0] = 1
        with self._more:
            self._more.notify()
        self._worker.join()
        self._after.shutdown()

    def _labor(self) -> None:
        try:
            while True:
                with self._more:
                    while not self._waiting and not self.stop[0]:
                        self._more.wait()
                    while not self.stop[0] and self._more.wait(SETTLED):
                        pass
                if self.stop[0]:
                    break
                self._train()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that listens
            self.tell(error)
        for unit, started in self._held.values():  # stopped half-way
            self.tell(Done(unit.trial.number, unit.index, time.perf_counter() - started, ""))

    def _train(self) -> None:
        """Train what waited longest, and with it all that is of its shape."""
        from rosenblatt.training.torch.lanes import Shape, shape_of, train_lanes

        first = self._begin(self._take(0))
        if first is None:
            return
        table, shape = cast("Rows", self._held[id(first)][0].trial.rows), shape_of(first)

        def alike() -> list[int]:
            """The places of what waits and is of this shape."""
            members = [(place, unit, self._member(unit)) for place, unit in enumerate(list(self._waiting))]
            return [
                place
                for place, unit, member in members
                if member is not None and unit.trial.rows is table and shape_of(member) == shape
            ]

        def following(_: Shape) -> Member | None:
            while places := alike():
                member = self._begin(self._take(places[0]))
                if member is not None:
                    return member
            return None

        try:
            train_lanes(first, table, self._device, 1 + len(alike()), following, self._note, self.stop)
        except MemoryError as error:  # of one network alone
            for unit, started in self._held.values():
                self.tell(Done(unit.trial.number, unit.index, time.perf_counter() - started, str(error)))
            self._held.clear()

    @staticmethod
    def _member(unit: Unit) -> Member | None:
        """The member of some work; None where there is none, which is told of in its turn."""
        try:
            return unit.member()
        except SpecError:
            return None

    def _take(self, place: int) -> Unit:
        with self._more:
            self._waiting.rotate(-place)
            unit = self._waiting.popleft()
            self._waiting.rotate(place)
        return unit

    def _begin(self, unit: Unit) -> Member | None:
        """The member of some work; None where there is nothing to be done."""
        started = time.perf_counter()
        try:
            member = unit.member()
        except SpecError as error:
            self.tell(Done(unit.trial.number, unit.index, 0.0, str(error)))
            return None
        if member is None or member.ended or len(member.history) >= min(unit.until, member.epochs):
            self.tell(unit.finish(started))
            return None
        self._held[id(member)] = unit, started
        return member

    def _note(self, member: Member, loss: float, validated: tuple[np.ndarray, float] | None) -> bool:
        unit, started = self._held[id(member)]
        record = noted(member, loss, validated, unit.score)
        if record is not None and not member.ended and record.epoch < min(unit.until, member.epochs):
            return True
        del self._held[id(member)]
        self._after.submit(self._finish, unit, started)
        return False

    def _finish(self, unit: Unit, started: float) -> None:
        try:
            self.tell(unit.finish(started))
        except MemoryError as error:
            self.tell(Done(unit.trial.number, unit.index, time.perf_counter() - started, str(error)))
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that listens
            self.tell(error)
