"""Gradient clipping, L1, max-norm and exponential moving averages."""

from __future__ import annotations

import math

from rosenblatt.training.compiled.jit import constant_like, jit


@jit
def clip(gradient, norm):
    """Scale `gradient` (n,) down to length `norm` if it is longer (Pascanu et al. 2013)."""
    sum_squares = constant_like(0, gradient)
    for i in range(gradient.size):
        sum_squares += gradient[i] * gradient[i]
    if sum_squares > norm * norm:
        scale = constant_like(norm / math.sqrt(sum_squares), gradient)
        for i in range(gradient.size):
            gradient[i] *= scale


@jit
def soft_threshold(theta, amount):
    """Move every parameter of theta (n,) towards 0 by `amount`, but not beyond (L1: Duchi & Singer 2009)."""
    threshold, zero = constant_like(amount, theta), constant_like(0, theta)
    for i in range(theta.size):
        magnitude = max(abs(theta[i]) - threshold, zero)
        theta[i] = (magnitude if theta[i] > 0 else -magnitude) if theta[i] == theta[i] else theta[i]


@jit
def apply_max_norm(weights, n_in, n_out, norm):
    """Scale each column of `weights` (n_in, n_out) flat down to length `norm` if it is longer.

    A column holds the weights of a unit (Srivastava et al. 2014, section 5.1).
    """
    for j in range(n_out):
        sum_squares = constant_like(0, weights)
        for i in range(n_in):
            sum_squares += weights[i * n_out + j] * weights[i * n_out + j]
        if sum_squares > norm * norm:
            scale = constant_like(norm / math.sqrt(sum_squares), weights)
            for i in range(n_in):
                weights[i * n_out + j] *= scale


@jit
def update_ema(mean, theta, decay, step):
    """Update the exponential moving average of theta (n,) (Polyak & Juditsky 1992; Tan & Le 2019).

    In the first steps the decay is smaller than `decay`, (1 + step) / (10 + step).
    """
    weight = constant_like(1 - min(decay, (1 + step) / (10 + step)), theta)
    for i in range(theta.size):
        mean[i] += weight * (theta[i] - mean[i])
