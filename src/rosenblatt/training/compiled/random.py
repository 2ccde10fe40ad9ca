"""Random numbers from a counter of the member, so that a member can pause and resume with the same numbers
(SplitMix64: Steele, Lea & Flood 2014)."""

from __future__ import annotations

import numpy as np

from rosenblatt.training.compiled.jit import constant_like, jit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
MIX_2 = np.uint64(0x94D049BB133111EB)


@jit
def hash_counter(counter):
    """A 64-bit hash of `counter` (uint64)."""
    z = counter * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * MIX_1
    z = (z ^ (z >> np.uint64(27))) * MIX_2
    return z ^ (z >> np.uint64(31))


@jit
def shuffle(order, counter):
    """Put `order` (n,) into random order, in place (Fisher & Yates); `counter` (1,) uint64 moves on by n."""
    for i in range(order.size - 1, 0, -1):
        counter[0] += np.uint64(1)
        # 53 random bits as a fraction: the bias of n < 2^32 choices is below 2^-21.
        j = int((hash_counter(counter[0]) >> np.uint64(11)) * 2.0**-53 * (i + 1))
        order[i], order[j] = order[j], order[i]


@jit
def dropout_scale(rate, counter):
    """0 for a share `rate` of the numbers (uint64), else what makes up for those (Srivastava et al. 2014, inverted)."""
    bits = hash_counter(counter) >> np.uint64(32)
    return 0.0 if bits < np.uint64(rate * 2.0**32) else 1 / (1 - rate)


@jit
def apply_dropout(a, rate, counter):
    """Set a share `rate` of `a` (n,) to 0 and scale up the rest, in place; `counter` moves on by n."""
    for i in range(a.size):
        a[i] *= constant_like(dropout_scale(rate, counter[0] + np.uint64(i + 1)), a)
    counter[0] += np.uint64(a.size)


@jit
def drop_units(a, slope, blend_difference, rate, counter):
    """Drop units a (n,), and with each the slope and the bend (n,) or (0,) that lead to it."""
    for i in range(a.size):
        factor = constant_like(dropout_scale(rate, counter[0] + np.uint64(i + 1)), a)
        a[i] *= factor
        slope[i] *= factor
        if blend_difference.size:
            blend_difference[i] *= factor
    counter[0] += np.uint64(a.size)
