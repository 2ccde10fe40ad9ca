"""In: weighted sums z of a layer. Out: its activations f(z), and for backpropagation the slopes f'(z).

To add an activation: a line in `ACTIVATIONS`, its formula in `activate`, its derivative in `multiply_by_slope`.
"""

from __future__ import annotations

import math

from rosenblatt.compiled import compiled

IDENTITY, STEP, SIGMOID, TANH, RELU, LEAKY_RELU, ELU, SELU, GELU, SILU, MISH, SOFTPLUS = range(12)

ACTIVATIONS = {
    "identity": IDENTITY,
    "step": STEP,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "selu": SELU,
    "gelu": GELU,
    "silu": SILU,
    "mish": MISH,
    "softplus": SOFTPLUS,
}

LEAK = 0.01  # Maas et al. 2013
SELU_ALPHA = 1.6732632423543772  # Klambauer et al. 2017, equation 14
SELU_SCALE = 1.0507009873554805
SQRT_HALF = math.sqrt(0.5)
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


@compiled
def sigmoid(z):
    """1 / (1 + e^-z), without overflow for any z."""
    e = math.exp(-abs(z))
    return 1 / (1 + e) if z >= 0 else e / (1 + e)


@compiled
def softplus(z):
    """log(1 + e^z), without overflow for any z."""
    return max(z, 0.0) + math.log1p(math.exp(-abs(z)))


@compiled
def activate(activation, z, a):
    """Write f(z) to `a`; both (n,)."""
    one = a.dtype.type(1)
    if activation == RELU:
        for i in range(z.size):
            a[i] = max(z[i], 0 * one)
    elif activation == IDENTITY:
        for i in range(z.size):
            a[i] = z[i]
    elif activation == STEP:
        for i in range(z.size):
            a[i] = one if z[i] > 0 else 0 * one
    elif activation == SIGMOID:
        for i in range(z.size):
            a[i] = sigmoid(z[i])
    elif activation == TANH:
        for i in range(z.size):
            a[i] = math.tanh(z[i])
    elif activation == LEAKY_RELU:
        for i in range(z.size):
            a[i] = z[i] if z[i] > 0 else a.dtype.type(LEAK) * z[i]
    elif activation == ELU:
        for i in range(z.size):
            a[i] = z[i] if z[i] > 0 else math.expm1(z[i])
    elif activation == SELU:
        for i in range(z.size):
            a[i] = a.dtype.type(SELU_SCALE) * (z[i] if z[i] > 0 else a.dtype.type(SELU_ALPHA) * math.expm1(z[i]))
    elif activation == GELU:  # Hendrycks & Gimpel 2016: z times the normal distribution function
        for i in range(z.size):
            a[i] = z[i] * a.dtype.type(0.5) * (one + math.erf(z[i] * a.dtype.type(SQRT_HALF)))
    elif activation == SILU:
        for i in range(z.size):
            a[i] = z[i] * sigmoid(z[i])
    elif activation == MISH:  # Misra 2019
        for i in range(z.size):
            a[i] = z[i] * math.tanh(softplus(z[i]))
    elif activation == SOFTPLUS:
        for i in range(z.size):
            a[i] = softplus(z[i])


@compiled
def multiply_by_slope(activation, z, d):
    """Multiply the gradient `d` by f'(z), in place; both (n,). The step function has no slope: its gradient is 0."""
    one = d.dtype.type(1)
    if activation == RELU:
        for i in range(z.size):
            d[i] = d[i] if z[i] > 0 else 0 * one
    elif activation == STEP:
        d[:] = 0
    elif activation == SIGMOID:
        for i in range(z.size):
            s = sigmoid(z[i])
            d[i] *= s * (one - s)
    elif activation == TANH:
        for i in range(z.size):
            d[i] *= one - math.tanh(z[i]) ** 2
    elif activation == LEAKY_RELU:
        for i in range(z.size):
            d[i] *= one if z[i] > 0 else d.dtype.type(LEAK)
    elif activation == ELU:
        for i in range(z.size):
            d[i] *= one if z[i] > 0 else math.exp(z[i])
    elif activation == SELU:
        for i in range(z.size):
            d[i] *= d.dtype.type(SELU_SCALE) * (one if z[i] > 0 else d.dtype.type(SELU_ALPHA) * math.exp(z[i]))
    elif activation == GELU:
        for i in range(z.size):
            cdf = d.dtype.type(0.5) * (one + math.erf(z[i] * d.dtype.type(SQRT_HALF)))
            d[i] *= cdf + z[i] * d.dtype.type(INV_SQRT_2PI) * math.exp(-z[i] * z[i] / 2)
    elif activation == SILU:
        for i in range(z.size):
            s = sigmoid(z[i])
            d[i] *= s * (one + z[i] * (one - s))
    elif activation == MISH:
        for i in range(z.size):
            t = math.tanh(softplus(z[i]))
            d[i] *= t + z[i] * (one - t * t) * sigmoid(z[i])
    elif activation == SOFTPLUS:
        for i in range(z.size):
            d[i] *= sigmoid(z[i])
