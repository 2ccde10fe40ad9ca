"""Time budget of a search: the seconds that remain, and whether another trial or a refit still fits into them.

The time of convolutional and recurrent networks can be predicted from the epochs trained so far, because they train
for all their epochs. Other networks stop early, which cannot be predicted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import ceil

import numpy as np

from rosenblatt.data.cores import cores
from rosenblatt.data.splits import Fold
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.tuning.trial import Trial

MAX_REFIT_NETWORKS = 8  # networks trained on all rows at the end
MAX_REFIT_FRACTION = 0.5  # of the time of the search that is reserved for the refit, at most
SAFETY_FACTOR = 1.15  # by which a network may take longer than predicted
RECENT_TRIALS = 50  # latest trials from which the time of a trial is predicted


class TimeBudget:
    """Time of a search.

    Args:
        deadline: end of the search, a `time.monotonic`; None for no limit.
        threads: number of networks trained at a time.
        trials: trials of the search; the list grows during the search.
        folds: training and validation rows of each fold.
        refit_rows: number of rows on which the best trials are refitted within the time; 0 for no refit.
        prediction_rows: number of rows that networks predict after the search, within the time.
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
        self.deadline, self._start = deadline, time.monotonic()
        self.threads = threads  # may change during the search
        self._trials, self._folds, self._refit_rows, self._prediction_rows = trials, folds, refit_rows, prediction_rows

    @property
    def remaining(self) -> float | None:
        """Seconds until the search must end, or None without a deadline."""
        if self.deadline is None:
            return None
        return self.deadline - time.monotonic() - self._prediction_time - self._refit_time

    @property
    def _recent_trials(self) -> list[Trial]:
        return [trial for trial in self._trials[-RECENT_TRIALS:] if trial.statistics.steps]

    @property
    def _prediction_time(self) -> float:
        """Seconds for the predictions at the end; predicting a row is assumed to take as long as training on it."""
        if not self._prediction_rows:
            return 0.0
        costs = [trial.estimate_seconds(self._prediction_rows, 1) for trial in self._recent_trials]
        return float(np.median(costs)) / min(self.threads, cores()) if costs else 0.0

    @property
    def _refit_time(self) -> float:
        """Seconds reserved for the refit: for MAX_REFIT_NETWORKS networks if they fit into its share of the time."""
        if not self._refit_rows or self.deadline is None:
            return 0.0
        max_time = MAX_REFIT_FRACTION * (self.deadline - self._start)
        network_time = SAFETY_FACTOR * self._typical_training_time(self._refit_rows)
        if not network_time:
            return max_time
        if network_time > max_time:
            return 0.0
        return min(max_time, network_time * ceil(MAX_REFIT_NETWORKS / self.threads))

    def _typical_training_time(self, rows: int) -> float:
        """Seconds to train a network for all its epochs on this number of rows, or 0 if unknown."""
        costs = [
            trial.estimate_seconds(rows, trial.proposal.resolved_spec["epochs"])
            for trial in self._recent_trials
            if runs_all_epochs(trial)
        ]
        return float(np.median(costs)) if costs else 0.0

    def max_refit_networks(self, costs: Callable[[int], Sequence[float]]) -> int:
        """The largest number of networks that can be trained until the deadline; `costs(n)` are the seconds of each."""
        for n_networks in range(MAX_REFIT_NETWORKS, 0, -1):
            busy = [0.0] * self.threads
            for cost in sorted(costs(n_networks), reverse=True):  # each to the thread that is free first
                busy[int(np.argmin(busy))] += SAFETY_FACTOR * cost
            if self.deadline is None or max(busy) <= self.deadline - time.monotonic() - self._prediction_time:
                return n_networks
        return 0

    def allows_new_trial(self) -> bool:
        """Whether a new trial can be trained for all its epochs in the remaining time, as far as that is known."""
        remaining = self.remaining
        return remaining is None or self._typical_training_time(self._folds[0].train.size) <= max(remaining, 0.0)

    def cannot_finish(self, trial: Trial) -> bool:
        """Whether the remaining time is too short to train a trial for all epochs on all folds."""
        remaining = self.remaining
        if remaining is None:
            return False
        n_trained, n_folds = max(trial.folds.n_trained, 1), len(self._folds)
        remaining_work = trial.statistics.seconds / n_trained * (n_folds - n_trained)
        if runs_all_epochs(trial):
            remaining_epochs = trial.proposal.resolved_spec["epochs"] - trial.statistics.epochs
            remaining_work += n_trained * trial.estimate_seconds(self._folds[0].train.size, remaining_epochs)
        return remaining_work / min(self.threads, n_folds) > remaining


def runs_all_epochs(trial: Trial) -> bool:
    """Whether the networks of a trial train for all their epochs whatever their scores."""
    resolved_spec = trial.proposal.resolved_spec
    return resolved_spec.network.kind in DEEP_KINDS and bool(resolved_spec["patience"] >= resolved_spec["epochs"])
