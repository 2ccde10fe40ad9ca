"""In: one member, the rows it learns from, and those that are spared. Out: the member, and the best it has been.

What `population.advance` does between the epochs of a multilayer perceptron whose score is its loss, as compiled code:
for tiny networks it would take longer in Python than the epochs themselves.
"""

from __future__ import annotations

import numpy as np

from rosenblatt.training.compiled.jit import call, compiled
from rosenblatt.training.compiled.mlp import predict, train

BEST_SCORE, BEST_EPOCH, FAILED = range(3)  # places among the marks of a member
PARAMETERS, PREDICTIONS = 1.0, 2.0  # what is not finite in one that failed


@compiled
def all_finite(values):
    """Whether no number is infinite or none at all."""
    for value in values:
        if not np.isfinite(value):
            return False
    return True


@compiled
def train_watched(
    shape, kernels, recipe, state, rows, factors, losses, scores, spared, t, weight, best, marks, epochs, patience, stop
):
    """Train for len(losses) epochs, and after each of them see how it does on the rows `spared` (n,).

    Args:
        factors: (steps, 3) as `train` takes them.
        losses, scores: (epochs,) written: the mean training loss, and the negative mean loss on the spared rows.
        t, weight: targets (n, 1) or (n, K) and weights (n,) of the spared rows.
        best: (n_parameters,) written: the parameters of the best epoch; of equals the last.
        marks: (3,) float64, read and written: its score, its number, what failed (0 for nothing).
        epochs: those before this call.
        patience: epochs without a better score after which it ends.

    Returns the epochs that were finished; the last is too good to go on, failed, or was stopped, if they are fewer.
    """
    n_batches = factors.shape[0] // losses.size
    out = np.empty((spared.size, shape.sizes[shape.sizes.size - 1]), state.theta.dtype)
    d, total = np.empty_like(out), 0.0
    for value in weight:
        total += value
    current = state.mean if recipe.averaging > 0 else state.theta
    for e in range(losses.size):
        some = factors[e * n_batches : (e + 1) * n_batches]
        if train(shape, kernels, recipe, state, rows, some, losses[e : e + 1], stop) == 0:
            return e
        if not all_finite(current):
            marks[FAILED] = PARAMETERS
            return e + 1
        predict(shape, kernels, current, rows.x, spared, out)
        scores[e] = -call(kernels.loss, (out, t, weight, d, 0.0, recipe.loss_parameter)) / total
        if not np.isfinite(scores[e]) or not all_finite(out.ravel()):
            marks[FAILED] = PREDICTIONS
            return e + 1
        if scores[e] >= marks[BEST_SCORE]:
            for i in range(current.size):  # an assignment of arrays takes seconds to compile, for its message of errors
                best[i] = current[i]
            marks[BEST_SCORE], marks[BEST_EPOCH] = scores[e], epochs + e + 1
        if epochs + e + 1 - marks[BEST_EPOCH] >= patience:
            return e + 1
    return losses.size
