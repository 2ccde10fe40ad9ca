"""In: scores of trials at their rungs. Out: which of them may go on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from rosenblatt.spec.search import SearchSpec

FEW = 5  # trials whose median says nothing yet


class Stopping(ABC):
    """Decides which trials earn their next rung. Rungs count from 0; a higher score is better."""

    def __init__(self, rungs: int) -> None:
        self.rungs = rungs
        self.free: set[int] = set()  # trials that go on in any case

    @abstractmethod
    def reached(self, number: int, rung: int, score: float) -> None:
        """A trial has reached a rung, the last of which needs no decision."""

    @abstractmethod
    def next(self, ending: bool) -> int | None:
        """A trial that may go on now; each rung of a trial is given out once. `ending`: no more trials will come."""


class NoStopping(Stopping):
    """All trials go on to the end."""

    def __init__(self, rungs: int) -> None:
        super().__init__(rungs)
        self._waiting: list[int] = []

    def reached(self, number: int, rung: int, score: float) -> None:
        """All may go on."""
        self._waiting.append(number)

    def next(self, ending: bool) -> int | None:
        """The first that waits."""
        return self._waiting.pop(0) if self._waiting else None


class Median(NoStopping):
    """A trial stops where its score is below the median of those that reached the rung before (Golovin et al. 2017)."""

    def __init__(self, rungs: int) -> None:
        super().__init__(rungs)
        self._scores: list[list[float]] = [[] for _ in range(rungs)]

    def reached(self, number: int, rung: int, score: float) -> None:
        """It may go on where it is no worse than the median, or where that is of few."""
        before = self._scores[rung]
        if number in self.free or len(before) < FEW or score >= float(np.median(before)):
            self._waiting.append(number)
        before.append(score)


@dataclass
class _Rung:
    ranked: list[tuple[float, int]] = field(default_factory=list)  # (-score, number) of all, the best first
    waiting: list[tuple[float, int]] = field(default_factory=list)  # a heap of those that have not gone on

    def add(self, number: int, score: float, waits: bool) -> None:
        """A trial has come here."""
        insort(self.ranked, (-score, number))
        if waits:
            heappush(self.waiting, (-score, number))

    def promoted(self, reduction: int, ending: bool) -> int | None:
        """The best that waits, which goes on now, where it is among the best one in `reduction`."""
        earned = -(-len(self.ranked) // reduction) if ending else len(self.ranked) // reduction
        if not self.waiting or bisect_left(self.ranked, self.waiting[0]) >= earned:
            return None
        return heappop(self.waiting)[1]


class SuccessiveHalving(Stopping):
    """A trial goes on where it is among the best one in `reduction` of its rung (ASHA: Li et al. 2020).

    With several brackets (asynchronous Hyperband: Li et al. 2018, 2020) trials take turns in being compared from the
    first rung on, from the second, ...; those with later first comparisons are fewer.
    """

    def __init__(self, rungs: int, reduction: int, brackets: int = 1) -> None:
        super().__init__(rungs)
        self.reduction = reduction
        brackets = max(1, min(brackets, rungs))
        self._brackets = [[_Rung() for _ in range(rungs)] for _ in range(brackets)]
        shares = [(brackets / (brackets - s)) * reduction ** (brackets - 1 - s) for s in range(brackets)]
        self._turns = np.repeat(np.arange(brackets), np.maximum(1, np.round(shares / np.min(shares)).astype(int)))
        self._at_once: list[int] = []

    def bracket(self, number: int) -> int:
        """The bracket of a trial: the rung from which on it is compared."""
        return int(self._turns[number % len(self._turns)])

    def reached(self, number: int, rung: int, score: float) -> None:
        """It waits at the rung, unless its bracket compares later."""
        bracket = self.bracket(number)
        at_once = rung < bracket or number in self.free
        if rung >= bracket:
            self._brackets[bracket][rung].add(number, score, waits=not at_once)
        if at_once:
            self._at_once.append(number)

    def next(self, ending: bool) -> int | None:
        """The best of the highest rung that has one to go on."""
        if self._at_once:
            return self._at_once.pop(0)
        for rung in range(self.rungs - 2, -1, -1):
            for bracket in self._brackets:
                found = bracket[rung].promoted(self.reduction, ending)
                if found is not None:
                    return found
        return None


def stopping_of(search: SearchSpec, rungs: int) -> Stopping:
    """What decides, by name."""
    if search.stopping == "median":
        return Median(rungs)
    if search.stopping in ("none", "pbt"):
        return NoStopping(rungs)
    return SuccessiveHalving(rungs, search.reduction, rungs - 1 if search.stopping == "hyperband" else 1)
