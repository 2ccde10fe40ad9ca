"""A trial of a search: its hyperparameters, and one network per fold, trained rung by rung."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError
from rosenblatt.models.fit import trained_network
from rosenblatt.models.model import TrainedTrial
from rosenblatt.models.prepared import build_architecture
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import predict
from rosenblatt.training.member import Member, new_member
from rosenblatt.training.population import EpochScorer, train_member
from rosenblatt.training.rows import Rows

TrialState = Literal["running", "paused", "stopped", "finished", "failed"]


@dataclass
class Trial:
    """One set of hyperparameters, and how far its networks, one a fold, have come."""

    number: int
    params: dict[str, Any]  # what was proposed; what is not in it is as the spec has it
    resolved_spec: Spec  # all hyperparameters, with all that was "auto" chosen
    encoder: Encoder
    target: Target
    members: list[Member | None]  # one a fold; None before its first epoch, and where it was dropped
    state: TrialState = "running"
    reason: str = ""  # why it stopped or failed
    rung: int = -1  # the last that was reached
    scores: list[float] = field(default_factory=list)  # at each rung; higher is better
    seconds: float = 0.0  # of one core
    steps: int = 0  # updates of all its networks
    n_parameters: int = 0  # parameters of one of its networks
    epochs: int = 0  # the most that one of its members has learnt
    bytes: int = 0  # the memory of its networks
    # by fold: what its best epoch says of the rows it spared
    out_of_fold_predictions: dict[int, np.ndarray] = field(default_factory=dict)
    rows: Rows | None = None  # while it runs
    saved_scores: list[float] = field(default_factory=list)  # of each fold, where its network was dropped
    saved_curves: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # the same
    pending_folds: int = 0  # work that is not done yet
    inherited_from: list[tuple[int, int]] = field(default_factory=list)  # (epoch, trial) whose networks it took over

    @property
    def score(self) -> float:
        """The last that is known; higher is better."""
        return self.scores[-1] if self.scores else float("-inf")

    def update_statistics(self) -> None:
        """Take down steps, epochs, size and memory, which are known also when its networks are gone."""
        members = [member for member in self.members if member]
        self.bytes = sum(m.best.nbytes + sum(array.nbytes for array in m.state) for m in members)
        if members:
            self.steps = sum(len(m.history) * self._batches_per_epoch(m.state.order.size) for m in members)
            self.n_parameters = members[0].architecture.n_parameters
            self.epochs = max(len(m.history) for m in members)

    def _batches_per_epoch(self, rows: int) -> int:
        """Steps of an epoch over so many rows."""
        batch = 1 if self.resolved_spec.network.kind == "perceptron" else self.resolved_spec["batch_size"]
        return 1 if batch == "full" else -(-rows // batch)

    def cost(self, rows: int, epochs: int) -> float:
        """Seconds of one core that a network takes for so many epochs over so many rows, going by those so far."""
        return self.seconds / max(self.steps, 1) * self._batches_per_epoch(rows) * epochs

    def release_training_state(self) -> None:
        """Let go of what only learning on would need."""
        for member in self.members:
            if member is not None:
                member.release_training_state()
        self.update_statistics()

    @property
    def curves(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Training losses (n,) and validation scores (n,) by fold; no scores without held-out rows."""
        curves = dict(self.saved_curves)
        for fold, member in enumerate(self.members):
            if member is not None and member.history:
                scores = [record.score for record in member.history] if member.validation.size else []
                curves[fold] = np.array([record.loss for record in member.history]), np.array(scores)
        return curves

    def discard_networks(self) -> None:
        """Let go of its networks."""
        self.saved_scores, self.saved_curves = self.fold_scores, self.curves
        self.members, self.out_of_fold_predictions, self.bytes = [None] * len(self.members), {}, 0

    @property
    def n_trained(self) -> int:
        """Folds whose network has learnt for an epoch at least."""
        return sum(member is not None and member.is_trained for member in self.members)

    @property
    def fold_scores(self) -> list[float]:
        """The best epoch's score of each fold; NaN where it has not learnt, or its network was dropped."""
        return self.saved_scores or [
            self._to_maximize(member) if member is not None and member.is_trained else np.nan for member in self.members
        ]

    @staticmethod
    def _to_maximize(member: Member) -> float:
        """The best score of a member as a number that is higher for better scores."""
        return member.direction.to_maximize(member.best_score)

    def mean_score(self, n_folds: int) -> float:
        """The mean over its first folds of the best epoch's score."""
        scores = np.array([self._to_maximize(m) for m in self.members[:n_folds] if m is not None and m.is_trained])
        # a fold whose rows tell no score, such as an area of one class, tells none
        scores = scores[np.isfinite(scores)]
        return float(scores.mean()) if scores.size else float("-inf")

    def train_fold(
        self,
        index: int,
        fold: Fold,
        target_epochs: int,
        score: EpochScorer | None,
        stop: np.ndarray,
        is_last_rung: bool,
    ) -> WorkResult:
        """Have the member of a fold learn until so many epochs; after the last rung, see what it says of its rows."""
        started = time.perf_counter()
        try:
            member = self.fold_member(index, fold)
        except SpecError as error:
            return WorkResult(self.number, index, 0.0, str(error))
        try:
            for _ in train_member(member, self._table, score, stop, target_epochs):
                pass
        except MemoryError as error:
            member.fail(f"there is not enough memory: {error}")
        if is_last_rung and member.is_trained and not stop[0]:
            self.predict_out_of_fold(index, fold)
        return WorkResult(self.number, index, time.perf_counter() - started, member.failure)

    def fold_member(self, index: int, fold: Fold) -> Member:
        """The member of a fold, a new one where it has not begun. Raises SpecError."""
        member = self.members[index] or self.new_member(index, fold)
        self.members[index] = member
        return member

    def predict_out_of_fold(self, index: int, fold: Fold) -> None:
        """Remember what a fold's best epoch says of the rows it spared, (n, K) as `Model.predict_raw`."""
        member = self.members[index]
        if member is not None and member.is_trained:
            architecture, theta = member.best_network()
            out_of_fold_predictions = predict(architecture, self.target.loss, theta, self._table, fold.validation)
            self.out_of_fold_predictions[index] = self.target.decode(out_of_fold_predictions).astype(np.float32)

    @property
    def _table(self) -> Rows:
        assert self.rows is not None  # noqa: S101 - set before any work is given out
        return self.rows

    def new_member(self, index: int, fold: Fold) -> Member:
        """The member of a fold, which has learnt nothing yet."""
        architecture = build_architecture(self.resolved_spec, self.encoder, self.target, index)
        seed = (self.resolved_spec.training.seed, self.number, index)
        return new_member(
            self.resolved_spec, architecture, self.target.loss, fold.train, fold.validation, seed, self._table
        )

    def to_trained_trial(self, weight: float = 1.0) -> TrainedTrial:
        """What it learnt, to predict with."""
        networks = tuple(trained_network(member) for member in self.members if member is not None and member.is_trained)
        return TrainedTrial(self.resolved_spec, self.encoder, self.target, networks, weight, self.number)

    def record(self) -> dict[str, Any]:
        """What is known of it, as JSON."""
        return {
            "number": self.number,
            "state": self.state,
            "reason": self.reason,
            "score": self.score if np.isfinite(self.score) else None,
            "scores": [score if np.isfinite(score) else None for score in self.scores],
            "params": {name: list(v) if isinstance(v, tuple) else v for name, v in self.params.items()},
            "parameters": self.n_parameters,
            "epochs": self.epochs,
            "folds": self.n_trained or len(self.saved_scores),
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "inherited_from": [list(pair) for pair in self.inherited_from],
        }


@dataclass(frozen=True)
class WorkItem:
    """Work of a search: to have the member of a fold learn until so many epochs."""

    trial: Trial
    index: int
    fold: Fold
    target_epochs: int
    score: EpochScorer | None
    is_last_rung: bool  # whether no rung comes after it

    def __call__(self, stop: np.ndarray) -> WorkResult:
        """Do it."""
        if self.trial.state == "failed":
            return WorkResult(self.trial.number, self.index, 0.0, self.trial.reason)
        return self.trial.train_fold(self.index, self.fold, self.target_epochs, self.score, stop, self.is_last_rung)

    def member(self) -> Member | None:
        """The member that learns; None where its trial has failed. Raises SpecError."""
        return None if self.trial.state == "failed" else self.trial.fold_member(self.index, self.fold)

    def finish(self, started: float) -> WorkResult:
        """What came of it, once the member has learnt."""
        member = self.trial.members[self.index]
        if self.is_last_rung and member is not None and member.is_trained:
            self.trial.predict_out_of_fold(self.index, self.fold)
        failure = member.failure if member is not None else self.trial.reason
        return WorkResult(self.trial.number, self.index, time.perf_counter() - started, failure)


class WorkResult(NamedTuple):
    """Work that was done, and what came of it."""

    trial: int
    fold: int
    seconds: float
    failure: str
