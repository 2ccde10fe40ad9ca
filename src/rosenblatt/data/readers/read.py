"""Read a table from a file, a folder or an archive."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import polars as pl

from rosenblatt.data.media.images import has_image_suffix
from rosenblatt.data.readers.files import _parse_content, _read_sample, is_typed
from rosenblatt.data.table import Table, TableFormat
from rosenblatt.errors import TableError


def read_table(
    path: str | Path,
    *,
    header: bool | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    decimal: Literal[".", ","] | None = None,
    thousands: str | None = None,
    day_first: bool | None = None,
    missing: Sequence[str] | None = None,
) -> Table:
    """Read a table from a file, or from a folder or zip archive of images, texts or sequences.

    Formats are CSV, TSV and other delimited text, JSON and JSON lines (all also gzipped), Parquet, Arrow and Feather.

    Args:
        path: the file or folder.
        header: whether the first line of delimited text names the columns; detected by default.
        encoding: encoding of the text, such as "utf-8" or "cp1252"; detected by default.
        separator: what separates cells: a character, or "blanks" for any run of spaces and tabs; detected by default.
        decimal: decimal mark of numbers, "." or ","; detected by default.
        thousands: thousands separator of numbers; detected by default.
        day_first: whether dates such as 03/04/2021 start with the day, where a column allows both; decided over the
            column by default.
        missing: cells that stand for missing values, beside the usual ones such as NA; an empty list leaves only empty
            cells.

    Raises:
        TableError: if the file is missing, empty or damaged, or holds no table.
    """
    table_format = TableFormat(
        header=header, encoding=encoding, separator=separator, decimal=decimal, thousands=thousands,
        day_first=day_first, missing=None if missing is None else tuple(missing),
    )  # fmt: skip
    return read_formatted(path, table_format)


def read_formatted(path: str | Path, format: TableFormat) -> Table:
    """Read a table as `read_table` does, written in the given format. Raises TableError."""
    path = Path(path)
    if path.is_dir() or zipfile.is_zipfile(path):
        from rosenblatt.data.readers.folders import read_collection

        return read_collection(path)
    content, sample = _read_sample(path)
    try:
        frame, notes = _parse_content(path if content is None else content, sample, format.header, format.encoding)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        raise TableError(f"{str(path)!r} cannot be read as a table: {reason}. The file may be damaged.") from error
    except OSError as error:
        raise TableError(f"{str(path)!r} cannot be read: {error}. The file may be damaged.") from error
    except TableError as error:
        raise TableError(f"{str(path)!r}: {error}") from error
    table_format = format.model_copy(update={"is_typed": is_typed(sample)})
    return Table(_resolve_image_paths(frame, path.parent), str(path), notes, format=table_format)


def _resolve_image_paths(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Turn names of images that exist in the folder of the table into absolute paths."""
    for name in frame.columns:
        cells = frame[name].drop_nulls() if frame[name].dtype == pl.String else frame[name].head(0)
        if len(cells) and has_image_suffix(cells[0]) and (folder / cells[0]).is_file():
            paths = [None if cell is None else str((folder / cell).absolute()) for cell in frame[name]]
            frame = frame.with_columns(pl.Series(name, paths, pl.String))
    return frame
