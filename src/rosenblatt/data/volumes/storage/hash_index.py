"""Find rows of many files by 64-bit hashes, with 16 bytes a row, which are in temporary files if there are many."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rosenblatt.data.volumes.storage.temporary import temporary_errors

MAX_MEMORY_ROWS = 1 << 20  # that are sorted at a time; longer runs are in files
FAN_IN = 8  # runs of a level that become one of the next level
MAX_MAPPED_ROWS = 1 << 23  # of a run that stay in memory while it is searched
MAX_MAPPED_LOOKUPS = 1 << 12  # of `contains`, after which memory is given back
_FILE_SHIFT = np.uint64(32)  # positions are the number of the file and, below, that of the row
_ROW_MASK = np.uint64(2**32 - 1)


class Matches(NamedTuple):
    """Rows of a file whose hashes are those that are looked for."""

    file: int  # its number, in the order in which files were added
    queries: np.ndarray  # (n,) which of the hashes
    rows: np.ndarray  # (n,) of the file


class HashIndex:
    """Where hashes occur: in which rows of which files.

    Rows are kept in sorted runs; when there are some of similar length, they are merged to a longer one. Different
    contents may have one hash, so rows that are found must be compared.
    """

    def __init__(self) -> None:
        self._levels: list[list[_Run]] = []
        self._n_files = self._n_lookups = 0

    def add(self, hashes: np.ndarray, rows: np.ndarray) -> None:
        """Add rows of the next file. Raises StorageError if a temporary file cannot be written.

        Args:
            hashes: (n,) uint64.
            rows: (n,) numbers of the rows in the file.
        """
        positions = (np.uint64(self._n_files) << _FILE_SHIFT) | rows.astype(np.uint64)
        self._n_files += 1
        if not len(hashes):
            return
        order, level = np.argsort(hashes), 0
        run = _Run(np.stack([hashes[order], positions[order]]))
        while True:
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(run)
            if len(self._levels[level]) < FAN_IN:
                return
            runs, self._levels[level] = self._levels[level], []
            run, level = _merge(runs), level + 1

    def optimize(self) -> None:
        """Merge all runs to one, after many files were added. Raises StorageError."""
        runs = self._runs()
        self._levels = [[] for _ in self._levels[1:]] + [[_merge(runs) if len(runs) > 1 else runs[0]]] if runs else []

    def _runs(self) -> list[_Run]:
        """All runs, the longest and oldest first."""
        return [run for level in reversed(self._levels) for run in level]

    def contains(self, hashes: np.ndarray) -> np.ndarray:
        """Whether any row has a hash, for some (n,) uint64."""
        is_found = np.zeros(len(hashes), bool)
        for run in self._runs():
            is_found |= run.contains(hashes)
        self._n_lookups += len(hashes)
        if self._n_lookups >= MAX_MAPPED_LOOKUPS:
            self._n_lookups = 0
            for run in self._runs():
                run.unload()
        return is_found

    def find(self, hashes: np.ndarray) -> Iterator[Matches]:
        """Find all rows with some hashes (n,) uint64, file by file."""
        order = np.argsort(hashes)
        matches = [part for run in self._runs() for part in run.find(hashes[order])]
        queries = np.concatenate([order[queries] for queries, _ in matches] or [order[:0]])
        positions = np.concatenate([positions for _, positions in matches] or [hashes[:0]])
        by_position = np.argsort(positions)
        queries, positions = queries[by_position], positions[by_position]
        files, starts = np.unique(positions >> _FILE_SHIFT, return_index=True)
        rows = np.split((positions & _ROW_MASK).astype(np.int64), starts[1:])
        for file, parts in zip(files.tolist(), zip(np.split(queries, starts[1:]), rows, strict=True), strict=False):
            yield Matches(file, *parts)

    def repeated(self) -> Iterator[np.ndarray]:
        """Hashes that several rows have, each once, in parts; all of them after `optimize`."""
        for run in self._runs():
            for start in range(0, len(run), MAX_MEMORY_ROWS):
                part = run.hashes[start : start + MAX_MEMORY_ROWS + 1]
                if len(hashes := np.unique(part[1:][part[1:] == part[:-1]])):
                    yield hashes
                run.unload()


class _Run:
    """Hashes in ascending order, and the positions of their rows, in memory or in a mapped file."""

    def __init__(self, arrays: np.ndarray, map_: mmap.mmap | None = None) -> None:
        self.hashes, self.positions = arrays
        self._map = map_

    def __len__(self) -> int:
        return len(self.hashes)

    def contains(self, hashes: np.ndarray) -> np.ndarray:
        """Which hashes it has."""
        rows = np.searchsorted(self.hashes, hashes)
        return np.asarray(self.hashes[np.minimum(rows, len(self) - 1)] == hashes)

    def find(self, ordered: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers of hashes in ascending order, and positions of rows that have them."""
        n_parts, start = -(-len(self) // MAX_MAPPED_ROWS), 0
        for part in np.array_split(ordered, n_parts):
            queries, rows = np.arange(start, start + len(part)), np.searchsorted(self.hashes, part)
            start += len(part)
            while len(queries):
                queries, rows = queries[rows < len(self)], rows[rows < len(self)]
                is_equal = self.hashes[rows] == ordered[queries]
                queries, rows = queries[is_equal], rows[is_equal]
                yield queries, self.positions[rows]
                rows = rows + 1
            self.unload()

    def unload(self) -> None:
        """Let the operating system take the memory of a mapped file, which it reads again when it is needed."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _merge(runs: Sequence[_Run]) -> _Run:
    """Merge runs, part by part of the range of hashes if they are long. Equal hashes keep the order of the runs."""
    n_rows = sum(map(len, runs))
    n_parts = -(-n_rows // MAX_MEMORY_ROWS)
    cuts = np.array([(k << 64) // n_parts for k in range(1, n_parts)], np.uint64)
    bounds = [[0, *np.searchsorted(run.hashes, cuts).tolist(), len(run)] for run in runs]
    parts = (_merge_part(runs, [range(*bound[k : k + 2]) for bound in bounds]) for k in range(n_parts))
    return _Run(next(parts)) if n_parts == 1 else _write_run(parts, n_rows)


def _merge_part(runs: Sequence[_Run], ranges: Sequence[range]) -> np.ndarray:
    """Rows of ranges of runs as hashes and positions, (2, n), in order."""
    slices = [(run, slice(part.start, part.stop)) for run, part in zip(runs, ranges, strict=True)]
    hashes = np.concatenate([run.hashes[part] for run, part in slices])
    positions = np.concatenate([run.positions[part] for run, part in slices])
    order = np.argsort(hashes, kind="stable")  # fast, as it merges what is in order already
    for run in runs:
        run.unload()
    return np.stack([hashes[order], positions[order]])


def _write_run(parts: Iterator[np.ndarray], n_rows: int) -> _Run:
    """Write parts of a run to a file, and map it."""
    start = 0
    with temporary_errors(), tempfile.TemporaryFile() as file:
        for part in parts:
            for k, array in enumerate(part):
                file.seek(8 * (k * n_rows + start))
                file.write(array.data)
            start += part.shape[1]
        file.flush()
        map_ = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return _Run(np.frombuffer(map_, np.uint64).reshape(2, n_rows), map_)
