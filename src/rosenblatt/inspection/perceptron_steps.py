"""In: rows of two or more classes, and the hyperparameters of a perceptron. Out: its learning, mistake by mistake.

Each row is put to the engine for itself, so that what is shown is what training does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from rosenblatt.data.tasks.target import Target
from rosenblatt.networks.dense import Architecture, build
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import Engine, engine_of
from rosenblatt.training.member import Member, new_member
from rosenblatt.training.rows import Rows

GATES = {"and": (0, 0, 0, 1), "or": (0, 1, 1, 1), "nand": (1, 1, 1, 0), "xor": (0, 1, 1, 0)}


@dataclass(frozen=True)
class Step:
    """One row that a perceptron met; K units of F inputs."""

    epoch: int
    row: int  # counted from 1
    x: np.ndarray  # (F,)
    truth: int  # the right class
    sums: np.ndarray  # (K,) weighted sums before the step
    answer: int  # the class it said
    before: np.ndarray  # (F + 1, K) weights, then biases
    after: np.ndarray

    @property
    def mistaken(self) -> bool:
        """Whether the answer was wrong."""
        return self.answer != self.truth

    @property
    def moved(self) -> bool:
        """Whether anything was learnt from the row."""
        return not np.array_equal(self.before, self.after)


def gate(name: str) -> Rows:
    """The four rows of a logical gate."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return Rows(x, np.array(GATES[name], np.float32).reshape(-1, 1), np.ones(4, np.float32))


def steps(spec: Spec, rows: Rows, classes: int, epochs: int) -> Iterator[Step]:
    """What becomes of each row in turn, until nothing is learnt from any row of an epoch, or for so many epochs.

    spec: a resolved perceptron's, of a rule with one layer of weights. rows.t: (n, 1) class numbers.
    """
    task = Target(names=("class",), task="binary" if classes == 2 else "multiclass", labels=tuple(range(classes)))
    units, loss = task.n_outputs, task.taught_by(spec, rows.t[:, 0]).loss
    everything, none = np.arange(len(rows.x)), np.arange(0)
    architecture = build(spec.network, rows.x.shape[1], units)
    member = new_member(spec, architecture, loss, everything, none, (spec.training.seed,), rows)
    engine, order = engine_of(member, rows), np.random.default_rng(spec.training.seed)
    for epoch in range(1, epochs + 1):
        moved = False
        for row in order.permutation(everything):
            step = _step(member, engine, rows, epoch, int(row))
            moved |= step.moved
            yield step
        if not moved:
            return


def _step(member: Member, engine: Engine, rows: Rows, epoch: int, row: int) -> Step:
    before = _weights(member)
    sums = np.append(rows.x[row], 1).astype(np.float32) @ before
    answer = int(sums[0] > 0) if len(sums) == 1 else int(sums.argmax())
    member.state = member.state._replace(order=np.array([row]))
    engine.learn(np.empty(1), np.zeros(1, np.uint8))
    return Step(epoch, row + 1, rows.x[row], int(rows.t[row, 0]), sums, answer, before, _weights(member))


def _weights(member: Member) -> np.ndarray:
    ((W, b),) = cast("Architecture", member.architecture).layers(member.state.theta)
    return np.vstack([W, b])
