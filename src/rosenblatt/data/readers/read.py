"""Read a table from a file, a folder or an archive."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import polars as pl

from rosenblatt.data.media.images import has_image_suffix
from rosenblatt.data.polars_threads import require_polars
from rosenblatt.data.readers.archives import find_single_table, list_archive, list_folder
from rosenblatt.data.readers.files import read_source
from rosenblatt.data.readers.sources import Source, decompress_source, open_source
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

    Formats are CSV, TSV and other delimited text, JSON and JSON lines (all also compressed by gzip, bzip2 or xz, or as
    the only table of a zip archive), Parquet, Arrow and Feather. A table without rows has its columns only.

    Args:
        path: the file or folder; "-" is standard input. Pipes are read once.
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
        TableError: if the file is missing, empty or damaged, or holds no table; in a forked process see
            `require_polars`.
    """
    require_polars()
    table_format = TableFormat(
        header=header, encoding=encoding, separator=separator, decimal=decimal, thousands=thousands,
        day_first=day_first, missing=None if missing is None else tuple(missing),
    )  # fmt: skip
    return read_formatted(path, table_format)


def read_formatted(path: str | Path, format: TableFormat) -> Table:
    """Read a table as `read_table` does, written in the given format. Raises TableError."""
    if Path(path).is_dir():
        from rosenblatt.data.readers.folders import read_collection

        return read_collection(list_folder(Path(path)), str(path))
    source = open_source(path)
    if source.is_zip and zipfile.is_zipfile(source.path or source.open()):
        return _read_archive(source, format)
    table = _read_named(source, format)
    return replace(table, frame=_resolve_image_paths(table.frame, Path(path).parent))


def _read_archive(source: Source, format: TableFormat) -> Table:
    """Read the only table of an archive, or else its images, texts or sequences."""
    from rosenblatt.data.readers.folders import read_collection

    files = list_archive(source)
    if file := find_single_table(files):
        return _read_named(decompress_source(Source(source.name, file.read())), format)
    return read_collection(files, source.name)


def _read_named(source: Source, format: TableFormat) -> Table:
    try:
        return read_source(source, format)
    except TableError as error:
        raise TableError(f"{source.name!r}: {error}") from error


def _resolve_image_paths(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Turn names of images that exist in the folder of the table into absolute paths."""
    for name in frame.columns:
        cells = frame[name].drop_nulls() if frame[name].dtype == pl.String else frame[name].head(0)
        if len(cells) and has_image_suffix(cells[0]) and (folder / cells[0]).is_file():
            paths = [None if cell is None else str((folder / cell).absolute()) for cell in frame[name]]
            frame = frame.with_columns(pl.Series(name, paths, pl.String))
    return frame
