"""In: a number of rows and a seed. Out: which rows are for training, validation and test."""

from __future__ import annotations

import numpy as np


def folds(n: int, k: int, seed: int, like: np.ndarray | None = None) -> list[np.ndarray]:
    """Deal the rows 0 to n - 1 into k parts of equal size, in random order.

    With `like` (n,), classes or target values, each part gets about the same mix of them: of every k rows next to each
    other in value, each part gets one. Returns k sorted arrays of row numbers.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    if like is not None:
        order = order[np.argsort(like[order], kind="stable")]
    part = np.concatenate([rng.permutation(k) for _ in range(-(-n // k))])[:n]
    return [np.sort(order[part == i]) for i in range(k)]


def train_test(n: int, fraction: float, seed: int, like: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Set a share of the rows 0 to n - 1 aside for the test. Returns the sorted rows for training, and for the test.

    With `like` (n,), the classes, each of them is split by that share, and has at least one row for training;
    so does the whole.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    if like is not None:
        order = order[np.argsort(like[order], kind="stable")]
    position = (np.arange(n) + rng.random()) * fraction  # systematic sampling: one row in every 1 / fraction
    chosen = np.floor(position + fraction) > np.floor(position)
    if like is not None:
        for value in np.setdiff1d(like[order[chosen]], like[order[~chosen]]):
            chosen[np.flatnonzero(like[order] == value)[0]] = False
    if chosen.all():
        chosen[0] = False
    return np.sort(order[~chosen]), np.sort(order[chosen])
