"""Random numbers from a member's counter, so that it resumes with the same numbers (SplitMix64: Steele et al. 2014)."""

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
    """Shuffle `order` (n,) in place (Fisher & Yates); `counter` (1,) uint64 advances by n - 1."""
    for i in range(order.size - 1, 0, -1):
        counter[0] += np.uint64(1)
        # 53 random bits as a fraction: for n < 2^32 the bias is below 2^-21.
        j = int((hash_counter(counter[0]) >> np.uint64(11)) * 2.0**-53 * (i + 1))
        order[i], order[j] = order[j], order[i]


@jit
def dropout_scale(rate, counter):
    """0 with probability `rate`, else 1 / (1 - rate) (inverted dropout: Srivastava et al. 2014)."""
    bits = hash_counter(counter) >> np.uint64(32)
    return 0.0 if bits < np.uint64(rate * 2.0**32) else 1 / (1 - rate)


@jit
def apply_dropout(a, rate, counter):
    """Set a fraction `rate` of `a` (n,) to 0 and scale up the rest, in place; `counter` advances by n."""
    for i in range(a.size):
        a[i] *= constant_like(dropout_scale(rate, counter[0] + np.uint64(i + 1)), a)
    counter[0] += np.uint64(a.size)


@jit
def drop_units(a, slope, blend_difference, rate, counter):
    """Apply dropout to activations (n,), and equally to their slopes (n,) and blend differences (n,) or (0,)."""
    for i in range(a.size):
        factor = constant_like(dropout_scale(rate, counter[0] + np.uint64(i + 1)), a)
        a[i] *= factor
        slope[i] *= factor
        if blend_difference.size:
            blend_difference[i] *= factor
    counter[0] += np.uint64(a.size)
