"""Training and predictions of one network by the engine of its kind.

Multilayer perceptrons and perceptrons (linear, voted, kernel) run compiled code; convolutional and recurrent networks
run PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np

from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.training.compiled import kernel_perceptron, mlp, perceptron
from rosenblatt.training.compiled.dispatch import (
    compile_kernels,
    layout_with_spans,
    make_job,
    start_step_compiler,
    with_train_step,
)
from rosenblatt.training.compiled.early_stopping import EarlyStopping, ValidationRows, train_with_validation
from rosenblatt.training.compiled.losses import apply_output_activation
from rosenblatt.training.compiled.matmul import multiply
from rosenblatt.training.compiled.mlp import Job
from rosenblatt.training.compiled.perceptron import CONVERGED
from rosenblatt.training.compiled.prediction import compile_prediction
from rosenblatt.training.member import Member
from rosenblatt.training.rows import DenseRows, MediaRows, Rows, SparseRows
from rosenblatt.training.schedules import member_factors
from rosenblatt.training.validation import mean_loss

TrainEpochs = Callable[[np.ndarray, np.ndarray], int]
"""Train for as many epochs as `losses` (epochs,) has room for, until `stop` (1,) is set or the loss is not finite;
return the number of finished epochs."""
TrainEpochsWithValidation = Callable[[np.ndarray, np.ndarray, EarlyStopping, np.ndarray], int]
"""Train as `TrainEpochs`, with validation losses (epochs,) and early stopping: losses, validation_losses, ..., stop."""


class MemberTrainer(NamedTuple):
    """Functions that train one member on a table."""

    train_epochs: TrainEpochs
    validate: Callable[[], tuple[np.ndarray, float]]
    """Return the member's outputs (n, K) and mean loss on its validation rows."""
    train_epochs_with_validation: TrainEpochsWithValidation | None
    """None if the caller has to validate after each epoch."""
    converged: Callable[[], bool]
    """Whether more epochs would change nothing, because a perceptron made no update in the last one."""


def make_trainer(member: Member, table: Rows) -> MemberTrainer:
    """Return the functions that train a member on a table, by the kind of its network."""
    validation = ValidationRows(member.validation, table.t[member.validation], table.weight[member.validation])
    train_validated = None
    if isinstance(member.architecture, DeepArchitecture):
        from rosenblatt.training.torch.engine import make_trainer

        train_epochs = make_trainer(member, cast("MediaRows", table))
    elif member.architecture.kind == "perceptron":
        train_epochs = _make_perceptron_trainer(member, table)
    else:
        train_epochs, train_validated = _make_mlp_trainer(member, cast("DenseRows", table), validation)

    def validate() -> tuple[np.ndarray, float]:
        outputs = logits(member.architecture, member.inference_parameters, table, member.validation)
        loss = mean_loss(member, outputs, validation.t, validation.weight)
        apply_output_activation(member.loss, outputs)
        return outputs, loss

    def converged() -> bool:
        return member.architecture.kind == "perceptron" and bool(member.state.step[CONVERGED])

    return MemberTrainer(train_epochs, validate, train_validated, converged)


def _make_mlp_trainer(
    member: Member, table: DenseRows, validation: ValidationRows
) -> tuple[TrainEpochs, TrainEpochsWithValidation | None]:
    """Return a function that trains a member, and one that also validates it and stops early."""
    job = make_job(member, table)
    if start_step_compiler(table.weight.dtype.name):
        _compile_loop(job, validation)
    job = with_train_step(job)
    n_batches = -(-member.state.order.size // job.config.batch_size)

    def factors(epochs: int) -> np.ndarray:
        return member_factors(member, member.n_epochs, epochs, n_batches)

    def train_epochs(losses: np.ndarray, stop: np.ndarray) -> int:
        return mlp.train(job, factors(losses.size), losses, stop)

    def train_validated(
        losses: np.ndarray, validation_losses: np.ndarray, early_stopping: EarlyStopping, stop: np.ndarray
    ) -> int:
        arguments = factors(losses.size), losses, validation_losses, stop
        return train_with_validation(job, validation, early_stopping, *arguments)

    is_epochwise = member.spec.training.schedule == "plateau" or not member.validation.size
    return train_epochs, None if is_epochwise else train_validated


def _compile_loop(job: Job, validation: ValidationRows) -> None:
    """Compile the loop around the step and predictions, by calls for no epochs and networks.

    Meanwhile another process compiles the step.
    """
    empty, early_stopping = np.empty(0), EarlyStopping(np.empty_like(job.state.theta), np.zeros(4), 0, 0, 0.0, 0.0)
    train_with_validation(job, validation, early_stopping, np.empty((0, 3)), empty, empty, np.zeros(1, np.uint8))
    compile_prediction()


def _make_perceptron_trainer(member: Member, table: Rows) -> TrainEpochs:
    rule, architecture = member.config, cast("DenseArchitecture", member.architecture)
    if architecture.activation in kernel_perceptron.KERNELS:
        kernel = kernel_perceptron.Kernel.of(architecture)
        return lambda losses, stop: kernel_perceptron.train_kernel(rule, kernel, member.state, table, losses, stop)
    train_epochs = perceptron.train_voted if len(architecture.sizes) == 3 else perceptron.train_linear
    return lambda losses, stop: train_epochs(rule, member.state, table, losses, stop)


def logits(
    architecture: DenseArchitecture | DeepArchitecture, theta: np.ndarray, table: Rows, index: np.ndarray
) -> np.ndarray:
    """Return the logits (len(index), K) of a network for rows `index` of a table, or (len(index), T, K) for steps.

    A row's logits do not depend on the other rows; for convolutional and recurrent networks up to rounding.
    """
    if isinstance(architecture, DeepArchitecture):
        from rosenblatt.training.torch import engine

        return engine.logits(architecture, theta, cast("MediaRows", table), index)
    out = np.empty((index.size, architecture.sizes[-1]), theta.dtype)
    if architecture.activation in kernel_perceptron.KERNELS:
        kernel, x = kernel_perceptron.Kernel.of(architecture), cast("DenseRows", table).x
        kernel_perceptron.predict(kernel, architecture.sizes[0], theta, x, index, out)
    elif isinstance(table, SparseRows):
        _sparse_logits(architecture, theta, table, index, out)
    else:
        rows = cast("DenseRows", table)
        kernels = compile_kernels(architecture.activation, architecture.normalization, dtype=theta.dtype.name)
        mlp.predict(layout_with_spans(architecture, rows.spans), kernels, theta, rows.x, index, out)
    return out


def _sparse_logits(
    architecture: DenseArchitecture, theta: np.ndarray, table: SparseRows, index: np.ndarray, out: np.ndarray
) -> None:
    """Write the logits of a perceptron to `out`; a voted one first computes the votes of its weight vectors."""
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
    """Return predictions (len(index), K) for rows of a table: probabilities, means or logits, as the loss has it."""
    out = logits(architecture, theta, table, index)
    apply_output_activation(loss, out)
    return out
