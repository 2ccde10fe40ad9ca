"""The bytes of samples that are added to a volume: read, hashed, inspected, and stored once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self

import polars as pl

from rosenblatt.data.cores import cores
from rosenblatt.data.volumes.columns import BYTES_SCHEMA, HASH, ID, LENGTH, OFFSET, PACK, is_link
from rosenblatt.data.volumes.sources.source import Contents
from rosenblatt.data.volumes.sources.stat_index import StatIndex
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.storage.pack_writer import PackWriter
from rosenblatt.data.volumes.storage.packs import MAX_SAMPLE_BYTES, content_hash
from rosenblatt.data.volumes.stored_contents import StoredContents, places_frame
from rosenblatt.errors import StorageError, VolumeError, format_count, format_list, join_names

READERS_PER_CORE = 4  # threads that wait for disks and networks
MAX_NAMED = 3  # samples that a note names
MAX_TASK_SAMPLES, MAX_TASK_BYTES = 32, 4 << 20  # that one thread reads at a time

Inspect = Callable[[bytes], Mapping[str, Any]]


class _ReadSample(NamedTuple):
    row: int
    hash: str
    content: bytes
    cells: Mapping[str, Any]


class ContentWriter:
    """Stores the bytes of samples in packs, or links them where they are.

    Args:
        objects: the root.
        stored: contents that it has already.
        inspect: returns further columns from the bytes of a sample.
        index: hashes of files that were read before.
    """

    def __init__(
        self, objects: Objects, stored: StoredContents, inspect: Inspect, index: StatIndex, *, link: bool
    ) -> None:
        self._stored, self._inspect, self._index, self._link = stored, inspect, index, link
        self._packs = PackWriter(objects)
        self._pool = ThreadPoolExecutor(READERS_PER_CORE * cores(), thread_name_prefix="reading")
        self.inspected: tuple[str, ...] = ()  # columns that come from the bytes
        self.notes: list[str] = []  # what the user should know, complete when the writer is closed
        self._damaged = pl.Series(ID, [], pl.String)  # samples that inspection could not read

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._packs.__exit__(kind, error, trace)
        if len(self._damaged):
            self.notes.append(
                f"stored as they are, without {join_names(self.inspected)}, as they cannot be read: "
                f"{format_count(len(self._damaged), 'sample')}, such as {format_list(self._damaged[:MAX_NAMED])}"
            )
        try:
            self._index.save(is_complete=error is None)
        except StorageError as index_error:  # which costs time only
            self.notes.append(str(index_error))

    @property
    def bytes_written(self) -> int:
        """Bytes of packs that were written."""
        return self._packs.n_bytes

    def store(
        self,
        frame: pl.DataFrame,
        contents: Contents,
        columns: pl.Schema,
        base_rows: pl.DataFrame,
        on_sample: Callable[[int], None],
    ) -> pl.DataFrame:
        """Store the bytes of samples; returns their rows with the columns that inspection and storage add.

        Args:
            frame: identity and metadata of samples.
            contents: their bytes.
            columns: all columns of the source; those that the frame lacks come from `inspect`.
            base_rows: the samples in the version before; nulls for new ones.
            on_sample: called with the number of bytes of each sample that was read.

        Raises:
            VolumeError: if bytes cannot be read.
            StorageError: if a pack cannot be written.
        """
        inspected = {name: dtype for name, dtype in columns.items() if name not in frame.columns}
        self.inspected, is_same = tuple(inspected), self._is_same(contents, base_rows)
        samples = self._read(contents, (~is_same).arg_true().to_list())
        new = pl.DataFrame(
            [self._add(sample, contents, list(inspected), on_sample) for sample in samples],
            schema={"": pl.UInt32(), **inspected, **BYTES_SCHEMA},
            orient="row",
        )
        new = self._with_places(new, contents)
        rows = new
        if is_same.any():
            old = base_rows.with_row_index("").filter(is_same).select(new.columns)
            rows = pl.concat([old.cast(new.schema), new]).sort("")
        if contents.stats is not None:
            self._index.record(contents.stats, rows[HASH])
        if inspected:
            is_damaged = rows.select(pl.all_horizontal(pl.col(*inspected).is_null())).to_series()
            self._damaged.extend(frame[ID].filter(is_damaged).cast(pl.String))
        return pl.concat([frame, rows.drop("")], how="horizontal")

    def _is_same(self, contents: Contents, base_rows: pl.DataFrame) -> pl.Series:
        """Which samples are known to have the bytes that they had in the version before."""
        if contents.stats is None:
            return pl.repeat(value=False, n=len(contents), eager=True)
        is_same = (self._index.find(contents.stats) == base_rows[HASH]).fill_null(value=False)
        if self._link and contents.locations is not None:
            is_same &= (base_rows[PACK] == contents.locations[PACK]).fill_null(value=False)
        return is_same if self._link else is_same & ~is_link(base_rows)

    def _add(
        self, sample: _ReadSample, contents: Contents, inspected: list[str], on_sample: Callable[[int], None]
    ) -> tuple[Any, ...]:
        """Hand the bytes of a sample to the packs unless they are stored; returns its row, as far as it is known."""
        if not self._link and not self._stored.may_hold(sample.hash):
            self._packs.add(sample.content, sample.hash, contents.extension(sample.row))
        on_sample(len(sample.content))
        cells = (sample.cells.get(name) for name in inspected)
        return (sample.row, *cells, None, None, len(sample.content), sample.hash)

    def _with_places(self, rows: pl.DataFrame, contents: Contents) -> pl.DataFrame:
        """Complete rows with where the bytes of their samples are, after all packs are written."""
        if self._link:
            if contents.locations is None:
                raise VolumeError("These samples are not files of their own, so they cannot be linked. Omit --link.")
            locations = contents.locations.with_row_index("").select("", PACK, OFFSET)
            return rows.update(locations, on="")
        stored = self._stored.find(rows[HASH])
        written = self._packs.flush()
        missing = rows.filter(~rows[HASH].is_in([*stored, *written]))
        for sample in self._read(contents, missing[""].to_list()):  # only the beginning of its hash was stored
            self._packs.add(sample.content, sample.hash, contents.extension(sample.row))
        written |= self._packs.flush()
        if not set(missing[HASH]) <= written.keys():
            raise VolumeError("Files changed while they were read. Add them again.")
        self._stored.add(written)
        return rows.update(places_frame(stored | written), on=HASH)

    def _read(self, contents: Contents, rows: list[int]) -> Iterator[_ReadSample]:
        """Read samples in threads, in order, some tasks ahead."""

        def read(task: list[int]) -> list[_ReadSample]:
            return [self._read_sample(contents, row) for row in task]

        pending, max_pending = deque[Future[list[_ReadSample]]](), READERS_PER_CORE * cores()
        for task in _tasks(contents, rows):
            pending.append(self._pool.submit(read, task))
            if len(pending) >= max_pending:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()

    def _read_sample(self, contents: Contents, row: int) -> _ReadSample:
        content = contents.read(row)
        if len(content) > MAX_SAMPLE_BYTES:
            raise VolumeError(
                f"{contents.name(row)} has {len(content):,} bytes, more than the {MAX_SAMPLE_BYTES:,} of the largest "
                "sample. Split it."
            )
        return _ReadSample(row, content_hash(content), content, self._inspect(content))


def _tasks(contents: Contents, rows: list[int]) -> Iterator[list[int]]:
    """Group samples so that a thread reads few large or many small ones at a time."""
    sizes = None if contents.stats is None else contents.stats[LENGTH].to_list()
    task, n_bytes = list[int](), 0
    for row in rows:
        task.append(row)
        n_bytes += MAX_TASK_BYTES // 4 if sizes is None else sizes[row]
        if n_bytes >= MAX_TASK_BYTES or len(task) >= MAX_TASK_SAMPLES:
            yield task
            task, n_bytes = [], 0
    if task:
        yield task
