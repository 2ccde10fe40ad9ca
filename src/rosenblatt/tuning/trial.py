"""Trial of a search: proposed hyperparameters, and one network per fold, trained rung by rung."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.splits import Fold
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.fit import trained_network
from rosenblatt.models.metadata import TrialRecord
from rosenblatt.models.prepared import PreparedData, build_architecture
from rosenblatt.models.trained import TrainedTrial
from rosenblatt.spec.scoring import Direction, scoring_direction
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import predict
from rosenblatt.training.member import Member, new_member
from rosenblatt.training.rows import Rows
from rosenblatt.tuning.space import Space
from rosenblatt.tuning.trial_folds import TrialFolds

TrialState = Literal["running", "paused", "stopped", "finished", "failed"]


@dataclass(frozen=True)
class Proposal:
    """Hyperparameters of a trial, and what they make of the data."""

    params: dict[str, Any]  # values of the dimensions of the space
    resolved_spec: Spec  # all hyperparameters, with every "auto" resolved
    encoder: Encoder
    target: Target

    @classmethod
    def from_params(cls, params: dict[str, Any], space: Space, prepared: PreparedData) -> Proposal:
        """Resolve values of a space. Raises SpecError for values that cannot be combined."""
        resolved_spec = prepared.resolve(space.spec(params))
        return cls(params, resolved_spec, prepared.encoder(resolved_spec), prepared.target(resolved_spec))

    def batches_per_epoch(self, rows: int) -> int:
        """Training steps of an epoch over this number of rows."""
        batch = 1 if self.resolved_spec.network.kind == "perceptron" else self.resolved_spec["batch_size"]
        return 1 if batch == "full" else -(-rows // batch)


@dataclass
class TrialStatistics:
    """Size and cost of a trial; they outlast its networks."""

    seconds: float = 0.0  # training time on one core
    steps: int = 0  # training steps of all networks
    n_parameters: int = 0  # of one network
    epochs: int = 0  # of the network that was trained longest


@dataclass
class Trial:
    """One set of hyperparameters and its progress in the search."""

    number: int
    proposal: Proposal
    folds: TrialFolds
    state: TrialState = "running"
    reason: str = ""  # why it stopped or failed
    rung: int = -1  # last rung reached; -1 before the first
    scores: list[float] = field(default_factory=list)  # at each rung
    statistics: TrialStatistics = field(default_factory=TrialStatistics)
    inherited_from: list[tuple[int, int]] = field(default_factory=list)  # (epoch, trial) of inherited networks
    pending_folds: int = 0  # work items not finished yet
    rows: Rows | None = None  # encoded rows while it is running

    @classmethod
    def new(cls, number: int, proposal: Proposal, n_members: int) -> Trial:
        """A trial that has not been trained."""
        return cls(number, proposal, TrialFolds([None] * n_members))

    @property
    def score(self) -> float:
        """Score at the last rung reached; the worst possible score before the first rung."""
        return self.scores[-1] if self.scores else self.direction.worst

    @property
    def score_to_maximize(self) -> float:
        """The score as a number that is higher for better trials, to rank them."""
        return self.direction.to_maximize(self.score)

    @property
    def direction(self) -> Direction:
        """Whether lower or higher scores are better."""
        return scoring_direction(self.proposal.resolved_spec.training.scoring)

    def mean_score(self, n_folds: int) -> float:
        """Mean score of the best epochs of the first folds, or the worst possible score if none is finite."""
        members = self.folds.members[:n_folds]
        scores = np.array([m.best_score for m in members if m is not None and m.is_trained])
        scores = scores[np.isfinite(scores)]  # a score may be undefined, such as the AUC of a fold with one class
        return float(scores.mean()) if scores.size else self.direction.worst

    def update_statistics(self) -> None:
        """Update steps, epochs, number of parameters and memory from the networks."""
        self.folds.update_memory()
        members = [member for member in self.folds.members if member is not None]
        if members:
            batches = [self.proposal.batches_per_epoch(member.state.order.size) for member in members]
            self.statistics.steps = sum(len(m.history) * b for m, b in zip(members, batches, strict=True))
            self.statistics.n_parameters = members[0].architecture.n_parameters
            self.statistics.epochs = max(len(member.history) for member in members)

    def estimate_seconds(self, rows: int, epochs: int) -> float:
        """Estimate the seconds one core needs to train a network, from the cost of the steps so far."""
        seconds_per_step = self.statistics.seconds / max(self.statistics.steps, 1)
        return seconds_per_step * self.proposal.batches_per_epoch(rows) * epochs

    def fold_member(self, index: int, fold: Fold) -> Member:
        """The member of a fold, created if it does not exist yet. Raises SpecError."""
        member = self.folds.members[index] or self.new_member(index, fold)
        self.folds.members[index] = member
        return member

    def new_member(self, index: int, fold: Fold) -> Member:
        """Create the untrained member of a fold. Raises SpecError for hyperparameters that do not fit the network."""
        proposal = self.proposal
        architecture = build_architecture(proposal.resolved_spec, proposal.encoder, proposal.target, index)
        seed = (proposal.resolved_spec.training.seed, self.number, index)
        return new_member(
            proposal.resolved_spec, architecture, proposal.target.loss, fold.train, fold.validation, seed,
            self.encoded_rows,
        )  # fmt: skip

    def predict_out_of_fold(self, index: int, fold: Fold) -> None:
        """Store the best epoch's predictions for the validation rows of a fold, (n, K) as `Model.predict_raw`."""
        member, target = self.folds.members[index], self.proposal.target
        if member is not None and member.is_trained:
            architecture, theta = member.best_network()
            outputs = predict(architecture, target.loss, theta, self.encoded_rows, fold.validation)
            self.folds.out_of_fold_predictions[index] = target.decode(outputs).astype(np.float32)

    @property
    def encoded_rows(self) -> Rows:
        """The encoded rows of a running trial."""
        assert self.rows is not None  # noqa: S101 - set before any work item is submitted
        return self.rows

    def to_trained_trial(self, weight: float = 1.0) -> TrainedTrial:
        """The networks of the best epochs, as part of a model."""
        networks = tuple(trained_network(member) for member in self.folds.trained)
        proposal = self.proposal
        return TrainedTrial(proposal.resolved_spec, proposal.encoder, proposal.target, networks, weight, self.number)

    def record(self) -> TrialRecord:
        """Hyperparameters, scores and cost of the trial."""
        statistics = self.statistics
        return TrialRecord(
            number=self.number,
            state=self.state,
            reason=self.reason,
            score=self.score if np.isfinite(self.score) else None,
            scores=tuple(score if np.isfinite(score) else None for score in self.scores),
            params={name: list(v) if isinstance(v, tuple) else v for name, v in self.proposal.params.items()},
            parameters=statistics.n_parameters,
            epochs=statistics.epochs,
            folds=self.folds.n_trained or len(self.folds.final_scores),
            steps=statistics.steps,
            seconds=round(statistics.seconds, 3),
            inherited_from=tuple(self.inherited_from),
        )
