"""In: parameters, their gradient and the optimizer's memory of earlier ones. Out: the parameters after one step.

To add an optimizer: a line in `OPTIMIZERS`, its formula in `update`. Weight decay is decoupled from the gradient
(Loshchilov & Hutter 2019) in all of them.
"""

from __future__ import annotations

import math

from rosenblatt.compiled import compiled

SGD, ADAM = range(2)

OPTIMIZERS = {"sgd": SGD, "adam": ADAM}


@compiled
def update(optimizer, learning_rate, decay, beta1, beta2, step, theta, gradient, m, v):
    """Move `theta` (n,) one step, in place; `m` and `v` (n,) are the optimizer's memory, `step` counts from 1."""
    real = theta.dtype.type
    lr, keep, b1, b2 = real(learning_rate), real(1 - learning_rate * decay), real(beta1), real(beta2)
    if optimizer == ADAM:  # Kingma & Ba 2015, algorithm 1, with the bias corrections of its section 2
        rate = real(learning_rate / (1 - beta1**step))
        correction = real(1 / (1 - beta2**step))
        epsilon = real(1e-8)
        for i in range(theta.size):
            g = gradient[i]
            m[i] += (1 - b1) * (g - m[i])
            v[i] += (1 - b2) * (g * g - v[i])
            theta[i] = keep * theta[i] - rate * m[i] / (math.sqrt(v[i] * correction) + epsilon)
    else:  # stochastic gradient descent with momentum (Polyak 1964)
        for i in range(theta.size):
            m[i] = b1 * m[i] + gradient[i]
            theta[i] = keep * theta[i] - lr * m[i]
