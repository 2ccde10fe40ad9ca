"""Member of a population: one network, its training configuration and its training state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

import numpy as np

from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture, drop_unused_units
from rosenblatt.spec.scoring import Direction, scoring_direction
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.early_stopping import epochs_to_wait
from rosenblatt.training.compiled.perceptron import BEST_N_CORRECT, N_SEEN, N_USED, RUN_LENGTH, PerceptronConfig
from rosenblatt.training.initializers import initialize, initialize_deep
from rosenblatt.training.recipes import make_perceptron_config, make_training_config
from rosenblatt.training.rows import DenseRows, MediaRows, SparseRows
from rosenblatt.training.state import MemberState, TrainingConfig

INITIALIZER_ROWS = 1024  # maximum number of rows for data-dependent initializers


class EpochRecord(NamedTuple):
    """Result of one epoch of one member."""

    member: int
    epoch: int  # counted from 1
    loss: float  # mean training loss over the epoch
    score: float  # validation score in its own unit: a loss is positive; NaN without validation rows
    last: bool = False  # whether the member is finished


def last_improvement(scores: Sequence[float], tol: float) -> int:
    """The last epoch, from 1, whose score is at least `tol` above all earlier ones; higher scores are better.

    Epochs without a score (NaN) improve nothing; as long as there is no other, all do. 0 if there is no epoch.
    """
    values = np.asarray(scores, float)
    best = np.fmax.accumulate(np.append(np.nan, values))[:-1]
    is_improved = ~(values - best < tol) & ~(np.isnan(values) & ~np.isnan(best))
    return int(np.flatnonzero(is_improved)[-1]) + 1 if values.size else 0


@dataclass
class Member:
    """One network of a population with its training configuration and state."""

    spec: Spec  # resolved
    architecture: DenseArchitecture | DeepArchitecture
    loss: str
    config: TrainingConfig | PerceptronConfig
    state: MemberState
    validation: np.ndarray  # (n,) validation rows, none of them in state.order
    epochs: int
    best: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))  # parameters of the best epoch
    best_epoch: int = 0
    best_score: float = np.nan  # validation score of the best epoch; NaN as long as no epoch has a score
    history: list[EpochRecord] = field(default_factory=list)
    n_dropped: int = 0  # number of earlier epochs whose records are not in `history`
    failure: str = ""  # why training failed, or ""
    finished: bool = False  # whether training is over, before or after the last epoch

    @property
    def direction(self) -> Direction:
        """Whether a lower or a higher validation score is better."""
        return scoring_direction(self.spec.training.scoring)

    @property
    def n_epochs(self) -> int:
        """Number of epochs trained so far."""
        return self.n_dropped + len(self.history)

    @property
    def is_trained(self) -> bool:
        """Whether an epoch was finished, so that there is a best epoch."""
        return self.best_epoch > 0

    @property
    def stops_early(self) -> bool:
        """Whether training may end before the last epoch: by the validation score, or by the training loss."""
        return self.validation.size > 0 or self.spec.training.tol > 0

    @property
    def improved_epoch(self) -> int:
        """The last epoch that improved the best score so far by at least `tol`; ties with `tol` 0 improve it."""
        tol = self.spec.training.tol
        if self.validation.size > 0:
            scores = [self.direction.to_maximize(record.score) for record in self.history]
            return last_improvement(scores, tol) if tol > 0 else self.best_epoch
        return self.n_dropped + last_improvement([-record.loss for record in self.history], tol)

    @property
    def is_out_of_patience(self) -> bool:
        """Whether the last epochs, as many as `patience` allows, improved the score by less than `tol`."""
        if not self.stops_early:
            return False
        improved, patience = self.improved_epoch, self.spec["patience"]
        return self.n_epochs - improved >= epochs_to_wait(improved, patience, self.spec["patience_factor"])

    @property
    def inference_parameters(self) -> np.ndarray:
        """The parameters to predict with: the current ones, their running average, or the pocket."""
        state = self.state
        if self.spec.network.kind == "perceptron":
            rule = self.spec.network.perceptron_rule
            if rule == "averaged":
                return (state.theta - state.m / np.float32(max(state.step[N_SEEN], 1))).astype(state.theta.dtype)
            return state.mean if rule == "pocket" and state.step[BEST_N_CORRECT] > 0 else state.theta
        return state.mean if self.spec.training.ema_decay > 0 else state.theta

    def fail(self, reason: str) -> None:
        """End the training because of a failure."""
        self.failure, self.finished = reason, True

    def release_training_state(self) -> None:
        """Release the state that is needed only to continue training."""
        if self.spec.network.kind != "perceptron":
            empty = self.state.theta[:0].copy()
            self.state = self.state._replace(theta=empty, m=empty, v=empty, mean=empty)

    def drop_records(self, n_kept: int) -> None:
        """Drop the records of all but the last epochs."""
        n = max(len(self.history) - n_kept, 0)
        self.n_dropped += n
        del self.history[:n]

    def rescale_outputs(self, factor: np.ndarray, shift: np.ndarray) -> None:
        """Change the output layer so that each output (K,) is multiplied by a factor, and then shifted."""
        for theta in (self.state.theta, self.state.mean):
            if theta.size:
                parameters = self.architecture.parameters_by_name(theta)
                layer = max(layer for layer, _ in parameters)
                parameters[layer, "weight"][:] *= factor
                parameters[layer, "bias"][:] = parameters[layer, "bias"] * factor + shift

    def copy(self) -> Member:
        """Return a copy whose training does not change this member."""
        state = MemberState(*(array.copy() for array in self.state))
        return replace(self, state=state, history=list(self.history), best=self.best.copy())

    def best_network(self) -> tuple[DenseArchitecture | DeepArchitecture, np.ndarray]:
        """Return the network and parameters of the best epoch, without unused hidden units."""
        if (
            isinstance(self.architecture, DenseArchitecture)
            and self.architecture.kind == "perceptron"
            and len(self.architecture.sizes) == 3
        ):
            return drop_unused_units(self.architecture, self.best, max(int(self.state.step[N_USED]), 1))
        return self.architecture, self.best


def new_member(
    spec: Spec,
    architecture: DenseArchitecture | DeepArchitecture,
    loss: str,
    rows: np.ndarray,
    validation: np.ndarray,
    seed: Sequence[int],
    table: DenseRows | SparseRows | MediaRows,
) -> Member:
    """Return an untrained member.

    Args:
        spec: resolved hyperparameters.
        rows, validation: (n,) indices of training and validation rows in the table.
        seed: of initial parameters, shuffling and dropout.

    Raises:
        SpecError: if hyperparameters do not fit the architecture.
    """
    rng = np.random.default_rng(seed)
    if isinstance(architecture, DeepArchitecture):
        theta = initialize_deep(architecture, spec.network, rng)
    elif spec.network.kind == "perceptron":
        return _new_perceptron(spec, architecture, loss, rows, validation, rng)
    else:
        sample = rows[:: rows.size // INITIALIZER_ROWS + 1]  # for data-dependent initializers
        theta = initialize(architecture, spec.network, rng, cast("DenseRows", table).x[sample])
    order, strata = _strata(spec, rows, table)
    config = make_training_config(spec, architecture, strata)
    mean = theta.copy() if config.ema_decay > 0 else np.empty(0, theta.dtype)
    m, v, steps, counts = np.zeros_like(theta), np.zeros_like(theta), np.zeros(1, np.int64), np.zeros(0)
    state = MemberState(theta, m, v, mean, order, _counter(rng), steps, counts)
    return Member(spec, architecture, loss, config, state, validation, spec["epochs"])


def _new_perceptron(
    spec: Spec,
    architecture: DenseArchitecture,
    loss: str,
    rows: np.ndarray,
    validation: np.ndarray,
    rng: np.random.Generator,
) -> Member:
    """Return an untrained perceptron, whose weights are 0."""
    rule, empty = spec.network.perceptron_rule, np.empty(0, np.float32)
    theta = np.zeros(architecture.n_parameters, np.float32)
    n_counters = {"voted": 3 + architecture.sizes[-1], "kernel": 3 + architecture.sizes[1]}.get(rule, 5)
    n_counts = architecture.sizes[1] * architecture.sizes[2] if rule == "voted" else 0
    state = MemberState(
        theta,
        theta.copy() if rule == "averaged" else empty,
        empty,
        theta.copy() if rule == "pocket" else empty,
        rows.astype(np.int64),
        _counter(rng),
        np.zeros(n_counters, np.int64),
        np.zeros(n_counts),
    )
    return Member(
        spec, architecture, loss, make_perceptron_config(spec, architecture, loss), state, validation, spec["epochs"]
    )


def _counter(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(2**63, size=1, dtype=np.uint64)


def load_parameters(member: Member, architecture: DenseArchitecture | DeepArchitecture, theta: np.ndarray) -> None:
    """Start a new member from the parameters of a trained network of its kind."""
    if isinstance(architecture, DeepArchitecture) or architecture.kind != "perceptron" or len(architecture.sizes) == 2:
        member.state.theta[:] = theta
        if member.spec.training.ema_decay > 0:
            member.state.mean[:] = theta
        return
    n_used, target, source = (
        architecture.sizes[1],
        member.architecture.parameters_by_name(member.state.theta),
        architecture.parameters_by_name(theta),
    )
    target[0, "weight"][:, :n_used], target[0, "bias"][:n_used] = source[0, "weight"], source[0, "bias"]
    target[1, "weight"][:n_used], target[1, "bias"][:] = source[1, "weight"], source[1, "bias"]
    member.state.step[N_USED] = n_used
    if member.spec.network.perceptron_rule == "voted":  # start from the weight vector with the most votes
        member.state.step[N_USED + 1 :] = source[1, "weight"].argmax(axis=0)
        member.state.counts[: source[1, "weight"].size] = source[1, "weight"].ravel() / 2


def set_rows(member: Member, rows: np.ndarray, table: DenseRows | SparseRows | MediaRows) -> None:
    """Continue a member on rows (n,) of another table."""
    order, strata = _strata(member.spec, rows, table)
    member.state = member.state._replace(order=order)
    if isinstance(member.config, TrainingConfig):
        member.config = member.config._replace(strata=strata)
    elif member.spec.network.perceptron_rule == "kernel":
        member.state.step[N_USED + 1 :] = 0  # ids of the support rows, which belong to the previous table
    elif member.spec.network.perceptron_rule == "pocket":
        member.state.step[RUN_LENGTH:] = 0  # run lengths and counts, which belong to the previous rows


def _strata(spec: Spec, rows: np.ndarray, table: DenseRows | SparseRows | MediaRows) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows in an order with contiguous strata, and the start of each: no stratum, one, or one per class."""
    order = rows.astype(np.int64)
    if spec.training.batch_order == "in_order":
        return order, np.zeros(1, np.int64)
    if spec.training.batch_order == "shuffled":
        return order, np.array([0, rows.size], np.int64)
    classes = table.t[rows, 0]
    order = order[np.argsort(classes, kind="stable")]
    _, counts = np.unique(classes, return_counts=True)
    return order, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
