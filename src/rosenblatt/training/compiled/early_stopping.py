"""Compiled training loop of one member with validation and early stopping.

What `population.train_member` does between the epochs of a multilayer perceptron whose score is its loss, as compiled
code: for tiny networks it would take longer in Python than the epochs themselves.
"""

from __future__ import annotations

import numpy as np

from rosenblatt.training.compiled.jit import call_address, jit
from rosenblatt.training.compiled.mlp import predict, train

BEST_LOSS, BEST_EPOCH, FAILURE = range(3)  # indices into `best_record`
PARAMETERS, PREDICTIONS = 1.0, 2.0  # values of `best_record[FAILURE]`: which of them is not finite


@jit
def all_finite(values):
    """Whether no number is infinite or none at all."""
    for value in values:
        if not np.isfinite(value):
            return False
    return True


@jit
def train_with_validation(
    layout,
    kernels,
    config,
    state,
    rows,
    factors,
    losses,
    validation_losses,
    validation_rows,
    t,
    weight,
    best,
    best_record,
    n_trained,
    patience,
    stop,
):
    """Train for len(losses) epochs, and after each of them see how it does on the rows `validation_rows` (n,).

    Args:
        factors: (steps, 3) as `train` takes them.
        losses, validation_losses: (epochs,) written: the mean training and validation loss of each epoch.
        t, weight: targets (n, 1) or (n, K) and weights (n,) of the validation rows.
        best: (n_parameters,) written: the parameters of the best epoch; ties go to the later epoch.
        best_record: (3,) float64, read and written: the best validation loss (NaN before the first epoch), its epoch,
            and what failed (0 for nothing).
        n_trained: epochs before this call.
        patience: epochs without a lower validation loss after which training ends.

    Returns the epochs that were finished; the last is too good to go on, failed, or was stopped, if they are fewer.
    """
    n_batches = factors.shape[0] // losses.size
    out = np.empty((validation_rows.size, layout.sizes[layout.sizes.size - 1]), state.theta.dtype)
    d, total = np.empty_like(out), 0.0
    for value in weight:
        total += value
    current = state.mean if config.ema_decay > 0 else state.theta
    for e in range(losses.size):
        epoch_factors = factors[e * n_batches : (e + 1) * n_batches]
        if train(layout, kernels, config, state, rows, epoch_factors, losses[e : e + 1], stop) == 0:
            return e
        if not all_finite(current):
            best_record[FAILURE] = PARAMETERS
            return e + 1
        predict(layout, kernels, current, rows.x, validation_rows, out)
        validation_losses[e] = call_address(kernels.loss, (out, t, weight, d, 0.0, config.loss_parameter)) / total
        if not np.isfinite(validation_losses[e]) or not all_finite(out.ravel()):
            best_record[FAILURE] = PREDICTIONS
            return e + 1
        if not best_record[BEST_LOSS] < validation_losses[e]:
            for i in range(current.size):  # an assignment of arrays takes seconds to compile, for its message of errors
                best[i] = current[i]
            best_record[BEST_LOSS], best_record[BEST_EPOCH] = validation_losses[e], n_trained + e + 1
        if n_trained + e + 1 - best_record[BEST_EPOCH] >= patience:
            return e + 1
    return losses.size
