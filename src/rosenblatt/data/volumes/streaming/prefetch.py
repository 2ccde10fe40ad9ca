"""Fetch all selected samples of a version into the cache of this machine, before a model is fitted to them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed

from rosenblatt.data.volumes.columns import BYTES_COLUMNS, ID
from rosenblatt.data.volumes.storage.cache_folder import GB, LIMIT_VARIABLE
from rosenblatt.data.volumes.streaming.reader import PackReader, SampleColumn
from rosenblatt.data.volumes.volume import Volume
from rosenblatt.errors import StorageError

FETCH_THREADS = 8

ProgressCallback = Callable[[int, int], None]  # bytes so far, bytes in all


def prefetch(volume: Volume, on_progress: ProgressCallback | None = None) -> int:
    """Fetch the packs of the selected samples, or the parts of them that are wanted; returns their bytes.

    A folder is read in place, so that nothing is fetched.

    Raises:
        StorageError: if the cache is too small, or the root cannot be read.
    """
    if volume.cache is None or not volume.has_bytes:
        return 0
    columns = [_open_column(volume, file) for file in volume.file_sizes.nonzero()[0].tolist()]
    places = [(column, code) for column in columns for code, unit in enumerate(column.units) if unit.is_cached]
    units = {column.units[code].name: (column, code) for column, code in places}
    sizes = {name: column.units[code].n_bytes for name, (column, code) in units.items()}
    total, done = sum(sizes.values()), 0
    if total > volume.cache.max_bytes:
        limit = f"{volume.cache.max_bytes / GB:,.3g} GB"
        raise StorageError(
            f"The {len(volume):,} samples of {volume.name} take {total / GB:,.3g} GB, but the cache of this machine "
            f"holds {limit}. Select fewer by --query, raise the limit with {LIMIT_VARIABLE}, or stream them with "
            "rosenblatt.volume(...).batches()."
        )
    with ThreadPoolExecutor(FETCH_THREADS, thread_name_prefix="fetch") as pool:
        try:
            pending = {pool.submit(_fetch, column, code): name for name, (column, code) in units.items()}
            for future in as_completed(pending):
                future.result()
                done += sizes[pending[future]]
                if on_progress:
                    on_progress(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return total


def _fetch(column: SampleColumn, code: int) -> None:
    """Fetch a unit, and let go of it, because each that is open keeps a file open."""
    column.open(code)


def _open_column(volume: Volume, file: int) -> SampleColumn:
    frame = volume.read_whole_file(file, (ID, *BYTES_COLUMNS))
    return PackReader(volume.objects, volume.cache, volume.name).column(frame, volume.selected_rows(file))
