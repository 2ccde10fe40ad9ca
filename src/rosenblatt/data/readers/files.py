"""Read the content of a file as a table, in the format that its first bytes show, whatever its name.

Formats are Parquet, Arrow, JSON, and else delimited text.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import polars as pl

from rosenblatt.data.readers.decompression import UnpackingLimit
from rosenblatt.data.readers.delimited import read_delimited
from rosenblatt.data.readers.encodings import decode_text
from rosenblatt.data.readers.json_tables import read_json
from rosenblatt.data.readers.sources import Source, check_source, open_source
from rosenblatt.data.table import DETECT_FORMAT, Table, TableFormat, check_column_names
from rosenblatt.errors import TableError

MIN_VALUE_BYTES = 4  # that a value of a table takes in memory, for most types
_JSON_START = re.compile(rb'(\xef\xbb\xbf)?\s*(\{\s*["}]|\[\s*[\[{\]])')


def read_content(content: bytes, format: TableFormat = DETECT_FORMAT) -> Table:
    """Read the content of a file as a table. Raises TableError."""
    return read_source(Source("", content), format)


def read_text(path: str | Path) -> Table:
    """Read a file as a table of one cell, in the column `text`. Raises TableError if it is missing or empty."""
    source = open_source(path)
    text = decode_text(source.content[:])
    if not text.strip():
        raise TableError(f"{source.name!r} is empty, but a text was expected.")
    return Table(pl.DataFrame({"text": [text]}), source.name, texts=("text",))


def read_source(source: Source, format: TableFormat) -> Table:
    """Read a table in any of the formats. Raises TableError."""
    check_source(source)
    try:
        frame = _read_typed(source)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:  # it panics about some damage
        reason = str(error).splitlines()[0].rstrip(". ")
        raise TableError(f"it cannot be read as a table: {reason}. The file may be damaged.") from error
    if frame is not None:
        return Table(frame, source.name, format=format.model_copy(update={"is_typed": True}))
    frame, detected, notes = read_delimited(source, format)
    return Table(frame, source.name, notes, format=detected)


def _read_typed(source: Source) -> pl.DataFrame | None:
    """A table in a format with types; None for delimited text."""
    sample = source.sample
    if sample.startswith(b"PAR1"):
        lazy_frame = pl.scan_parquet(source.path or io.BytesIO(source.content[:]), glob=False)
        n_values = lazy_frame.select(pl.len()).collect().item() * len(lazy_frame.collect_schema())
        UnpackingLimit(source.name, len(source.content)).check_memory(n_values * MIN_VALUE_BYTES)
        return _collect(lazy_frame)
    if sample.startswith(b"ARROW1"):
        return _collect(pl.scan_ipc(source.path or io.BytesIO(source.content[:]), glob=False))
    if sample.startswith(b"FEA1"):
        raise TableError("it is a Feather file of version 1, which is not supported. Write it again as version 2.")
    return read_json(source) if is_json(source) else None


def is_json(source: Source) -> bool:
    """Whether the content starts like JSON."""
    return _JSON_START.match(source.sample) is not None


def _collect(lazy_frame: pl.LazyFrame) -> pl.DataFrame:
    check_column_names(lazy_frame.collect_schema())
    return lazy_frame.collect()
