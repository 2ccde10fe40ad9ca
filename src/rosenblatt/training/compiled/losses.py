"""Losses of logits z for targets t, and their gradients with respect to z.

To add a loss: its kernel here, a line in `LOSSES`, and one in `OUTPUT_ACTIVATIONS` unless its networks predict logits.
Each gradient is that of the loss and the output activation together, which keeps it short.

z and the gradient d are (B, K); t is (B, 1) class numbers for multiclass losses, else (B, K) zeros and ones, or values;
weight (B,) are row weights. `a` is the label smoothing (Szegedy et al. 2016, section 7); `b` is the parameter of the
loss. Each loss returns the weighted sum over rows and writes d.
"""

from __future__ import annotations

import numpy as np

from rosenblatt.training.compiled.activations import log_1p_exp, logistic
from rosenblatt.training.compiled.elementary import exp, log
from rosenblatt.training.compiled.jit import constant_like, inline, jit


@inline
def softmax(z, p):
    """Write e^z / sum e^z of each row to p (B, K), with the row's maximum subtracted so that nothing overflows."""
    B, K = z.shape
    for i in range(B):
        maximum = z[i, 0]
        for k in range(1, K):
            maximum = max(maximum, z[i, k]) if maximum == maximum else maximum
        for k in range(K):
            p[i, k] = z[i, k] - maximum
    flat = p.ravel()
    for i in range(flat.size):
        flat[i] = exp(flat[i])
    for i in range(B):
        total = constant_like(0, z)
        for k in range(K):
            total += p[i, k]
        inv_total = constant_like(1, z) / total
        for k in range(K):
            p[i, k] *= inv_total


@jit
def cross_entropy(z, t, weight, d, a, b):
    """-sum q log p over the classes, with p = softmax(z) and q the (smoothed) target (Bridle 1990)."""
    B, K = z.shape
    softmax(z, d)
    total, label_target, smoothing = 0.0, constant_like(1 - a, z), constant_like(a / K, z)
    for i in range(B):
        label = int(t[i, 0])
        p = max(d[i, label], constant_like(1e-30, z)) if d[i, label] == d[i, label] else d[i, label]
        loss = -log(p)
        if a > 0:  # sum q log p = log p of the label + sum q (z - z of the label)
            for k in range(K):
                loss += smoothing * (z[i, label] - z[i, k])
        total += loss * weight[i]
        for k in range(K):
            d[i, k] = (d[i, k] - smoothing - (label_target if k == label else constant_like(0, z))) * weight[i]
    return total


@jit
def binary_cross_entropy(z, t, weight, d, a, b):
    """-t log p - (1 - t) log(1 - p) for each unit, with p = sigmoid(z) and t (smoothed) 0 or 1."""
    B, K = z.shape
    total, scale, offset = constant_like(0, z), constant_like(1 - a, z), constant_like(a / 2, z)
    for i in range(B):
        for k in range(K):
            target = t[i, k] * scale + offset
            total += (log_1p_exp(z[i, k]) - target * z[i, k]) * weight[i]
            d[i, k] = (logistic(z[i, k]) - target) * weight[i]
    return np.float64(total)


@jit
def focal(z, t, weight, d, a, b):
    """-(1 - p)^b log p of the true class, which down-weights well-classified rows (Lin et al. 2017, equation 4)."""
    B, K = z.shape
    softmax(z, d)
    total = 0.0
    for i in range(B):
        label = int(t[i, 0])
        p = d[i, label]
        miss, logp = max(1.0 - p, 1e-30), np.log(max(p, 1e-30))
        total += -(miss**b) * logp * weight[i]
        slope = constant_like((b * miss ** (b - 1) * p * logp - miss**b) * weight[i], z)  # dLoss/dlog p
        for k in range(K):
            d[i, k] = slope * ((constant_like(1, z) if k == label else constant_like(0, z)) - d[i, k])
    return total


@jit
def binary_focal(z, t, weight, d, a, b):
    """The focal loss of each unit; p is the probability of its target, sigmoid(z) or 1 - sigmoid(z)."""
    B, K = z.shape
    total = 0.0
    for i in range(B):
        for k in range(K):
            sign = 1.0 if t[i, k] > 0 else -1.0
            p = logistic(sign * z[i, k])
            miss, logp = logistic(-sign * z[i, k]), -log_1p_exp(-sign * z[i, k])
            total += -(miss**b) * logp * weight[i]
            d[i, k] = sign * (b * miss**b * p * logp - miss ** (b + 1)) * weight[i]
    return total


@jit
def squared(z, t, weight, d, a, b):
    """(z - t)^2 of each output."""
    B, K = z.shape
    total = constant_like(0, z)
    for i in range(B):
        for k in range(K):
            error = z[i, k] - t[i, k]
            total += error * error * weight[i]
            d[i, k] = constant_like(2, z) * error * weight[i]
    return np.float64(total)


@jit
def absolute(z, t, weight, d, a, b):
    """|z - t| of each output; the median minimizes it."""
    B, K = z.shape
    total = 0.0
    for i in range(B):
        for k in range(K):
            error = z[i, k] - t[i, k]
            total += abs(error) * weight[i]
            d[i, k] = np.sign(error) * weight[i]
    return total


@jit
def huber(z, t, weight, d, a, b):
    """Half the squared error up to b, linear beyond it (Huber 1964)."""
    B, K = z.shape
    total = 0.0
    for i in range(B):
        for k in range(K):
            error = z[i, k] - t[i, k]
            near = abs(error) <= b
            total += (0.5 * error * error if near else b * (abs(error) - 0.5 * b)) * weight[i]
            d[i, k] = (error if near else b * np.sign(error)) * weight[i]
    return total


@jit
def quantile(z, t, weight, d, a, b):
    """b (t - z) below the target, (1 - b) (z - t) above it; the b-quantile minimizes it (Koenker & Bassett 1978)."""
    B, K = z.shape
    total = 0.0
    for i in range(B):
        for k in range(K):
            error = t[i, k] - z[i, k]
            slope = b if error > 0 else b - 1.0
            total += slope * error * weight[i]
            d[i, k] = -slope * weight[i]
    return total


@jit
def poisson(z, t, weight, d, a, b):
    """e^z - t z: negative log likelihood of counts t with mean e^z, up to a constant (Nelder & Wedderburn 1972)."""
    B, K = z.shape
    total = 0.0
    for i in range(B):
        for k in range(K):
            mean = exp(z[i, k])
            total += (mean - t[i, k] * z[i, k]) * weight[i]
            d[i, k] = (mean - t[i, k]) * weight[i]
    return total


@jit
def hinge(z, t, weight, d, a, b):
    """max(0, b - z) of units with target 1, max(0, b + z) of the others (Cortes & Vapnik 1995).

    With b = 0 it is the perceptron criterion.
    """
    B, K = z.shape
    total = 0.0
    for i in range(B):
        for k in range(K):
            sign = 1.0 if t[i, k] > 0 else -1.0
            miss = b - sign * z[i, k]
            violated = miss >= 0 if b == 0 else miss > 0
            total += max(0.0, miss) * weight[i] if miss == miss else miss
            d[i, k] = -sign * weight[i] if violated else 0.0
    return total


@jit
def multiclass_hinge(z, t, weight, d, a, b):
    """max(0, b - z of the true class + the largest other z) (Crammer & Singer 2001, equation 3)."""
    B, K = z.shape
    total = 0.0
    for i in range(B):
        label = int(t[i, 0])
        rival, total_z = 1 if label == 0 else 0, 0.0
        for k in range(K):
            total_z += z[i, k]
            if k != label and z[i, k] > z[i, rival]:
                rival = k
        miss = b - z[i, label] + z[i, rival] if total_z == total_z else total_z
        violated = miss >= 0 if b == 0 else miss > 0
        total += max(0.0, miss) * weight[i] if miss == miss else miss
        for k in range(K):
            d[i, k] = 0
        if violated:
            d[i, label], d[i, rival] = -weight[i], weight[i]
    return total


LOSSES = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "focal": focal,
    "binary_focal": binary_focal,
    "squared": squared,
    "absolute": absolute,
    "huber": huber,
    "quantile": quantile,
    "poisson": poisson,
    "hinge": hinge,
    "hinge_of_classes": multiclass_hinge,
    "perceptron": hinge,
    "perceptron_of_classes": multiclass_hinge,
}

IDENTITY, SIGMOID, SOFTMAX, EXPONENTIAL = range(4)

OUTPUT_ACTIVATIONS = {  # of networks trained with a loss; with any other loss, predictions are the logits
    "cross_entropy": SOFTMAX,
    "focal": SOFTMAX,
    "binary_cross_entropy": SIGMOID,
    "binary_focal": SIGMOID,
    "poisson": EXPONENTIAL,
}


def apply_output_activation(loss: str, logits: np.ndarray) -> None:
    """Turn logits (..., K) into predictions of a network trained with this loss, in place."""
    activate_outputs(OUTPUT_ACTIVATIONS.get(loss, IDENTITY), logits.reshape(-1, logits.shape[-1]))


@jit
def activate_outputs(kind, z):
    """Turn logits z (B, K) into predictions in place, by a kind of output activation."""
    flat = z.ravel()
    if kind == SOFTMAX:
        softmax(z, z)
    elif kind == SIGMOID:
        for i in range(flat.size):
            flat[i] = logistic(flat[i])
    elif kind == EXPONENTIAL:
        for i in range(flat.size):
            flat[i] = exp(flat[i])
