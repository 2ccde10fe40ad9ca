"""Iterate over the training of a perceptron row by row, with the weights before and after each step.

Each row is trained on by the compiled engine, so the steps are those of a real training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from rosenblatt.data.tasks.target import Target
from rosenblatt.networks.dense import DenseArchitecture, build_dense
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import MemberTrainer, make_trainer
from rosenblatt.training.member import Member, new_member
from rosenblatt.training.rows import DenseRows

GATES = {"and": (0, 0, 0, 1), "or": (0, 1, 1, 1), "nand": (1, 1, 1, 0), "xor": (0, 1, 1, 0)}


@dataclass(frozen=True)
class Step:
    """One training step of a perceptron with K units and F inputs."""

    epoch: int
    row: int  # from 1
    x: np.ndarray  # (F,)
    target: int  # true class
    sums: np.ndarray  # (K,) weighted sums before the step
    predicted: int  # class predicted before the step
    weights_before: np.ndarray  # (F + 1, K) weights, then biases
    weights_after: np.ndarray

    @property
    def is_mistake(self) -> bool:
        """Whether the prediction was wrong."""
        return self.predicted != self.target

    @property
    def updated(self) -> bool:
        """Whether the step changed the weights."""
        return not np.array_equal(self.weights_before, self.weights_after)


def logic_gate_rows(name: str) -> DenseRows:
    """The truth table of a logic gate: four rows of two inputs."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return DenseRows(x, np.array(GATES[name], np.float32).reshape(-1, 1), np.ones(4, np.float32))


def iter_steps(spec: Spec, rows: DenseRows, n_classes: int, epochs: int) -> Iterator[Step]:
    """Train a perceptron row by row, until an epoch changes nothing or the maximum number of epochs is reached.

    Args:
        spec: the resolved spec of a perceptron, with a learning rule that has one vector of weights for each unit.
        rows: training rows; `rows.t` (n, 1) are class indices.
        n_classes, epochs: number of classes, and maximum number of epochs.
    """
    target = Target(names=("class",), task="binary" if n_classes == 2 else "multiclass", labels=tuple(range(n_classes)))
    n_units, loss = target.n_outputs, target.with_loss(spec, rows.t[:, 0]).loss
    all_rows, no_rows = np.arange(len(rows.x)), np.arange(0)
    architecture = build_dense(spec.network, rows.x.shape[1], n_units)
    member = new_member(spec, architecture, loss, all_rows, no_rows, (spec.training.seed,), rows)
    trainer, rng = make_trainer(member, rows), np.random.default_rng(spec.training.seed)
    for epoch in range(1, epochs + 1):
        updated = False
        for row in rng.permutation(all_rows):
            step = _train_on_row(member, trainer, rows, epoch, int(row))
            updated |= step.updated
            yield step
        if not updated:
            return


def _train_on_row(member: Member, trainer: MemberTrainer, rows: DenseRows, epoch: int, row: int) -> Step:
    weights_before = _weights(member)
    sums = np.append(rows.x[row], 1).astype(np.float32) @ weights_before
    predicted = int(sums[0] > 0) if len(sums) == 1 else int(sums.argmax())
    member.state = member.state._replace(order=np.array([row]))
    trainer.train_epochs(np.empty(1), np.zeros(1, np.uint8))
    return Step(epoch, row + 1, rows.x[row], int(rows.t[row, 0]), sums, predicted, weights_before, _weights(member))


def _weights(member: Member) -> np.ndarray:
    ((W, b),) = cast("DenseArchitecture", member.architecture).layers(member.state.theta)
    return np.vstack([W, b])
