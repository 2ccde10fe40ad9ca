"""Prediction intervals of a regression model, from the residuals of test rows with similar predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

LOWER_QUANTILE, UPPER_QUANTILE = 0.05, 0.95
MAX_BINS = 10
MIN_BIN_ROWS = 20  # test rows in a bin, at least; without two bins of rows there are no intervals
COVERAGE_FOLDS = 5


@dataclass(frozen=True)
class PredictionIntervals:
    """For each of B bins of the predicted value, the 5% and 95% quantiles of its residuals (true minus predicted).

    The quantiles are those at ranks p (n + 1) of n residuals, between which a new residual is with 90% probability
    however few they are; those at ranks 1 + p (n - 1) would cover too little.
    """

    edges: np.ndarray  # (B + 1,) bounds of the bins
    lower: np.ndarray  # (B,)
    upper: np.ndarray  # (B,)

    @classmethod
    def fit(cls, y: np.ndarray, predictions: np.ndarray) -> Self | None:
        """Fit to true and predicted values (n,); None if there are too few rows."""
        if len(y) < 2 * MIN_BIN_ROWS:
            return None
        order = np.argsort(predictions, kind="stable")
        bins = np.array_split(order, min(MAX_BINS, len(y) // MIN_BIN_ROWS))
        starts = [predictions[rows[0]] for rows in bins]
        residuals = [y[rows] - predictions[rows] for rows in bins]
        return cls(
            np.array([*starts, predictions[order[-1]]]),
            np.array([np.quantile(r, LOWER_QUANTILE, method="weibull") for r in residuals]),
            np.array([np.quantile(r, UPPER_QUANTILE, method="weibull") for r in residuals]),
        )

    def predict(self, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds (n,) for predictions (n,)."""
        bins = np.clip(np.searchsorted(self.edges[1:-1], predictions, side="right"), 0, len(self.lower) - 1)
        return predictions + self.lower[bins], predictions + self.upper[bins]


def cross_validated_coverage(y: np.ndarray, predictions: np.ndarray) -> float:
    """Fraction of the rows inside intervals that are fitted to other rows (5 folds); NaN if there are too few rows."""
    folds = np.random.default_rng(0).permutation(len(y)) % COVERAGE_FOLDS
    is_inside = np.zeros(len(y), bool)
    for fold in range(COVERAGE_FOLDS):
        rest, rows = folds != fold, folds == fold
        intervals = PredictionIntervals.fit(y[rest], predictions[rest])
        if intervals is None:
            return float("nan")
        lower, upper = intervals.predict(predictions[rows])
        is_inside[rows] = (y[rows] >= lower) & (y[rows] <= upper)
    return float(is_inside.mean())
