"""Whether a line separates two classes, and Novikoff's bound on the mistakes of a perceptron if one does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

TOLERANCE = 1e-11  # of least squares; margins below 1e-5 of the radius count as none


@dataclass(frozen=True)
class Separation:
    """How well the best line through the origin of the inputs, with a constant 1 for the bias, separates two classes.

    Attributes:
        margin: distance of the nearest row to the line with the largest such distance (gamma).
        radius: largest norm of a row (R).
    """

    margin: float
    radius: float

    @property
    def max_mistakes(self) -> float:
        """(R / gamma)^2: the largest number of mistakes of a perceptron that starts from weights of 0."""
        return (self.radius / self.margin) ** 2


def find_separation(x: np.ndarray, classes: np.ndarray) -> Separation | None:
    """Find the line with the largest margin.

    It has the shortest w with s w.x >= 1 for all rows, where s is the sign of the class; least-distance programming
    finds it by non-negative least squares (Lawson & Hanson 1974, chapter 23). The bound: Novikoff 1962.

    Args:
        x: (n, F) inputs.
        classes: (n,) 0 or 1.

    Returns:
        The separation, or None if no line separates the classes.
    """
    rows = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    radius = float(np.linalg.norm(rows, axis=1).max())
    signed = rows * np.where(classes > 0, 1.0, -1.0)[:, None] / radius
    system = np.vstack([signed.T, np.ones(len(rows))])
    solution, _ = nnls(system, np.append(np.zeros(rows.shape[1]), 1.0))
    residual = system @ solution - np.append(np.zeros(rows.shape[1]), 1.0)
    if abs(residual[-1]) < TOLERANCE:
        return None
    w = -residual[:-1] / residual[-1]
    if (signed @ w).min() < 1 - 1e-3:
        return None
    return Separation(margin=radius / float(np.linalg.norm(w)), radius=radius)
