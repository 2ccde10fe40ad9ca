"""Compiled training loop of one multilayer perceptron.

The whole training loop of one multilayer perceptron as compiled code, in the letters of the textbook. For layer l with
weights W and bias b: z = x W + b, a = f(z), and backwards d = dLoss/dz, dLoss/dW = x^T d, dLoss/dx = d W^T
(Rumelhart, Hinton & Williams 1986). B is the rows of a block; what belongs to all layers lies one after the other in
flat arrays, and nothing is allocated in the loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.training.compiled.jit import call_address, constant_like, copy_row, flush_denormals, jit
from rosenblatt.training.compiled.matmul import matmul, transpose
from rosenblatt.training.compiled.normalization import BATCH, NONE
from rosenblatt.training.compiled.random import apply_dropout, drop_units, shuffle
from rosenblatt.training.compiled.regularization import apply_max_norm, clip, soft_threshold, update_ema

BLOCK = 256  # rows that go through the network at a time; the gradients of a batch's blocks add up
# the parts of a layer, in the order of `CompiledLayout.parts`
WEIGHT, BIAS, GAIN, SHIFT, MEAN, VARIANCE, BLEND = range(7)


class CompiledLayout(NamedTuple):
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
    normalize_backward: int
    loss: int  # 0 where nothing is learnt, as those below
    update: int
    train_step: int


class Workspace(NamedTuple):
    """What one pass of a block of rows through the network leaves: blocks (B, size) for the units of each layer."""

    flat: np.ndarray  # all of them, one after the other
    # (7, L + 2) int64: where each kind's block for each layer's units starts, 0 are the inputs; its end
    starts: np.ndarray


Z, A, E, NORMALIZED, INV_STD, BLEND_DIFFERENCE, SCRATCH = range(7)
# Z: weighted sums, then the slopes da/dz, then the gradients dLoss/dz: each takes the place of the last
# A: activations
# E: the gradients dLoss/da
# NORMALIZED, INV_STD: sums after normalization before gain and shift, and 1 / deviation
# BLEND_DIFFERENCE: f(z) - z where activations are blended; for the inputs, where they are scaled, what they were before
# SCRATCH: a transposed W, or the means of a batch


@jit
def new_workspace(layout, B, dtype):
    """Room for a pass of at most B rows."""
    sizes = layout.sizes
    L = sizes.size - 1
    starts = np.empty((7, L + 2), np.int64)
    end = 0
    for kind in range(7):
        for l in range(L + 1):
            starts[kind, l] = end
            size = B * sizes[l]
            hidden = 0 < l < L
            if kind in (NORMALIZED, INV_STD) and not (hidden and layout.normalization != NONE):
                size = 0
            elif kind == INV_STD:
                size = max(B, sizes[l])
            elif kind == BLEND_DIFFERENCE and not (
                layout.parts[l - 1, BLEND] >= 0 if hidden else l == 0 and layout.scale >= 0
            ):
                size = 0
            elif kind == SCRATCH:
                size = max(2, sizes[l - 1]) * sizes[l] if l > 0 else 0
            end += size
        starts[kind, L + 1] = end
    return Workspace(np.empty(end, dtype), starts)


@jit
def layer_view(workspace, kind, l, size):
    """The first numbers of a kind's block for the units of layer l, or none where there is no such block."""
    start = workspace.starts[kind, l]
    return workspace.flat[start : start + min(size, workspace.starts[kind, l + 1] - start)]


@jit
def parameter_view(layout, theta, l, part):
    """A part of layer l, as a view of the flat theta (or of its gradient); weights are (in, out) flat."""
    start, n_out = layout.parts[l, part], layout.sizes[l + 1]
    if start < 0:
        return theta[:0]
    return theta[start : start + (layout.sizes[l] * n_out if part == WEIGHT else n_out)]


@jit
def is_residual(layout, l):
    """Whether what enters layer l is added to what leaves it (He et al. 2016)."""
    return layout.residual and 0 < l < layout.sizes.size - 2 and layout.sizes[l] == layout.sizes[l + 1]


@jit
def forward(layout, kernels, theta, workspace, B, dropout, counter, training):
    """Fill in the weighted sums and activations of all layers for B rows; the inputs are there already."""
    sizes = layout.sizes
    L = sizes.size - 1
    if layout.scale >= 0:
        scale_inputs(
            theta[layout.scale : layout.scale + sizes[0]],
            layer_view(workspace, A, 0, B * sizes[0]),
            layer_view(workspace, BLEND_DIFFERENCE, 0, B * sizes[0]),
        )
    for l in range(L):
        n_in, n_out = sizes[l], sizes[l + 1]
        x, z, a = (
            layer_view(workspace, A, l, B * n_in),
            layer_view(workspace, Z, l + 1, B * n_out),
            layer_view(workspace, A, l + 1, B * n_out),
        )
        matmul(
            x,
            n_in,
            1,
            parameter_view(layout, theta, l, WEIGHT),
            parameter_view(layout, theta, l, BIAS),
            0,
            z,
            B,
            n_out,
            n_in,
        )
        if l == L - 1:
            break
        if layout.normalization != NONE:
            call_address(
                kernels.normalize,
                (
                    z,
                    parameter_view(layout, theta, l, GAIN),
                    parameter_view(layout, theta, l, SHIFT),
                    parameter_view(layout, theta, l, MEAN),
                    parameter_view(layout, theta, l, VARIANCE),
                    layer_view(workspace, NORMALIZED, l + 1, B * n_out),
                    layer_view(workspace, INV_STD, l + 1, max(B, n_out)),
                    training,
                ),
            )
        blend_difference = layer_view(workspace, BLEND_DIFFERENCE, l + 1, B * n_out)
        for i in range(blend_difference.size):
            blend_difference[i] = z[i]
        call_address(kernels.activate, (z, a))
        if blend_difference.size:
            blend(parameter_view(layout, theta, l, BLEND), a, z, blend_difference)
        if dropout > 0:
            drop_units(a, z, blend_difference, dropout, counter)
        if is_residual(layout, l):
            for i in range(a.size):
                a[i] += x[i]


@jit
def scale_inputs(factors, x, unscaled):
    """Multiply each input of x (B, F) flat by its factor (F,), the scaling layer of Holzmüller et al. 2024.

    What it was is kept in `unscaled`."""
    n = factors.size
    for i in range(x.size // n):
        for j in range(n):
            unscaled[i * n + j] = x[i * n + j]
            x[i * n + j] *= factors[j]


@jit
def blend(alpha, a, slope, blend_difference):
    """a = z + alpha (f(z) - z), with a factor alpha (n,) for each unit (Holzmüller et al. 2024).

    z stands in `blend_difference`, where then f(z) - z is."""
    n = alpha.size
    for i in range(a.size // n):
        for j in range(n):
            k = i * n + j
            z, blend_difference[k] = blend_difference[k], a[k] - blend_difference[k]
            a[k] = z + alpha[j] * blend_difference[k]
            slope[k] = constant_like(1, z) + alpha[j] * (slope[k] - constant_like(1, z))


@jit
def add_product_sums(d, factor, gradient):
    """gradient (n,) += the sum over rows of d times factor, both (B, n) flat."""
    n = gradient.size
    for i in range(d.size // n):
        for j in range(n):
            gradient[j] += d[i * n + j] * factor[i * n + j]


@jit
def backward(layout, kernels, theta, workspace, B, ones, gradient, accumulate):
    """From the loss's gradient with respect to the last sums, in the place of these, fill in that of all parameters.

    `accumulate` to what there is of weights and biases, or in its place. ones: (1,) and zeros after it.
    """
    sizes = layout.sizes
    L = sizes.size - 1
    for l in range(L - 1, -1, -1):
        n_in, n_out = sizes[l], sizes[l + 1]
        x, d = layer_view(workspace, A, l, B * n_in), layer_view(workspace, Z, l + 1, B * n_out)
        dW, db = parameter_view(layout, gradient, l, WEIGHT), parameter_view(layout, gradient, l, BIAS)
        if accumulate:
            matmul(x, 1, n_in, d, dW, n_out, dW, n_in, n_out, B)
            matmul(ones, 0, 0, d, db, n_out, db, 1, n_out, B)
        else:
            matmul(x, 1, n_in, d, ones[1:], 0, dW, n_in, n_out, B)
            matmul(ones, 0, 0, d, ones[1:], 0, db, 1, n_out, B)
        if l == 0 and layout.scale < 0:
            break
        transposed, e = layer_view(workspace, SCRATCH, l + 1, n_in * n_out), layer_view(workspace, E, l, B * n_in)
        transpose(parameter_view(layout, theta, l, WEIGHT), n_in, n_out, transposed)
        start, stride = (layer_view(workspace, E, l + 1, B * n_out), n_in) if is_residual(layout, l) else (ones[1:], 0)
        matmul(d, n_out, 1, transposed, start, stride, e, B, n_in, n_out)
        if l == 0:
            add_product_sums(
                e, layer_view(workspace, BLEND_DIFFERENCE, 0, B * n_in), gradient[layout.scale : layout.scale + n_in]
            )
        else:
            activation_backward(layout, kernels, theta, workspace, l, B, gradient)


@jit
def activation_backward(layout, kernels, theta, workspace, l, B, gradient):
    """From dLoss/da of the units that enter layer l to dLoss/dz of them, through slope, blend and normalization."""
    k, n = l - 1, layout.sizes[l]
    e, d, blend_difference = (
        layer_view(workspace, E, l, B * n),
        layer_view(workspace, Z, l, B * n),
        layer_view(workspace, BLEND_DIFFERENCE, l, B * n),
    )
    for i in range(d.size):
        d[i] *= e[i]
    if blend_difference.size:
        add_product_sums(e, blend_difference, parameter_view(layout, gradient, k, BLEND))
    if layout.normalization != NONE:
        call_address(
            kernels.normalize_backward,
            (
                d,
                parameter_view(layout, theta, k, GAIN),
                layer_view(workspace, NORMALIZED, l, B * n),
                layer_view(workspace, INV_STD, l, max(B, n)),
                parameter_view(layout, gradient, k, GAIN),
                parameter_view(layout, gradient, k, SHIFT),
                layer_view(workspace, SCRATCH, l, 2 * n),
            ),
        )


@jit
def apply_update(layout, kernels, config, state, gradient, rate, decay):
    """One step of the optimizer for each group of parameters, then what bounds and averages them.

    `rate` and `decay` are factors of their learning rates and weight decays."""
    state.step[0] += 1
    for g in range(config.groups.shape[0]):
        lo, hi, lr = config.groups[g, 0], config.groups[g, 1], config.rates[g, 0] * rate
        decay_factor = 1.0 - lr * config.rates[g, 1] * decay
        call_address(
            kernels.update,
            (
                state.theta[lo:hi],
                gradient[lo:hi],
                state.m[lo:hi],
                state.v[lo:hi],
                lr,
                decay_factor,
                config.beta1,
                config.beta2,
                state.step[0],
            ),
        )
        if config.l1 > 0 and config.rates[g, 2] > 0:
            soft_threshold(state.theta[lo:hi], lr * config.l1)
    if config.max_norm > 0:
        for l in range(layout.sizes.size - 1):
            apply_max_norm(
                parameter_view(layout, state.theta, l, WEIGHT), layout.sizes[l], layout.sizes[l + 1], config.max_norm
            )
    if config.ema_decay > 0:
        update_ema(state.mean, state.theta, config.ema_decay, state.step[0])


@jit
def shuffle_rows(config, state):
    """Put the rows into a new random order, each stratum for itself."""
    for s in range(config.strata.size - 1):
        shuffle(state.order[config.strata[s] : config.strata[s + 1]], state.counter)


@jit
def gather_batch(layout, config, state, rows, workspace, t, weight, first, stride, B, dropout_factor):
    """Copy B rows of a batch, from the first on, `stride` places from one to the next."""
    x = layer_view(workspace, A, 0, B * layout.sizes[0]).reshape((B, layout.sizes[0]))
    for i in range(B):
        row = state.order[first + i * stride]
        copy_row(rows.x, row, x, i)
        copy_row(rows.t, row, t, i)
        weight[i] = rows.weight[row]
    if config.input_dropout > 0:
        apply_dropout(x.ravel(), config.input_dropout * dropout_factor, state.counter)


@jit
def train_step(
    layout,
    kernels,
    config,
    state,
    rows,
    workspace,
    t,
    weight,
    ones,
    gradient,
    batch,
    n_batches,
    rate,
    dropout_factor,
    decay,
    stop,
):
    """Take one step for a batch, whose rows go through the network block by block; return their summed loss.

    `rate`, `dropout_factor` and `decay` are factors of learning rate, dropout, weight decay. When `stop[0]` is set, no
    step is taken.
    """
    L, n, block = layout.sizes.size - 1, state.order.size, weight.size
    K = layout.sizes[L]
    first, stride, size = batch * n // n_batches, 1, (batch + 1) * n // n_batches - batch * n // n_batches
    if config.stratified:  # strata lie side by side: every so many rows there is one of this batch
        first, stride, size = batch, n_batches, (n - batch + n_batches - 1) // n_batches
    total, scale = 0.0, constant_like(1 / size, weight)
    if layout.scale >= 0 or layout.normalization != NONE or layout.parts[0, BLEND] >= 0:
        for i in range(gradient.size):  # those of weights and biases are written by the first block
            gradient[i] = 0
    for start in range(0, size, block):
        if stop[0]:
            return 0.0
        B = min(block, size - start)
        gather_batch(
            layout, config, state, rows, workspace, t, weight, first + start * stride, stride, B, dropout_factor
        )
        for i in range(B):
            weight[i] *= scale
        forward(layout, kernels, state.theta, workspace, B, config.dropout * dropout_factor, state.counter, True)
        z = layer_view(workspace, Z, L, B * K).reshape((B, K))
        d = layer_view(workspace, E, L, B * K).reshape((B, K))
        total += call_address(kernels.loss, (z, t[:B], weight[:B], d, config.smoothing, config.loss_parameter))
        for i in range(B):
            copy_row(d, i, z, i)
        backward(layout, kernels, state.theta, workspace, B, ones, gradient, start > 0)
    if config.clip_norm > 0:
        clip(gradient, config.clip_norm)
    apply_update(layout, kernels, config, state, gradient, rate, decay)
    return size * total


@jit
def train(layout, kernels, config, state, rows, factors, losses, stop):
    """Train one member for len(losses) epochs; write each epoch's mean training loss to `losses`.

    factors: (steps, 3) those of learning rate, dropout and weight decay. Returns the epochs that were finished: fewer
    than asked when `stop[0]` was set meanwhile, or when the loss stopped being a number, which then stands in `losses`.
    """
    n = state.order.size
    n_batches = (n + config.batch_size - 1) // config.batch_size
    block = (n + n_batches - 1) // n_batches
    if layout.normalization != BATCH:  # its means are those of the whole batch
        block = min(block, BLOCK)
    workspace, gradient = new_workspace(layout, block, state.theta.dtype), np.zeros_like(state.theta)
    t, weight = np.empty((block, rows.t.shape[1]), rows.t.dtype), np.empty(block, rows.weight.dtype)
    widest = 0
    for size in layout.sizes:
        widest = max(widest, size)
    ones = np.zeros(1 + widest, state.theta.dtype)
    ones[0] = 1
    weights = 0.0
    for row in state.order:
        weights += rows.weight[row]
    previous_mode = flush_denormals(True)
    n_finished = 0
    for epoch in range(losses.size):
        shuffle_rows(config, state)
        total = 0.0
        for batch in range(n_batches):  # as equal in size as they can be
            if stop[0]:
                break
            step = epoch * n_batches + batch
            total += call_address(
                kernels.train_step,
                (
                    layout,
                    kernels,
                    config,
                    state,
                    rows,
                    workspace,
                    t,
                    weight,
                    ones,
                    gradient,
                    batch,
                    n_batches,
                    factors[step, 0],
                    factors[step, 1],
                    factors[step, 2],
                    stop,
                ),
            )
        losses[epoch] = total / weights
        if stop[0] or not np.isfinite(losses[epoch]):
            break
        n_finished += 1
    flush_denormals(previous_mode)
    return n_finished


@jit
def predict(layout, kernels, theta, x, index, out):
    """Write the last weighted sums for the rows `index` of x (n, F) to `out` (len(index), K).

    A row's sums are the same to the last bit whatever rows stand beside it.
    """
    L = layout.sizes.size - 1
    block = max(1, min(BLOCK, index.size))
    workspace = new_workspace(layout, block, theta.dtype)
    counter = np.zeros(1, np.uint64)
    for start in range(0, index.size, block):
        B = min(block, index.size - start)
        inputs = layer_view(workspace, A, 0, B * layout.sizes[0]).reshape((B, layout.sizes[0]))
        for i in range(B):
            copy_row(x, index[start + i], inputs, i)
        forward(layout, kernels, theta, workspace, B, 0.0, counter, False)
        logits = layer_view(workspace, Z, L, B * layout.sizes[L]).reshape((B, layout.sizes[L]))
        for i in range(B):
            copy_row(logits, i, out, start + i)
