"""Splits of rows into training, validation and test rows: folds, groups, time order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.errors import TableError


class Fold(NamedTuple):
    """Rows to learn from, and rows to validate on."""

    train: np.ndarray
    validation: np.ndarray


def stratified_parts(n: int, k: int, seed: int, stratify: np.ndarray | None = None) -> list[np.ndarray]:
    """Deal the rows 0 to n - 1 into k parts of equal size, in random order.

    With `stratify` (n,), classes or target values, each part gets about the same mix of them: of every k rows next to
    each other in value, each part gets one. Returns k sorted arrays of row numbers.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    if stratify is not None:
        order = order[np.argsort(stratify[order], kind="stable")]
    part = np.concatenate([rng.permutation(k) for _ in range(-(-n // k))])[:n]
    return [np.sort(order[part == i]) for i in range(k)]


def make_folds(
    n: int,
    k: int,
    seed: int,
    stratify: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    order: np.ndarray | None = None,
) -> list[Fold]:
    """k folds, each of which spares another part of the rows 0 to n - 1.

    Rows of one group (n,) are spared together. With `order` (n,), each fold learns from all rows that come before those
    it spares: these are the latter half of the rows, in k blocks. Raises TableError where there are too few groups.
    """
    if order is not None:
        if groups is not None:
            raise TableError("Rows can be split by groups or by their order, not by both. Leave one of them out.")
        return _time_series_folds(order, k)
    parts = stratified_parts(n, k, seed, stratify) if groups is None else _group_parts(groups, k, seed)
    return [Fold(np.setdiff1d(np.arange(n), part, assume_unique=True), part) for part in parts]


def validation_folds(
    n: int,
    k: int,
    repeats: int,
    seed: int,
    stratify: np.ndarray,
    groups: np.ndarray | None = None,
    order: np.ndarray | None = None,
) -> list[Fold]:
    """Folds for the validation of trials: those of `make_folds`, in as many splits as `repeats` says."""
    seeds = np.random.default_rng(seed).integers(2**63, size=repeats)
    if order is not None:  # there is but one
        seeds = seeds[:1]
    return [fold for repeat_seed in seeds for fold in make_folds(n, k, int(repeat_seed), stratify, groups, order)]


def _group_parts(groups: np.ndarray, k: int, seed: int) -> list[np.ndarray]:
    """k parts of whole groups: the largest group first, each to the part that has fewest rows."""
    names, group_index = np.unique(groups, return_inverse=True)
    if names.size < k:
        raise TableError(f"There are {names.size} groups, but {k} folds. Choose fewer folds, or other groups.")
    rng = np.random.default_rng(seed)
    counts = np.bincount(group_index)
    shuffled = rng.permutation(names.size)
    part, part_sizes = np.empty(names.size, int), np.zeros(k)
    for group in shuffled[np.argsort(-counts[shuffled], kind="stable")]:
        part[group] = part_sizes.argmin()
        part_sizes[part[group]] += counts[group]
    return [np.flatnonzero(part[group_index] == i) for i in range(k)]


def _time_series_folds(order: np.ndarray, k: int) -> list[Fold]:
    """Each fold learns from all that comes before the block it spares; rows of one time stand on one side."""
    times, time_index = np.unique(order, return_inverse=True)
    if times.size < k + 1:
        raise TableError(f"The rows have {times.size} different times, but {k} folds need {k + 1}. Choose fewer folds.")
    cumulative_fraction = np.cumsum(np.bincount(time_index)) / len(order)  # share of the rows up to each time
    starts = [int(np.searchsorted(cumulative_fraction, 0.5 + 0.5 * i / k)) for i in range(k)]
    starts = [max(start, i + 1) for i, start in enumerate(starts)]  # one time at least before each block
    for i in range(1, k):  # and in each
        starts[i] = max(starts[i], starts[i - 1] + 1)
    starts = [min(start, times.size - k + i) for i, start in enumerate(starts)]
    ends = [*starts[1:], times.size]
    return [
        Fold(np.flatnonzero(time_index < start), np.flatnonzero((time_index >= start) & (time_index < end)))
        for start, end in zip(starts, ends, strict=True)
    ]


def train_test_split(
    n: int,
    fraction: float,
    seed: int,
    stratify: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    order: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Set a share of the rows 0 to n - 1 aside for the test. Returns the sorted rows for training, and for the test.

    With `stratify` (n,), the classes, each of them is split by that share, and has at least one row for training;
    so does the whole. With `groups` (n,), whole groups are set aside; with `order` (n,), the last rows.
    """
    if fraction == 0:
        return np.arange(n), np.arange(0)
    if order is not None:
        return _split_last_rows(order, fraction)
    if groups is not None:
        return _split_groups(groups, fraction, seed)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(n)
    if stratify is not None:
        shuffled = shuffled[np.argsort(stratify[shuffled], kind="stable")]
    position = (np.arange(n) + rng.random()) * fraction  # systematic sampling: one row in every 1 / fraction
    is_test = np.floor(position + fraction) > np.floor(position)
    if stratify is not None:
        for value in np.setdiff1d(stratify[shuffled[is_test]], stratify[shuffled[~is_test]]):
            is_test[np.flatnonzero(stratify[shuffled] == value)[0]] = False
    if is_test.all():
        is_test[0] = False
    return np.sort(shuffled[~is_test]), np.sort(shuffled[is_test])


def _split_last_rows(order: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """The last rows; those of one time are on one side."""
    time_index = np.unique(order, return_inverse=True)[1]
    cumulative_fraction = np.cumsum(np.bincount(time_index)) / len(order)
    start = max(1, int(np.searchsorted(cumulative_fraction, 1 - fraction)) + 1)
    return np.flatnonzero(time_index < start), np.flatnonzero(time_index >= start)


def _split_groups(groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Groups at random, until their rows are about that share; one group at least is for training."""
    names, group_index = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(names.size)
    rows_before = np.concatenate([[0], np.cumsum(np.bincount(group_index)[order])[:-1]])
    is_test = np.isin(group_index, order[rows_before < fraction * len(groups)][: names.size - 1])
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)
