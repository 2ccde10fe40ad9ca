"""Validation scores: which direction is better for the loss and for scikit-learn's scorers."""

from __future__ import annotations

import math
from enum import StrEnum


class Direction(StrEnum):
    """Whether lower or higher scores are better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"

    @property
    def worst(self) -> float:
        """The score that every finite score is better than."""
        return math.inf if self is Direction.MINIMIZE else -math.inf

    def is_better(self, a: float, b: float) -> bool:
        """Whether score `a` is strictly better than score `b`. NaN is neither better nor worse than any score."""
        return a < b if self is Direction.MINIMIZE else a > b

    def to_maximize(self, score: float) -> float:
        """Return the score as a number that is higher for better scores, as sort keys and samplers need it."""
        return -score if self is Direction.MINIMIZE else score


def scoring_direction(scoring: str) -> Direction:
    """Return the direction of a validation score: the loss is minimized, scikit-learn's scorers are maximized."""
    return Direction.MINIMIZE if scoring == "loss" else Direction.MAXIMIZE
