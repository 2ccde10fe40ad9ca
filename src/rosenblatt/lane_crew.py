"""In: work of a search, a fold of a trial and a rung each. Out: the same done, trials of one shape as one, on a device.

It takes the place of a crew of threads (`population.Crew`) where networks are trained on a GPU.
"""

from __future__ import annotations

import time
from collections import deque
from threading import Condition, Thread
from typing import cast

import numpy as np

from rosenblatt.errors import SpecError
from rosenblatt.training.dense import Rows
from rosenblatt.training.member import Member
from rosenblatt.training.population import Telling, noted
from rosenblatt.trials import Done, Unit

IN_FLIGHT = 64  # work that is given out at a time


class LaneCrew(Telling):
    """One thread that trains, on a device, what it is given; what waits takes the lanes that become free."""

    threads = IN_FLIGHT

    def __init__(self, device: str) -> None:
        from rosenblatt.training.torch_lanes import device_of

        super().__init__()
        self._device, self._waiting, self._more = device_of(device), deque[Unit](), Condition()
        self._held: dict[int, tuple[Unit, float]] = {}  # by member: its work, and when it began
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

    def _labor(self) -> None:
        try:
            while True:
                with self._more:
                    while not self._waiting and not self.stop[0]:
                        self._more.wait()
                if self.stop[0]:
                    break
                self._train()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that listens
            self.tell(error)
        for unit, started in self._held.values():  # stopped half-way
            self.tell(Done(unit.trial.number, unit.index, time.perf_counter() - started, ""))

    def _train(self) -> None:
        from rosenblatt.training.torch_lanes import Shape, shape_of, train_lanes

        first = self._begin(self._take(0))
        if first is None:
            return
        table = self._held[id(first)][0].trial.rows

        def following(shape: Shape) -> Member | None:
            for place, unit in enumerate(list(self._waiting)):
                if unit.trial.rows is not None and unit.trial.rows.t is cast("Rows", table).t:
                    member = unit.member()
                    if member is not None and shape_of(member) == shape:
                        return self._begin(self._take(place))
            return None

        train_lanes(first, cast("Rows", table), self._device, IN_FLIGHT, following, self._note, self.stop)

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
        self.tell(unit.finish(started))
        return False
