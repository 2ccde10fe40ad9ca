"""Compiled training loop of one multilayer perceptron.

`train` and `train_step` hold the five steps: shuffle, gather, forward, backward, update. The rest of the file is their
details. For layer l with weights W and bias b: z = x W + b, a = f(z), and backwards d = dLoss/dz, dLoss/dW = x^T d,
dLoss/dx = d W^T (Rumelhart, Hinton & Williams 1986). A batch goes through the network in blocks of B rows. All layers
share flat arrays, and nothing is allocated in the loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.training.compiled.first_layer import SortedRows, input_weight_gradient, multiply_inputs
from rosenblatt.training.compiled.jit import call_address, constant_like, copy_row, flush_denormals, jit, prefetch
from rosenblatt.training.compiled.matmul import matmul, transpose
from rosenblatt.training.compiled.normalization import BATCH, NONE
from rosenblatt.training.compiled.random import apply_dropout, drop_units, shuffle
from rosenblatt.training.compiled.update import update_parameters
from rosenblatt.training.rows import DenseRows
from rosenblatt.training.state import MemberState, TrainingConfig

BLOCK = 256  # rows that go through the network at a time; the gradients of a batch's blocks are summed
PREDICTION_BLOCK = 96  # rows predicted at a time, so that their activations and a layer's weights fit into the cache
CACHE_LINE = 16  # float32 numbers
WEIGHT, BIAS, GAIN, SHIFT, MEAN, VARIANCE, BLEND = range(7)  # columns of `CompiledLayout.parts`


class CompiledLayout(NamedTuple):
    """Position of each layer's parameters in the flat array theta."""

    sizes: np.ndarray  # (L + 1,) int64: inputs, units of each hidden layer, outputs
    parts: np.ndarray  # (L, 7) int64: start of each part of each layer in theta; -1 if the layer has no such part
    scale: int  # start of the scaling layer's factors in theta; -1 without a scaling layer
    normalization: int
    residual: int
    spans: np.ndarray  # (S, 3) int64: of the inputs, as in `first_layer`


class Kernels(NamedTuple):
    """Addresses of the compiled functions that differ between members."""

    activate: int
    normalize: int  # 0 without normalization
    normalize_backward: int
    loss: int  # 0 in a network that only predicts, and so are the two below
    update: int
    train_step: int


class Job(NamedTuple):
    """A member's training: its network, configuration and state, and the table it is trained on."""

    layout: CompiledLayout
    kernels: Kernels
    config: TrainingConfig
    state: MemberState
    rows: DenseRows


class Workspace(NamedTuple):
    """Intermediate results of a block of rows in all layers; `layer_view` returns a layer's array (B, units) flat."""

    flat: np.ndarray  # all arrays, one after the other
    starts: np.ndarray  # (7, L + 2) int64: start of each kind's array for each layer (0: the inputs), and its end
    order: np.ndarray  # (S B + B,) int64: of the rows by bin, and `bin_starts` (F,) int64: see `first_layer.SortedRows`
    bin_starts: np.ndarray


Z, A, E, NORMALIZED, INV_STD, BLEND_DIFFERENCE, SCRATCH = range(7)  # kinds of arrays in a workspace
# Z: logits z, overwritten by the slopes da/dz, then by the gradients dLoss/dz
# A: activations
# E: the gradients dLoss/da
# NORMALIZED, INV_STD: z after normalization, before gain and shift; 1 / standard deviation
# BLEND_DIFFERENCE: f(z) - z of parametric activations; for the inputs of a scaling layer, the inputs before scaling
# SCRATCH: transposed matrices, or the means of a batch


class Buffers(NamedTuple):
    """Arrays that all steps of a training loop reuse."""

    workspace: Workspace
    t: np.ndarray  # (B, 1 or K) targets of a block
    weight: np.ndarray  # (B,) row weights of a block, divided by the batch size
    gradient: np.ndarray  # (n_parameters,)
    ones: np.ndarray  # (1 + widest layer,) a one followed by zeros, an operand of matrix products


@jit
def train(job, factors, losses, stop):
    """Train one member for len(losses) epochs; write each epoch's mean training loss to `losses`.

    Args:
        job: a `Job`, whose state is updated in place.
        factors: (steps, 3) factors of learning rate, dropout and weight decay in each step.
        losses: (epochs,), written.
        stop: (1,) uint8, set by another thread to end training within a batch.

    Returns:
        The number of finished epochs: fewer than len(losses) if `stop[0]` was set, or if the loss is not finite; then
        losses[finished] holds it.
    """
    layout, kernels, config, state, rows = job
    n_batches = (state.order.size + config.batch_size - 1) // config.batch_size  # their sizes differ by at most a row
    buffers = new_buffers(layout, state, rows, n_batches)
    total_weight = sum_weights(rows.weight, state.order)
    previous_mode, n_finished = flush_denormals(True), 0
    for epoch in range(losses.size):
        # Shuffle the rows.
        shuffle_rows(config, state)
        total = 0.0
        for batch in range(n_batches):
            if stop[0]:
                break
            # Gather, forward, backward, update: `train_step`, called by its address because it is compiled separately.
            step = epoch * n_batches + batch
            step_factors = factors[step, 0], factors[step, 1], factors[step, 2]
            total += call_address(kernels.train_step, (job, buffers, batch, n_batches, step_factors, stop))
        losses[epoch] = total / total_weight
        if stop[0] or not np.isfinite(losses[epoch]):
            break
        n_finished += 1
    flush_denormals(previous_mode)
    return n_finished


@jit
def train_step(job, buffers, batch, n_batches, factors, stop):
    """Update the parameters once, from one batch; return the summed loss of its rows.

    The three factors are those of learning rate, dropout and weight decay. If `stop[0]` is set, nothing is updated.
    """
    layout, kernels, config, state, rows = job
    workspace, t, weight, gradient, ones = buffers
    rate, dropout, decay = factors
    first, stride, size = batch_rows(state.order.size, batch, n_batches, config.stratified)
    clear_gradient(layout, gradient)
    total = 0.0
    for start in range(0, size, weight.size):
        if stop[0]:
            return 0.0
        # Gather a block of rows.
        B = min(weight.size, size - start)
        x, z, d = block_views(layout, workspace, B)
        gather_rows(rows, state.order, first + start * stride, stride, size, x, t, weight)
        if config.input_dropout > 0:
            apply_dropout(x.ravel(), config.input_dropout * dropout, state.counter)
        # Forward pass, to the logits z.
        forward(layout, kernels, state.theta, workspace, B, config.dropout * dropout, state.counter, True)
        # Loss and its gradient d with respect to z.
        total += call_address(kernels.loss, (z, t[:B], weight[:B], d, config.smoothing, config.loss_parameter))
        for i in range(B):
            copy_row(d, i, z, i)
        # Backward pass, from z to the gradient of all parameters.
        backward(layout, kernels, state.theta, workspace, gradient, ones, B, start > 0)
    # Update the parameters.
    update_parameters(kernels.update, config, state, gradient, rate, decay)
    return size * total


@jit
def predict(layout, kernels, theta, x, index, out):
    """Write the logits of rows `index` of x (n, F) to `out` (len(index), K).

    A row's logits are the same to the last bit, whatever other rows are predicted with it.
    """
    block = prediction_block(index.size)
    workspace = new_workspace(layout, block, np.empty(0, theta.dtype), False)
    predict_blocks(layout, kernels, theta, x, index, out, block, workspace)


@jit
def prediction_block(n):
    """Size of the blocks in which n rows are predicted: about equal ones."""
    n_blocks = max(1, (n + PREDICTION_BLOCK - 1) // PREDICTION_BLOCK)
    return max(1, (n + n_blocks - 1) // n_blocks)


@jit
def predict_blocks(layout, kernels, theta, x, index, out, block, workspace):
    """Predict in blocks of rows, for which there is a workspace; a kernel, called by its address."""
    counter = np.zeros(1, np.uint64)
    for start in range(0, index.size, block):
        B = min(block, index.size - start)
        inputs, logits, _ = block_views(layout, workspace, B)
        for i in range(B):
            copy_row(x, index[start + i], inputs, i)
        forward(layout, kernels, theta, workspace, B, 0.0, counter, False)
        for i in range(B):
            copy_row(logits, i, out, start + i)
    return 0.0


# Shuffle and gather


@jit
def shuffle_rows(config, state):
    """Shuffle the row order within each stratum."""
    for s in range(config.strata.size - 1):
        shuffle(state.order[config.strata[s] : config.strata[s + 1]], state.counter)


@jit
def batch_rows(n, batch, n_batches, stratified):
    """Positions of a batch's rows in the row order: the first, the distance between them, and their number."""
    if stratified:  # strata are contiguous, so every n_batches-th row gives each batch its share of all strata
        return batch, n_batches, (n - batch + n_batches - 1) // n_batches
    first = batch * n // n_batches
    return first, 1, (batch + 1) * n // n_batches - first


@jit
def block_views(layout, workspace, B):
    """Views of a block's inputs x (B, F), its logits z (B, K), and their gradient d (B, K)."""
    L = layout.sizes.size - 1
    F, K = layout.sizes[0], layout.sizes[L]
    x = layer_view(workspace, A, 0, B * F).reshape((B, F))
    return x, layer_view(workspace, Z, L, B * K).reshape((B, K)), layer_view(workspace, E, L, B * K).reshape((B, K))


@jit
def gather_rows(rows, order, first, stride, batch_size, x, t, weight):
    """Copy as many rows as x has from the table, starting at position `first` of the row order."""
    scale = constant_like(1 / batch_size, weight)
    for i in range(x.shape[0]):
        row = order[first + i * stride]
        copy_row(rows.x, row, x, i)
        copy_row(rows.t, row, t, i)
        weight[i] = rows.weight[row] * scale


# Forward pass


@jit
def forward(layout, kernels, theta, workspace, B, dropout, counter, training):
    """Compute the logits and activations of all layers for B rows, whose inputs are in the workspace."""
    sizes, L = layout.sizes, layout.sizes.size - 1
    if layout.scale >= 0:
        scale_inputs(layout, theta, workspace, B)
    for l in range(L):
        n_in, n_out = sizes[l], sizes[l + 1]
        x, z = layer_view(workspace, A, l, B * n_in), layer_view(workspace, Z, l + 1, B * n_out)
        W, b = parameter_view(layout, theta, l, WEIGHT), parameter_view(layout, theta, l, BIAS)
        if not training and B > 1:  # weights may be in no cache yet, and products read them with strides
            for i in range(0, W.size, CACHE_LINE):
                prefetch(W, i)
        if l == 0:
            multiply_inputs(layout.spans, SortedRows(x, workspace.order, workspace.bin_starts), W, b, z)
        else:
            matmul(x, n_in, 1, W, b, 0, z, B, n_out, n_in)
        if l == L - 1:
            break
        if layout.normalization != NONE:
            normalize(layout, kernels.normalize, theta, workspace, l, B, training)
        # a = f(z), and the slopes f'(z) replace z.
        a, blend_difference = (
            layer_view(workspace, A, l + 1, z.size),
            layer_view(workspace, BLEND_DIFFERENCE, l + 1, z.size),
        )
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
def scale_inputs(layout, theta, workspace, B):
    """Multiply each input by its factor, keeping the unscaled ones (scaling layer of Holzmüller et al. 2024)."""
    n = layout.sizes[0]
    factors = theta[layout.scale : layout.scale + n]
    x, unscaled = layer_view(workspace, A, 0, B * n), layer_view(workspace, BLEND_DIFFERENCE, 0, B * n)
    for i in range(B):
        for j in range(n):
            unscaled[i * n + j] = x[i * n + j]
            x[i * n + j] *= factors[j]


@jit
def normalize(layout, kernel, theta, workspace, l, B, training):
    """Normalize the logits of layer l in place."""
    n = layout.sizes[l + 1]
    z = layer_view(workspace, Z, l + 1, B * n)
    gain, shift = parameter_view(layout, theta, l, GAIN), parameter_view(layout, theta, l, SHIFT)
    mean, variance = parameter_view(layout, theta, l, MEAN), parameter_view(layout, theta, l, VARIANCE)
    normalized = layer_view(workspace, NORMALIZED, l + 1, B * n)
    inv_std = layer_view(workspace, INV_STD, l + 1, max(B, n))
    call_address(kernel, (z, gain, shift, mean, variance, normalized, inv_std, training))


@jit
def blend(alpha, a, slope, blend_difference):
    """a = z + alpha (f(z) - z), with a factor alpha (n,) for each unit (Holzmüller et al. 2024).

    `blend_difference` holds z before, and f(z) - z after.
    """
    n = alpha.size
    for i in range(a.size // n):
        for j in range(n):
            k = i * n + j
            z, blend_difference[k] = blend_difference[k], a[k] - blend_difference[k]
            a[k] = z + alpha[j] * blend_difference[k]
            slope[k] = constant_like(1, z) + alpha[j] * (slope[k] - constant_like(1, z))


@jit
def is_residual(layout, l):
    """Whether the input of layer l is added to its output (He et al. 2016)."""
    return layout.residual and 0 < l < layout.sizes.size - 2 and layout.sizes[l] == layout.sizes[l + 1]


# Backward pass


@jit
def clear_gradient(layout, gradient):
    """Set the gradient to 0 if some parts of it are summed; those of weights and biases are overwritten."""
    if layout.scale >= 0 or layout.normalization != NONE or layout.parts[0, BLEND] >= 0:
        for i in range(gradient.size):
            gradient[i] = 0


@jit
def backward(layout, kernels, theta, workspace, gradient, ones, B, accumulate):
    """Compute the gradient of all parameters, from dLoss/dz of the last layer in the workspace.

    If `accumulate`, the gradients of weights and biases are added to those of the batch's earlier blocks.
    """
    for l in range(layout.sizes.size - 2, -1, -1):
        n_in, n_out = layout.sizes[l], layout.sizes[l + 1]
        x, d = layer_view(workspace, A, l, B * n_in), layer_view(workspace, Z, l + 1, B * n_out)
        dW, db = parameter_view(layout, gradient, l, WEIGHT), parameter_view(layout, gradient, l, BIAS)
        zeros = ones[1:]
        if l == 0:
            rows = SortedRows(x, workspace.order, workspace.bin_starts)
            input_weight_gradient(layout.spans, rows, d, dW, zeros, accumulate)
        elif accumulate:
            matmul(x, 1, n_in, d, dW, n_out, dW, n_in, n_out, B)
        else:
            matmul(x, 1, n_in, d, zeros, 0, dW, n_in, n_out, B)
        if accumulate:
            matmul(ones, 0, 0, d, db, n_out, db, 1, n_out, B)
        else:
            matmul(ones, 0, 0, d, zeros, 0, db, 1, n_out, B)
        if l == 0 and layout.scale < 0:
            break
        W, e = parameter_view(layout, theta, l, WEIGHT), layer_view(workspace, E, l, B * n_in)
        start, stride = (layer_view(workspace, E, l + 1, B * n_out), n_in) if is_residual(layout, l) else (zeros, 0)
        scratch = layer_view(workspace, SCRATCH, l + 1, n_in * n_out)
        input_gradient(d, W, start, stride, e, B, scratch)
        if l > 0:
            activation_backward(layout, kernels, theta, workspace, l, B, gradient)
        else:
            unscaled = layer_view(workspace, BLEND_DIFFERENCE, 0, B * n_in)
            add_product_sums(e, unscaled, gradient[layout.scale : layout.scale + n_in])


@jit
def input_gradient(d, W, start, stride, e, B, scratch):
    """e = start + d W^T, for flat arrays: from a transposed W, or as (W d^T)^T if d and e are smaller than W."""
    n_in, n_out = e.size // B, d.size // B
    if stride == 0 and B * (n_in + n_out) < n_in * n_out:
        transposed, product = scratch[: n_out * B], scratch[n_out * B : (n_in + n_out) * B]
        transpose(d, B, n_out, transposed)
        matmul(W, n_out, 1, transposed, start, 0, product, n_in, B, n_out)
        transpose(product, n_in, B, e)
    else:
        transpose(W, n_in, n_out, scratch)
        matmul(d, n_out, 1, scratch, start, stride, e, B, n_in, n_out)


@jit
def activation_backward(layout, kernels, theta, workspace, l, B, gradient):
    """Turn dLoss/da of the inputs of layer l into their dLoss/dz: through slopes, blend and normalization."""
    k, n = l - 1, layout.sizes[l]
    e, d = layer_view(workspace, E, l, B * n), layer_view(workspace, Z, l, B * n)
    blend_difference = layer_view(workspace, BLEND_DIFFERENCE, l, B * n)
    for i in range(d.size):
        d[i] *= e[i]
    if blend_difference.size:
        add_product_sums(e, blend_difference, parameter_view(layout, gradient, k, BLEND))
    if layout.normalization != NONE:
        gain = parameter_view(layout, theta, k, GAIN)
        normalized, inv_std = layer_view(workspace, NORMALIZED, l, B * n), layer_view(workspace, INV_STD, l, max(B, n))
        d_gain, d_shift = parameter_view(layout, gradient, k, GAIN), parameter_view(layout, gradient, k, SHIFT)
        scratch = layer_view(workspace, SCRATCH, l, 2 * n)
        call_address(kernels.normalize_backward, (d, gain, normalized, inv_std, d_gain, d_shift, scratch))


@jit
def add_product_sums(d, factor, gradient):
    """gradient (n,) += the sum over rows of d * factor, both (B, n) flat."""
    n = gradient.size
    for i in range(d.size // n):
        for j in range(n):
            gradient[j] += d[i * n + j] * factor[i * n + j]


# Memory


@jit
def new_buffers(layout, state, rows, n_batches):
    """Allocate the buffers of a training loop with n_batches steps an epoch."""
    block = (state.order.size + n_batches - 1) // n_batches
    if layout.normalization != BATCH:  # which needs the means of the whole batch
        block = min(block, BLOCK)
    workspace = new_workspace(layout, block, np.empty(0, state.theta.dtype), True)
    t, weight = np.empty((block, rows.t.shape[1]), rows.t.dtype), np.empty(block, rows.weight.dtype)
    widest = 0
    for size in layout.sizes:
        widest = max(widest, size)
    ones = np.zeros(1 + widest, state.theta.dtype)
    ones[0] = 1
    return Buffers(workspace, t, weight, np.zeros_like(state.theta), ones)


@jit
def sum_weights(weight, order):
    """Sum of the weights of the rows in `order`."""
    total = 0.0
    for row in order:
        total += weight[row]
    return total


@jit
def new_workspace(layout, B, flat, training):
    """Make a workspace for blocks of at most B rows in the array `flat`, or in a new one if that is too small."""
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
                size = max(2, sizes[l - 1]) * sizes[l] if l > 0 and training else 0
            end += size
        starts[kind, L + 1] = end
    order = np.empty((layout.spans.shape[0] + 1) * B, np.int64)
    flat = flat if flat.size >= end else np.empty(end, flat.dtype)
    return Workspace(flat, starts, order, np.empty(sizes[0], np.int64))


@jit
def layer_view(workspace, kind, l, size):
    """The first `size` numbers of an array of layer l, as a view; empty if the layer has no such array."""
    start = workspace.starts[kind, l]
    return workspace.flat[start : start + min(size, workspace.starts[kind, l + 1] - start)]


@jit
def parameter_view(layout, theta, l, part):
    """A part of layer l as a view of the flat theta or gradient, empty if missing; weights are (in, out) flat."""
    start, n_out = layout.parts[l, part], layout.sizes[l + 1]
    if start < 0:
        return theta[:0]
    return theta[start : start + (layout.sizes[l] * n_out if part == WEIGHT else n_out)]
