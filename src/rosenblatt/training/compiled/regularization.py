"""In: gradients or parameters. Out: the same, kept within bounds."""

from __future__ import annotations

import math

from rosenblatt.training.compiled.jit import compiled, real


@compiled
def clip(gradient, norm):
    """Scale `gradient` (n,) down to length `norm` if it is longer (Pascanu et al. 2013)."""
    square = real(0, gradient)
    for i in range(gradient.size):
        square += gradient[i] * gradient[i]
    if square > norm * norm:
        scale = real(norm / math.sqrt(square), gradient)
        for i in range(gradient.size):
            gradient[i] *= scale


@compiled
def shrink(theta, amount):
    """Move every parameter of theta (n,) towards 0 by `amount`, none beyond it (L1: Duchi & Singer 2009)."""
    less, zero = real(amount, theta), real(0, theta)
    for i in range(theta.size):
        size = max(abs(theta[i]) - less, zero)
        theta[i] = (size if theta[i] > 0 else -size) if theta[i] == theta[i] else theta[i]


@compiled
def limit_norms(weights, n_in, n_out, norm):
    """Scale each unit's weights, a column of `weights` (n_in, n_out) flat, down to length `norm` if they are longer
    (Srivastava et al. 2014, section 5.1)."""
    for j in range(n_out):
        square = real(0, weights)
        for i in range(n_in):
            square += weights[i * n_out + j] * weights[i * n_out + j]
        if square > norm * norm:
            scale = real(norm / math.sqrt(square), weights)
            for i in range(n_in):
                weights[i * n_out + j] *= scale


@compiled
def average(mean, theta, memory, step):
    """Move the running mean of theta (n,) towards it; at first, with few steps to average, faster than `memory` says
    (Polyak & Juditsky 1992; exponential, as in Tan & Le 2019)."""
    new = real(1 - min(memory, (1 + step) / (10 + step)), theta)
    for i in range(theta.size):
        mean[i] += new * (theta[i] - mean[i])
