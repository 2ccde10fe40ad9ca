"""Trainer and predictions of one network, by its kind.

This is where a network's kind chooses the compiled code: multilayer perceptrons, perceptrons on dense or sparse rows,
voted perceptrons, kernel perceptrons; or PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np

from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.training.compiled import kernel_perceptron, mlp, perceptron
from rosenblatt.training.compiled.dispatch import compile_kernels, compiled_layout, start_step_compiler, with_train_step
from rosenblatt.training.compiled.early_stopping import train_with_validation
from rosenblatt.training.compiled.losses import LINKS, predict_from_sums
from rosenblatt.training.compiled.matmul import multiply
from rosenblatt.training.compiled.mlp import Kernels
from rosenblatt.training.compiled.perceptron import CONVERGED
from rosenblatt.training.member import Member
from rosenblatt.training.rows import DenseRows, MediaRows, Rows, SparseRows
from rosenblatt.training.schedules import member_factors
from rosenblatt.training.state import TrainingConfig
from rosenblatt.training.validation import mean_loss


class MemberTrainer(NamedTuple):
    """What trains a member on a table."""

    train_epochs: Callable[[np.ndarray, np.ndarray], int]
    """Train for as many epochs as there is room for their losses (epochs,), until the flag to stop (1,) is set or the
    loss is no number any more; returns how many were finished."""
    validate: Callable[[], tuple[np.ndarray, float]]
    """The member's outputs (n, K) and mean loss on its validation rows."""
    train_epochs_with_validation: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], int] | None
    """Train with validation and early stopping on the loss, as `train_with_validation` does; takes losses,
    validation_losses, best, best_record, stop. None if each epoch has to be validated by the caller."""
    converged: Callable[[], bool]
    """Whether more epochs would change nothing: in the last one a perceptron learnt from no row."""


def make_trainer(member: Member, table: Rows) -> MemberTrainer:
    """What trains this member on this table."""
    t, weight = table.t[member.validation], table.weight[member.validation]
    train_validated = None
    if isinstance(member.architecture, DeepArchitecture):
        from rosenblatt.training.torch.engine import make_trainer

        train_epochs = make_trainer(member, cast("MediaRows", table))
    elif member.architecture.kind == "perceptron":
        train_epochs = _make_perceptron_trainer(member, table)
    else:
        train_epochs, train_validated = _make_mlp_trainer(member, table, t, weight)

    def validate() -> tuple[np.ndarray, float]:
        outputs = logits(member.architecture, member.loss, member.inference_parameters, table, member.validation)
        loss = mean_loss(member, outputs, t, weight)
        predict_from_sums(LINKS.get(member.loss, 0), outputs.reshape(-1, outputs.shape[-1]))
        return outputs, loss

    def converged() -> bool:
        return member.architecture.kind == "perceptron" and bool(member.state.step[CONVERGED])

    return MemberTrainer(train_epochs, validate, train_validated if member.validation.size else None, converged)


def _make_mlp_trainer(member: Member, table: Rows, t: np.ndarray, weight: np.ndarray) -> tuple[Any, Any]:
    """What trains, and what trains and validates on rows with targets t and weights."""
    spec, layout = member.spec, compiled_layout(member.architecture, member.loss)
    architecture, config = cast("DenseArchitecture", member.architecture), cast("TrainingConfig", member.config)
    optimizer, dtype = spec.training.optimizer, table.weight.dtype.name
    kernels = compile_kernels(architecture.activation, architecture.normalization, member.loss, optimizer, dtype)
    if start_step_compiler(dtype):
        _compile_loop(member, table, t, weight, kernels)
    kernels = with_train_step(kernels, layout, config, member.state, cast("DenseRows", table))
    n_batches = -(-member.state.order.size // config.batch_size)

    def factors(epochs: int) -> np.ndarray:
        return member_factors(member, len(member.history), epochs, n_batches)

    def train_epochs(losses: np.ndarray, stop: np.ndarray) -> int:
        return mlp.train(layout, kernels, config, member.state, table, factors(losses.size), losses, stop)

    def train_validated(
        losses: np.ndarray, validation_losses: np.ndarray, best: np.ndarray, best_record: np.ndarray, stop: np.ndarray
    ) -> int:
        n_trained, patience = len(member.history), spec["patience"]
        return train_with_validation(
            layout, kernels, config, member.state, table, factors(losses.size), losses, validation_losses,
            member.validation, t, weight, best, best_record, n_trained, patience, stop,
        )  # fmt: skip

    return train_epochs, None if spec.training.schedule == "plateau" else train_validated


def _compile_loop(member: Member, table: Rows, t: np.ndarray, weight: np.ndarray, kernels: Kernels) -> None:
    """Compile the loop around the step, by a call for no epochs, while another process compiles the step."""
    layout, empty, stop = compiled_layout(member.architecture, member.loss), np.empty(0), np.zeros(1, np.uint8)
    factors, best, best_record = np.empty((0, 3)), np.empty_like(member.state.theta), np.zeros(3)
    train_with_validation(
        layout, kernels, member.config, member.state, table, factors, empty, empty, member.validation, t, weight, best,
        best_record, 0, 0, stop,
    )  # fmt: skip


def _make_perceptron_trainer(member: Member, table: Rows) -> Callable[[np.ndarray, np.ndarray], int]:
    rule, architecture = member.config, cast("DenseArchitecture", member.architecture)
    if architecture.activation in kernel_perceptron.KERNELS:
        kernel = kernel_perceptron.KERNELS[architecture.activation]
        return lambda losses, stop: kernel_perceptron.train_kernel(
            rule, kernel, architecture.gamma, architecture.degree, member.state, table, losses, stop
        )
    train_epochs = perceptron.train_voted if len(architecture.sizes) == 3 else perceptron.train_linear
    return lambda losses, stop: train_epochs(rule, member.state, table, losses, stop)


def logits(
    architecture: DenseArchitecture | DeepArchitecture, loss: str, theta: np.ndarray, table: Rows, index: np.ndarray
) -> np.ndarray:
    """The last weighted sums (len(index), K) of a network for rows `index` of a table, or (len(index), T, K) for steps.

    A row's sums are the same to the last bit, whatever rows stand beside it; those of convolutional and recurrent
    networks but for rounding.
    """
    if isinstance(architecture, DeepArchitecture):
        from rosenblatt.training.torch import engine

        return engine.logits(architecture, theta, cast("MediaRows", table), index)
    out = np.empty((index.size, architecture.sizes[-1]), theta.dtype)
    if architecture.activation in kernel_perceptron.KERNELS:
        kernel = kernel_perceptron.KERNELS[architecture.activation]
        n_in, units = architecture.sizes[0], architecture.sizes[-1]
        kernel_perceptron.predict(
            kernel, architecture.gamma, architecture.degree, n_in, units, theta, cast("DenseRows", table).x, index, out
        )
    elif isinstance(table, SparseRows):
        _sparse_logits(architecture, theta, table, index, out)
    else:
        kernels = compile_kernels(architecture.activation, architecture.normalization, dtype=theta.dtype.name)
        mlp.predict(compiled_layout(architecture, loss), kernels, theta, table.x, index, out)
    return out


def _sparse_logits(
    architecture: DenseArchitecture, theta: np.ndarray, table: SparseRows, index: np.ndarray, out: np.ndarray
) -> None:
    """Those of a perceptron; of one that votes, first the answers of its states."""
    if len(architecture.sizes) == 2:
        perceptron.write_logits(table, index, theta, out)
        return
    n_in, states, _ = architecture.sizes
    (_, _), (vote_weights, vote_biases) = architecture.layers(theta)
    for start in range(0, index.size, mlp.BLOCK):
        block = index[start : start + mlp.BLOCK]
        hidden = np.empty((block.size, states), theta.dtype)
        perceptron.write_logits(table, block, theta[: (n_in + 1) * states], hidden)
        votes = (hidden > 0).astype(theta.dtype)
        out[start : start + block.size] = multiply(votes, np.ascontiguousarray(vote_weights)) + vote_biases


def predict(
    architecture: DenseArchitecture | DeepArchitecture, loss: str, theta: np.ndarray, table: Rows, index: np.ndarray
) -> np.ndarray:
    """What a network predicts of rows of a table, (len(index), K): probabilities, means or sums, as its loss has it."""
    out = logits(architecture, loss, theta, table, index)
    predict_from_sums(LINKS.get(loss, 0), out.reshape(-1, out.shape[-1]))
    return out
