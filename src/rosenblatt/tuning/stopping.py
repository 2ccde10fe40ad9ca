"""Stopping rules: which trials are promoted to their next rung, from the scores at their rungs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from rosenblatt.spec.search import SearchSpec

MIN_MEDIAN_TRIALS = 5  # trials whose median says nothing yet


class StoppingRule(ABC):
    """Decides which trials earn their next rung. Rungs count from 0; a higher score is better."""

    def __init__(self, rungs: int) -> None:
        self.rungs = rungs
        self.exempt: set[int] = set()  # trials that go on in any case

    @abstractmethod
    def report(self, number: int, rung: int, score: float) -> None:
        """A trial has reached a rung, the last of which needs no decision."""

    @abstractmethod
    def next_promotion(self, no_more_trials: bool) -> int | None:
        """A trial that may go on now; each rung of a trial is given out once. `no_more_trials`: no more will come."""


class NoStopping(StoppingRule):
    """All trials go on to the end."""

    def __init__(self, rungs: int) -> None:
        super().__init__(rungs)
        self._queue: list[int] = []

    def report(self, number: int, rung: int, score: float) -> None:
        """All may go on."""
        self._queue.append(number)

    def next_promotion(self, no_more_trials: bool) -> int | None:
        """The first that waits."""
        return self._queue.pop(0) if self._queue else None


class Median(NoStopping):
    """A trial stops where its score is below the median of those that reached the rung before (Golovin et al. 2017)."""

    def __init__(self, rungs: int) -> None:
        super().__init__(rungs)
        self._scores: list[list[float]] = [[] for _ in range(rungs)]

    def report(self, number: int, rung: int, score: float) -> None:
        """It may go on where it is no worse than the median, or where that is of few."""
        earlier_scores = self._scores[rung]
        if (
            number in self.exempt
            or len(earlier_scores) < MIN_MEDIAN_TRIALS
            or score >= float(np.median(earlier_scores))
        ):
            self._queue.append(number)
        earlier_scores.append(score)


@dataclass
class _Rung:
    ranked: list[tuple[float, int]] = field(default_factory=list)  # (-score, number) of all, the best first
    candidates: list[tuple[float, int]] = field(default_factory=list)  # a heap of those that have not gone on

    def add(self, number: int, score: float, is_candidate: bool) -> None:
        """A trial has come here."""
        insort(self.ranked, (-score, number))
        if is_candidate:
            heappush(self.candidates, (-score, number))

    def promote(self, reduction_factor: int, no_more_trials: bool) -> int | None:
        """The best that waits, which goes on now, where it is among the best one in `reduction_factor`."""
        n_promotable = (
            -(-len(self.ranked) // reduction_factor) if no_more_trials else len(self.ranked) // reduction_factor
        )
        if not self.candidates or bisect_left(self.ranked, self.candidates[0]) >= n_promotable:
            return None
        return heappop(self.candidates)[1]


class SuccessiveHalving(StoppingRule):
    """A trial goes on where it is among the best one in `reduction_factor` of its rung (ASHA: Li et al. 2020).

    With several brackets (asynchronous Hyperband: Li et al. 2018, 2020) trials take turns in being compared from the
    first rung on, from the second, ...; those with later first comparisons are fewer.
    """

    def __init__(self, rungs: int, reduction_factor: int, brackets: int = 1) -> None:
        super().__init__(rungs)
        self.reduction_factor = reduction_factor
        brackets = max(1, min(brackets, rungs))
        self._brackets = [[_Rung() for _ in range(rungs)] for _ in range(brackets)]
        bracket_weights = [
            (brackets / (brackets - s)) * reduction_factor ** (brackets - 1 - s) for s in range(brackets)
        ]
        self._bracket_cycle = np.repeat(
            np.arange(brackets), np.maximum(1, np.round(bracket_weights / np.min(bracket_weights)).astype(int))
        )
        self._immediate: list[int] = []

    def bracket(self, number: int) -> int:
        """The bracket of a trial: the rung from which on it is compared."""
        return int(self._bracket_cycle[number % len(self._bracket_cycle)])

    def report(self, number: int, rung: int, score: float) -> None:
        """It waits at the rung, unless its bracket compares later."""
        bracket = self.bracket(number)
        is_immediate = rung < bracket or number in self.exempt
        if rung >= bracket:
            self._brackets[bracket][rung].add(number, score, is_candidate=not is_immediate)
        if is_immediate:
            self._immediate.append(number)

    def next_promotion(self, no_more_trials: bool) -> int | None:
        """The best of the highest rung that has one to go on."""
        if self._immediate:
            return self._immediate.pop(0)
        for rung in range(self.rungs - 2, -1, -1):
            for bracket in self._brackets:
                number = bracket[rung].promote(self.reduction_factor, no_more_trials)
                if number is not None:
                    return number
        return None


def make_stopping_rule(search: SearchSpec, rungs: int) -> StoppingRule:
    """What decides, by name."""
    if search.stopping == "median":
        return Median(rungs)
    if search.stopping in ("none", "pbt"):
        return NoStopping(rungs)
    return SuccessiveHalving(rungs, search.reduction_factor, rungs - 1 if search.stopping == "hyperband" else 1)
