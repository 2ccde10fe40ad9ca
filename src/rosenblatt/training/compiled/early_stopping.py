"""Compiled training loop of one multilayer perceptron with validation on the loss and early stopping.

Compiled, because between the epochs of a small network Python would take longer than the epochs themselves.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.training.compiled.jit import call_address, inline, jit
from rosenblatt.training.compiled.mlp import predict, train

BEST_LOSS, BEST_EPOCH, IMPROVED_EPOCH, FAILURE = range(4)  # indices into `EarlyStopping.record`
PARAMETERS, PREDICTIONS = 1.0, 2.0  # values of record[FAILURE]: which of them is not finite
MIN_PATIENCE = 3  # epochs to wait for a better one, if `patience_factor` limits them


class ValidationRows(NamedTuple):
    """Rows of the table that a member is validated on."""

    index: np.ndarray  # (n,) int64
    t: np.ndarray  # (n, 1) or (n, K) targets
    weight: np.ndarray  # (n,)


class EarlyStopping(NamedTuple):
    """Best epoch so far, and the number of epochs to wait for a better one."""

    best: np.ndarray  # (n_parameters,), written: parameters of the best epoch
    record: np.ndarray  # (4,) float64, written: the best validation loss (NaN before an epoch), its epoch, the last
    # epoch that improved the loss by at least `tol`, any failure
    n_trained: int  # epochs before this call
    patience: int
    patience_factor: float
    tol: float


@inline
def epochs_to_wait(improved_epoch: float, patience: float, patience_factor: float) -> float:
    """Epochs without improvement that follow the last improved epoch; a factor of 0 sets no limit below patience."""
    return patience if patience_factor == 0 else min(patience, MIN_PATIENCE + patience_factor * improved_epoch)


@jit
def all_finite(values):
    """Whether all values are finite."""
    for value in values:
        if not np.isfinite(value):
            return False
    return True


@jit
def train_with_validation(job, validation, early_stopping, factors, losses, validation_losses, stop):
    """Train for len(losses) epochs, validate after each, keep the best; ties go to the later epoch.

    Args:
        job, factors, losses, stop: as for `mlp.train`.
        validation_losses: (epochs,), written.

    Returns:
        The number of finished epochs. If it is less than len(losses), the last one failed, was stopped, or exhausted
        the patience.
    """
    layout, kernels, config, state, rows = job
    best, record, n_trained, patience, patience_factor, tol = early_stopping
    n_batches = factors.shape[0] // losses.size
    logits = np.empty((validation.index.size, layout.sizes[layout.sizes.size - 1]), state.theta.dtype)
    gradient, total_weight = np.empty_like(logits), 0.0
    for value in validation.weight:
        total_weight += value
    theta = state.mean if config.ema_decay > 0 else state.theta
    for e in range(losses.size):
        epoch = n_trained + e + 1
        if train(job, factors[e * n_batches : (e + 1) * n_batches], losses[e : e + 1], stop) == 0:
            return e
        if not all_finite(theta):
            record[FAILURE] = PARAMETERS
            return e + 1
        predict(layout, kernels, theta, rows.x, validation.index, logits)
        arguments = logits, validation.t, validation.weight, gradient, 0.0, config.loss_parameter
        loss = call_address(kernels.loss, arguments) / total_weight
        validation_losses[e] = loss
        if not np.isfinite(loss) or not all_finite(logits.ravel()):
            record[FAILURE] = PREDICTIONS
            return e + 1
        if not record[BEST_LOSS] - loss < tol:
            record[IMPROVED_EPOCH] = epoch
        if not record[BEST_LOSS] < loss:
            for i in range(theta.size):  # a loop compiles seconds faster than assigning the array
                best[i] = theta[i]
            record[BEST_LOSS], record[BEST_EPOCH] = loss, epoch
        if epoch - record[IMPROVED_EPOCH] >= epochs_to_wait(record[IMPROVED_EPOCH], patience, patience_factor):
            return e + 1
    return losses.size
