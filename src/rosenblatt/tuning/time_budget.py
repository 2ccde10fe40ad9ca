"""Time budget of a search: the seconds that remain, and whether another trial or a refit still fits into them.

What convolutional and recurrent networks take can be told from the epochs they have learnt, as they learn them all.
Other networks stop when they get no better, which cannot be foreseen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import ceil

import numpy as np

from rosenblatt.data.splits import Fold
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.training.workers import cores
from rosenblatt.tuning.trials import Trial

MAX_REFIT_NETWORKS = 8  # networks that are trained again at the end
MAX_REFIT_FRACTION = 0.5  # of the time that is kept for it, at most
SAFETY_FACTOR = 1.15  # by how much a network may take longer than those before it
RECENT_TRIALS = 50  # trials by which it is told what one takes


class TimeBudget:
    """The time of a search.

    Args:
        deadline: when it ends, as `time.monotonic` has it; None for never.
        threads: networks that learn at a time.
        trials: those of the search, which become more.
        folds: which rows they learn from.
        refit_rows: all rows there are, where some time is kept to train the best trials again on these; else 0.
        prediction_rows: rows that networks predict after the search, in its time.
    """

    def __init__(
        self,
        deadline: float | None,
        threads: int,
        trials: Sequence[Trial],
        folds: Sequence[Fold],
        refit_rows: int = 0,
        prediction_rows: int = 0,
    ) -> None:
        self.deadline, self._start, self._threads = deadline, time.monotonic(), threads
        self._trials, self._folds, self._refit_rows, self._prediction_rows = trials, folds, refit_rows, prediction_rows

    @property
    def remaining(self) -> float | None:
        """Seconds until the search must end; None where there is no such time."""
        return (
            None
            if self.deadline is None
            else self.deadline - time.monotonic() - self._prediction_time - self._refit_time
        )

    @property
    def _prediction_time(self) -> float:
        """Seconds for what is predicted at the end, as long as learning from these rows would take."""
        costs = (
            [trial.cost(self._prediction_rows, 1) for trial in self._trials[-RECENT_TRIALS:] if trial.steps]
            if self._prediction_rows
            else []
        )
        return float(np.median(costs)) / min(self._threads, cores()) if costs else 0.0

    @property
    def _refit_time(self) -> float:
        """Seconds for training again: as many networks as are worth it, half of the time at most, or none."""
        if not self._refit_rows or self.deadline is None:
            return 0.0
        max_time, network_time = (
            MAX_REFIT_FRACTION * (self.deadline - self._start),
            SAFETY_FACTOR * self._typical_training_time(self._refit_rows),
        )
        if not network_time:
            return max_time
        return (
            0.0 if network_time > max_time else min(max_time, network_time * ceil(MAX_REFIT_NETWORKS / self._threads))
        )

    def _typical_training_time(self, rows: int) -> float:
        """Seconds that a trial's network takes for all its epochs over so many rows; 0 where that is not known."""
        trials = [trial for trial in self._trials[-RECENT_TRIALS:] if trial.steps and runs_all_epochs(trial)]
        costs = [trial.cost(rows, trial.resolved_spec["epochs"]) for trial in trials]
        return float(np.median(costs)) if costs else 0.0

    def max_refit_networks(self, costs: Callable[[int], Sequence[float]]) -> int:
        """The most networks that can be trained until the deadline, of which so many have these costs; 0 for none."""
        for networks in range(MAX_REFIT_NETWORKS, 0, -1):
            busy = [0.0] * self._threads
            for cost in sorted(costs(networks), reverse=True):  # each to the thread that is done first
                busy[int(np.argmin(busy))] += SAFETY_FACTOR * cost
            if self.deadline is None or max(busy) <= self.deadline - time.monotonic() - self._prediction_time:
                return networks
        return 0

    def allows_new_trial(self) -> bool:
        """Whether a new trial can learn all its epochs in the time that is left, as far as that can be told."""
        remaining = self.remaining
        return remaining is None or self._typical_training_time(self._folds[0].train.size) <= max(remaining, 0.0)

    def cannot_finish(self, trial: Trial) -> bool:
        """Whether a trial cannot learn all its epochs on all folds, going by the time it took so far."""
        remaining = self.remaining
        if remaining is None:
            return False
        n_trained, folds = max(trial.n_trained, 1), len(self._folds)
        remaining_work = trial.seconds / n_trained * (folds - n_trained)
        if runs_all_epochs(trial):
            remaining_work += n_trained * trial.cost(
                self._folds[0].train.size, trial.resolved_spec["epochs"] - trial.epochs
            )
        return remaining_work / min(self._threads, folds) > remaining


def runs_all_epochs(trial: Trial) -> bool:
    """Whether a trial's networks learn for all their epochs, whatever their scores."""
    return trial.resolved_spec.network.kind in DEEP_KINDS and bool(
        trial.resolved_spec["patience"] >= trial.resolved_spec["epochs"]
    )
