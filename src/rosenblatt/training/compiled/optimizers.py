"""In: parameters, their gradient and the optimizer's memory of earlier ones. Out: the parameters after one step.

To add an optimizer: its kernel here, and a line in `OPTIMIZERS` and in `sections.Optimizer`. Each moves theta (n,) in
place along its gradient g; m and v (n,) are its memory, `keep` is what decoupled weight decay leaves of theta
(Loshchilov & Hutter 2019), `step` counts from 1.
"""

from __future__ import annotations

import math

from rosenblatt.training.compiled.jit import compiled, real

EPSILON = 1e-8


@compiled
def sgd(theta, g, m, v, lr, keep, beta1, beta2, step):
    """theta -= lr g (Robbins & Monro 1951)."""
    rate, left = real(lr, theta), real(keep, theta)
    for i in range(theta.size):
        theta[i] = left * theta[i] - rate * g[i]
    return 0.0


@compiled
def momentum(theta, g, m, v, lr, keep, beta1, beta2, step):
    """Steps add up, the earlier ones ever less (Polyak 1964)."""
    rate, left, b1 = real(lr, theta), real(keep, theta), real(beta1, theta)
    for i in range(theta.size):
        m[i] = b1 * m[i] + g[i]
        theta[i] = left * theta[i] - rate * m[i]
    return 0.0


@compiled
def nesterov(theta, g, m, v, lr, keep, beta1, beta2, step):
    """Momentum that looks one step ahead (Nesterov 1983, as Sutskever et al. 2013 write it)."""
    rate, left, b1 = real(lr, theta), real(keep, theta), real(beta1, theta)
    for i in range(theta.size):
        m[i] = b1 * m[i] + g[i]
        theta[i] = left * theta[i] - rate * (g[i] + b1 * m[i])
    return 0.0


@compiled
def rmsprop(theta, g, m, v, lr, keep, beta1, beta2, step):
    """Each gradient by the root of its mean square of late (Tieleman & Hinton 2012)."""
    rate, left, new, epsilon = real(lr, theta), real(keep, theta), real(1 - beta2, theta), real(EPSILON, theta)
    for i in range(theta.size):
        v[i] += new * (g[i] * g[i] - v[i])
        theta[i] = left * theta[i] - rate * g[i] / (math.sqrt(v[i]) + epsilon)
    return 0.0


@compiled
def adagrad(theta, g, m, v, lr, keep, beta1, beta2, step):
    """Each gradient by the root of the sum of its squares so far (Duchi, Hazan & Singer 2011)."""
    rate, left, epsilon = real(lr, theta), real(keep, theta), real(EPSILON, theta)
    for i in range(theta.size):
        v[i] += g[i] * g[i]
        theta[i] = left * theta[i] - rate * g[i] / (math.sqrt(v[i]) + epsilon)
    return 0.0


@compiled
def adam(theta, g, m, v, lr, keep, beta1, beta2, step):
    """The mean gradient by the root of the mean square, both of late (Kingma & Ba 2015, algorithm 1)."""
    rate, left, epsilon = real(lr / (1 - beta1**step), theta), real(keep, theta), real(EPSILON, theta)
    new1, new2, correction = real(1 - beta1, theta), real(1 - beta2, theta), real(1 / (1 - beta2**step), theta)
    for i in range(theta.size):
        m[i] += new1 * (g[i] - m[i])
        v[i] += new2 * (g[i] * g[i] - v[i])
        theta[i] = left * theta[i] - rate * m[i] / (math.sqrt(v[i] * correction) + epsilon)
    return 0.0


@compiled
def nadam(theta, g, m, v, lr, keep, beta1, beta2, step):
    """Adam that looks one step ahead (Dozat 2016, algorithm 2, with constant momentum)."""
    ahead = real(lr * beta1 / (1 - beta1 ** (step + 1)), theta)
    now, left, epsilon = real(lr * (1 - beta1) / (1 - beta1**step), theta), real(keep, theta), real(EPSILON, theta)
    new1, new2, correction = real(1 - beta1, theta), real(1 - beta2, theta), real(1 / (1 - beta2**step), theta)
    for i in range(theta.size):
        m[i] += new1 * (g[i] - m[i])
        v[i] += new2 * (g[i] * g[i] - v[i])
        theta[i] = left * theta[i] - (ahead * m[i] + now * g[i]) / (math.sqrt(v[i] * correction) + epsilon)
    return 0.0


OPTIMIZERS = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "adam": adam,
    "adamw": adam,
    "nadam": nadam,
}
