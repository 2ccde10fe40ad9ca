"""Stopping rules: which trials are promoted to their next rung, given the scores at their rungs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from rosenblatt.spec.scoring import Direction
from rosenblatt.spec.search import SearchSpec

MIN_MEDIAN_TRIALS = 5  # number of trials from which on their median stops others


class StoppingRule(ABC):
    """Decides which trials are promoted. Rungs are numbered from 0."""

    def __init__(self, rungs: int, direction: Direction) -> None:
        self.rungs, self.direction = rungs, direction
        self.exempt: set[int] = set()  # trials that are always promoted

    @abstractmethod
    def report(self, number: int, rung: int, score: float) -> None:
        """Add the score of a trial at a rung other than the last."""

    @abstractmethod
    def next_promotion(self, no_more_trials: bool) -> int | None:
        """The next trial to promote, or None; each trial is returned once per rung.

        Args:
            no_more_trials: whether no more trials will be proposed.
        """


class NoStopping(StoppingRule):
    """Promotes all trials, in the order of their reports."""

    def __init__(self, rungs: int, direction: Direction) -> None:
        super().__init__(rungs, direction)
        self._queue: list[int] = []

    def report(self, number: int, rung: int, score: float) -> None:
        """Queue the trial for promotion."""
        self._queue.append(number)

    def next_promotion(self, no_more_trials: bool) -> int | None:
        """The trial that has waited longest."""
        return self._queue.pop(0) if self._queue else None


class Median(NoStopping):
    """Stops a trial that is worse than the median of the trials before it at the same rung (Golovin et al. 2017)."""

    def __init__(self, rungs: int, direction: Direction) -> None:
        super().__init__(rungs, direction)
        self._scores: list[list[float]] = [[] for _ in range(rungs)]

    def report(self, number: int, rung: int, score: float) -> None:
        """Queue the trial unless it is worse than the median of enough others."""
        earlier_scores = self._scores[rung]
        if (
            number in self.exempt
            or len(earlier_scores) < MIN_MEDIAN_TRIALS
            or not self.direction.is_better(float(np.median(earlier_scores)), score)
        ):
            self._queue.append(number)
        earlier_scores.append(score)


@dataclass
class _Rung:
    ranked: list[tuple[float, int]] = field(default_factory=list)  # (sort key, trial), best first
    candidates: list[tuple[float, int]] = field(default_factory=list)  # heap of those not promoted yet

    def add(self, number: int, sort_key: float, is_candidate: bool) -> None:
        """Add a trial; a smaller sort key is better."""
        insort(self.ranked, (sort_key, number))
        if is_candidate:
            heappush(self.candidates, (sort_key, number))

    def promote(self, reduction_factor: int, no_more_trials: bool) -> int | None:
        """Remove and return the best candidate if it is in the best 1 / `reduction_factor` of the rung."""
        n = len(self.ranked)
        n_promotable = -(-n // reduction_factor) if no_more_trials else n // reduction_factor
        if not self.candidates or bisect_left(self.ranked, self.candidates[0]) >= n_promotable:
            return None
        return heappop(self.candidates)[1]


class SuccessiveHalving(StoppingRule):
    """Promotes the best 1 / `reduction_factor` of the trials at each rung (asynchronous, ASHA: Li et al. 2020).

    With several brackets (asynchronous Hyperband: Li et al. 2018, 2020), trials are assigned to brackets in turn.
    Trials of bracket s are compared from rung s on; higher brackets get fewer trials.
    """

    def __init__(self, rungs: int, direction: Direction, reduction_factor: int, brackets: int = 1) -> None:
        super().__init__(rungs, direction)
        self.reduction_factor = reduction_factor
        brackets = max(1, min(brackets, rungs))
        self._brackets = [[_Rung() for _ in range(rungs)] for _ in range(brackets)]
        weights = [(brackets / (brackets - s)) * reduction_factor ** (brackets - 1 - s) for s in range(brackets)]
        counts = np.maximum(1, np.round(weights / np.min(weights)).astype(int))
        self._bracket_cycle = np.repeat(np.arange(brackets), counts)
        self._immediate: list[int] = []  # trials promoted without a comparison

    def bracket(self, number: int) -> int:
        """The bracket of a trial, which is the first rung at which it is compared."""
        return int(self._bracket_cycle[number % len(self._bracket_cycle)])

    def report(self, number: int, rung: int, score: float) -> None:
        """Add the trial to the candidates of the rung, or promote it if its bracket compares later."""
        bracket = self.bracket(number)
        is_immediate = rung < bracket or number in self.exempt
        if rung >= bracket:
            sort_key = -self.direction.to_maximize(score)
            self._brackets[bracket][rung].add(number, sort_key, is_candidate=not is_immediate)
        if is_immediate:
            self._immediate.append(number)

    def next_promotion(self, no_more_trials: bool) -> int | None:
        """The best candidate of the highest rung that has one."""
        if self._immediate:
            return self._immediate.pop(0)
        for rung in range(self.rungs - 2, -1, -1):
            for bracket in self._brackets:
                number = bracket[rung].promote(self.reduction_factor, no_more_trials)
                if number is not None:
                    return number
        return None


def make_stopping_rule(search: SearchSpec, rungs: int, direction: Direction) -> StoppingRule:
    """Make the stopping rule of a search."""
    if search.stopping == "median":
        return Median(rungs, direction)
    if search.stopping in ("none", "pbt"):
        return NoStopping(rungs, direction)
    brackets = rungs - 1 if search.stopping == "hyperband" else 1
    return SuccessiveHalving(rungs, direction, search.reduction_factor, brackets)
