"""Confidence intervals of test scores: percentile bootstrap over the test rows.

Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13. Rows that depend on each other are drawn
together: all rows of a group, all steps of a sequence, and blocks of consecutive windows of a time series (moving block
bootstrap, Künsch 1989).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

CONFIDENCE = 0.95
MAX_RESAMPLES = 1_000
MIN_RESAMPLES = 200
MAX_CELLS = 5_000_000  # units times resamples, which bounds time (about 0.1 s) and memory (40 MB)
MAX_UNITS = 25_000  # larger tests are represented by a random sample of their units
MANY_CLASSES = 20  # number of classes from which on units and resamples are fewer
MIN_LARGE_TEST = 2_000  # units that are used at least, however many classes there are
PROPORTIONS = ("accuracy", "labels right", "all labels right")  # scores that are means of fractions
MIN_UNITS = 10  # with fewer, the intervals cover the true score clearly less often than they claim
SEED = 0

SumOverRows = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Totals:
    """Sums values (..., n) over rows, times the weight (n,) of each row.

    Over all rows, giving (...), or over the rows of each resample, giving (..., resamples).
    """

    weight: np.ndarray | None = None
    sum_resamples: SumOverRows | None = None

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Sum values."""
        weighted = values if self.weight is None else values * self.weight
        return weighted.sum(axis=-1) if self.sum_resamples is None else self.sum_resamples(weighted)


ALL_ROWS = Totals()


@dataclass(frozen=True)
class Resampling:
    """Which test rows are drawn together.

    `units` (n,) names the unit of each row; None makes each row a unit. Blocks of `block_length` consecutive
    units are drawn, so that neighboring units may depend on each other.
    """

    units: np.ndarray | None = None
    block_length: int = 1


def confidence_intervals(
    compute: Callable[[np.ndarray, SumOverRows | None], dict[str, np.ndarray]],
    scores: dict[str, float],
    n_rows: int,
    resampling: Resampling,
    n_classes: int,
    weight: np.ndarray | None = None,
) -> dict[str, tuple[float, float]]:
    """Return the 95% interval of each score, except of scores that most resamples leave undefined.

    If the scores of resamples are all 0 or all 1, such as an accuracy of 100 %, the bootstrap does not show how far the
    true score may be from that: `PROPORTIONS` then have the exact interval (Clopper & Pearson 1934), for the effective
    number of weighted units (Kish 1965), others none.

    There are no intervals for fewer than `MIN_UNITS` units (or blocks). If there are more than `MAX_UNITS`, a sample of
    m units is resampled, and the deviations from its score are scaled by sqrt(m / units).

    Args:
        compute: computes all scores of the rows with these numbers, from sums over them or over their resamples.
        scores: the scores of all `n_rows` test rows.
        n_classes: number of classes or other outputs, which the time grows with.
        weight: (n_rows,) weights of the rows, which `compute` uses.
    """
    units = np.arange(n_rows) if resampling.units is None else np.unique(resampling.units, return_inverse=True)[1]
    n_units, class_factor = int(units.max(initial=-1)) + 1, max(n_classes / MANY_CLASSES, 1)
    if n_units < MIN_UNITS * resampling.block_length:
        return {}
    rng, rows = np.random.default_rng(SEED), np.argsort(units, kind="stable")
    n_drawn = int(min(n_units, max(MAX_UNITS / class_factor, MIN_LARGE_TEST)))
    if n_drawn < n_units:
        drawn = np.arange(n_drawn) if resampling.block_length > 1 else rng.choice(n_units, n_drawn, replace=False)
        rows = rows[np.isin(units[rows], drawn)]
    sample_scores: Mapping[str, Any] = compute(rows, None) if n_drawn < n_units else scores
    starts = np.flatnonzero(np.diff(units[rows], prepend=-1))
    n_resamples = int(np.clip(MAX_CELLS / (n_drawn * class_factor), MIN_RESAMPLES, MAX_RESAMPLES))
    counts = _draw_counts(n_drawn, resampling.block_length, n_resamples, rng)

    def sum_resamples(values: np.ndarray) -> np.ndarray:
        by_unit = values.astype(np.float64)
        return (by_unit if n_drawn == len(rows) else np.add.reduceat(by_unit, starts, axis=-1)) @ counts.T

    intervals = {}
    with threadpool_limits(1, user_api="blas"):  # these products are too small for several threads
        resampled = compute(rows, sum_resamples)
    for name, values in resampled.items():
        defined = values[np.isfinite(values)]
        if name in scores and len(defined) > n_resamples / 2:
            quantiles = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
            low, high = scores[name] + np.sqrt(n_drawn / n_units) * (quantiles - sample_scores[name])
            if quantiles.any() and not np.allclose(quantiles, 1, rtol=0, atol=1e-9):
                intervals[name] = (float(low), float(high))
            elif name in PROPORTIONS:
                margin = 1 - ((1 - CONFIDENCE) / 2) ** (1 / _effective_number(units, weight))
                intervals[name] = (0.0, margin) if scores[name] < 0.5 else (1 - margin, 1.0)
    return intervals


def _effective_number(units: np.ndarray, weight: np.ndarray | None) -> float:
    """Number of equally weighted units whose mean varies as much as that of these units (n,) with weights (n,)."""
    if weight is None:
        return int(units.max()) + 1
    totals = np.bincount(units, weights=weight)
    return float(totals.sum() ** 2 / (totals**2).sum())


def _draw_counts(n_units: int, block_length: int, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Return how often each resample contains each unit, (n_resamples, n_units)."""
    n_starts = n_units - block_length + 1
    n_blocks = -(-n_units // block_length)
    counts = np.empty((n_resamples, n_starts))
    for resample in counts:
        resample[:] = np.bincount(rng.integers(n_starts, size=n_blocks), minlength=n_starts)
    if block_length == 1:
        return counts
    n_started = np.pad(counts, ((0, 0), (block_length, block_length - 1))).cumsum(axis=1)
    return n_started[:, block_length:] - n_started[:, :-block_length]
