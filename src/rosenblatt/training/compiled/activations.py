"""Activations f(z) and their slopes f'(z).

To add an activation: its formula here, and its name in `FORMULAS` and in `spec.fields.Activation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rosenblatt.training.compiled.elementary import exp, expm1, log1p, normal_cdf, tanh
from rosenblatt.training.compiled.jit import constant_like, inline, jit

LEAK = 0.01
SELU_ALPHA = 1.6732632423543772  # Klambauer et al. 2017, equation 14
SELU_SCALE = 1.0507009873554805
INV_SQRT_2PI = 1 / math.sqrt(2 * math.pi)


@inline
def logistic(z):
    """1 / (1 + e^-z), without overflow for any z."""
    one, e = constant_like(1, z), exp(-abs(z))
    return (one if z >= 0 else e) / (one + e)


@inline
def log_1p_exp(z):
    """log(1 + e^z), without overflow for any z."""
    return max(z, constant_like(0, z)) + log1p(exp(-abs(z)))


@inline
def identity(z):
    """z."""
    return z, constant_like(1, z)


@inline
def step(z):
    """1 above 0, else 0 (McCulloch & Pitts 1943; Rosenblatt 1958); the slope is 0."""
    return (constant_like(1, z) if z > 0 else constant_like(0, z)), constant_like(0, z)


@inline
def sigmoid(z):
    """1 / (1 + e^-z), from 0 to 1 (Rumelhart, Hinton & Williams 1986)."""
    a = logistic(z)
    return a, a * (constant_like(1, z) - a)


@inline
def tangent(z):
    """The hyperbolic tangent, from -1 to 1 (LeCun et al. 1998)."""
    a = tanh(z)
    return a, constant_like(1, z) - a * a


@inline
def relu(z):
    """z above 0, else 0 (Nair & Hinton 2010). NaN stays NaN."""
    return (constant_like(0, z) if z < 0 else z), (constant_like(1, z) if z > 0 else constant_like(0, z))


@inline
def leaky_relu(z):
    """z above 0, else z / 100 (Maas et al. 2013)."""
    slope = constant_like(1, z) if z > 0 else constant_like(LEAK, z)
    return slope * z, slope


@inline
def elu(z):
    """z above 0, else e^z - 1 (Clevert et al. 2016)."""
    e = expm1(min(z, constant_like(0, z)))
    return (z if z > 0 else e), (constant_like(1, z) if z > 0 else e + constant_like(1, z))


@inline
def selu(z):
    """An ELU scaled so that activations keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    scale, alpha = constant_like(SELU_SCALE, z), constant_like(SELU_ALPHA, z)
    e = expm1(min(z, constant_like(0, z)))
    return scale * (z if z > 0 else alpha * e), scale * (
        constant_like(1, z) if z > 0 else alpha * (e + constant_like(1, z))
    )


@inline
def gelu(z):
    """z times the cumulative normal distribution at z (Hendrycks & Gimpel 2016)."""
    gaussian = exp(constant_like(-0.5, z) * z * z)
    cdf = normal_cdf(z, gaussian)
    return z * cdf, cdf + z * constant_like(INV_SQRT_2PI, z) * gaussian


@inline
def silu(z):
    """z sigmoid(z) (Elfwing et al. 2018)."""
    s = logistic(z)
    return z * s, s * (constant_like(1, z) + z * (constant_like(1, z) - s))


@inline
def mish(z):
    """z tanh(log(1 + e^z)) (Misra 2019), where the hyperbolic tangent is a rational function of e^-|z|."""
    one, two, e = constant_like(1, z), constant_like(2, z), exp(-abs(z))
    t = (one + two * e) / (one + two * e + two * e * e) if z >= 0 else (e * e + two * e) / (e * e + two * e + two)
    s = (one if z >= 0 else e) / (one + e)
    return z * t, t + z * (one - t * t) * s


@inline
def softplus(z):
    """log(1 + e^z) (Dugas et al. 2001)."""
    return log_1p_exp(z), logistic(z)


def _over_array(formula: Callable[..., Any]) -> Callable[..., Any]:
    """Compile the formula for arrays: write a (n,), and replace z (n,) by the slope."""

    def activate(z, a):
        for i in range(z.size):
            a[i], z[i] = formula(z[i])
        return 0.0

    activate.__qualname__ = f"activate_{formula.__name__}"  # part of the name of its cache files
    return jit(activate)


FORMULAS = {
    "identity": identity,
    "step": step,
    "sigmoid": sigmoid,
    "tanh": tangent,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "elu": elu,
    "selu": selu,
    "gelu": gelu,
    "silu": silu,
    "mish": mish,
    "softplus": softplus,
}

ACTIVATIONS = {name: _over_array(formula) for name, formula in FORMULAS.items()}
