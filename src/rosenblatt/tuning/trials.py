"""In: proposed hyperparameters, and the rows in the forms they ask for. Out: a trial that learns, rung by rung."""

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
from rosenblatt.models.prepared import architecture_of
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import outputs
from rosenblatt.training.member import Member, new_member
from rosenblatt.training.population import Score, advance
from rosenblatt.training.rows import Table

State = Literal["running", "paused", "stopped", "finished", "failed"]


@dataclass
class Trial:
    """One set of hyperparameters, and how far its networks, one a fold, have come."""

    number: int
    values: dict[str, Any]  # what was proposed; what is not in it is as the spec has it
    chosen: Spec  # all hyperparameters, with all that was "auto" chosen
    encoder: Encoder
    target: Target
    members: list[Member | None]  # one a fold; None before its first epoch, and where it was dropped
    state: State = "running"
    reason: str = ""  # why it stopped or failed
    rung: int = -1  # the last that was reached
    scores: list[float] = field(default_factory=list)  # at each rung; higher is better
    seconds: float = 0.0  # of one core
    steps: int = 0  # updates of all its networks
    size: int = 0  # parameters of one of its networks
    epochs: int = 0  # the most that one of its members has learnt
    bytes: int = 0  # the memory of its networks
    said: dict[int, np.ndarray] = field(default_factory=dict)  # by fold: what its best epoch says of the rows it spared
    rows: Table | None = None  # while it runs
    kept_scores: list[float] = field(default_factory=list)  # of each fold, where its network was dropped
    kept_curves: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # the same
    waiting: int = 0  # work that is not done yet
    copied: list[tuple[int, int]] = field(default_factory=list)  # (epoch, trial) whose networks it took over

    @property
    def score(self) -> float:
        """The last that is known; higher is better."""
        return self.scores[-1] if self.scores else float("-inf")

    def measure(self) -> None:
        """Take down steps, epochs, size and memory, which are known also when its networks are gone."""
        members = [member for member in self.members if member]
        self.bytes = sum(m.best.nbytes + sum(array.nbytes for array in m.state) for m in members)
        if members:
            self.steps = sum(len(m.history) * self._batches(m.state.order.size) for m in members)
            self.size = members[0].architecture.n_parameters
            self.epochs = max(len(m.history) for m in members)

    def _batches(self, rows: int) -> int:
        """Steps of an epoch over so many rows."""
        batch = 1 if self.chosen.network.kind == "perceptron" else self.chosen["batch_size"]
        return 1 if batch == "full" else -(-rows // batch)

    def cost(self, rows: int, epochs: int) -> float:
        """Seconds of one core that a network takes for so many epochs over so many rows, going by those so far."""
        return self.seconds / max(self.steps, 1) * self._batches(rows) * epochs

    def rest(self) -> None:
        """Let go of what only learning on would need."""
        for member in self.members:
            if member is not None:
                member.rest()
        self.measure()

    @property
    def curves(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """By fold: the losses of its epochs (n,), and their scores, which are none where no rows are spared."""
        found = dict(self.kept_curves)
        for fold, member in enumerate(self.members):
            if member is not None and member.history:
                scores = [record.score for record in member.history] if member.validation.size else []
                found[fold] = np.array([record.loss for record in member.history]), np.array(scores)
        return found

    def drop(self) -> None:
        """Let go of its networks."""
        self.kept_scores, self.kept_curves = self.fold_scores, self.curves
        self.members, self.said, self.bytes = [None] * len(self.members), {}, 0

    @property
    def trained(self) -> int:
        """Folds whose network has learnt for an epoch at least."""
        return sum(member is not None and member.trained for member in self.members)

    @property
    def fold_scores(self) -> list[float]:
        """The best epoch's score of each fold; NaN where it has not learnt, or its network was dropped."""
        found = [member.best_score if member is not None and member.trained else np.nan for member in self.members]
        return self.kept_scores or found

    def mean_score(self, folds: int) -> float:
        """The mean over its first folds of the best epoch's score."""
        found = np.array([m.best_score for m in self.members[:folds] if m is not None and m.trained])
        found = found[np.isfinite(found)]  # a fold whose rows tell no score, such as an area of one class, tells none
        return float(found.mean()) if found.size else float("-inf")

    def work(self, index: int, fold: Fold, until: int, score: Score | None, stop: np.ndarray, last: bool) -> Done:
        """Have the member of a fold learn until so many epochs; after the last rung, see what it says of its rows."""
        started = time.perf_counter()
        try:
            member = self.member_of(index, fold)
        except SpecError as error:
            return Done(self.number, index, 0.0, str(error))
        try:
            for _ in advance(member, self._table, score, stop, until):
                pass
        except MemoryError as error:
            member.fail(f"there is not enough memory: {error}")
        if last and member.trained and not stop[0]:
            self.say(index, fold)
        return Done(self.number, index, time.perf_counter() - started, member.failure)

    def member_of(self, index: int, fold: Fold) -> Member:
        """The member of a fold, a new one where it has not begun. Raises SpecError."""
        member = self.members[index] or self.new_member(index, fold)
        self.members[index] = member
        return member

    def say(self, index: int, fold: Fold) -> None:
        """Remember what a fold's best epoch says of the rows it spared, (n, K) as `Model.decoded`."""
        member = self.members[index]
        if member is not None and member.trained:
            architecture, theta = member.kept()
            said = outputs(architecture, self.target.loss, theta, self._table, fold.spared)
            self.said[index] = self.target.decode(said).astype(np.float32)

    @property
    def _table(self) -> Table:
        assert self.rows is not None  # noqa: S101 - set before any work is given out
        return self.rows

    def new_member(self, index: int, fold: Fold) -> Member:
        """The member of a fold, which has learnt nothing yet."""
        architecture = architecture_of(self.chosen, self.encoder, self.target, index)
        seed = (self.chosen.training.seed, self.number, index)
        return new_member(self.chosen, architecture, self.target.loss, fold.rows, fold.spared, seed, self._table)

    def network(self, weight: float = 1.0) -> TrainedTrial:
        """What it learnt, to predict with."""
        networks = tuple(trained_network(member) for member in self.members if member is not None and member.trained)
        return TrainedTrial(self.chosen, self.encoder, self.target, networks, weight, self.number)

    def record(self) -> dict[str, Any]:
        """What is known of it, as JSON."""
        return {
            "number": self.number,
            "state": self.state,
            "reason": self.reason,
            "score": self.score if np.isfinite(self.score) else None,
            "scores": [score if np.isfinite(score) else None for score in self.scores],
            "values": {name: list(v) if isinstance(v, tuple) else v for name, v in self.values.items()},
            "parameters": self.size,
            "epochs": self.epochs,
            "folds": self.trained or len(self.kept_scores),
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "copied": [list(pair) for pair in self.copied],
        }


@dataclass(frozen=True)
class Unit:
    """Work of a search: to have the member of a fold learn until so many epochs."""

    trial: Trial
    index: int
    fold: Fold
    until: int
    score: Score | None
    last: bool  # whether no rung comes after it

    def __call__(self, stop: np.ndarray) -> Done:
        """Do it."""
        if self.trial.state == "failed":
            return Done(self.trial.number, self.index, 0.0, self.trial.reason)
        return self.trial.work(self.index, self.fold, self.until, self.score, stop, self.last)

    def member(self) -> Member | None:
        """The member that learns; None where its trial has failed. Raises SpecError."""
        return None if self.trial.state == "failed" else self.trial.member_of(self.index, self.fold)

    def finish(self, started: float) -> Done:
        """What came of it, once the member has learnt."""
        member = self.trial.members[self.index]
        if self.last and member is not None and member.trained:
            self.trial.say(self.index, self.fold)
        failure = member.failure if member is not None else self.trial.reason
        return Done(self.trial.number, self.index, time.perf_counter() - started, failure)


class Done(NamedTuple):
    """Work that was done, and what came of it."""

    trial: int
    fold: int
    seconds: float
    failure: str
