"""In: the weighted sums of a hidden layer, (B, n) flat. Out: the same with mean 0 and variance 1, scaled and shifted by
what is learnt; and the way back for gradients.

Batch normalization (Ioffe & Szegedy 2015) takes mean and variance over the rows of a batch, and running ones of those
to predict with; layer normalization (Ba, Kiros & Hinton 2016) takes them over the units of a row.
"""

from __future__ import annotations

import math

from rosenblatt.training.compiled.jit import compiled, real

NONE, BATCH, LAYER = range(3)
NORMALIZATIONS = {"none": NONE, "batch": BATCH, "layer": LAYER}

EPSILON = 1e-5  # added to the variance
RUNNING = 0.1  # weight of a new batch in the running mean and variance


@compiled
def normalize_rows(z, gain, shift, running_mean, running_variance, hat, inverse, learning):
    """Layer normalization of z in place: gain * hat + shift, with hat = (z - mean) * inverse, inverse = 1 / deviation.

    hat (B n,) and inverse (B,) are kept for the way back."""
    n = gain.size
    share, epsilon = real(1 / n, z), real(EPSILON, z)
    for i in range(z.size // n):
        mean, square = real(0, z), real(0, z)
        for j in range(n):
            mean += z[i * n + j]
        mean *= share
        for j in range(n):
            difference = z[i * n + j] - mean
            square += difference * difference
        inverse[i] = real(1, z) / math.sqrt(square * share + epsilon)
        for j in range(n):
            hat[i * n + j] = (z[i * n + j] - mean) * inverse[i]
            z[i * n + j] = hat[i * n + j] * gain[j] + shift[j]
    return 0.0


@compiled
def normalize_batch(z, gain, shift, running_mean, running_variance, hat, inverse, learning):
    """Batch normalization of z in place, as `normalize_rows`; inverse is (n,). Learning, the running mean and variance
    move towards those of the batch, else they take their place."""
    n = gain.size
    B, epsilon, running = z.size // n, real(EPSILON, z), real(RUNNING, z)
    if learning:
        share, unbiased = real(1 / B, z), real(B / max(B - 1, 1), z)
        for j in range(n):
            inverse[j] = 0
        for i in range(B):
            for j in range(n):
                inverse[j] += z[i * n + j] * share
        for j in range(n if B > 1 else 0):  # in `inverse` stands the mean for now; one row has no variance
            running_mean[j] += running * (inverse[j] - running_mean[j])
        for i in range(B):
            for j in range(n):
                hat[i * n + j] = z[i * n + j] - inverse[j]
        for j in range(n):
            inverse[j] = 0
        for i in range(B):
            for j in range(n):
                inverse[j] += hat[i * n + j] * hat[i * n + j] * share
        for j in range(n):  # and here the variance
            if B > 1:
                running_variance[j] += running * (unbiased * inverse[j] - running_variance[j])
            inverse[j] = real(1, z) / math.sqrt(inverse[j] + epsilon)
    else:
        for j in range(n):
            inverse[j] = real(1, z) / math.sqrt(running_variance[j] + epsilon)
        for i in range(B):
            for j in range(n):
                hat[i * n + j] = z[i * n + j] - running_mean[j]
    for i in range(B):
        for j in range(n):
            hat[i * n + j] *= inverse[j]
            z[i * n + j] = hat[i * n + j] * gain[j] + shift[j]
    return 0.0


@compiled
def parameters_back(d, gain, hat, gain_gradient, shift_gradient):
    """Add the gradients of gain and shift; turn dLoss/dz after them, d (B n,), into that before them."""
    n = gain.size
    for i in range(d.size // n):
        for j in range(n):
            gain_gradient[j] += d[i * n + j] * hat[i * n + j]
            shift_gradient[j] += d[i * n + j]
            d[i * n + j] *= gain[j]


@compiled
def denormalize_rows(d, gain, hat, inverse, gain_gradient, shift_gradient, room):
    """The way back through `normalize_rows`, in place."""
    parameters_back(d, gain, hat, gain_gradient, shift_gradient)
    n = gain.size
    share = real(1 / n, d)
    for i in range(d.size // n):
        mean, along = real(0, d), real(0, d)
        for j in range(n):
            mean += d[i * n + j]
            along += d[i * n + j] * hat[i * n + j]
        for j in range(n):
            d[i * n + j] = inverse[i] * (d[i * n + j] - share * (mean + hat[i * n + j] * along))
    return 0.0


@compiled
def denormalize_batch(d, gain, hat, inverse, gain_gradient, shift_gradient, room):
    """The way back through `normalize_batch`, in place; room is (2 n,)."""
    parameters_back(d, gain, hat, gain_gradient, shift_gradient)
    n = gain.size
    B = d.size // n
    share = real(1 / B, d)
    for j in range(2 * n):
        room[j] = 0
    for i in range(B):
        for j in range(n):
            room[j] += d[i * n + j] * share
            room[n + j] += d[i * n + j] * hat[i * n + j] * share
    for i in range(B):
        for j in range(n):
            d[i * n + j] = inverse[j] * (d[i * n + j] - room[j] - hat[i * n + j] * room[n + j])
    return 0.0


THERE_AND_BACK = {"batch": (normalize_batch, denormalize_batch), "layer": (normalize_rows, denormalize_rows)}
