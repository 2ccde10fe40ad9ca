"""Encoding of numbers in float32 alone, for frameworks that round float64 or lack it.

A number x is taken apart into float32(x) and the rest. Each column has an anchor, a value near those of the column, and
y = x - anchor is exact to float32 relative to the spread of the column instead of its size, such as for timestamps. A
plan for y needs no more than float32. The rest is needed only where rounding x would change a feature.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rosenblatt.models.export.feature_plan import FeaturePlan, QuantileColumn

REST = "numbers_rest"  # tensor of what is left of numbers after rounding them to float32
MAX_ROUNDING = 3e-6  # of a feature, from which on the rest of a number is needed
ULP = 2.0**-25  # largest rounding of a number to float32, relative to it

# Normal quantile to 7 digits, AS 241 (Wichura 1988): coefficients of the polynomials, the highest power first, in the
# center (for 0.180625 - (p - 0.5)^2) and the tails (for sqrt(-log p) - 1.6).
CENTER = ((59.10937472, 159.29113202, 50.434271938, 3.3871327179), (67.1875636, 78.757757664, 17.895169469, 1.0))
TAIL = ((0.17023821103, 1.3067284816, 2.75681539, 1.4234372777), (0.12021132975, 0.7370016425, 1.0))
MAX_TAIL = 0.075  # largest p that is computed as a tail


def split(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers rounded to float32, and the rest, also float32."""
    rounded = values.astype(np.float32)
    return rounded, (values - rounded).astype(np.float32)


def rounded_columns(plan: FeaturePlan) -> np.ndarray:
    """Columns of numbers whose features change if the numbers are rounded to float32."""
    change = np.zeros(len(plan.fill))
    np.maximum.at(change, plan.scaled_columns, np.abs(plan.center * plan.factor) * ULP)
    np.maximum.at(change, plan.part_columns, _rounding(plan.part_start) / plan.part_width)
    for column, quantiles in plan.quantile_columns:
        gaps = np.diff(quantiles)
        fractions = _rounding(quantiles[1:])[gaps > 0] / gaps[gaps > 0] / len(gaps)
        change[column] = max(change[column], fractions.max(initial=0.0))
    return np.flatnonzero(change > MAX_ROUNDING)


def _rounding(values: np.ndarray) -> np.ndarray:
    return np.abs(values - values.astype(np.float32))


def shift_plan(plan: FeaturePlan, *, has_rest: bool) -> tuple[FeaturePlan, np.ndarray, np.ndarray]:
    """A plan for numbers relative to their anchors.

    Args:
        plan: for the numbers themselves.
        has_rest: whether the model takes the rest of the numbers, besides the rounded ones.

    Returns:
        The plan, with arrays of float32, and the anchors (N,) rounded to float32 and their rest.
    """
    anchors = _anchors(plan)
    rounded, rest = split(anchors)

    def shift(values: np.ndarray, columns: np.ndarray | int | slice, *, is_cell: bool = False) -> np.ndarray:
        """Values - anchors, by the operations of the model, so that cells that equal a quantile stay equal to it."""
        high, low = split(values)
        if is_cell and not has_rest:
            low = np.zeros_like(low)
        return (high - rounded[columns]) + (low - rest[columns])

    shifted = replace(
        plan,
        fill=shift(plan.fill, slice(None), is_cell=True),
        center=shift(plan.center, plan.scaled_columns),
        factor=plan.factor.astype(np.float32),
        quantile_columns=tuple(QuantileColumn(k, shift(q, k, is_cell=True)) for k, q in plan.quantile_columns),
        part_start=shift(plan.part_start, plan.part_columns),
        part_width=plan.part_width.astype(np.float32),
        part_min=plan.part_min.astype(np.float32),
        part_max=plan.part_max.astype(np.float32),
    )
    return shifted, rounded, rest


def _anchors(plan: FeaturePlan) -> np.ndarray:
    """The value nearest to 0 between the limits of each column; the center of columns without limits."""
    low, high = np.full(len(plan.fill), np.inf), np.full(len(plan.fill), -np.inf)
    np.minimum.at(low, plan.part_columns, plan.part_start)
    np.maximum.at(high, plan.part_columns, plan.part_start + plan.part_width)
    for column, quantiles in plan.quantile_columns:
        low[column], high[column] = quantiles[0], quantiles[-1]
    is_free = low[plan.scaled_columns] > high[plan.scaled_columns]
    columns = plan.scaled_columns[is_free]
    low[columns] = high[columns] = plan.center[is_free]
    return np.clip(0.0, low, high)
