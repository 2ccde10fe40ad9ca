"""Batch and layer normalization of the logits of a hidden layer, (B, n) flat, and their gradients.

Batch normalization (Ioffe & Szegedy 2015) uses mean and variance over the rows of a batch, and their running averages
in predictions; layer normalization (Ba, Kiros & Hinton 2016) uses mean and variance over the units of a row.
"""

from __future__ import annotations

import math

from rosenblatt.training.compiled.jit import constant_like, jit

NONE, BATCH, LAYER = range(3)
NORMALIZATIONS = {"none": NONE, "batch": BATCH, "layer": LAYER}

EPSILON = 1e-5  # added to the variance
RUNNING_MOMENTUM = 0.1  # weight of a new batch in the running mean and variance


@jit
def normalize_rows(z, gain, shift, running_mean, running_variance, normalized, inv_std, training):
    """Layer normalization of z in place: gain * normalized + shift, with normalized = (z - mean) * inv_std.

    normalized (B n,) and inv_std (B,) are written for the backward pass."""
    n = gain.size
    inv_n, epsilon = constant_like(1 / n, z), constant_like(EPSILON, z)
    for i in range(z.size // n):
        mean, sum_squares = constant_like(0, z), constant_like(0, z)
        for j in range(n):
            mean += z[i * n + j]
        mean *= inv_n
        for j in range(n):
            difference = z[i * n + j] - mean
            sum_squares += difference * difference
        inv_std[i] = constant_like(1, z) / math.sqrt(sum_squares * inv_n + epsilon)
        for j in range(n):
            normalized[i * n + j] = (z[i * n + j] - mean) * inv_std[i]
            z[i * n + j] = normalized[i * n + j] * gain[j] + shift[j]
    return 0.0


@jit
def normalize_batch(z, gain, shift, running_mean, running_variance, normalized, inv_std, training):
    """Batch normalization of z in place, as `normalize_rows`; inv_std is (n,).

    In training, the running mean and variance move towards those of the batch; otherwise they are used instead.
    """
    n = gain.size
    B, epsilon, momentum = z.size // n, constant_like(EPSILON, z), constant_like(RUNNING_MOMENTUM, z)
    if training:
        inv_B, unbiased = constant_like(1 / B, z), constant_like(B / max(B - 1, 1), z)
        for j in range(n):
            inv_std[j] = 0
        for i in range(B):
            for j in range(n):
                inv_std[j] += z[i * n + j] * inv_B
        for j in range(n if B > 1 else 0):  # `inv_std` holds the mean; a single row has no variance
            running_mean[j] += momentum * (inv_std[j] - running_mean[j])
        for i in range(B):
            for j in range(n):
                normalized[i * n + j] = z[i * n + j] - inv_std[j]
        for j in range(n):
            inv_std[j] = 0
        for i in range(B):
            for j in range(n):
                inv_std[j] += normalized[i * n + j] * normalized[i * n + j] * inv_B
        for j in range(n):  # `inv_std` holds the variance
            if B > 1:
                running_variance[j] += momentum * (unbiased * inv_std[j] - running_variance[j])
            inv_std[j] = constant_like(1, z) / math.sqrt(inv_std[j] + epsilon)
    else:
        for j in range(n):
            inv_std[j] = constant_like(1, z) / math.sqrt(running_variance[j] + epsilon)
        for i in range(B):
            for j in range(n):
                normalized[i * n + j] = z[i * n + j] - running_mean[j]
    for i in range(B):
        for j in range(n):
            normalized[i * n + j] *= inv_std[j]
            z[i * n + j] = normalized[i * n + j] * gain[j] + shift[j]
    return 0.0


@jit
def affine_backward(d, gain, normalized, gain_gradient, shift_gradient):
    """Add the gradients of gain and shift; backpropagate d = dLoss/dz (B n,) through them in place."""
    n = gain.size
    for i in range(d.size // n):
        for j in range(n):
            gain_gradient[j] += d[i * n + j] * normalized[i * n + j]
            shift_gradient[j] += d[i * n + j]
            d[i * n + j] *= gain[j]


@jit
def normalize_rows_backward(d, gain, normalized, inv_std, gain_gradient, shift_gradient, scratch):
    """Backpropagate d through `normalize_rows`, in place."""
    affine_backward(d, gain, normalized, gain_gradient, shift_gradient)
    n = gain.size
    inv_n = constant_like(1 / n, d)
    for i in range(d.size // n):
        mean, projection = constant_like(0, d), constant_like(0, d)
        for j in range(n):
            mean += d[i * n + j]
            projection += d[i * n + j] * normalized[i * n + j]
        for j in range(n):
            d[i * n + j] = inv_std[i] * (d[i * n + j] - inv_n * (mean + normalized[i * n + j] * projection))
    return 0.0


@jit
def normalize_batch_backward(d, gain, normalized, inv_std, gain_gradient, shift_gradient, scratch):
    """Backpropagate d through `normalize_batch`, in place; scratch is (2 n,)."""
    affine_backward(d, gain, normalized, gain_gradient, shift_gradient)
    n = gain.size
    B = d.size // n
    inv_B = constant_like(1 / B, d)
    for j in range(2 * n):
        scratch[j] = 0
    for i in range(B):
        for j in range(n):
            scratch[j] += d[i * n + j] * inv_B
            scratch[n + j] += d[i * n + j] * normalized[i * n + j] * inv_B
    for i in range(B):
        for j in range(n):
            d[i * n + j] = inv_std[j] * (d[i * n + j] - scratch[j] - normalized[i * n + j] * scratch[n + j])
    return 0.0


FORWARD_AND_BACKWARD = {
    "batch": (normalize_batch, normalize_batch_backward),
    "layer": (normalize_rows, normalize_rows_backward),
}
