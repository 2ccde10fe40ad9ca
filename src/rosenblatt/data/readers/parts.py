"""Read a large file in parts of its rows: Parquet, Arrow and delimited text; `read_formatted` reads all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl

from rosenblatt.data.readers.cleaning import MAX_FOOTER_ROWS, drop_blank_and_header_rows, drop_footnotes, is_total
from rosenblatt.data.readers.delimited import DelimitedParts, scan_delimited
from rosenblatt.data.readers.files import is_json
from rosenblatt.data.readers.sources import DECOMPRESSORS, ZIP_MAGIC, Source, check_source, open_source
from rosenblatt.data.table import TableFormat, check_column_names
from rosenblatt.errors import TableError, format_count

PART_VALUES = 1 << 22  # cells that are in memory at a time, with what is computed from them
MIN_PART_ROWS, MAX_PART_ROWS = 1 << 13, 1 << 20


@dataclass
class TableParts:
    """A table whose rows are read in parts.

    Attributes:
        columns: names of all columns.
        n_rows: number of rows in the file; blank ones are counted, too.
        format: how the table is written.
        has_text: whether some columns are strings.
        notes: what was guessed; what was dropped is added while the parts are read.
        read: starts to read the columns of these names; None for all.
    """

    columns: list[str]
    n_rows: int
    format: TableFormat
    read: Callable[[list[str] | None], Iterator[pl.DataFrame]]
    has_text: bool = True
    notes: list[str] = field(default_factory=list)


def open_parts(path: str | Path, format: TableFormat, min_bytes: int) -> TableParts | None:
    """A table in parts; None if the file is smaller, or of a kind that is read at once only, such as JSON.

    Raises TableError if the file cannot be read.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size < min_bytes:
        return None
    with path.open("rb") as file:
        if file.read(8).startswith((*DECOMPRESSORS, *ZIP_MAGIC)):
            return None
    source = replace(open_source(path), path=path)
    try:
        check_source(source)
        parts = _open(source, format)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise TableError(f"{source.name!r} cannot be read: {_first_line(error)}. The file may be damaged.") from error
    except TableError as error:
        raise TableError(f"{source.name!r}: {error}") from error
    return parts if parts and parts.n_rows else None


def _open(source: Source, format: TableFormat) -> TableParts | None:
    if source.sample.startswith(b"PAR1"):
        return _scan_typed(pl.scan_parquet(source.path, glob=False), format)  # type: ignore[arg-type] # it has a path
    if source.sample.startswith(b"ARROW1"):
        return _scan_typed(pl.scan_ipc(source.path, glob=False), format)  # type: ignore[arg-type]
    if source.sample.startswith(b"FEA1") or is_json(source):
        return None
    width = max(source.sample.split(b"\n", 1)[0].count(b","), 1)
    delimited = scan_delimited(source, format, _part_rows(width))
    return None if delimited is None else _text_parts(delimited)


def _part_rows(n_columns: int) -> int:
    return min(max(PART_VALUES // max(n_columns, 1), MIN_PART_ROWS), MAX_PART_ROWS)


def _scan_typed(scanned: pl.LazyFrame, format: TableFormat) -> TableParts:
    schema = scanned.collect_schema()
    columns, has_text = schema.names(), any(dtype in (pl.String, pl.Categorical, pl.Enum) for dtype in schema.values())
    check_column_names(columns)

    def read(names: list[str] | None) -> Iterator[pl.DataFrame]:
        selected = columns if names is None else names
        rows = _part_rows(len(selected))
        try:
            for batch in scanned.select(selected).collect_batches(chunk_size=rows, maintain_order=True):
                yield from (batch[start : start + rows] for start in range(0, batch.height, rows))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise TableError(f"the table cannot be read: {_first_line(error)}. The file may be damaged.") from error

    n_rows = int(scanned.select(pl.len()).collect().item())
    return TableParts(columns, n_rows, format.model_copy(update={"is_typed": True}), read, has_text)


def _text_parts(delimited: DelimitedParts) -> TableParts:
    layout, notes = delimited.layout, list(delimited.notes)

    def read(names: list[str] | None) -> Iterator[pl.DataFrame]:
        selected = layout.names if names is None else names
        return (frame.select(selected) for frame in _clean(delimited, notes))

    return TableParts(layout.names, delimited.n_rows, delimited.format, read, notes=notes)


def _clean(delimited: DelimitedParts, notes: list[str]) -> Iterator[pl.DataFrame]:
    """The rows without blank ones, repeated headers and notes below the table."""
    layout, n_read, n_kept = delimited.layout, 0, 0
    waiting: pl.DataFrame | None = None  # the last part ends with notes below the table
    try:
        for batch in delimited.frames:
            n_read += batch.height
            frame = drop_blank_and_header_rows(_name_columns(batch, delimited), layout.header, [])
            n_kept += frame.height
            if waiting is not None and frame.height <= MAX_FOOTER_ROWS:
                waiting = pl.concat([waiting, frame])
                continue
            if waiting is not None:
                yield waiting
            waiting = frame
    except pl.exceptions.PolarsError as error:
        raise _irregular_error(_first_line(error)) from error
    if n_read != delimited.n_rows:
        raise _irregular_error(f"{n_read:,} of {delimited.n_rows:,} rows were read")
    if n_kept < n_read:
        notes.append(f"{format_count(n_read - n_kept, 'row')} left out: empty lines, or the header repeated")
    if waiting is not None:
        last = drop_footnotes(waiting, notes) if waiting.width > 1 else waiting
        if last.width > 1 and is_total(last):
            raise TableError(
                "the last line is named as a total, and whether it is the sum of the lines above is not checked in "
                "parts. Remove it, or use --no-stream."
            )
        yield last


def _name_columns(batch: pl.DataFrame, delimited: DelimitedParts) -> pl.DataFrame:
    """Columns with the names of the layout; rows may have fewer cells than the table has columns, but not more."""
    names = delimited.layout.names
    extra = batch.columns[len(names) :]
    if any(batch[name].null_count() < batch.height for name in extra):
        raise _irregular_error("some rows have more cells than there are columns")
    absent = [pl.lit(None, pl.String).alias(f"absent_{i}") for i in range(len(names) - batch.width)]
    batch = batch.drop(extra).with_columns(absent)
    return batch.rename(dict(zip(batch.columns, names, strict=True)))


def _irregular_error(reason: str) -> TableError:
    return TableError(f"it cannot be read in parts: {reason}. Use --no-stream, which reads it at once.")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(". ")
