"""Early stopping of training functions, which can be stopped but not paused (the stopping variant of ASHA)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from rosenblatt.spec.scoring import Direction
from rosenblatt.tuning.stopping import MIN_MEDIAN_TRIALS

FunctionStoppingRule = Literal["none", "asha", "median"]


class FunctionStopping:
    """Decides after each report of a trial whether it must stop, from the trials that reported as often before it.

    With "asha", a trial must be among the best 1 / `reduction_factor` after 1, `reduction_factor`,
    `reduction_factor`^2, ... reports. With "median", it must never be worse than the median.
    """

    def __init__(self, rule: FunctionStoppingRule, reduction_factor: int, direction: Direction) -> None:
        self._rule, self._reduction_factor, self._direction = rule, reduction_factor, direction
        self._scores: dict[int, list[float]] = {}  # best score so far of each trial, by number of reports

    def report(self, n_reports: int, best_score: float) -> bool:
        """Add the best score of a trial after a number of reports; whether the trial must stop."""
        if self._rule == "none" or (self._rule == "asha" and not self._is_rung(n_reports)):
            return False
        scores = self._scores.setdefault(n_reports, [])
        scores.append(best_score)
        ranked = sorted(scores, key=lambda score: -self._direction.to_maximize(score))
        if self._rule == "median":
            return len(scores) > MIN_MEDIAN_TRIALS and self._direction.is_better(ranked[len(ranked) // 2], best_score)
        if len(scores) < self._reduction_factor:
            return False
        last_promoted = ranked[max(len(ranked) // self._reduction_factor, 1) - 1]
        return self._direction.is_better(last_promoted, best_score)

    def withdraw(self, n_reports: int, best_score: float) -> None:
        """Remove a report of a trial that is trained again from its beginning."""
        scores = self._scores.get(n_reports, [])
        if best_score in scores:
            scores.remove(best_score)

    def replay(self, scores: Iterable[float]) -> None:
        """Add the scores of a trial that was trained earlier."""
        best = self._direction.worst
        for n_reports, score in enumerate(scores, 1):
            best = score if self._direction.is_better(score, best) else best
            self.report(n_reports, best)

    def _is_rung(self, n_reports: int) -> bool:
        """Whether the number is a power of the reduction factor."""
        while n_reports % self._reduction_factor == 0:
            n_reports //= self._reduction_factor
        return n_reports == 1
