"""In: a kernel perceptron and rows. Out: the perceptron after some passes over them, or what it says of them.

It keeps rows it was mistaken on, and each speaks for its side of the question, the louder the more alike a row is to it
(Aizerman, Braverman & Rozonoer 1964). It is a network (F, M, K): the kept rows are the weights of the hidden units, the
likenesses their activations. When there is no room for another row, one taken at random makes some (Cavallanti,
Cesa-Bianchi & Gentile 2007).
"""

from __future__ import annotations

import numpy as np

from rosenblatt.training.compiled.elementary import exp
from rosenblatt.training.compiled.jit import compiled, real
from rosenblatt.training.compiled.perceptron import SEEN, STILL, USED, changes, random_place
from rosenblatt.training.compiled.random import shuffle

POLYNOMIAL, RBF = range(2)
KERNELS = {"polynomial": POLYNOMIAL, "rbf": RBF}


@compiled
def likeness(kernel, gamma, degree, x, s):
    """e^(-gamma |x - s|^2), or (gamma x s + 1)^degree."""
    total = real(0, x)
    if kernel == RBF:
        for j in range(x.size):
            difference = x[j] - s[j]
            total += difference * difference
        return exp(real(-gamma, x) * total)
    for j in range(x.size):
        total += x[j] * s[j]
    power, factor = real(1, x), real(gamma, x) * total + real(1, x)
    for _ in range(degree):
        power *= factor
    return power


@compiled
def sums_of(kernel, gamma, degree, x, kept, voices, used, z):
    """z (K,): the kept rows (M, F) say how alike x is to them, times their voices (M, K)."""
    for k in range(z.size):
        z[k] = 0
    for s in range(used):
        alike = likeness(kernel, gamma, degree, x, kept[s])
        for k in range(z.size):
            z[k] += alike * voices[s, k]


@compiled
def learn_rows(rule, kernel, gamma, degree, state, rows, losses, stop):
    """`learn_units` for a kernel perceptron. `state.step` holds how many rows are kept, and which."""
    K, F, n = rule.units, rule.n_in, state.order.size
    M = (state.theta.size - K) // (F + 1 + K)
    weights = state.theta[: F * M].reshape((F, M))
    voices = state.theta[(F + 1) * M : (F + 1 + K) * M].reshape((M, K))
    used, numbers = state.step[USED : USED + 1], state.step[USED + 1 : USED + 1 + M]
    kept, z, change = np.empty((M, F), weights.dtype), np.empty(K, weights.dtype), np.empty(K, weights.dtype)
    for s in range(M):
        for j in range(F):
            kept[s, j] = weights[j, s]
    for epoch in range(losses.size):
        if rule.shuffled:
            shuffle(state.order, state.counter)
        mistakes = 0
        for i in state.order:
            if stop[0]:
                return epoch
            sums_of(kernel, gamma, degree, rows.x[i], kept, voices, used[0], z)
            if changes(rule, z, rows, i, change):
                mistakes += 1
                s = place_of(i, numbers, used, state.counter, voices)
                for j in range(F):
                    kept[s, j] = rows.x[i, j]
                    weights[j, s] = rows.x[i, j]
                for k in range(K):
                    voices[s, k] += change[k] * rows.weight[i]
            state.step[SEEN] += 1
        losses[epoch] = mistakes / n
        state.step[STILL] = mistakes == 0
        if mistakes == 0:
            return epoch + 1
    return losses.size


@compiled
def place_of(row, numbers, used, counter, voices):
    """Where the row is kept, or will be."""
    for s in range(used[0]):
        if numbers[s] == row + 1:
            return s
    if used[0] < numbers.size:
        s = used[0]
        used[0] += 1
    else:
        s = random_place(counter, numbers.size)
        for k in range(voices.shape[1]):
            voices[s, k] = 0
    numbers[s] = row + 1
    return s


@compiled
def say(kernel, gamma, degree, n_in, units, theta, x, index, out):
    """Write the sums z of a kernel perceptron for the rows `index` of x (n, F) to `out` (len(index), K)."""
    M = (theta.size - units) // (n_in + 1 + units)
    weights = theta[: n_in * M].reshape((n_in, M))
    voices = theta[(n_in + 1) * M : (n_in + 1 + units) * M].reshape((M, units))
    kept = np.empty((M, n_in), theta.dtype)
    for s in range(M):
        for j in range(n_in):
            kept[s, j] = weights[j, s]
    for i in range(index.size):
        sums_of(kernel, gamma, degree, x[index[i]], kept, voices, M, out[i])
