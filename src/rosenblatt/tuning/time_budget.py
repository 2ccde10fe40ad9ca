"""In: trials as they learn, and when their time ends. Out: how much of it is left, and for what that is enough.

What convolutional and recurrent networks take can be told from the epochs they have learnt, as they learn them all.
Other networks stop when they get no better, which cannot be foreseen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import ceil

import numpy as np

from rosenblatt.data.splits import Fold
from rosenblatt.spec.defaults import DEEP
from rosenblatt.training.workers import cores
from rosenblatt.tuning.trials import Trial

MOST = 8  # networks that are trained again at the end
SHARE = 0.5  # of the time that is kept for it, at most
MARGIN = 1.15  # by how much a network may take longer than those before it
LATEST = 50  # trials by which it is told what one takes


class Clock:
    """The time of a search.

    Args:
        deadline: when it ends, as `time.monotonic` has it; None for never.
        threads: networks that learn at a time.
        trials: those of the search, which become more.
        folds: which rows they learn from.
        again: all rows there are, where some time is kept to train the best trials again on these; else 0.
        said: rows that networks predict after the search, in its time.
    """

    def __init__(
        self,
        deadline: float | None,
        threads: int,
        trials: Sequence[Trial],
        folds: Sequence[Fold],
        again: int = 0,
        said: int = 0,
    ) -> None:
        self.deadline, self._began, self._threads = deadline, time.monotonic(), threads
        self._trials, self._folds, self._again, self._said = trials, folds, again, said

    @property
    def left(self) -> float | None:
        """Seconds until the search must end; None where there is no such time."""
        return None if self.deadline is None else self.deadline - time.monotonic() - self._ending - self._refitting

    @property
    def _ending(self) -> float:
        """Seconds for what is predicted at the end, as long as learning from these rows would take."""
        known = [trial.cost(self._said, 1) for trial in self._trials[-LATEST:] if trial.steps] if self._said else []
        return float(np.median(known)) / min(self._threads, cores()) if known else 0.0

    @property
    def _refitting(self) -> float:
        """Seconds for training again: as many networks as are worth it, half of the time at most, or none."""
        if not self._again or self.deadline is None:
            return 0.0
        most, one = SHARE * (self.deadline - self._began), MARGIN * self._usual(self._again)
        if not one:
            return most
        return 0.0 if one > most else min(most, one * ceil(MOST / self._threads))

    def _usual(self, rows: int) -> float:
        """Seconds that a trial's network takes for all its epochs over so many rows; 0 where that is not known."""
        some = [trial for trial in self._trials[-LATEST:] if trial.steps and is_steady(trial)]
        known = [trial.cost(rows, trial.chosen["epochs"]) for trial in some]
        return float(np.median(known)) if known else 0.0

    def many(self, costs: Callable[[int], Sequence[float]]) -> int:
        """The most networks that can be trained until the deadline, of which so many have these costs; 0 for none."""
        for networks in range(MOST, 0, -1):
            busy = [0.0] * self._threads
            for cost in sorted(costs(networks), reverse=True):  # each to the thread that is done first
                busy[int(np.argmin(busy))] += MARGIN * cost
            if self.deadline is None or max(busy) <= self.deadline - time.monotonic() - self._ending:
                return networks
        return 0

    def is_enough(self) -> bool:
        """Whether a new trial can learn all its epochs in the time that is left, as far as that can be told."""
        left = self.left
        return left is None or self._usual(self._folds[0].rows.size) <= max(left, 0.0)

    def is_too_late(self, trial: Trial) -> bool:
        """Whether a trial cannot learn all its epochs on all folds, going by the time it took so far."""
        left = self.left
        if left is None:
            return False
        done, folds = max(trial.trained, 1), len(self._folds)
        more = trial.seconds / done * (folds - done)
        if is_steady(trial):
            more += done * trial.cost(self._folds[0].rows.size, trial.chosen["epochs"] - trial.epochs)
        return more / min(self._threads, folds) > left


def is_steady(trial: Trial) -> bool:
    """Whether a trial's networks learn for all their epochs, whatever their scores."""
    return trial.chosen.network.kind in DEEP and bool(trial.chosen["patience"] >= trial.chosen["epochs"])
