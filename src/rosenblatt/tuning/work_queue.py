"""Work queue of a search: work items that wait for a worker, and the number in progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty
from typing import Any, NamedTuple, Protocol

import numpy as np

from rosenblatt.data.splits import Fold
from rosenblatt.errors import SpecError
from rosenblatt.training.member import EpochRecord, Member
from rosenblatt.training.population import EpochScorer, train_member
from rosenblatt.tuning.trial import Trial

TrainMember = Callable[..., Iterator[EpochRecord]]
"""Trains a member up to a number of epochs, as `population.train_member`."""
FoldEvaluator = Callable[[Trial, int, Fold], None]
"""Evaluates the network of a fold, given by its trial and index, after each rung; called by worker threads."""

TYPICAL_LAYER_WIDTH = 256  # units, to estimate the parameters of a network before it is built


class WorkResult(NamedTuple):
    """Outcome of a work item."""

    trial: int
    fold: int
    seconds: float
    failure: str  # empty if it succeeded
    output: str = ""  # what a worker on another machine printed while it trained the item


@dataclass(frozen=True)
class WorkItem:
    """Training of one fold of a trial up to a number of epochs."""

    trial: Trial
    index: int  # of the fold
    fold: Fold
    target_epochs: int
    scorer: EpochScorer | None  # None to score an epoch by its loss
    is_last_rung: bool
    evaluate: FoldEvaluator | None = None

    @property
    def key(self) -> tuple[int, int]:
        """Number of the trial, and index of the fold."""
        return self.trial.number, self.index

    def __call__(self, stop: np.ndarray, train: TrainMember = train_member) -> WorkResult:
        """Train the fold in the calling thread, until the flag `stop` (1,) is set."""
        started = time.perf_counter()
        try:
            member = self.member()
        except SpecError as error:
            return self.failure(str(error))
        if member is None:
            return self.failure(self.trial.reason)
        try:
            for _ in train(member, self.trial.encoded_rows, self.scorer, stop, target_epochs=self.target_epochs):
                pass
        except MemoryError as error:
            member.fail(f"there is not enough memory: {error}")
        if not stop[0]:
            self._evaluate_fold()
        return WorkResult(self.trial.number, self.index, time.perf_counter() - started, member.failure)

    def member(self) -> Member | None:
        """The member to train, or None if its trial has failed. Raises SpecError."""
        return None if self.trial.state == "failed" else self.trial.fold_member(self.index, self.fold)

    def finish(self, started: float) -> WorkResult:
        """Evaluate the fold; the result of training that started at a `time.perf_counter`."""
        member = self.trial.folds.members[self.index]
        self._evaluate_fold()
        failure = member.failure if member is not None else self.trial.reason
        return WorkResult(self.trial.number, self.index, time.perf_counter() - started, failure)

    def _evaluate_fold(self) -> None:
        """Predict out of fold after the last rung, and call `evaluate`."""
        if self.is_last_rung:
            self.trial.predict_out_of_fold(self.index, self.fold)
        if self.evaluate is not None:
            self.evaluate(self.trial, self.index, self.fold)

    def failure(self, reason: str, seconds: float = 0.0) -> WorkResult:
        """The result of this item if it fails."""
        return WorkResult(self.trial.number, self.index, seconds, reason)

    @property
    def cost(self) -> int:
        """Estimate of the remaining work: epochs x training rows x parameters."""
        member = self.trial.folds.members[self.index]
        n_epochs = len(member.history) if member else 0
        n_parameters = self.trial.statistics.n_parameters or self.trial.proposal.encoder.width * TYPICAL_LAYER_WIDTH
        return (self.target_epochs - n_epochs) * self.fold.train.size * n_parameters


class ResultSource(Protocol):
    """Workers, as far as results are concerned."""

    def get(self, timeout: float) -> Any:
        """Return the next result. Raises Empty after `timeout` seconds."""


class WorkQueue:
    """First-in, first-out queue of work items, and a count of those that workers have."""

    def __init__(self) -> None:
        self._items: list[WorkItem] = []
        self.n_in_flight = 0  # submitted items without a result
        self.n_received = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, items: Iterable[WorkItem]) -> None:
        """Append items."""
        self._items += items

    def sort_by_cost(self) -> None:
        """Put the longest items first, so that no long item is left to run alone at the end."""
        self._items.sort(key=lambda item: -item.cost)

    def discard(self, trial: Trial) -> None:
        """Remove the items of a trial that failed."""
        remaining = [item for item in self._items if item.trial is not trial]
        trial.pending_folds -= len(self._items) - len(remaining)
        self._items = remaining

    def pop(self) -> WorkItem:
        """Remove and return the first item, which counts as in flight from now on."""
        self.n_in_flight += 1
        return self._items.pop(0)

    def receive(self, workers: ResultSource, timeout: float) -> WorkResult | None:
        """Wait at most `timeout` seconds for the next result; None if there is none, or the item was skipped."""
        try:
            result: WorkResult | None = workers.get(timeout)
        except Empty:
            return None
        self.n_in_flight -= 1
        self.n_received += 1
        return result
