"""Read samples in an order that is known beforehand: packs are fetched ahead, and let go after their last use."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock
from types import TracebackType
from typing import Self
from weakref import WeakSet

import numpy as np

from rosenblatt.data.media.contents import Blocks
from rosenblatt.data.volumes.columns import BYTES_COLUMNS, ID
from rosenblatt.data.volumes.storage.cache_folder import GB, LIMIT_VARIABLE
from rosenblatt.data.volumes.storage.object_info import MAX_GAP_BYTES
from rosenblatt.data.volumes.streaming.reader import DAMAGED, PARTIAL_FRACTION, PackReader, SampleColumn
from rosenblatt.data.volumes.streaming.windows import FETCH_THREADS, open_when_possible
from rosenblatt.data.volumes.volume import Volume
from rosenblatt.errors import StorageError

AHEAD_BYTES = 1 << 29  # that are fetched ahead of their use, at least
MAX_COLUMN_ROWS = 1 << 19  # of metadata files that are kept, beside those of open blocks

_active: WeakSet[SamplePass] = WeakSet()  # passes of this process that have begun
_active_lock = Lock()


@dataclass(frozen=True)
class _WantedRows:
    """What a pass reads of a metadata file."""

    rows: np.ndarray  # numbers of its rows, in order
    blocks: np.ndarray  # of each row
    column: SampleColumn


@dataclass(frozen=True)
class _OpenBlock:
    wanted: _WantedRows
    contents: dict[int, memoryview]  # by unit, without those of linked files, which are read one by one

    def read(self, row: int) -> memoryview:
        """Return the bytes of a row of the metadata file. Raises DamagedDataError."""
        column, index = self.wanted.column, int(np.searchsorted(self.wanted.rows, row))
        code = int(column.codes[index])
        if code in self.contents:
            return self.contents[code][column.starts[index] : column.ends[index]]
        if code == DAMAGED:
            raise column.damage(index)
        return column.read_linked(index)


class SamplePass:
    """One pass over batches of samples.

        with SamplePass(volume, files, rows, blocks, lengths, batches) as reading:
            for number, batch in enumerate(batches):
                contents = [reading.read(row) for row in batch]
                reading.finish(number)

    Args:
        volume: the version.
        files, rows: metadata file and row there of each sample (n,).
        blocks: which samples are stored together.
        lengths: bytes of each sample (n,).
        batches: samples in the order in which they are read.

    Raises:
        StorageError: if the cache cannot hold what is needed at a time.
    """

    def __init__(
        self,
        volume: Volume,
        files: np.ndarray,
        rows: np.ndarray,
        blocks: Blocks,
        lengths: np.ndarray,
        batches: Sequence[np.ndarray],
    ) -> None:
        self._volume, self._rows, self._blocks, self.cache = volume, rows, blocks, volume.cache
        self._reader = PackReader(volume.objects, volume.cache, volume.name)
        self._first, self._last = np.full(len(blocks.n_bytes), len(batches)), np.full(len(blocks.n_bytes), -1)
        is_wanted = np.zeros(len(files), bool)
        for number, batch in enumerate(batches):
            touched = np.unique(blocks.numbers[batch])
            self._first[touched] = np.minimum(self._first[touched], number)
            self._last[touched] = number
            is_wanted[batch] = True
        self._samples = np.flatnonzero(is_wanted)  # that are wanted, by file
        self._samples = self._samples[np.argsort(files[self._samples], kind="stable")]
        self._sample_files = files[self._samples]
        self._file_of_block = np.zeros(len(blocks.n_bytes), np.int64)
        self._file_of_block[blocks.numbers] = files
        touched = np.flatnonzero(self._last >= 0)
        self._order = touched[np.argsort(self._first[touched], kind="stable")].tolist()  # of blocks
        self._ending = defaultdict[int, list[int]](list)  # blocks by the last batch that needs them
        for block in self._order:
            self._ending[int(self._last[block])].append(block)
        self._n_bytes = self._bound_bytes(lengths)
        self._budget = self._choose_budget(len(batches))
        self._columns: OrderedDict[int, _WantedRows] = OrderedDict()  # by file
        self._open_blocks: dict[int, Future[_OpenBlock]] = {}
        self._next = self._open_bytes = 0
        self._lock, self._stopped = Lock(), Event()
        self._pool = ThreadPoolExecutor(FETCH_THREADS, "fetch")

    def _bound_bytes(self, lengths: np.ndarray) -> np.ndarray:
        """What is read of each block, at most: only ranges if little of a pack is wanted."""
        n_blocks, numbers = len(self._blocks.n_bytes), self._blocks.numbers[self._samples]
        wanted = np.bincount(numbers, lengths[self._samples], minlength=n_blocks).astype(np.int64)
        moved = wanted + MAX_GAP_BYTES * np.bincount(numbers, minlength=n_blocks)
        return np.where(moved < PARTIAL_FRACTION * self._blocks.n_bytes, wanted, self._blocks.n_bytes)

    def _choose_budget(self, n_batches: int) -> int:
        """How many bytes may be open at a time: what batches need, and the same ahead of it."""
        changes = np.zeros(n_batches + 2, np.int64)
        np.add.at(changes, self._first[self._order], self._n_bytes[self._order])
        np.add.at(changes, self._last[self._order] + 1, -self._n_bytes[self._order])
        self._needed = needed = int(changes.cumsum().max(initial=0))
        budget = max(2 * needed, AHEAD_BYTES)
        if self.cache is None:
            return budget
        if needed > self.cache.max_bytes:
            sizes = f"{needed / GB:,.3g} GB", f"{self.cache.max_bytes / GB:,.3g} GB"
            raise StorageError(
                f"Reading {self._volume.name} needs {sizes[0]} of the cache in {str(self.cache.folder)!r} at "
                f"once, but it holds {sizes[1]}. Raise {LIMIT_VARIABLE}, or shuffle less at a time with "
                "--shuffle-window-gb."
            )
        return min(budget, self.cache.max_bytes)

    @property
    def reserved_bytes(self) -> int:
        """How much of the cache is in use, or will be needed at a time."""
        return max(self._needed, self._open_bytes)

    def __enter__(self) -> Self:
        with _active_lock:
            _active.add(self)
        self._fetch(0, ahead=False)  # the link is left to what the first batch waits for
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)
        self._open_blocks.clear()
        with _active_lock:
            _active.discard(self)

    def read(self, row: int) -> memoryview:
        """Return the bytes of a sample of the current batch. Raises DamagedDataError, StorageError."""
        return self._open_blocks[int(self._blocks.numbers[row])].result().read(int(self._rows[row]))

    def finish(self, batch: int) -> None:
        """Let go of what no later batch needs, and fetch what comes next."""
        for block in self._ending.pop(batch, ()):
            del self._open_blocks[block]
            self._open_bytes -= int(self._n_bytes[block])
        self._fetch(batch + 1)

    def _fetch(self, batch: int, *, ahead: bool = True) -> None:
        """Begin to fetch what a batch needs, and what comes after it within the budget."""
        while self._next < len(self._order):
            block = self._order[self._next]
            n_bytes = int(self._n_bytes[block])
            if self._first[block] > batch and not (ahead and self._has_room(n_bytes)):
                return
            self._open_blocks[block] = self._pool.submit(self._open, block)
            self._open_bytes += n_bytes
            self._next += 1

    def _has_room(self, n_bytes: int) -> bool:
        """Whether more may be fetched ahead, beside what all passes of this process need of the cache."""
        open_bytes, cache = self._open_bytes + n_bytes, self.cache
        if cache is None or open_bytes > self._budget:
            return open_bytes <= self._budget
        with _active_lock:
            others = [other for other in _active if other is not self and other.cache is cache]
        reserved = sum(other.reserved_bytes for other in others)
        return reserved + max(self._needed, open_bytes) <= cache.max_bytes

    def _open(self, block: int) -> _OpenBlock:
        wanted = self._find_wanted(block)
        codes = np.unique(wanted.column.codes[wanted.blocks == block])
        contents = {
            code: open_when_possible(lambda code=code: wanted.column.open(code, self._check), self._stopped)  # type: ignore[misc]
            for code in codes.tolist()
            if code != DAMAGED and not wanted.column.units[code].is_local_link
        }
        return _OpenBlock(wanted, contents)

    def _check(self) -> None:
        if self._stopped.is_set():
            raise CancelledError

    def _find_wanted(self, block: int) -> _WantedRows:
        """Find out which rows are read of the metadata file of a block."""
        file = int(self._file_of_block[block])
        with self._lock:
            if file not in self._columns:
                samples = self._samples[slice(*np.searchsorted(self._sample_files, (file, file + 1)))]
                rows, index = np.unique(self._rows[samples], return_index=True)
                frame = self._volume.read_whole_file(file, (ID, *BYTES_COLUMNS))
                column = self._reader.column(frame, rows)
                self._columns[file] = _WantedRows(rows, self._blocks.numbers[samples][index], column)
            self._columns.move_to_end(file)
            n_rows = sum(len(wanted.rows) for wanted in self._columns.values())
            while n_rows > MAX_COLUMN_ROWS and len(self._columns) > 1:
                n_rows -= len(self._columns.popitem(last=False)[1].rows)
            return self._columns[file]
