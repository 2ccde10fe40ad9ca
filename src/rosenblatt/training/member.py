"""In: a spec, an architecture, and rows of a table. Out: a member of a population that has not learnt yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

import numpy as np

from rosenblatt.networks.deep import Deep
from rosenblatt.networks.dense import Architecture, trimmed
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.perceptron import BEST_RIGHT, RUN, SEEN, USED, Rule
from rosenblatt.training.initializers import first_deep_parameters, first_parameters
from rosenblatt.training.recipes import recipe_of, rule_of
from rosenblatt.training.rows import MediaRows, Rows, SparseRows
from rosenblatt.training.state import Recipe, State

SAMPLE = 1024  # rows shown to initializers that depend on the data


class Record(NamedTuple):
    """What is known after one epoch of one member."""

    member: int
    epoch: int  # counted from 1
    loss: float  # mean over the training rows, as they were met
    score: float  # on the validation rows; NaN where there are none
    last: bool = False  # whether the member is done


@dataclass
class Member:
    """One network of a population, how it learns, and how far it has come."""

    spec: Spec  # resolved
    architecture: Architecture | Deep
    loss: str
    recipe: Recipe | Rule
    state: State
    validation: np.ndarray  # (n,) the rows its epochs are scored on, none of them in state.order
    epochs: int
    best: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))  # parameters of the best epoch
    best_epoch: int = 0
    best_score: float = -np.inf
    history: list[Record] = field(default_factory=list)
    failure: str = ""  # why it could not go on, if it could not
    ended: bool = False  # whether more epochs would bring nothing

    @property
    def trained(self) -> bool:
        """Whether there are parameters worth keeping."""
        return self.best_epoch > 0

    @property
    def current(self) -> np.ndarray:
        """The parameters to predict with: those of now, their mean so far, or what is in the pocket."""
        state = self.state
        if self.spec.network.kind == "perceptron":
            rule = self.spec.network.rule
            if rule == "averaged":
                return (state.theta - state.m / np.float32(max(state.step[SEEN], 1))).astype(state.theta.dtype)
            return state.mean if rule == "pocket" and state.step[BEST_RIGHT] > 0 else state.theta
        return state.mean if self.spec.training.averaging > 0 else state.theta

    def fail(self, reason: str) -> None:
        """It cannot go on."""
        self.failure, self.ended = reason, True

    def rest(self) -> None:
        """Let go of what only learning on would need."""
        if self.spec.network.kind != "perceptron":
            none = self.state.theta[:0].copy()
            self.state = self.state._replace(theta=none, m=none, v=none, mean=none)

    def copy(self) -> Member:
        """This member, to come back to after it has learnt on."""
        state = State(*(array.copy() for array in self.state))
        return replace(self, state=state, history=list(self.history), best=self.best.copy())

    def kept(self) -> tuple[Architecture | Deep, np.ndarray]:
        """The network to keep, and its parameters: those of the best epoch, without hidden units never used."""
        if (
            isinstance(self.architecture, Architecture)
            and self.architecture.kind == "perceptron"
            and len(self.architecture.sizes) == 3
        ):
            return trimmed(self.architecture, self.best, max(int(self.state.step[USED]), 1))
        return self.architecture, self.best


def new_member(
    spec: Spec,
    architecture: Architecture | Deep,
    loss: str,
    rows: np.ndarray,
    validation: np.ndarray,
    seed: Sequence[int],
    table: Rows | SparseRows | MediaRows,
) -> Member:
    """A member that has not learnt yet. `spec` is resolved; `rows` (n,) and `validation` are rows of the table.

    Raises SpecError where hyperparameters do not fit the architecture.
    """
    rng = np.random.default_rng(seed)
    if isinstance(architecture, Deep):
        theta = first_deep_parameters(architecture, spec.network, rng)
    elif spec.network.kind == "perceptron":
        return _new_perceptron(spec, architecture, loss, rows, validation, rng)
    else:
        some = rows[:: rows.size // SAMPLE + 1]  # for initializers that depend on the data
        theta = first_parameters(architecture, spec.network, rng, cast("Rows", table).x[some])
    order, strata = _strata(spec, rows, table)
    recipe = recipe_of(spec, architecture, strata)
    mean = theta.copy() if recipe.averaging > 0 else np.empty(0, theta.dtype)
    m, v, steps, none = np.zeros_like(theta), np.zeros_like(theta), np.zeros(1, np.int64), np.zeros(0)
    state = State(theta, m, v, mean, order, _counter(rng), steps, none)
    return Member(spec, architecture, loss, recipe, state, validation, spec["epochs"])


def _new_perceptron(
    spec: Spec,
    architecture: Architecture,
    loss: str,
    rows: np.ndarray,
    validation: np.ndarray,
    rng: np.random.Generator,
) -> Member:
    """A perceptron whose weights are 0, as Rosenblatt's are at first."""
    rule, none = spec.network.rule, np.empty(0, np.float32)
    theta = np.zeros(architecture.n_parameters, np.float32)
    counted = {"voted": 3 + architecture.sizes[-1], "kernel": 3 + architecture.sizes[1]}.get(rule, 5)
    lasted = architecture.sizes[1] * architecture.sizes[2] if rule == "voted" else 0
    state = State(
        theta,
        theta.copy() if rule == "averaged" else none,
        none,
        theta.copy() if rule == "pocket" else none,
        rows.astype(np.int64),
        _counter(rng),
        np.zeros(counted, np.int64),
        np.zeros(lasted),
    )
    return Member(spec, architecture, loss, rule_of(spec, architecture, loss), state, validation, spec["epochs"])


def _counter(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(2**63, size=1, dtype=np.uint64)


def go_on(member: Member, architecture: Architecture | Deep, theta: np.ndarray) -> None:
    """Have a new member start from what a network of its kind learnt."""
    if isinstance(architecture, Deep) or architecture.kind != "perceptron" or len(architecture.sizes) == 2:
        member.state.theta[:] = theta
        if member.spec.training.averaging > 0:
            member.state.mean[:] = theta
        return
    used, ours, theirs = architecture.sizes[1], member.architecture.named(member.state.theta), architecture.named(theta)
    ours[0, "weight"][:, :used], ours[0, "bias"][:used] = theirs[0, "weight"], theirs[0, "bias"]
    ours[1, "weight"][:used], ours[1, "bias"][:] = theirs[1, "weight"], theirs[1, "bias"]
    member.state.step[USED] = used
    if member.spec.network.rule == "voted":  # from the state that most trust
        member.state.step[USED + 1 :] = theirs[1, "weight"].argmax(axis=0)
        member.state.counts[: theirs[1, "weight"].size] = theirs[1, "weight"].ravel() / 2


def take(member: Member, rows: np.ndarray, table: Rows | SparseRows | MediaRows) -> None:
    """Have a member go on with other rows (n,) of another table."""
    order, strata = _strata(member.spec, rows, table)
    member.state = member.state._replace(order=order)
    if isinstance(member.recipe, Recipe):
        member.recipe = member.recipe._replace(strata=strata)
    elif member.spec.network.rule == "kernel":
        member.state.step[USED + 1 :] = 0  # which rows are kept: their numbers are those of the other table
    elif member.spec.network.rule == "pocket":
        member.state.step[RUN:] = 0  # how often what is in the pocket was right: that was over the other rows


def _strata(spec: Spec, rows: np.ndarray, table: Rows | SparseRows | MediaRows) -> tuple[np.ndarray, np.ndarray]:
    """The rows in the order in which strata lie side by side, and where each starts: none, one, or one a class."""
    order = rows.astype(np.int64)
    if spec.training.batches == "in_order":
        return order, np.zeros(1, np.int64)
    if spec.training.batches == "shuffled":
        return order, np.array([0, rows.size], np.int64)
    classes = table.t[rows, 0]
    order = order[np.argsort(classes, kind="stable")]
    _, counts = np.unique(classes, return_counts=True)
    return order, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
