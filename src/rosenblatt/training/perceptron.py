"""In: one perceptron and the rows it learns from. Out: the perceptron after some passes of Rosenblatt's rule.

Each unit k sums its inputs times weights, plus a bias, and answers 1 if the sum is above 0, else 0 (the step function).
Where the answer y differs from the target t, w += eta (t - y) x and b += eta (t - y) (Rosenblatt 1962, chapter 5). Of K
classes the one with the largest sum wins; if it is the wrong one, its unit is corrected as if it had answered 1 instead
of 0, and that of the right class as if it had answered 0 instead of 1 (Kesler's construction: Duda & Hart 1973, 5.12).
"""

from __future__ import annotations

import numpy as np

from rosenblatt.compiled import compiled
from rosenblatt.training.dense import layer
from rosenblatt.training.losses import PERCEPTRON_CLASSES
from rosenblatt.training.random import shuffle


@compiled
def weighted_sums(W, b, x, z):
    """z = x W + b, for one row x (F,)."""
    for k in range(b.size):
        z[k] = b[k]
    for j in range(x.size):
        for k in range(b.size):
            z[k] += x[j] * W[j, k]


@compiled
def correct(W, b, x, k, change):
    """Move unit k by `change` along x, and its bias along the constant input 1."""
    b[k] += change
    for j in range(x.size):
        W[j, k] += change * x[j]


@compiled
def train_perceptron(shape, recipe, state, rows, epochs, losses, stop):
    """Pass over the rows `epochs` times; write the share of rows with a mistake to `losses` (epochs,).

    Returns the epochs that were finished: fewer than asked when `stop[0]` was set, or when one was free of mistakes.
    """
    W, b = layer(shape, 0, state.theta)
    z = np.empty(b.size, b.dtype)
    eta = state.theta.dtype.type(recipe.learning_rate)
    for epoch in range(epochs):
        shuffle(state.order, state.counter)
        mistakes = 0
        for i in state.order:
            if stop[0]:
                return epoch
            x, change, mistaken = rows.x[i], eta * rows.weight[i], False
            weighted_sums(W, b, x, z)
            if shape.loss == PERCEPTRON_CLASSES:
                right, winner = int(rows.t[i, 0]), np.argmax(z)
                mistaken = winner != right
                if mistaken:
                    correct(W, b, x, right, change)
                    correct(W, b, x, winner, -change)
            else:
                for k in range(b.size):
                    t, y = rows.t[i, k] > 0, z[k] > 0
                    if t != y:
                        mistaken = True
                        correct(W, b, x, k, change if t else -change)
            mistakes += mistaken
            state.step[0] += 1
        losses[epoch] = mistakes / state.order.size
        if mistakes == 0:
            return epoch + 1
    return epochs
