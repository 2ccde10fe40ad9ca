"""Order of the samples of an epoch: a pure function of the version, the seed and the epoch, in two levels.

Metadata files are permuted and taken in groups, so that the first batch needs the metadata of the first group only.
Within a group, packs are permuted and taken in windows, within which the samples are shuffled. What fits into one
window is shuffled fully. All random numbers are raw output of Philox (Salmon et al. 2011, "Parallel random numbers: as
easy as 1, 2, 3"), keyed by a hash of everything that they depend on, so that the order stays the same between releases
of NumPy, and neither seeds nor epochs are correlated.

Global batches are cut from this order, and then split between ranks, so that the order does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np

ORDER_VERSION = 1  # changes whenever the same seed leads to another order
GROUP_ROWS = 16 << 16  # rows of a group: 16 full metadata files
GROUP_FILES = 256  # of a group, where they are small


@dataclass(frozen=True)
class OrderSettings:
    """What the order depends on, beside the samples.

    Args:
        version: identifies the content, such as the root of a version.
        seed: any integer.
        shuffle: False for the order of the version itself.
        window_bytes: up to this many bytes of packs are shuffled together, and at least one pack.
    """

    version: str
    seed: int = 0
    shuffle: bool = True
    window_bytes: int = 1 << 30


@dataclass(frozen=True)
class FileUnits:
    """Which samples of a metadata file are read together, such as those of a pack."""

    codes: np.ndarray  # int32, of each selected row: the number of its unit within the file
    n_bytes: np.ndarray  # of each unit


@dataclass(frozen=True)
class Group:
    """Metadata files whose samples are consecutive in an epoch."""

    number: int
    start: int  # position of its first sample in the epoch
    files: tuple[int, ...]
    n_samples: int


@dataclass(frozen=True)
class Window:
    """Consecutive samples of an epoch, whose packs are needed at the same time."""

    start: int  # position of its first sample in the epoch
    units: np.ndarray  # numbers of its units within the group
    rows: np.ndarray  # of each sample, in the order of the epoch: its row within the files of the group
    unit_ranks: np.ndarray  # of each sample: the index of its unit in `units`

    @property
    def end(self) -> int:
        """Position of the first sample after it."""
        return self.start + len(self.rows)


def permutation(n: int, *key: object) -> np.ndarray:
    """A pseudorandom permutation of n numbers, determined by the key.

    >>> permutation(5, "photos", 0)
    array([3, 1, 4, 2, 0])
    """
    digest = blake2b("\0".join(map(str, (ORDER_VERSION, *key))).encode(), digest_size=16).digest()
    random = np.random.Philox(key=np.frombuffer(digest, "<u8")).random_raw(n)
    mask = np.uint64((1 << max(n - 1, 0).bit_length()) - 1)
    return (np.sort((random & ~mask) | np.arange(n, dtype=np.uint64)) & mask).astype(np.int64)


class SampleOrder:
    """The order of all samples of a version, or of those that were selected.

        order = SampleOrder(n_rows, n_bytes, OrderSettings("photos@2"))
        for group in order.groups(epoch=0):
            for window in order.windows(0, group, [units_of(file) for file in group.files]):
                window.rows

    Args:
        n_rows: number of selected rows of each metadata file.
        n_bytes: size of each metadata file; a group has at most `window_bytes` of them, and at least one file.
        settings: what the order depends on.
    """

    def __init__(self, n_rows: Sequence[int], n_bytes: Sequence[int], settings: OrderSettings) -> None:
        self.settings = settings
        self._n_rows, self._n_bytes = np.asarray(n_rows, np.int64), np.asarray(n_bytes, np.int64)
        self.n_samples = int(self._n_rows.sum())

    @cached_property
    def _files(self) -> np.ndarray:
        return np.flatnonzero(self._n_rows)

    def _permutation(self, n: int, epoch: int, *key: object) -> np.ndarray:
        settings = self.settings
        return permutation(n, settings.version, settings.seed, epoch, *key) if settings.shuffle else np.arange(n)

    def groups(self, epoch: int) -> list[Group]:
        """The groups of an epoch, in its order."""
        groups, files, rows, size, start = list[Group](), list[int](), 0, 0, 0
        for file in self._files[self._permutation(len(self._files), epoch, "files")].tolist():
            n, n_bytes = int(self._n_rows[file]), int(self._n_bytes[file])
            is_full = len(files) == GROUP_FILES or rows + n > GROUP_ROWS or size + n_bytes > self.settings.window_bytes
            if files and is_full:
                groups.append(Group(len(groups), start, tuple(files), rows))
                files, rows, size, start = [], 0, 0, start + rows
            files.append(file)
            rows, size = rows + n, size + n_bytes
        return [*groups, Group(len(groups), start, tuple(files), rows)] if files else groups

    def windows(self, epoch: int, group: Group, units: Sequence[FileUnits], position: int = 0) -> Iterator[Window]:
        """The windows of a group that end after a position of the epoch."""
        codes, n_bytes = _join_units(units)
        if not self.settings.shuffle:
            yield from _unshuffled_windows(group.start, codes, n_bytes, self.settings.window_bytes, position)
            return
        counts = np.bincount(codes, minlength=len(n_bytes))
        rows_by_unit = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
        order = self._permutation(len(n_bytes), epoch, "units", group.number)
        order, start = order[counts[order] > 0], group.start
        for number, (first, last) in enumerate(_cut(n_bytes[order], self.settings.window_bytes)):
            members = order[first:last]
            n = int(counts[members].sum())
            if start + n > position:
                mixed = self._permutation(n, epoch, "window", group.number, number)
                rows = np.concatenate([rows_by_unit[unit] for unit in members.tolist()])[mixed]
                yield Window(start, members, rows, np.repeat(np.arange(len(members)), counts[members])[mixed])
            start += n


def _join_units(units: Sequence[FileUnits]) -> tuple[np.ndarray, np.ndarray]:
    """Number the units of files consecutively; samples without one get one more unit, without bytes."""
    firsts = np.cumsum([0, *(len(part.n_bytes) + 1 for part in units)])
    codes = np.concatenate(
        [
            np.where(part.codes < 0, len(part.n_bytes), part.codes) + first
            for part, first in zip(units, firsts[:-1], strict=True)
        ]
    )
    n_bytes = np.concatenate([np.append(part.n_bytes, 0) for part in units])
    return codes.astype(np.uint16 if len(n_bytes) <= 1 << 16 else np.int64), n_bytes  # 16 bits are sorted faster


def _cut(n_bytes: np.ndarray, window_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut a sequence into parts of at most so many bytes, and at least one element."""
    ends, first = np.cumsum(n_bytes), 0
    while first < len(ends):
        limit = ends[first] - n_bytes[first] + window_bytes
        last = max(int(np.searchsorted(ends, limit, side="right")), first + 1)
        yield first, last
        first = last


def _unshuffled_windows(
    start: int, codes: np.ndarray, n_bytes: np.ndarray, window_bytes: int, position: int
) -> Iterator[Window]:
    """Windows of consecutive rows; a run of rows counts with its share of the bytes of its unit."""
    starts = np.flatnonzero(np.diff(codes.astype(np.int64), prepend=-1))
    ends = np.append(starts[1:], len(codes))
    shares = n_bytes / np.maximum(np.bincount(codes, minlength=len(n_bytes)), 1)
    run_bytes = (shares[codes[starts]] * (ends - starts)).astype(np.int64)
    for first, last in _cut(run_bytes, window_bytes):
        rows = np.arange(starts[first], ends[last - 1])
        if start + ends[last - 1] > position:
            units, unit_ranks = np.unique(codes[rows], return_inverse=True)
            yield Window(start + int(starts[first]), units.astype(np.int64), rows, unit_ranks)


@dataclass(frozen=True)
class BatchCut:
    """How an epoch is cut into global batches, and which part of them a process gets.

    Rank r of R gets as many samples as there are numbers s below the size of the batch with s % R = r, so that all get
    the same number of batches, and the same number of samples where R divides the size; if a last batch has fewer
    samples than there are ranks, some get an empty one. The samples of a batch are sorted by pack before they are
    split, so that each rank needs few packs of a window.

    Args:
        n_samples: of the epoch; less to leave out an incomplete last batch.
        batch_size: samples of a global batch.
        first: position of the first batch.
        rank, n_ranks: this process and how many there are.
        worker, n_workers: this process gets every n-th batch.
        has_whole_last: whether each rank gets all of an incomplete last batch, to fill its part up.
    """

    n_samples: int
    batch_size: int
    first: int = 0
    rank: int = 0
    n_ranks: int = 1
    worker: int = 0
    n_workers: int = 1
    has_whole_last: bool = False

    def select(self, window: Window) -> np.ndarray:
        """Indices of this process's samples in a window, ascending."""
        n = len(window.rows)
        if self.n_ranks == self.n_workers == 1:
            return np.arange(max(self.first - window.start, 0), min(self.n_samples - window.start, n))
        positions = np.arange(window.start, window.end) - self.first
        batches = positions // self.batch_size
        starts = batches * self.batch_size
        sizes = np.minimum(self.batch_size, self.n_samples - self.first - starts)
        low = np.maximum(window.start - self.first - starts, 0)  # the part of each batch that is in this window
        high = np.minimum(window.end - self.first - starts, sizes)
        index = np.empty(n, np.int64)  # of each sample within this part, sorted by pack
        index[np.lexsort((window.unit_ranks, batches))] = positions - starts - low
        is_own = (index >= self._count(low, high, self.rank)) & (index < self._count(low, high, self.rank + 1))
        if self.has_whole_last:
            is_own |= sizes < self.batch_size
        return np.flatnonzero(is_own & (positions >= 0) & (sizes > 0) & (batches % self.n_workers == self.worker))

    def _count(self, low: np.ndarray, high: np.ndarray, rank: int) -> np.ndarray:
        """How many of the numbers from `low` to `high` belong to lower ranks."""
        below = [end // self.n_ranks * rank + np.minimum(end % self.n_ranks, rank) for end in (low, high)]
        return below[1] - below[0]
