"""Sets of points of two classes in the plane from -1 to 1, on which networks of the playground are trained."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

PointSet = tuple[np.ndarray, np.ndarray]
"""Coordinates (n, 2) and classes (n,), 0 or 1."""


def separable(n: int, rng: np.random.Generator) -> PointSet:
    """Two classes that a line separates, with a gap between them."""
    normal, offset, gap = np.array([0.6, 0.8]), 0.1, 0.12
    x = rng.uniform(-1, 1, (20 * n, 2))
    distance = x @ normal + offset
    x, distance = x[np.abs(distance) > gap][:n], distance[np.abs(distance) > gap][:n]
    return x, (distance > 0).astype(np.int64)


def nearly_separable(n: int, rng: np.random.Generator) -> PointSet:
    """Two classes that a line separates, but for one point in twenty."""
    x, classes = separable(n, rng)
    flipped = rng.permutation(n)[: max(1, n // 20)]
    classes[flipped] = 1 - classes[flipped]
    return x, classes


def xor(n: int, rng: np.random.Generator) -> PointSet:
    """Opposite quadrants share a class (Minsky & Papert 1969)."""
    x = rng.uniform(-1, 1, (n, 2))
    x += 0.06 * np.sign(x)
    x /= 1.06
    return x, (x[:, 0] * x[:, 1] < 0).astype(np.int64)


def circles(n: int, rng: np.random.Generator) -> PointSet:
    """A disk, and a ring around it."""
    classes = np.arange(n) % 2
    radius = np.where(classes == 1, rng.uniform(0, 0.42, n), rng.uniform(0.62, 0.95, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    return radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]), classes


def spirals(n: int, rng: np.random.Generator) -> PointSet:
    """Two interleaved spirals (Lang & Witbrock 1988)."""
    classes = np.arange(n) % 2
    t = rng.uniform(0.08, 1, n)
    angle = 3.2 * np.pi * t + np.pi * classes
    x = 0.92 * t[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return x + rng.normal(0, 0.015, x.shape), classes


POINT_SETS: dict[str, Callable[[int, np.random.Generator], PointSet]] = {
    "separable": separable,
    "nearly separable": nearly_separable,
    "xor": xor,
    "circles": circles,
    "spirals": spirals,
}
