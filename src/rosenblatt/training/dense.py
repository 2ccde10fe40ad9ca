"""In: one member (its shape, recipe, state) and the rows it learns from. Out: the member, some epochs wiser.

The whole training loop of one multilayer perceptron as compiled code, in the letters of the textbook. For layer l with
weights W and bias b: z = x W + b, a = f(z), and backwards d = dLoss/dz, dLoss/dW = x^T d, dLoss/dx = d W^T
(Rumelhart, Hinton & Williams 1986). B is the rows of a batch, all layers' arrays lie one after the other in flat ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.compiled import compiled
from rosenblatt.networks.activations import activate, multiply_by_slope
from rosenblatt.training.losses import loss_and_gradient, predict_from_sums
from rosenblatt.training.optimizers import update
from rosenblatt.training.random import drop, shuffle
from rosenblatt.training.schedules import factor


class Shape(NamedTuple):
    """The network of a member: what its flat arrays mean."""

    sizes: np.ndarray  # (L + 1,) int64: inputs, units of each hidden layer, outputs
    starts: np.ndarray  # (L + 1,) int64: where each layer's W, then b, start in the parameters
    activation: int
    loss: int


class Recipe(NamedTuple):
    """How a member learns."""

    optimizer: int
    learning_rate: float
    schedule: int
    steps: int  # in the whole of training, for the schedule
    beta1: float
    beta2: float
    weight_decay: float
    input_dropout: float
    dropout: float
    label_smoothing: float
    clip_norm: float  # 0 for none
    batch_size: int


class State(NamedTuple):
    """What changes while a member learns; copying these arrays is pausing it."""

    theta: np.ndarray  # (n_parameters,) float
    m: np.ndarray  # (n_parameters,) first memory of the optimizer
    v: np.ndarray  # (n_parameters,) second memory of the optimizer
    order: np.ndarray  # (n_rows,) int64: the rows this member learns from, in the order of the last epoch
    counter: np.ndarray  # (1,) uint64: of the random numbers
    step: np.ndarray  # (1,) int64: updates made so far


class Rows(NamedTuple):
    """The encoded table, shared by all members."""

    x: np.ndarray  # (n, F) float
    t: np.ndarray  # (n, 1) class numbers, or (n, K) targets
    weight: np.ndarray  # (n,) float


@compiled
def layer(shape, l, flat):
    """Layer l's W (in, out) and b (out,), as views of the flat array."""
    n_in, n_out = shape.sizes[l], shape.sizes[l + 1]
    w, b = shape.starts[l], shape.starts[l] + n_in * n_out
    return flat[w:b].reshape((n_in, n_out)), flat[b : b + n_out]


@compiled
def buffers(shape, B, dtype):
    """One flat array that holds a (B, size) block for each layer's units, and where each block starts."""
    starts = np.empty(shape.sizes.size, np.int64)
    end = 0
    for l in range(shape.sizes.size):
        starts[l] = end
        end += B * shape.sizes[l]
    return np.empty(end, dtype), starts


@compiled
def copy_row(source, i, target, j):
    """target[j] = source[i]; written out because it compiles ten times faster than the assignment of slices."""
    for k in range(source.shape[1]):
        target[j, k] = source[i, k]


@compiled
def block(flat, starts, sizes, l, B):
    """The (B, size) block of the units of layer l; l = 0 are the inputs."""
    return flat[starts[l] : starts[l] + B * sizes[l]].reshape((B, sizes[l]))


@compiled
def weighted_sum(a, W, b, z):
    """z = a W + b."""
    np.dot(a, W, z)
    for i in range(z.shape[0]):
        for j in range(z.shape[1]):
            z[i, j] += b[j]


@compiled
def forward(shape, theta, dropout, counter, zs, activations, starts, B):
    """Fill in the weighted sums and activations of all layers for B rows; the inputs are there already."""
    L = shape.sizes.size - 1
    for l in range(L):
        W, b = layer(shape, l, theta)
        z = block(zs, starts, shape.sizes, l + 1, B)
        weighted_sum(block(activations, starts, shape.sizes, l, B), W, b, z)
        if l < L - 1:
            a = block(activations, starts, shape.sizes, l + 1, B).ravel()
            activate(shape.activation, z.ravel(), a)
            if dropout > 0:
                drop(a, dropout, counter)


@compiled
def backward(shape, theta, dropout, counter, zs, activations, deltas, starts, B, gradient):
    """From the loss's gradient with respect to the last sums, fill in that of all parameters.

    `counter` stands where it stood before `forward`, so that the same units are dropped again.
    """
    L = shape.sizes.size - 1
    drawn = np.zeros(L + 1, np.uint64)  # how far the counter was before each layer's dropout
    for l in range(1, L):
        drawn[l + 1] = drawn[l] + np.uint64(B * shape.sizes[l])
    at = np.empty(1, np.uint64)
    for l in range(L - 1, -1, -1):
        W, _ = layer(shape, l, theta)
        dW, db = layer(shape, l, gradient)
        a = block(activations, starts, shape.sizes, l, B)
        d = block(deltas, starts, shape.sizes, l + 1, B)
        np.dot(a.T, d, dW)
        db[:] = 0
        for i in range(B):
            for j in range(d.shape[1]):
                db[j] += d[i, j]
        if l > 0:
            below = block(deltas, starts, shape.sizes, l, B)
            np.dot(d, W.T, below)
            if dropout > 0:
                at[0] = counter + drawn[l]
                drop(below.ravel(), dropout, at)
            multiply_by_slope(shape.activation, block(zs, starts, shape.sizes, l, B).ravel(), below.ravel())


@compiled
def clip(gradient, norm):
    """Scale `gradient` down to length `norm` if it is longer (Pascanu et al. 2013)."""
    square = 0.0
    for i in range(gradient.size):
        square += gradient[i] * gradient[i]
    if square > norm * norm:
        scale = gradient.dtype.type(norm / np.sqrt(square))
        for i in range(gradient.size):
            gradient[i] *= scale


@compiled
def apply_update(shape, recipe, state, gradient):
    """One step of the optimizer for every layer; biases do not decay."""
    lr = recipe.learning_rate * factor(recipe.schedule, state.step[0] / max(recipe.steps, 1))
    state.step[0] += 1
    for l in range(shape.sizes.size - 1):
        w = shape.starts[l]
        b = w + shape.sizes[l] * shape.sizes[l + 1]
        end = b + shape.sizes[l + 1]
        for lo, hi, decay in ((w, b, recipe.weight_decay), (b, end, 0.0)):
            update(recipe.optimizer, lr, decay, recipe.beta1, recipe.beta2, state.step[0],
                   state.theta[lo:hi], gradient[lo:hi], state.m[lo:hi], state.v[lo:hi])  # fmt: skip


@compiled
def train(shape, recipe, state, rows, epochs, losses, stop):
    """Train one member for some epochs; write each epoch's mean training loss to `losses` (epochs,).

    Returns the epochs that were finished: fewer than asked when `stop[0]` was set meanwhile, or when the loss stopped
    being a number, which then stands in `losses`.
    """
    L, n = shape.sizes.size - 1, state.order.size
    n_batches = (n + recipe.batch_size - 1) // recipe.batch_size
    most = (n + n_batches - 1) // n_batches
    zs, starts = buffers(shape, most, state.theta.dtype)
    activations, deltas, gradient = (
        np.empty(zs.size, zs.dtype),
        np.empty(zs.size, zs.dtype),
        np.empty(state.theta.size, zs.dtype),
    )
    t, weight = np.empty((most, rows.t.shape[1]), rows.t.dtype), np.empty(most, rows.weight.dtype)
    for epoch in range(epochs):
        shuffle(state.order, state.counter)
        total, weights = 0.0, 0.0
        for batch in range(n_batches):  # as equal in size as they can be
            if stop[0]:
                return epoch
            first = batch * n // n_batches
            B = (batch + 1) * n // n_batches - first
            x = block(activations, starts, shape.sizes, 0, B)
            scale = rows.weight.dtype.type(1 / B)
            for i in range(B):
                row = state.order[first + i]
                copy_row(rows.x, row, x, i)
                copy_row(rows.t, row, t, i)
                weight[i] = rows.weight[row] * scale
                weights += rows.weight[row]
            if recipe.input_dropout > 0:
                drop(x.ravel(), recipe.input_dropout, state.counter)
            before = state.counter[0]
            forward(shape, state.theta, recipe.dropout, state.counter, zs, activations, starts, B)
            total += B * loss_and_gradient(shape.loss, recipe.label_smoothing, block(zs, starts, shape.sizes, L, B),
                                           t[:B], weight[:B], block(deltas, starts, shape.sizes, L, B))  # fmt: skip
            backward(shape, state.theta, recipe.dropout, before, zs, activations, deltas, starts, B, gradient)
            if recipe.clip_norm > 0:
                clip(gradient, recipe.clip_norm)
            apply_update(shape, recipe, state, gradient)
        losses[epoch] = total / weights
        if not np.isfinite(losses[epoch]):
            return epoch
    return epochs


@compiled
def predict(shape, theta, x, index, out, B):
    """Write the predictions for the rows `index` of `x` (n, F) to `out` (len(index), K).

    Every product has the same number of rows B, the last one filled up with zeros, so that a row's prediction is the
    same to the last bit whatever rows stand beside it.
    """
    L = shape.sizes.size - 1
    activations, starts = buffers(shape, B, theta.dtype)
    zs = np.empty(activations.size, theta.dtype)
    counter = np.zeros(1, np.uint64)
    inputs, last = block(activations, starts, shape.sizes, 0, B), block(zs, starts, shape.sizes, L, B)
    for first in range(0, index.size, B):
        n = min(B, index.size - first)
        for i in range(n):
            copy_row(x, index[first + i], inputs, i)
        inputs[n:] = 0
        forward(shape, theta, 0.0, counter, zs, activations, starts, B)
        predict_from_sums(shape.loss, last)
        for i in range(n):
            copy_row(last, i, out, first + i)
