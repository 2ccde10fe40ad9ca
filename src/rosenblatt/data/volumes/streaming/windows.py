"""Windows of an epoch, opened in order, while the packs of the next one are fetched."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from threading import Event

import numpy as np

from rosenblatt.data.volumes.storage.cache import CacheFullError
from rosenblatt.data.volumes.storage.cache_folder import GB, LIMIT_VARIABLE
from rosenblatt.data.volumes.streaming.files import FileLoader, LoadedGroup
from rosenblatt.data.volumes.streaming.order import BatchCut, SampleOrder, Window
from rosenblatt.errors import StorageError

FULL_CACHE_WAIT_S, FULL_CACHE_POLL_S = 60.0, 0.5
OPEN_WINDOWS = 3  # the one in use, the next one, and what batches that are still used have of the one before
FETCH_THREADS = 8  # packs and metadata files that are fetched at once


class _PlannedWindow:
    """A window whose packs are on their way."""

    def __init__(self, window: Window, group: LoadedGroup, indices: np.ndarray) -> None:
        self.group = group
        self.positions = window.start + indices
        self.start, self.end = window.start, window.end
        self.rows = window.rows[indices]
        self.unit_ranks = window.unit_ranks[indices]
        self.units = {rank: int(window.units[rank]) for rank in np.unique(self.unit_ranks).tolist()}
        self.contents: dict[int, Future[memoryview]] = {}

    def cached_bytes(self) -> dict[str, int]:
        """Names and sizes of what it needs in the cache."""
        places = filter(None, (self.group.find_unit(unit) for unit in self.units.values()))
        units = [column.units[code] for column, code in places]
        return {unit.name: unit.n_bytes for unit in units if unit.is_cached}


@dataclass(frozen=True)
class OpenWindow:
    """The samples of a window that this process gets, in order."""

    group: LoadedGroup
    end: int  # position in the epoch of the first sample after the window, whichever process gets it
    positions: np.ndarray  # of its samples in the epoch
    rows: np.ndarray  # of its samples in the group
    unit_ranks: np.ndarray
    contents: list[memoryview]  # by unit rank
    is_whole_epoch: bool

    @cached_property
    def damage(self) -> dict[int, Exception]:
        """The errors of its damaged samples, by their index."""
        return self.group.damage(self.rows)

    def views(self, indices: slice) -> list[memoryview]:
        """The bytes of samples; those of damaged samples have no meaning."""
        rows, contents = self.rows[indices], self.contents
        places = (self.unit_ranks[indices].tolist(), self.group.starts[rows].tolist(), self.group.ends[rows].tolist())
        return [contents[rank][start:end] for rank, start, end in zip(*places, strict=True)]


class WindowStream:
    """Opens the windows of an epoch one after the other; the next one is fetched in the meantime.

    Args:
        loader: of the metadata files.
        order: of the samples.
        cut: which samples of a window this process gets.
        n_threads: that fetch.
    """

    def __init__(self, loader: FileLoader, order: SampleOrder, cut: BatchCut, n_threads: int = FETCH_THREADS) -> None:
        self._loader, self._order, self._cut = loader, order, cut
        self._n_threads = n_threads
        self._stopped = Event()

    def open(self, epoch: int, position: int) -> Generator[OpenWindow]:
        """Open the windows that end after a position. No thread is left when the iterator is closed.

        Raises:
            StorageError: if the cache is too small.
        """
        planner = ThreadPoolExecutor(1, "plan")
        fetchers = ThreadPoolExecutor(self._n_threads, "fetch")
        plans = self._plan(epoch, position, fetchers)
        try:
            planned = planner.submit(next, plans, None)
            while (current := planned.result()) is not None:
                planned = planner.submit(next, plans, None)
                yield self._open(current)
        finally:
            self._stopped.set()
            planner.shutdown(cancel_futures=True)
            fetchers.shutdown(cancel_futures=True)

    def _plan(self, epoch: int, position: int, fetchers: ThreadPoolExecutor) -> Iterator[_PlannedWindow]:
        """Plan the windows, and begin to fetch the packs of each."""
        is_first = True
        for group in self._order.groups(epoch):
            if group.start + group.n_samples <= position:
                continue
            loaded = self._loader.load_group(group.files, fetchers)
            for window in self._order.windows(epoch, group, loaded.units, position):
                planned = _PlannedWindow(window, loaded, self._cut.select(window))
                if is_first:
                    n_left = -(-(self._cut.n_samples - window.start) // len(window.rows))
                    self._check_cache(planned, min(n_left, OPEN_WINDOWS))
                    is_first = False
                if loaded.files[0].column:
                    for rank, unit in planned.units.items():
                        planned.contents[rank] = fetchers.submit(loaded.open_unit, unit, self._check)
                yield planned

    def _check(self) -> None:
        if self._stopped.is_set():
            raise CancelledError

    def _check_cache(self, planned: _PlannedWindow, n_windows: int) -> None:
        """Refuse an epoch for which the cache is too small."""
        sizes = planned.cached_bytes()
        if not sizes or not (reader := self._loader.source.reader):
            return
        size, cache = sum(sizes.values()), reader.cache
        if n_windows * size > cache.max_bytes or not cache.has_room(sizes):
            needed, available, limit = (
                f"{n_bytes / GB:,.3g} GB" for n_bytes in (n_windows * size, cache.available_bytes(), cache.max_bytes)
            )
            raise StorageError(
                f"Streaming {self._loader.source.name} needs {needed} of the cache in {str(cache.folder)!r} at once, "
                f"but only {available} of {limit} can be used. Raise {LIMIT_VARIABLE}, or use a smaller window."
            )

    def _open(self, planned: _PlannedWindow) -> OpenWindow:
        contents = [memoryview(b"")] * (max(planned.contents, default=-1) + 1)
        for rank, future in planned.contents.items():
            if isinstance(future.exception(), CacheFullError):  # of what other processes use
                open_again = partial(planned.group.open_unit, planned.units[rank], self._check)
                contents[rank] = open_when_possible(open_again, self._stopped)
            else:
                contents[rank] = future.result()
        is_whole_epoch = planned.start == 0 and planned.end >= self._order.n_samples
        ranks = planned.unit_ranks
        return OpenWindow(planned.group, planned.end, planned.positions, planned.rows, ranks, contents, is_whole_epoch)


def open_when_possible(open_unit: Callable[[], memoryview], stopped: Event) -> memoryview:
    """Open a unit as soon as other processes end their use of a full cache.

    Raises CacheFullError after a minute, and CancelledError when `stopped` is set.
    """
    deadline = time.monotonic() + FULL_CACHE_WAIT_S
    while True:
        try:
            return open_unit()
        except CacheFullError:
            if time.monotonic() > deadline:
                raise
            if stopped.wait(FULL_CACHE_POLL_S):
                raise CancelledError from None
