"""In: one member (its shape, recipe, state) and the rows it learns from. Out: the member, some epochs wiser.

The whole training loop of one multilayer perceptron as compiled code, in the letters of the textbook. For layer l with
weights W and bias b: z = x W + b, a = f(z), and backwards d = dLoss/dz, dLoss/dW = x^T d, dLoss/dx = d W^T
(Rumelhart, Hinton & Williams 1986). B is the rows of a block; what belongs to all layers lies one after the other in
flat arrays, and nothing is allocated in the loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.training.compiled.jit import call, compiled, copy_row, flush_denormals, real
from rosenblatt.training.compiled.matmul import product, transpose
from rosenblatt.training.compiled.normalization import BATCH, NONE
from rosenblatt.training.compiled.random import drop, drop_units, shuffle
from rosenblatt.training.compiled.regularization import average, clip, limit_norms, shrink

BLOCK = 256  # rows that go through the network at a time; the gradients of a batch's blocks add up
WEIGHT, BIAS, GAIN, SHIFT, MEAN, VARIANCE, BLEND = range(7)  # the parts of a layer, in the order of `Shape.parts`


class Shape(NamedTuple):
    """The network of a member: what its flat arrays mean."""

    sizes: np.ndarray  # (L + 1,) int64: inputs, units of each hidden layer, outputs
    parts: np.ndarray  # (L, 7) int64: where each layer's parts start in theta; -1 for those it does not have
    scale: int  # where the factors of the inputs start in theta; -1 for none
    normalization: int
    residual: int
    link: int


class Kernels(NamedTuple):
    """Where the machine code lies that differs from member to member."""

    activate: int
    normalize: int  # 0 where there is no normalization
    denormalize: int
    loss: int  # 0 where nothing is learnt, as those below
    update: int
    descend: int


class Pass(NamedTuple):
    """What one pass of a block of rows through the network leaves: blocks (B, size) for the units of each layer."""

    flat: np.ndarray  # all of them, one after the other
    starts: (
        np.ndarray
    )  # (7, L + 2) int64: where each kind's block for each layer's units starts, 0 are the inputs; its end


Z, A, E, HAT, INVERSE, BEND, ROOM = range(7)
# Z: weighted sums, then the slopes da/dz, then the gradients dLoss/dz: each takes the place of the last
# A: activations
# E: the gradients dLoss/da
# HAT, INVERSE: sums after normalization before gain and shift, and 1 / deviation
# BEND: f(z) - z where activations are blended; for the inputs, where they are scaled, what they were before
# ROOM: a transposed W, or the means of a batch


@compiled
def new_pass(shape, B, dtype):
    """Room for a pass of at most B rows."""
    sizes = shape.sizes
    L = sizes.size - 1
    starts = np.empty((7, L + 2), np.int64)
    end = 0
    for kind in range(7):
        for l in range(L + 1):
            starts[kind, l] = end
            size = B * sizes[l]
            hidden = 0 < l < L
            if kind in (HAT, INVERSE) and not (hidden and shape.normalization != NONE):
                size = 0
            elif kind == INVERSE:
                size = max(B, sizes[l])
            elif kind == BEND and not (shape.parts[l - 1, BLEND] >= 0 if hidden else l == 0 and shape.scale >= 0):
                size = 0
            elif kind == ROOM:
                size = max(2, sizes[l - 1]) * sizes[l] if l > 0 else 0
            end += size
        starts[kind, L + 1] = end
    return Pass(np.empty(end, dtype), starts)


@compiled
def units(p, kind, l, size):
    """The first numbers of a kind's block for the units of layer l, or none where there is no such block."""
    start = p.starts[kind, l]
    return p.flat[start : start + min(size, p.starts[kind, l + 1] - start)]


@compiled
def part(shape, theta, l, which):
    """A part of layer l, as a view of the flat theta (or of its gradient); weights are (in, out) flat."""
    start, n_out = shape.parts[l, which], shape.sizes[l + 1]
    if start < 0:
        return theta[:0]
    return theta[start : start + (shape.sizes[l] * n_out if which == WEIGHT else n_out)]


@compiled
def is_residual(shape, l):
    """Whether what enters layer l is added to what leaves it (He et al. 2016)."""
    return shape.residual and 0 < l < shape.sizes.size - 2 and shape.sizes[l] == shape.sizes[l + 1]


@compiled
def forward(shape, kernels, theta, p, B, dropout, counter, learning):
    """Fill in the weighted sums and activations of all layers for B rows; the inputs are there already."""
    sizes = shape.sizes
    L = sizes.size - 1
    if shape.scale >= 0:
        scale_inputs(
            theta[shape.scale : shape.scale + sizes[0]], units(p, A, 0, B * sizes[0]), units(p, BEND, 0, B * sizes[0])
        )
    for l in range(L):
        n_in, n_out = sizes[l], sizes[l + 1]
        x, z, a = units(p, A, l, B * n_in), units(p, Z, l + 1, B * n_out), units(p, A, l + 1, B * n_out)
        product(x, n_in, 1, part(shape, theta, l, WEIGHT), part(shape, theta, l, BIAS), 0, z, B, n_out, n_in)
        if l == L - 1:
            break
        if shape.normalization != NONE:
            call(kernels.normalize, (z, part(shape, theta, l, GAIN), part(shape, theta, l, SHIFT),
                 part(shape, theta, l, MEAN), part(shape, theta, l, VARIANCE), units(p, HAT, l + 1, B * n_out),
                 units(p, INVERSE, l + 1, max(B, n_out)), learning))  # fmt: skip
        bend = units(p, BEND, l + 1, B * n_out)
        for i in range(bend.size):
            bend[i] = z[i]
        call(kernels.activate, (z, a))
        if bend.size:
            blend(part(shape, theta, l, BLEND), a, z, bend)
        if dropout > 0:
            drop_units(a, z, bend, dropout, counter)
        if is_residual(shape, l):
            for i in range(a.size):
                a[i] += x[i]


@compiled
def scale_inputs(factors, x, before):
    """Multiply each input of x (B, F) flat by its factor (F,), the scaling layer of Holzmüller et al. 2024.

    What it was is kept in `before`."""
    n = factors.size
    for i in range(x.size // n):
        for j in range(n):
            before[i * n + j] = x[i * n + j]
            x[i * n + j] *= factors[j]


@compiled
def blend(alpha, a, slope, bend):
    """a = z + alpha (f(z) - z), with a factor alpha (n,) for each unit (Holzmüller et al. 2024).

    z stands in `bend`, where then f(z) - z is."""
    n = alpha.size
    for i in range(a.size // n):
        for j in range(n):
            k = i * n + j
            z, bend[k] = bend[k], a[k] - bend[k]
            a[k] = z + alpha[j] * bend[k]
            slope[k] = real(1, z) + alpha[j] * (slope[k] - real(1, z))


@compiled
def add_products(d, by, gradient):
    """gradient (n,) += the sum over rows of d times by, both (B, n) flat."""
    n = gradient.size
    for i in range(d.size // n):
        for j in range(n):
            gradient[j] += d[i * n + j] * by[i * n + j]


@compiled
def backward(shape, kernels, theta, p, B, ones, gradient, adding):
    """From the loss's gradient with respect to the last sums, in the place of these, fill in that of all parameters.

    `adding` to what there is of weights and biases, or in its place. ones: (1,) and zeros after it.
    """
    sizes = shape.sizes
    L = sizes.size - 1
    for l in range(L - 1, -1, -1):
        n_in, n_out = sizes[l], sizes[l + 1]
        x, d = units(p, A, l, B * n_in), units(p, Z, l + 1, B * n_out)
        dW, db = part(shape, gradient, l, WEIGHT), part(shape, gradient, l, BIAS)
        if adding:
            product(x, 1, n_in, d, dW, n_out, dW, n_in, n_out, B)
            product(ones, 0, 0, d, db, n_out, db, 1, n_out, B)
        else:
            product(x, 1, n_in, d, ones[1:], 0, dW, n_in, n_out, B)
            product(ones, 0, 0, d, ones[1:], 0, db, 1, n_out, B)
        if l == 0 and shape.scale < 0:
            break
        turned, e = units(p, ROOM, l + 1, n_in * n_out), units(p, E, l, B * n_in)
        transpose(part(shape, theta, l, WEIGHT), n_in, n_out, turned)
        start, apart = (units(p, E, l + 1, B * n_out), n_in) if is_residual(shape, l) else (ones[1:], 0)
        product(d, n_out, 1, turned, start, apart, e, B, n_in, n_out)
        if l == 0:
            add_products(e, units(p, BEND, 0, B * n_in), gradient[shape.scale : shape.scale + n_in])
        else:
            through_activation(shape, kernels, theta, p, l, B, gradient)


@compiled
def through_activation(shape, kernels, theta, p, l, B, gradient):
    """From dLoss/da of the units that enter layer l to dLoss/dz of them, through slope, blend and normalization."""
    k, n = l - 1, shape.sizes[l]
    e, d, bend = units(p, E, l, B * n), units(p, Z, l, B * n), units(p, BEND, l, B * n)
    for i in range(d.size):
        d[i] *= e[i]
    if bend.size:
        add_products(e, bend, part(shape, gradient, k, BLEND))
    if shape.normalization != NONE:
        call(kernels.denormalize, (d, part(shape, theta, k, GAIN), units(p, HAT, l, B * n),
             units(p, INVERSE, l, max(B, n)), part(shape, gradient, k, GAIN), part(shape, gradient, k, SHIFT),
             units(p, ROOM, l, 2 * n)))  # fmt: skip


@compiled
def apply_update(shape, kernels, recipe, state, gradient, rate, decay):
    """One step of the optimizer for each group of parameters, then what bounds and averages them.

    `rate` and `decay` are factors of their learning rates and weight decays."""
    state.step[0] += 1
    for g in range(recipe.groups.shape[0]):
        lo, hi, lr = recipe.groups[g, 0], recipe.groups[g, 1], recipe.rates[g, 0] * rate
        keep = 1.0 - lr * recipe.rates[g, 1] * decay
        call(kernels.update, (state.theta[lo:hi], gradient[lo:hi], state.m[lo:hi], state.v[lo:hi], lr, keep,
                              recipe.beta1, recipe.beta2, state.step[0]))  # fmt: skip
        if recipe.l1 > 0 and recipe.rates[g, 2] > 0:
            shrink(state.theta[lo:hi], lr * recipe.l1)
    if recipe.max_norm > 0:
        for l in range(shape.sizes.size - 1):
            limit_norms(part(shape, state.theta, l, WEIGHT), shape.sizes[l], shape.sizes[l + 1], recipe.max_norm)
    if recipe.averaging > 0:
        average(state.mean, state.theta, recipe.averaging, state.step[0])


@compiled
def order_rows(recipe, state):
    """Put the rows into a new random order, each stratum for itself."""
    for s in range(recipe.strata.size - 1):
        shuffle(state.order[recipe.strata[s] : recipe.strata[s + 1]], state.counter)


@compiled
def gather(shape, recipe, state, rows, p, t, weight, first, apart, B, dropping):
    """Copy B rows of a batch, from the first on, `apart` places from one to the next."""
    x = units(p, A, 0, B * shape.sizes[0]).reshape((B, shape.sizes[0]))
    for i in range(B):
        row = state.order[first + i * apart]
        copy_row(rows.x, row, x, i)
        copy_row(rows.t, row, t, i)
        weight[i] = rows.weight[row]
    if recipe.input_dropout > 0:
        drop(x.ravel(), recipe.input_dropout * dropping, state.counter)


@compiled
def descend(
    shape, kernels, recipe, state, rows, p, t, weight, ones, gradient, batch, n_batches, rate, dropping, decay, stop
):
    """Take one step for a batch, whose rows go through the network block by block; return their summed loss.

    `rate`, `dropping` and `decay` are factors of learning rate, dropout, weight decay. When `stop[0]` is set, no step
    is taken.
    """
    L, n, block = shape.sizes.size - 1, state.order.size, weight.size
    K = shape.sizes[L]
    first, apart, size = batch * n // n_batches, 1, (batch + 1) * n // n_batches - batch * n // n_batches
    if recipe.stratified:  # strata lie side by side: every so many rows there is one of this batch
        first, apart, size = batch, n_batches, (n - batch + n_batches - 1) // n_batches
    total, share = 0.0, real(1 / size, weight)
    if shape.scale >= 0 or shape.normalization != NONE or shape.parts[0, BLEND] >= 0:
        for i in range(gradient.size):  # those of weights and biases are written by the first block
            gradient[i] = 0
    for done in range(0, size, block):
        if stop[0]:
            return 0.0
        B = min(block, size - done)
        gather(shape, recipe, state, rows, p, t, weight, first + done * apart, apart, B, dropping)
        for i in range(B):
            weight[i] *= share
        forward(shape, kernels, state.theta, p, B, recipe.dropout * dropping, state.counter, True)
        z = units(p, Z, L, B * K).reshape((B, K))
        d = units(p, E, L, B * K).reshape((B, K))
        total += call(kernels.loss, (z, t[:B], weight[:B], d, recipe.smoothing, recipe.loss_parameter))
        for i in range(B):
            copy_row(d, i, z, i)
        backward(shape, kernels, state.theta, p, B, ones, gradient, done > 0)
    if recipe.clip_norm > 0:
        clip(gradient, recipe.clip_norm)
    apply_update(shape, kernels, recipe, state, gradient, rate, decay)
    return size * total


@compiled
def train(shape, kernels, recipe, state, rows, factors, losses, stop):
    """Train one member for len(losses) epochs; write each epoch's mean training loss to `losses`.

    factors: (steps, 3) those of learning rate, dropout and weight decay. Returns the epochs that were finished: fewer
    than asked when `stop[0]` was set meanwhile, or when the loss stopped being a number, which then stands in `losses`.
    """
    n = state.order.size
    n_batches = (n + recipe.batch_size - 1) // recipe.batch_size
    block = (n + n_batches - 1) // n_batches
    if shape.normalization != BATCH:  # its means are those of the whole batch
        block = min(block, BLOCK)
    p, gradient = new_pass(shape, block, state.theta.dtype), np.zeros_like(state.theta)
    t, weight = np.empty((block, rows.t.shape[1]), rows.t.dtype), np.empty(block, rows.weight.dtype)
    widest = 0
    for size in shape.sizes:
        widest = max(widest, size)
    ones = np.zeros(1 + widest, state.theta.dtype)
    ones[0] = 1
    weights = 0.0
    for row in state.order:
        weights += rows.weight[row]
    flushed = flush_denormals(True)
    done = 0
    for epoch in range(losses.size):
        order_rows(recipe, state)
        total = 0.0
        for batch in range(n_batches):  # as equal in size as they can be
            if stop[0]:
                break
            step = epoch * n_batches + batch
            total += call(kernels.descend, (shape, kernels, recipe, state, rows, p, t, weight, ones, gradient, batch,
                          n_batches, factors[step, 0], factors[step, 1], factors[step, 2], stop))  # fmt: skip
        losses[epoch] = total / weights
        if stop[0] or not np.isfinite(losses[epoch]):
            break
        done += 1
    flush_denormals(flushed)
    return done


@compiled
def predict(shape, kernels, theta, x, index, out):
    """Write the last weighted sums for the rows `index` of x (n, F) to `out` (len(index), K).

    A row's sums are the same to the last bit whatever rows stand beside it.
    """
    L = shape.sizes.size - 1
    block = max(1, min(BLOCK, index.size))
    p = new_pass(shape, block, theta.dtype)
    counter = np.zeros(1, np.uint64)
    for first in range(0, index.size, block):
        B = min(block, index.size - first)
        inputs = units(p, A, 0, B * shape.sizes[0]).reshape((B, shape.sizes[0]))
        for i in range(B):
            copy_row(x, index[first + i], inputs, i)
        forward(shape, kernels, theta, p, B, 0.0, counter, False)
        last = units(p, Z, L, B * shape.sizes[L]).reshape((B, shape.sizes[L]))
        for i in range(B):
            copy_row(last, i, out, first + i)
