"""Elementary functions: exponential, logarithm, hyperbolic tangent, normal distribution.

In float32, branch-free formulas with errors of about 1e-7, so that loops over them are vectorized; in float64, the C
library. The coefficients are minimax fits (Lawson's iteration).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from rosenblatt.training.compiled.jit import FLOATING_POINT

LOG2_E = np.float32(1 / math.log(2))
LN2_HIGH = np.float32(0.693359375)  # ln 2 in two parts; small integers times the first are exact
LN2_LOW = np.float32(math.log(2) - 0.693359375)
# limits beyond which e^x overflows or its reciprocal loses precision in float32
MAX_EXP_ARGUMENT, MIN_EXP_ARGUMENT = np.float32(88), np.float32(-80)
E0, E1, E2, E3, E4 = (np.float32(c) for c in (0.5, 0.166665122, 0.0416661873, 0.00836959854, 0.00139517151))
T0, T1, T2, T3, T4 = (np.float32(c) for c in (-0.333332837, 0.133314908, -0.0537434928, 0.0206505694, -0.00571702560))
A0, A1, A2, A3 = (np.float32(c) for c in (0.333332062, 0.200108498, 0.139995679, 0.140122369))
Q = tuple(
    np.float32(c)
    for c in (
        -2.73173445e-05, 0.140270382, 0.133354843, 0.155962408, -0.0170253497, 0.240643039, -0.202120647, 0.0489427894,
    )
)  # fmt: skip
Q0, Q1, Q2, Q3, Q4, Q5, Q6, Q7 = Q
Q_RATE = np.float32(0.35)
ZERO, HALF, ONE, TWO = (np.float32(c) for c in (0, 0.5, 1, 2))
TANH_SERIES_LIMIT = np.float32(0.625)
HALF_LN2 = np.float32(math.log(2) / 2)
SQRT_2 = np.float32(math.sqrt(2))
SQRT_HALF = math.sqrt(0.5)

_OPTIONS = {"fastmath": FLOATING_POINT, "error_model": "numpy", "forceinline": True}


@intrinsic
def _exp2(_typing: Any, n: Any) -> Any:
    """2^n of an integral float32 number, from its bits."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        i32 = ir.IntType(32)
        exponent = builder.add(builder.fptosi(values[0], i32), ir.Constant(i32, 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(i32, 23)), ir.FloatType())

    return types.float32(n), generate


@intrinsic
def _exponent(_typing: Any, x: Any) -> Any:
    """Exponent n of a positive float32 number x = m 2^n with 1 <= m < 2."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        i32 = ir.IntType(32)
        bits = builder.lshr(builder.bitcast(values[0], i32), ir.Constant(i32, 23))
        return builder.sitofp(builder.sub(bits, ir.Constant(i32, 127)), ir.FloatType())

    return types.float32(x), generate


@intrinsic
def _mantissa(_typing: Any, x: Any) -> Any:
    """Mantissa m of a positive float32 number x = m 2^n with 1 <= m < 2."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        i32 = ir.IntType(32)
        bits = builder.and_(builder.bitcast(values[0], i32), ir.Constant(i32, 0x7FFFFF))
        return builder.bitcast(builder.or_(bits, ir.Constant(i32, 0x3F800000)), ir.FloatType())

    return types.float32(x), generate


def exp(x: Any) -> Any:
    """e^x, clipped to [e^-80, e^88] in float32; NaN stays NaN."""
    return math.exp(x)


@overload(exp, jit_options=_OPTIONS)
def _compiled_exp(x):
    if x != types.float32:
        return lambda x: math.exp(x)

    def single(x):  # 2^n e^r with |r| <= ln(2) / 2
        bounded = min(max(x, MIN_EXP_ARGUMENT), MAX_EXP_ARGUMENT)
        n = np.floor(bounded * LOG2_E + HALF)
        r = (bounded - n * LN2_HIGH) - n * LN2_LOW
        power = ONE + r + r * r * (E0 + r * (E1 + r * (E2 + r * (E3 + r * E4))))
        return power * _exp2(n) if x == x else x

    return single


def log1p(x: Any) -> Any:
    """log(1 + x) for x from -0.3 to 1."""
    return math.log1p(x)


@overload(log1p, jit_options=_OPTIONS)
def _compiled_log1p(x):
    if x != types.float32:
        return lambda x: math.log1p(x)

    def single(x):  # 2 artanh(s)
        s = x / (TWO + x)
        u = s * s
        return TWO * s * (ONE + u * (A0 + u * (A1 + u * (A2 + u * A3))))

    return single


def log(x: Any) -> Any:
    """The natural logarithm of a positive number, in float32 of a normal one; NaN stays NaN."""
    return math.log(x)


@overload(log, jit_options=_OPTIONS)
def _compiled_log(x):
    if x != types.float32:
        return lambda x: math.log(x)

    def single(x):
        n, m = _exponent(x), _mantissa(x)
        n, m = (n + ONE, m * HALF) if m > SQRT_2 else (n, m)
        return n * (LN2_HIGH + LN2_LOW) + log1p(m - ONE) if x == x else x

    return single


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return math.tanh(x)


@overload(tanh, jit_options=_OPTIONS)
def _compiled_tanh(x):
    if x != types.float32:
        return lambda x: math.tanh(x)

    def single(x):
        magnitude, u = abs(x), x * x
        near = x + x * u * (T0 + u * (T1 + u * (T2 + u * (T3 + u * T4))))
        far = ONE - TWO / (exp(TWO * magnitude) + ONE)
        return near if magnitude < TANH_SERIES_LIMIT else (far if x > ZERO else -far)

    return single


def expm1(x: Any) -> Any:
    """e^x - 1."""
    return math.expm1(x)


@overload(expm1, jit_options=_OPTIONS)
def _compiled_expm1(x):
    if x != types.float32:
        return lambda x: math.expm1(x)

    def single(x):
        near = x + x * x * (E0 + x * (E1 + x * (E2 + x * (E3 + x * E4))))
        return near if abs(x) < HALF_LN2 else exp(x) - ONE

    return single


def normal_cdf(x: Any, gaussian: Any) -> Any:
    """The cumulative normal distribution at x; gaussian is e^(-x^2 / 2)."""
    return 0.5 * math.erfc(-x * SQRT_HALF)


@overload(normal_cdf, jit_options=_OPTIONS)
def _compiled_normal_cdf(x, gaussian):
    if x != types.float32:
        return lambda x, gaussian: 0.5 * math.erfc(-x * SQRT_HALF)

    def single(x, gaussian):  # the tail is the Gaussian times a polynomial in 1 / (1 + c |x|)
        t = ONE / (ONE + Q_RATE * abs(x))
        poly = Q0 + t * (Q1 + t * (Q2 + t * (Q3 + t * (Q4 + t * (Q5 + t * (Q6 + t * Q7))))))
        tail = gaussian * poly
        offset, sign = (ONE, -ONE) if x > ZERO else (ZERO, ONE)
        return offset + sign * tail

    return single
