"""Parquet and Arrow files as sources of samples, read part by part, so that memory stays small.

A column of images or sounds, as contents of files or as Hugging Face's structs of `bytes` and `path`, gives the bytes
of the samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.media.headers import media_format
from rosenblatt.data.row_hashes import hash_bytes
from rosenblatt.data.table import TableFormat, check_column_names
from rosenblatt.data.volumes.columns import ID, RESERVED_COLUMNS
from rosenblatt.data.volumes.sources.contents import PATH, BytesContents
from rosenblatt.data.volumes.sources.identity import RowIdentities, as_ids, check_id_parts, find_id_column, free_names
from rosenblatt.data.volumes.sources.media import INSPECTED, INSPECTIONS
from rosenblatt.data.volumes.sources.source import CHUNK_ROWS, Chunk, IdOrigin, SampleKind, SampleSource
from rosenblatt.data.volumes.sources.tables import type_notes
from rosenblatt.data.volumes.storage.delta_types import kept_type, to_kept
from rosenblatt.errors import TableError, VolumeError, format_list

PARQUET_MAGIC, ARROW_MAGIC, STREAM_MAGIC = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
CHUNK_BYTES = 1 << 27  # of a file that become one chunk, if its rows are large
ID_ROWS = 1 << 20  # of the column of ids that are checked at a time
SNIFFED_ROWS = 8  # first rows that show what a column of bytes holds
MAX_REASON = 200  # characters of an error of Polars in a message
BYTES = "bytes"  # field of Hugging Face's images and sounds, beside `path`


@dataclass(frozen=True)
class ColumnarFile:
    """A Parquet or Arrow file with a part of the rows."""

    path: Path
    constants: dict[str, str] = field(default_factory=dict)  # columns with one value for all its rows

    @property
    def frame(self) -> pl.LazyFrame:
        """Its rows. Raises TableError if the file is in another format."""
        with self.path.open("rb") as file:
            magic = file.read(8)
        if magic.startswith(PARQUET_MAGIC):
            frame = pl.scan_parquet(self.path, hive_partitioning=False, glob=False)
        elif magic.startswith(ARROW_MAGIC):
            frame = pl.scan_ipc(self.path, glob=False)
        elif magic.startswith(STREAM_MAGIC):  # whole, as shards are small
            frame = pl.read_ipc_stream(self.path).lazy()
        else:
            raise TableError(f"{str(self.path)!r} is neither Parquet nor Arrow. Remove it, or write it again.")
        return frame.with_columns(pl.lit(value).alias(name) for name, value in self.constants.items())

    @cached_property
    def head(self) -> pl.DataFrame:
        """Its first rows."""
        return self.frame.head(SNIFFED_ROWS).collect()

    @cached_property
    def n_rows(self) -> int:
        """The number of its rows."""
        return int(self.frame.select(pl.len()).collect().item())

    def slices(self) -> Iterator[pl.DataFrame]:
        """Its rows in parts of limited size."""
        n_bytes, frame = self.path.stat().st_size, self.frame
        step = max(1, min(CHUNK_ROWS, CHUNK_BYTES * self.n_rows // max(n_bytes, 1)))
        for start in range(0, self.n_rows, step):
            yield frame.slice(start, step).collect()


@dataclass
class _Reading:
    """How the columns of all files become samples."""

    files: Sequence[ColumnarFile]
    schema: pl.Schema  # of the files
    classes: dict[str, list[str]]  # names of the classes that a column of integers counts
    medium: str | None = None  # the column of bytes
    kind: SampleKind = "table"
    id_name: str | None = None  # the column that identifies samples; None if ids are generated
    names: dict[str, str] = field(default_factory=dict)  # new names of columns that are renamed

    def chunks(self) -> Iterator[Chunk]:
        identities = RowIdentities()
        for file in self.files:
            with _damage_errors(str(file.path)):
                for frame in file.slices():
                    yield self._chunk(frame.select(pl.col(name).cast(t) for name, t in self.schema.items()), identities)

    def _chunk(self, frame: pl.DataFrame, identities: RowIdentities) -> Chunk:
        cells = None if self.medium is None else media_bytes(frame[self.medium])
        if self.id_name is not None:
            ids = as_ids(frame[self.id_name]).alias(ID)
        elif cells is not None:
            ids = identities.number(np.fromiter(map(hash_bytes, cells), np.uint64, len(cells)))
        else:
            ids = identities.ids(frame)
        rows = self.metadata(frame).insert_column(0, ids)
        if cells is None:
            return Chunk(rows)
        extensions = [media_format(content)[1] for content in cells]
        return Chunk(rows, BytesContents(cells, extensions, ids.cast(pl.String).to_list()))

    def metadata(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The columns of the volume beside the id and those that inspection adds."""
        for name, classes in self.classes.items():
            frame = frame.with_columns(
                pl.col(name).replace_strict(list(range(len(classes))), classes, default=None, return_dtype=pl.String)
            )
        if self.medium is not None:
            is_struct = isinstance(frame.schema[self.medium], pl.Struct)
            paths = (
                [frame[self.medium].struct.field(PATH).alias(PATH)] if is_struct and PATH not in frame.columns else []
            )
            frame = frame.drop(self.medium).with_columns(paths)
        frame = frame.drop([self.id_name] if self.id_name is not None and self.id_name.lower() == ID else [])
        return to_kept(frame.rename(self.names))


def media_bytes(cells: pl.Series) -> pl.Series:
    """The bytes of a column of images or sounds. Raises VolumeError if a row has none."""
    content = cells.struct.field(BYTES) if isinstance(cells.dtype, pl.Struct) else cells
    if content.has_nulls():
        raise VolumeError(
            f"Column {cells.name!r} holds no bytes in some rows, only names of files or nothing. Write the table with "
            "the bytes, or without these rows."
        )
    return content


def open_columnar(
    files: Sequence[ColumnarFile], location: str, id_column: str | None, classes: dict[str, list[str]], notes: list[str]
) -> SampleSource:
    """The rows of Parquet or Arrow files as samples.

    Args:
        files: the files, in the order of their rows.
        location: what they are, for messages.
        id_column: the column given with --id.
        classes: names of the classes that columns of integers count.
        notes: what is known so far; it receives what is converted.

    Raises:
        VolumeError: if there are no rows, or the files do not have the same columns.
    """
    with _damage_errors(location):
        schema = _common_schema(files)
        check_column_names(schema)
        n_samples = sum(file.n_rows for file in files)
        if not n_samples:
            raise VolumeError(f"{location!r} has no rows. Add a table with rows.")
        reading = _Reading(files, schema, {name: classes[name] for name in classes if name in schema})
        reading.medium, reading.kind = _find_medium(files[0], notes)
        reading.id_name = _find_ids(reading, id_column, notes)
        columns = _name_columns(reading, notes)
    origin: IdOrigin = "generated" if reading.id_name is None else "column"
    labels = [reading.names.get(name, name) for name in reading.classes]
    return SampleSource(
        location=location, kind=reading.kind, columns=columns, id_origin=origin, n_samples=n_samples,
        chunks=reading.chunks, inspect=INSPECTIONS[reading.kind], target=labels[0] if len(labels) == 1 else "",
        notes=tuple(notes), format=TableFormat(is_typed=True),
    )  # fmt: skip


@contextmanager
def _damage_errors(name: str) -> Iterator[None]:
    """Raise errors of the operating system and of Polars, which panics about some damage, as TableError."""
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = str(error).splitlines()[0][:MAX_REASON].rstrip(". ")
        raise TableError(f"{name!r} cannot be read: {reason}. The file may be damaged.") from error


def _common_schema(files: Sequence[ColumnarFile]) -> pl.Schema:
    """The columns of all files, in types that hold all their values. Raises VolumeError if there are none."""
    first = files[0]
    common = pl.DataFrame(schema=first.head.schema)
    for file in files[1:]:
        if set(file.head.schema) != set(common.columns):
            difference = sorted(set(file.head.schema) ^ set(common.columns))
            raise VolumeError(
                f"{str(first.path)!r} and {str(file.path)!r} do not have the same columns: one of them lacks "
                f"{format_list(difference, 3)}. Add them as volumes of their own, or write them with the same columns."
            )
        different = [
            name for name in common.columns if not _are_compatible(common.schema[name], file.head.schema[name])
        ]
        if different:
            raise VolumeError(
                f"{str(first.path)!r} and {str(file.path)!r} have columns of one name and different types: "
                f"{format_list(different, 3)}. Write them in the same types."
            )
        other = pl.DataFrame(schema=file.head.schema).select(common.columns)
        common = pl.concat([common, other], how="vertical_relaxed")
    return common.schema


def _are_compatible(first: pl.DataType, second: pl.DataType) -> bool:
    """Whether one type holds the values of two: numbers of several types, or null beside another one."""
    return first == second or pl.Null in (first, second) or (first.is_numeric() and second.is_numeric())


def _find_medium(file: ColumnarFile, notes: list[str]) -> tuple[str | None, SampleKind]:
    """The column that gives the samples' bytes, and what these are."""
    media = dict[str, SampleKind]()
    for name, dtype in file.head.schema.items():
        is_struct = isinstance(dtype, pl.Struct) and {field.name for field in dtype.fields} == {BYTES, PATH}
        if not is_struct and dtype != pl.Binary:
            continue
        first = (file.head[name].struct.field(BYTES) if is_struct else file.head[name]).drop_nulls()
        kind: Any = media_format(first[0])[0] if len(first) else "files"
        if is_struct or kind != "files":
            media[name] = kind
    if not media:
        return None, "table"
    name, *others = media
    if others:
        notes.append(f"the samples' bytes are those of column {name!r}; those of {format_list(others)} stay columns")
    return name, media[name]


def _find_ids(reading: _Reading, id_column: str | None, notes: list[str]) -> str | None:
    """The column that identifies samples, if there is one."""
    name = find_id_column(list(reading.schema), id_column)
    if name is None or name == reading.medium:
        return None
    ids = pl.col(name).cast(reading.schema[name])

    def parts() -> Iterator[pl.Series]:
        for file in reading.files:
            frame = file.frame.select(ids)
            for start in range(0, file.n_rows, ID_ROWS):
                yield as_ids(frame.slice(start, ID_ROWS).collect().to_series())

    return name if check_id_parts(name, parts, id_column, notes) else None


def _name_columns(reading: _Reading, notes: list[str]) -> pl.Schema:
    """Choose the names of the columns, and return those of the volume."""
    changed = {name: dtype for name, dtype in reading.schema.items() if kept_type(dtype) != dtype}
    changed.pop(reading.medium or "", None)
    notes += type_notes(changed)
    for name, classes in reading.classes.items():
        notes.append(f"numbers of classes are replaced by names: {name} ({format_list(classes, 3)})")
    empty = pl.DataFrame(schema=reading.schema)
    inspected = INSPECTED[reading.kind]
    reserved = (ID,) if reading.medium is None else (*RESERVED_COLUMNS, *inspected)
    reading.names = free_names(reading.metadata(empty).columns, reserved, notes)
    id_type = pl.String() if reading.id_name is None else as_ids(empty[reading.id_name]).dtype
    return pl.Schema({ID: id_type} | dict(reading.metadata(empty).schema) | inspected)
