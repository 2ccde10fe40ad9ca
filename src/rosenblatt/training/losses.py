"""In: the network's last weighted sums z and the targets t. Out: the loss, and its gradient with respect to z.

To add a loss: a line in `LOSSES`, its formula in `loss_and_gradient`, what it predicts in `predict_from_sums`.
Each gradient below is that of loss and output activation together, which is why it is short.
"""

from __future__ import annotations

import math

import numpy as np

from rosenblatt.compiled import compiled
from rosenblatt.networks.activations import sigmoid, softplus

CROSS_ENTROPY, BINARY_CROSS_ENTROPY, SQUARED, PERCEPTRON, PERCEPTRON_CLASSES = range(5)

LOSSES = {
    "cross_entropy": CROSS_ENTROPY,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "squared": SQUARED,
    "perceptron": PERCEPTRON,  # each unit of a perceptron answers a question of its own
    "perceptron_classes": PERCEPTRON_CLASSES,  # each unit stands for a class
}
TINY = 1e-7  # probabilities are kept this far from 0 and 1 when their logarithm is taken


@compiled
def softmax(z):
    """Turn each row of `z` (B, K) into probabilities, in place; its maximum is taken off so that nothing overflows."""
    for i in range(z.shape[0]):
        top = z[i, 0]
        for k in range(1, z.shape[1]):
            top = max(top, z[i, k])
        total = z.dtype.type(0)
        for k in range(z.shape[1]):
            z[i, k] = math.exp(z[i, k] - top)
            total += z[i, k]
        for k in range(z.shape[1]):
            z[i, k] /= total


@compiled
def loss_and_gradient(loss, smoothing, z, t, weight, d):
    """Return the sum of the rows' weighted losses; write its gradient to `d`.

    z, d: (B, K). t: (B, 1) class numbers for the cross-entropy, else (B, K). weight: (B,). smoothing: label smoothing
    (Szegedy et al. 2016, section 7), the share of the target that is spread evenly over the classes.
    """
    B, K = z.shape
    total = 0.0
    if loss == CROSS_ENTROPY:
        for i in range(B):
            for k in range(K):
                d[i, k] = z[i, k]
        softmax(d)
        for i in range(B):
            label = int(t[i, 0])
            row = 0.0
            for k in range(K):
                target = z.dtype.type(smoothing / K + (1 - smoothing if k == label else 0))
                if target > 0:
                    row -= target * math.log(max(d[i, k], z.dtype.type(1e-30)))
                d[i, k] = (d[i, k] - target) * weight[i]
            total += row * weight[i]
    elif loss == BINARY_CROSS_ENTROPY:
        for i in range(B):
            row = 0.0
            for k in range(K):
                target = z.dtype.type(t[i, k] * (1 - smoothing) + smoothing / 2)
                row += softplus(z[i, k]) - target * z[i, k]
                d[i, k] = (sigmoid(z[i, k]) - target) * weight[i]
            total += row * weight[i]
    else:
        for i in range(B):
            row = 0.0
            for k in range(K):
                error = z[i, k] - t[i, k]
                row += error * error
                d[i, k] = 2 * error * weight[i]
            total += row * weight[i]
    return total


@compiled
def predict_from_sums(loss, z):
    """Turn the last weighted sums `z` (B, K) into what is predicted, in place: probabilities, or the sum itself."""
    if loss == CROSS_ENTROPY:
        softmax(z)
    elif loss == BINARY_CROSS_ENTROPY:
        for i in range(z.shape[0]):
            for k in range(z.shape[1]):
                z[i, k] = sigmoid(z[i, k])


def mean_loss(loss: int, outputs: np.ndarray, t: np.ndarray, weight: np.ndarray) -> float:
    """The weighted mean loss of predictions: outputs (n, K) of `predict_from_sums`, t (n, 1) or (n, K), weight (n,)."""
    p = outputs.astype(np.float64)
    if loss == CROSS_ENTROPY:
        rows = -np.log(np.maximum(p[np.arange(len(p)), t[:, 0].astype(int)], TINY))
    elif loss == BINARY_CROSS_ENTROPY:
        p = np.clip(p, TINY, 1 - TINY)
        rows = -(t * np.log(p) + (1 - t) * np.log(1 - p)).sum(axis=1)
    elif loss == SQUARED:
        rows = ((p - t) ** 2).sum(axis=1)
    elif loss == PERCEPTRON_CLASSES:
        rows = p.argmax(axis=1) != t[:, 0]
    else:
        rows = ((p > 0) != (t > 0)).any(axis=1)
    return float(np.average(rows, weights=weight))
