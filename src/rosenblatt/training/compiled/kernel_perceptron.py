"""Compiled training and prediction of kernel perceptrons.

The model stores the rows it misclassified (support rows). A class score is the sum of dual coefficients times the
kernel between the row and each support row (Aizerman, Braverman & Rozonoer 1964). It is a network (F, M, K): the
support rows are the weights of the hidden units, the kernel values their activations. When the budget is full, a random
support row is replaced (Cavallanti, Cesa-Bianchi & Gentile 2007).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.training.compiled.elementary import exp
from rosenblatt.training.compiled.jit import constant_like, jit
from rosenblatt.training.compiled.perceptron import CONVERGED, N_SEEN, N_USED, random_index, update_sizes
from rosenblatt.training.compiled.random import shuffle

POLYNOMIAL, RBF = range(2)
KERNELS = {"polynomial": POLYNOMIAL, "rbf": RBF}


class Kernel(NamedTuple):
    """Similarity of two rows x and s: (gamma x.s + 1)^degree, or e^(-gamma |x - s|^2)."""

    kind: int
    gamma: float
    degree: int

    @classmethod
    def of(cls, architecture: DenseArchitecture) -> Kernel:
        """The kernel of a kernel perceptron."""
        return cls(KERNELS[architecture.activation], architecture.gamma, architecture.degree)


@jit
def kernel_value(kernel, x, s):
    """The kernel between two rows (F,)."""
    total, gamma = constant_like(0, x), constant_like(kernel.gamma, x)
    if kernel.kind == RBF:
        for j in range(x.size):
            difference = x[j] - s[j]
            total += difference * difference
        return exp(-gamma * total)
    for j in range(x.size):
        total += x[j] * s[j]
    power, factor = constant_like(1, x), gamma * total + constant_like(1, x)
    for _ in range(kernel.degree):
        power *= factor
    return power


@jit
def kernel_logits(kernel, x, support_rows, dual_coefficients, n_used, z):
    """Write the logits z (K,): the sum of dual coefficients (M, K) times the kernel between x and each support row."""
    for k in range(z.size):
        z[k] = 0
    for s in range(n_used):
        value = kernel_value(kernel, x, support_rows[s])
        for k in range(z.size):
            z[k] += value * dual_coefficients[s, k]


@jit
def train_kernel(config, kernel, state, rows, losses, stop):
    """Train a kernel perceptron, as `train_linear`; `state.step` holds the number of support rows and their ids."""
    K, F, n = config.units, config.n_in, state.order.size
    M = (state.theta.size - K) // (F + 1 + K)
    weights = state.theta[: F * M].reshape((F, M))
    dual_coefficients = state.theta[(F + 1) * M : (F + 1 + K) * M].reshape((M, K))
    n_used, support_ids = state.step[N_USED : N_USED + 1], state.step[N_USED + 1 : N_USED + 1 + M]
    support_rows, z, change = np.empty((M, F), weights.dtype), np.empty(K, weights.dtype), np.empty(K, weights.dtype)
    for s in range(M):
        for j in range(F):
            support_rows[s, j] = weights[j, s]
    for epoch in range(losses.size):
        if config.shuffled:
            shuffle(state.order, state.counter)
        mistakes = 0
        for i in state.order:
            if stop[0]:
                return epoch
            kernel_logits(kernel, rows.x[i], support_rows, dual_coefficients, n_used[0], z)
            if update_sizes(config, z, rows, i, change):
                mistakes += 1
                s = support_slot(i, support_ids, n_used, state.counter, dual_coefficients)
                for j in range(F):
                    support_rows[s, j] = rows.x[i, j]
                    weights[j, s] = rows.x[i, j]
                for k in range(K):
                    dual_coefficients[s, k] += change[k] * rows.weight[i]
            state.step[N_SEEN] += 1
        losses[epoch] = mistakes / n
        state.step[CONVERGED] = mistakes == 0
        if mistakes == 0:
            return epoch + 1
    return losses.size


@jit
def support_slot(row, support_ids, n_used, counter, dual_coefficients):
    """Return the slot of a support row; a new support row takes a free slot, or a random one if all are taken."""
    for s in range(n_used[0]):
        if support_ids[s] == row + 1:
            return s
    if n_used[0] < support_ids.size:
        s = n_used[0]
        n_used[0] += 1
    else:
        s = random_index(counter, support_ids.size)
        for k in range(dual_coefficients.shape[1]):
            dual_coefficients[s, k] = 0
    support_ids[s] = row + 1
    return s


@jit
def predict(kernel, n_in, theta, x, index, out):
    """Write the logits of a kernel perceptron for rows `index` of x (n, F) to `out` (len(index), K)."""
    units = out.shape[1]
    M = (theta.size - units) // (n_in + 1 + units)
    weights = theta[: n_in * M].reshape((n_in, M))
    dual_coefficients = theta[(n_in + 1) * M : (n_in + 1 + units) * M].reshape((M, units))
    support_rows = np.empty((M, n_in), theta.dtype)
    for s in range(M):
        for j in range(n_in):
            support_rows[s, j] = weights[j, s]
    for i in range(index.size):
        kernel_logits(kernel, x[index[i]], support_rows, dual_coefficients, M, out[i])
