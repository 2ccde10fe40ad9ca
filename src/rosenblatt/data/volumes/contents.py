"""The bytes of samples that are added to a volume: read, hashed, inspected, and stored once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import polars as pl

from rosenblatt.data.volumes.columns import BYTES_SCHEMA, HASH, ID, LENGTH, OFFSET, PACK, PLACE_COLUMNS, is_link
from rosenblatt.data.volumes.sample_reader import Inspect, ReadSamples, SampleReader
from rosenblatt.data.volumes.sources.source import Contents
from rosenblatt.data.volumes.sources.stat_index import StatIndex
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.storage.pack_writer import PackWriter
from rosenblatt.data.volumes.stored_contents import StoredContents
from rosenblatt.errors import StorageError, VolumeError, format_count, format_list, join_names

MAX_NAMED = 3  # samples that a note names


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
        self._stored, self._index, self._link = stored, index, link
        self._packs = PackWriter(objects)
        self._reader = SampleReader(inspect)
        self.inspected: tuple[str, ...] = ()  # columns that come from the bytes
        self.notes: list[str] = []  # what the user should know, complete when the writer is closed
        self._damaged = pl.Series(ID, [], pl.String)  # samples that inspection could not read

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()
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
        samples = self._reader.read(contents, (~is_same).arg_true().to_list())
        new = self._store(samples, contents, inspected, on_sample)
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

    def _store(
        self,
        parts: Iterable[ReadSamples],
        contents: Contents,
        inspected: Mapping[str, pl.DataType],
        on_sample: Callable[[int], None],
    ) -> pl.DataFrame:
        """Store the bytes of samples unless they are stored; returns what is known of the samples then."""
        schema = {"": pl.UInt32(), **inspected, **BYTES_SCHEMA}
        columns = {name: list[Any]() for name in schema if name not in PLACE_COLUMNS}
        for samples in parts:
            if not self._link:
                self._pack(samples, contents, self._stored.may_hold(samples.hashes))
            lengths = [len(content) for content in samples.contents]
            for length in lengths:
                on_sample(length)
            columns[""] += samples.rows
            columns[LENGTH] += lengths
            columns[HASH] += samples.hashes
            for name in inspected:
                columns[name] += [cells.get(name) for cells in samples.cells]
        rows = pl.DataFrame(columns, {name: schema[name] for name in columns})
        return self._with_places(rows, contents).select(list(schema))

    def _pack(self, samples: ReadSamples, contents: Contents, is_stored: Sequence[bool]) -> None:
        """Hand the bytes of samples to the packs, unless they may be stored."""
        for k, row in enumerate(samples.rows):
            if not is_stored[k]:
                self._packs.add(samples.contents[k], samples.hashes[k], contents.extension(row))

    def _with_places(self, rows: pl.DataFrame, contents: Contents) -> pl.DataFrame:
        """Complete rows with where the bytes of their samples are, after all packs are written."""
        if self._link:
            if contents.locations is None:
                raise VolumeError("These samples are not files of their own, so they cannot be linked. Omit --link.")
            locations = contents.locations.with_row_index("").select("", PACK, OFFSET)
            return rows.join(locations, on="", how="left", maintain_order="left")
        stored, written = self._stored.find(rows[HASH]), self._packs.flush()
        missing = rows.join(pl.concat([stored, written]), on=HASH, how="anti", maintain_order="left")
        for samples in self._reader.read(contents, missing[""].to_list()):  # only the beginning of a hash was stored
            self._pack(samples, contents, [False] * len(samples.rows))
        written = pl.concat([written, self._packs.flush()])
        if missing.join(written, on=HASH, how="anti").height:
            raise VolumeError("Files changed while they were read. Add them again.")
        self._stored.add(written)
        return rows.join(pl.concat([stored, written]), on=HASH, how="left", maintain_order="left")
