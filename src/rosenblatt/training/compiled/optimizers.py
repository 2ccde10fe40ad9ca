"""Optimizers: one update of the parameters from their gradient and the optimizer's state.

To add an optimizer: its kernel here, and a line in `OPTIMIZERS` and in `spec.fields.Optimizer`. Each moves theta (n,)
in place along its gradient g; m and v (n,) are its moments, `decay_factor` is the factor of decoupled weight decay
(Loshchilov & Hutter 2019), `step` counts from 1.
"""

from __future__ import annotations

import math

from rosenblatt.training.compiled.jit import constant_like, jit

EPSILON = 1e-8  # added to the root of the second moment


@jit
def sgd(theta, g, m, v, lr, decay_factor, beta1, beta2, step):
    """theta -= lr g (Robbins & Monro 1951)."""
    rate, decay = constant_like(lr, theta), constant_like(decay_factor, theta)
    for i in range(theta.size):
        theta[i] = decay * theta[i] - rate * g[i]
    return 0.0


@jit
def momentum(theta, g, m, v, lr, decay_factor, beta1, beta2, step):
    """m = beta1 m + g; theta -= lr m (Polyak 1964)."""
    rate, decay, b1 = constant_like(lr, theta), constant_like(decay_factor, theta), constant_like(beta1, theta)
    for i in range(theta.size):
        m[i] = b1 * m[i] + g[i]
        theta[i] = decay * theta[i] - rate * m[i]
    return 0.0


@jit
def nesterov(theta, g, m, v, lr, decay_factor, beta1, beta2, step):
    """m = beta1 m + g; theta -= lr (g + beta1 m) (Nesterov 1983, in the form of Sutskever et al. 2013)."""
    rate, decay, b1 = constant_like(lr, theta), constant_like(decay_factor, theta), constant_like(beta1, theta)
    for i in range(theta.size):
        m[i] = b1 * m[i] + g[i]
        theta[i] = decay * theta[i] - rate * (g[i] + b1 * m[i])
    return 0.0


@jit
def rmsprop(theta, g, m, v, lr, decay_factor, beta1, beta2, step):
    """theta -= lr g / (sqrt(v) + eps), with the running mean v of g^2 (Tieleman & Hinton 2012)."""
    rate, decay, gradient_weight, epsilon = (
        constant_like(lr, theta),
        constant_like(decay_factor, theta),
        constant_like(1 - beta2, theta),
        constant_like(EPSILON, theta),
    )
    for i in range(theta.size):
        v[i] += gradient_weight * (g[i] * g[i] - v[i])
        theta[i] = decay * theta[i] - rate * g[i] / (math.sqrt(v[i]) + epsilon)
    return 0.0


@jit
def adagrad(theta, g, m, v, lr, decay_factor, beta1, beta2, step):
    """theta -= lr g / (sqrt(v) + eps), with the sum v of g^2 (Duchi, Hazan & Singer 2011)."""
    rate, decay, epsilon = constant_like(lr, theta), constant_like(decay_factor, theta), constant_like(EPSILON, theta)
    for i in range(theta.size):
        v[i] += g[i] * g[i]
        theta[i] = decay * theta[i] - rate * g[i] / (math.sqrt(v[i]) + epsilon)
    return 0.0


@jit
def adam(theta, g, m, v, lr, decay_factor, beta1, beta2, step):
    """theta -= lr m / (sqrt(v) + eps), with bias-corrected moments (Kingma & Ba 2015, algorithm 1)."""
    rate, decay, epsilon = (
        constant_like(lr / (1 - beta1**step), theta),
        constant_like(decay_factor, theta),
        constant_like(EPSILON, theta),
    )
    gradient_weight1, gradient_weight2, correction = (
        constant_like(1 - beta1, theta),
        constant_like(1 - beta2, theta),
        constant_like(1 / (1 - beta2**step), theta),
    )
    for i in range(theta.size):
        m[i] += gradient_weight1 * (g[i] - m[i])
        v[i] += gradient_weight2 * (g[i] * g[i] - v[i])
        theta[i] = decay * theta[i] - rate * m[i] / (math.sqrt(v[i] * correction) + epsilon)
    return 0.0


@jit
def nadam(theta, g, m, v, lr, decay_factor, beta1, beta2, step):
    """Adam with Nesterov momentum (Dozat 2016, algorithm 2, with constant momentum)."""
    momentum_rate = constant_like(lr * beta1 / (1 - beta1 ** (step + 1)), theta)
    gradient_rate, decay, epsilon = (
        constant_like(lr * (1 - beta1) / (1 - beta1**step), theta),
        constant_like(decay_factor, theta),
        constant_like(EPSILON, theta),
    )
    gradient_weight1, gradient_weight2, correction = (
        constant_like(1 - beta1, theta),
        constant_like(1 - beta2, theta),
        constant_like(1 / (1 - beta2**step), theta),
    )
    for i in range(theta.size):
        m[i] += gradient_weight1 * (g[i] - m[i])
        v[i] += gradient_weight2 * (g[i] * g[i] - v[i])
        theta[i] = decay * theta[i] - (momentum_rate * m[i] + gradient_rate * g[i]) / (
            math.sqrt(v[i] * correction) + epsilon
        )
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
