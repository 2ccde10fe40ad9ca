"""In: a member, or a trained network, and rows. Out: what trains it for an epoch, and what it says of rows.

This is where a network's kind chooses the compiled code: multilayer perceptrons, perceptrons on dense or sparse rows,
perceptrons that vote, perceptrons that go by likeness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np

from rosenblatt.networks.deep import Deep
from rosenblatt.networks.dense import Architecture
from rosenblatt.training.compiled import kernel_perceptron, mlp, perceptron
from rosenblatt.training.compiled.dispatch import kernels_of, shape_of, start_step_compiler, with_step
from rosenblatt.training.compiled.early_stopping import train_watched
from rosenblatt.training.compiled.losses import LINKS, predict_from_sums
from rosenblatt.training.compiled.matmul import multiply
from rosenblatt.training.compiled.mlp import Kernels
from rosenblatt.training.compiled.perceptron import STILL
from rosenblatt.training.member import Member
from rosenblatt.training.rows import MediaRows, Rows, SparseRows, Table
from rosenblatt.training.schedules import factors
from rosenblatt.training.state import Recipe
from rosenblatt.training.validation import mean_loss


class Engine(NamedTuple):
    """What trains a member on a table."""

    learn: Callable[[np.ndarray, np.ndarray], int]
    """Train for as many epochs as there is room for their losses (epochs,), until the flag to stop (1,) is set or the
    loss is no number any more; returns how many were finished."""
    validate: Callable[[], tuple[np.ndarray, float]]
    """The member's outputs (n, K) and mean loss on its validation rows."""
    watched: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], int] | None
    """Train and validate by the loss, as `train_watched`: losses, scores, best, marks, stop; None where that has to be
    done epoch by epoch."""
    converged: Callable[[], bool]
    """Whether more epochs would change nothing: in the last one a perceptron learnt from no row."""


def engine_of(member: Member, table: Table) -> Engine:
    """What trains this member on this table."""
    t, weight = table.t[member.validation], table.weight[member.validation]
    watched = None
    if isinstance(member.architecture, Deep):
        from rosenblatt.training.torch.engine import learner

        learn = learner(member, cast("MediaRows", table))
    elif member.architecture.kind == "perceptron":
        learn = _perceptron_epoch(member, table)
    else:
        learn, watched = _mlp_epochs(member, table, t, weight)

    def validate() -> tuple[np.ndarray, float]:
        found = sums_of(member.architecture, member.loss, member.current, table, member.validation)
        loss = mean_loss(member, found, t, weight)
        predict_from_sums(LINKS.get(member.loss, 0), found.reshape(-1, found.shape[-1]))
        return found, loss

    def converged() -> bool:
        return member.architecture.kind == "perceptron" and bool(member.state.step[STILL])

    return Engine(learn, validate, watched if member.validation.size else None, converged)


def _mlp_epochs(member: Member, table: Table, t: np.ndarray, weight: np.ndarray) -> tuple[Any, Any]:
    """What trains, and what trains and validates on rows with targets t and weights."""
    spec, shape = member.spec, shape_of(member.architecture, member.loss)
    architecture, recipe = cast("Architecture", member.architecture), cast("Recipe", member.recipe)
    optimizer, dtype = spec.training.optimizer, table.weight.dtype.name
    kernels = kernels_of(architecture.activation, architecture.normalization, member.loss, optimizer, dtype)
    if start_step_compiler(dtype):
        _compile_loop(member, table, t, weight, kernels)
    kernels = with_step(kernels, shape, recipe, member.state, cast("Rows", table))
    batches = -(-member.state.order.size // recipe.batch_size)

    def rates(epochs: int) -> np.ndarray:
        done = len(member.history)
        steps = np.arange(done * batches, (done + epochs) * batches)
        scores = [-record.loss if np.isnan(record.score) else record.score for record in member.history]
        return factors(spec.training, steps, batches * spec["epochs"], scores)

    def learn(losses: np.ndarray, stop: np.ndarray) -> int:
        return mlp.train(shape, kernels, recipe, member.state, table, rates(losses.size), losses, stop)

    def watched(losses: np.ndarray, scores: np.ndarray, best: np.ndarray, marks: np.ndarray, stop: np.ndarray) -> int:
        before, patience = len(member.history), spec["patience"]
        return train_watched(
            shape, kernels, recipe, member.state, table, rates(losses.size), losses, scores, member.validation, t,
            weight, best, marks, before, patience, stop,
        )  # fmt: skip

    return learn, None if spec.training.schedule == "plateau" else watched


def _compile_loop(member: Member, table: Table, t: np.ndarray, weight: np.ndarray, kernels: Kernels) -> None:
    """Compile the loop around the step, by a call for no epochs, while another process compiles the step."""
    shape, none, flag = shape_of(member.architecture, member.loss), np.empty(0), np.zeros(1, np.uint8)
    factors, best, marks = np.empty((0, 3)), np.empty_like(member.state.theta), np.zeros(3)
    train_watched(
        shape, kernels, member.recipe, member.state, table, factors, none, none, member.validation, t, weight, best,
        marks, 0, 0, flag,
    )  # fmt: skip


def _perceptron_epoch(member: Member, table: Table) -> Callable[[np.ndarray, np.ndarray], int]:
    rule, architecture = member.recipe, cast("Architecture", member.architecture)
    if architecture.activation in kernel_perceptron.KERNELS:
        kernel = kernel_perceptron.KERNELS[architecture.activation]
        return lambda losses, stop: kernel_perceptron.learn_rows(
            rule, kernel, architecture.gamma, architecture.degree, member.state, table, losses, stop
        )
    learn = perceptron.learn_votes if len(architecture.sizes) == 3 else perceptron.learn_units
    return lambda losses, stop: learn(rule, member.state, table, losses, stop)


def sums_of(
    architecture: Architecture | Deep, loss: str, theta: np.ndarray, table: Table, index: np.ndarray
) -> np.ndarray:
    """The last weighted sums (len(index), K) of a network for rows `index` of a table, or (len(index), T, K) for steps.

    A row's sums are the same to the last bit, whatever rows stand beside it; those of convolutional and recurrent
    networks but for rounding.
    """
    if isinstance(architecture, Deep):
        from rosenblatt.training.torch import engine

        return engine.sums_of(architecture, theta, cast("MediaRows", table), index)
    out = np.empty((index.size, architecture.sizes[-1]), theta.dtype)
    if architecture.activation in kernel_perceptron.KERNELS:
        kernel = kernel_perceptron.KERNELS[architecture.activation]
        n_in, units = architecture.sizes[0], architecture.sizes[-1]
        kernel_perceptron.say(
            kernel, architecture.gamma, architecture.degree, n_in, units, theta, cast("Rows", table).x, index, out
        )
    elif isinstance(table, SparseRows):
        _sums_of_sparse(architecture, theta, table, index, out)
    else:
        kernels = kernels_of(architecture.activation, architecture.normalization, dtype=theta.dtype.name)
        mlp.predict(shape_of(architecture, loss), kernels, theta, table.x, index, out)
    return out


def _sums_of_sparse(
    architecture: Architecture, theta: np.ndarray, table: SparseRows, index: np.ndarray, out: np.ndarray
) -> None:
    """Those of a perceptron; of one that votes, first the answers of its states."""
    if len(architecture.sizes) == 2:
        perceptron.sums_of_rows(table, index, theta, out)
        return
    n_in, states, _ = architecture.sizes
    (_, _), (votes, zero) = architecture.layers(theta)
    for first in range(0, index.size, mlp.BLOCK):
        some = index[first : first + mlp.BLOCK]
        hidden = np.empty((some.size, states), theta.dtype)
        perceptron.sums_of_rows(table, some, theta[: (n_in + 1) * states], hidden)
        answers = (hidden > 0).astype(theta.dtype)
        out[first : first + some.size] = multiply(answers, np.ascontiguousarray(votes)) + zero


def outputs(
    architecture: Architecture | Deep, loss: str, theta: np.ndarray, table: Table, index: np.ndarray
) -> np.ndarray:
    """What a network predicts of rows of a table, (len(index), K): probabilities, means or sums, as its loss has it."""
    out = sums_of(architecture, loss, theta, table, index)
    predict_from_sums(LINKS.get(loss, 0), out.reshape(-1, out.shape[-1]))
    return out
