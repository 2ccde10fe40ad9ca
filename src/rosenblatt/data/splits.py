"""Split rows into training, validation and test rows: at random, by groups, or in order of time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.errors import TableError


class Fold(NamedTuple):
    """Row numbers of one split."""

    train: np.ndarray
    validation: np.ndarray


def stratified_parts(n: int, k: int, seed: int, stratify: np.ndarray | None = None) -> list[np.ndarray]:
    """Split the rows 0 to n - 1 at random into k parts of equal size, sorted arrays of row numbers.

    If `stratify` (n,) holds classes or target values, each part gets one of every k rows that are neighbors in value.
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
    """Make k folds of the rows 0 to n - 1, each with another part as its validation rows.

    Args:
        n, k, seed: numbers of rows and folds, and the seed of the random numbers.
        stratify: classes or target values (n,), which all folds share about equally.
        groups: group index (n,) of each row; a group is never split.
        order: rank (n,) of each row in time. The validation rows are the later half of the rows, in k blocks, and the
            training rows of a fold are all rows before its block.

    Raises:
        TableError: if there are too few groups or times, or if both are given.
    """
    if order is not None:
        if groups is not None:
            raise TableError("Rows can be split by groups or by order, not by both. Remove one of them.")
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
    """Make the folds of repeated cross-validation: k folds (see `make_folds`) for each of `repeats` random splits."""
    seeds = np.random.default_rng(seed).integers(2**63, size=repeats)
    if order is not None:  # time allows one split only
        seeds = seeds[:1]
    return [fold for repeat_seed in seeds for fold in make_folds(n, k, int(repeat_seed), stratify, groups, order)]


def _group_parts(groups: np.ndarray, k: int, seed: int) -> list[np.ndarray]:
    """k parts of whole groups: from the largest to the smallest group, each goes to the part with the fewest rows."""
    names, group_index = np.unique(groups, return_inverse=True)
    if names.size < k:
        raise TableError(f"{k} folds need as many groups or more, but the rows have {names.size}. Choose fewer folds.")
    rng = np.random.default_rng(seed)
    counts = np.bincount(group_index)
    shuffled = rng.permutation(names.size)
    part, part_sizes = np.empty(names.size, int), np.zeros(k)
    for group in shuffled[np.argsort(-counts[shuffled], kind="stable")]:
        part[group] = part_sizes.argmin()
        part_sizes[part[group]] += counts[group]
    return [np.flatnonzero(part[group_index] == i) for i in range(k)]


def _time_series_folds(order: np.ndarray, k: int) -> list[Fold]:
    """Folds whose training rows are all rows before the validation block; rows of one time are never split."""
    times, time_index = np.unique(order, return_inverse=True)
    if times.size < k + 1:
        raise TableError(
            f"{k} folds need {k + 1} different times or more, but the rows have {times.size}. Choose fewer folds."
        )
    cumulative_fraction = np.cumsum(np.bincount(time_index)) / len(order)  # fraction of the rows up to each time
    starts = [int(np.searchsorted(cumulative_fraction, 0.5 + 0.5 * i / k)) for i in range(k)]
    starts = [max(start, i + 1) for i, start in enumerate(starts)]  # at least one time before each block
    for i in range(1, k):  # and in each block
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
    """Split the rows 0 to n - 1 into sorted numbers of the training rows and of the test rows.

    Args:
        n, fraction, seed: number of rows, fraction of the test rows, and the seed of the random numbers.
        stratify: classes (n,). Each is split by the fraction. A class of one row is for training; a class of several
            has at least one training row and, unless there are more such classes than test rows, one test row.
        groups: group index (n,) of each row; a group is never split.
        order: rank (n,) of each row in time; the test rows are the last ones, and at least those of the last time.
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
    position = (np.arange(n) + rng.random()) * fraction  # systematic sampling: one of every 1 / fraction rows
    is_test = np.floor(position + fraction) > np.floor(position)
    if stratify is not None:
        _represent_each_class(is_test, stratify[shuffled], rng)
    if is_test.all():
        is_test[0] = False
    return np.sort(shuffled[~is_test]), np.sort(shuffled[is_test])


def _represent_each_class(is_test: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> None:
    """Change a split in place so that both sides have rows of each class, as far as `train_test_split` promises.

    A class without test rows gets one at random; in return, the class with the most test rows gives one back, so that
    the size of the test does not change while some class has two or more.
    """
    _, class_index, n_rows = np.unique(classes, return_inverse=True, return_counts=True)
    n_test = np.bincount(class_index, is_test, minlength=n_rows.size).astype(int)
    for k in np.flatnonzero(n_test == n_rows):
        is_test[np.flatnonzero(class_index == k)[0]] = False
        n_test[k] -= 1
    absent = np.flatnonzero((n_test == 0) & (n_rows > 1))
    if absent.size + np.count_nonzero(n_test) > max(is_test.sum(), 1):
        return
    for k in absent:
        largest = int(n_test.argmax())
        is_test[rng.choice(np.flatnonzero(class_index == k))] = True
        n_test[k] += 1
        if n_test[largest] > 1:
            is_test[rng.choice(np.flatnonzero((class_index == largest) & is_test))] = False
            n_test[largest] -= 1


def rarest_label(y: np.ndarray) -> np.ndarray:
    """What rows of several labels (n, labels) are stratified by, (n,): the rarest label of each row, -1 without any."""
    is_positive = y == 1
    by_frequency = np.argsort(is_positive.sum(axis=0), kind="stable")
    rarest = by_frequency[is_positive[:, by_frequency].argmax(axis=1)]
    return np.where(is_positive.any(axis=1), rarest, -1)


def _split_last_rows(order: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Split off the last rows; rows of one time are never split, and at least one time is for each side."""
    times, time_index = np.unique(order, return_inverse=True)
    cumulative_fraction = np.cumsum(np.bincount(time_index)) / len(order)
    start = int(np.searchsorted(cumulative_fraction, 1 - fraction)) + 1
    start = max(1, min(start, times.size - 1))
    return np.flatnonzero(time_index < start), np.flatnonzero(time_index >= start)


def _split_groups(groups: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split off random groups until they hold about that fraction of the rows; at least one group is for training."""
    names, group_index = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(names.size)
    rows_before = np.concatenate([[0], np.cumsum(np.bincount(group_index)[order])[:-1]])
    is_test = np.isin(group_index, order[rows_before < fraction * len(groups)][: names.size - 1])
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)
