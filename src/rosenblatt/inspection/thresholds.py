"""Precision, recall and related rates of a two-class model for several thresholds of its probability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from rosenblatt.inspection.tables import MISSING, ReportTable

DEFAULT_THRESHOLD = 0.5  # the class with the larger probability is predicted
THRESHOLDS = tuple(k / 10 for k in range(1, 10))


@dataclass(frozen=True)
class ThresholdCounts:
    """Numbers of rows if the positive class is predicted for probabilities above a threshold."""

    threshold: float
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Fraction of the predicted positives that are positive; NaN if none is predicted."""
        return _ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Fraction of the positives that are predicted as such."""
        return _ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def false_positive_rate(self) -> float:
        """Fraction of the negatives that are predicted as positive."""
        return _ratio(self.false_positives, self.false_positives + self.true_negatives)

    @property
    def predicted_positive(self) -> float:
        """Fraction of all rows that are predicted as positive."""
        n = self.true_positives + self.false_positives + self.false_negatives + self.true_negatives
        return _ratio(self.true_positives + self.false_positives, n)


def count_at_threshold(is_positive: np.ndarray, probability: np.ndarray, threshold: float) -> ThresholdCounts:
    """Count the four kinds of rows; both arrays are (n,)."""
    predicted = probability > threshold
    true_positives = int((predicted & is_positive).sum())
    false_positives = int(predicted.sum()) - true_positives
    false_negatives = int(is_positive.sum()) - true_positives
    true_negatives = len(is_positive) - true_positives - false_positives - false_negatives
    return ThresholdCounts(threshold, true_positives, false_positives, false_negatives, true_negatives)


def best_f1_threshold(is_positive: np.ndarray, probability: np.ndarray) -> float:
    """The threshold with the largest F1 on these rows, the highest one if several are equal.

    Any threshold between two neighboring probabilities gives the same predictions; the one with the fewest decimals
    close to their middle is returned.
    """
    order = np.argsort(-probability, kind="stable")
    sorted_probability = probability[order]
    is_last = np.append(sorted_probability[1:] != sorted_probability[:-1], True)  # of equal probabilities
    true_positives, n_predicted = np.cumsum(is_positive[order])[is_last], np.flatnonzero(is_last) + 1
    best = int(np.argmax(2 * true_positives / (n_predicted + is_positive.sum())))
    values = np.append(sorted_probability[is_last], 0.0)
    return _shortest_number(float(values[best + 1]), float(values[best]))


def threshold_table(is_positive: np.ndarray, probability: np.ndarray, positive: str) -> ReportTable:
    """The rates at the thresholds 0.1 to 0.9 and at the one with the best F1, as a table for a report."""
    best = best_f1_threshold(is_positive, probability)
    thresholds = sorted({*THRESHOLDS, best})
    notes = {DEFAULT_THRESHOLD: "default"}
    notes[best] = ", ".join([*([notes[best]] if best in notes else []), "best F1"])
    rows = []
    for threshold in thresholds:
        counts = count_at_threshold(is_positive, probability, threshold)
        rates = (counts.precision, counts.recall, counts.f1, counts.false_positive_rate, counts.predicted_positive)
        numbers = (counts.true_positives, counts.false_positives, counts.false_negatives, counts.true_negatives)
        rows.append(
            (f"{threshold:g}", *map(_format_rate, rates), *(f"{n:,}" for n in numbers), notes.get(threshold, ""))
        )
    return ReportTable(
        "Thresholds",
        f"{positive} is predicted if its probability exceeds the threshold. The threshold with the best F1 is chosen "
        "on these rows, so its F1 is optimistic for new rows.",
        ("threshold", "precision", "recall", "F1", "false-positive rate", "predicted positive", "true positives",
         "false positives", "false negatives", "true negatives", ""),
        (True,) * 10 + (False,),
        tuple(rows),
        frozenset(k for k, threshold in enumerate(thresholds) if threshold in notes),
    )  # fmt: skip


def _format_rate(rate: float) -> str:
    return f"{rate:.1%}" if math.isfinite(rate) else MISSING


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")


def _shortest_number(low: float, high: float) -> float:
    """The number between two others that has the fewest decimals, near their middle."""
    middle = (low + high) / 2
    return next((t for t in (round(middle, digits) for digits in range(1, 17)) if low < t < high), low)
