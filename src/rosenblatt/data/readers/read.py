"""Read a table from a file, a folder or an archive."""

from __future__ import annotations

import zipfile
from pathlib import Path

import polars as pl

from rosenblatt.data.media.images import has_image_suffix
from rosenblatt.data.readers.files import _parse_content, _read_sample
from rosenblatt.data.table import Table
from rosenblatt.errors import TableError, format_count


def read_table(path: str | Path, *, header: bool | None = None, encoding: str | None = None) -> Table:
    """Read a table from a file, or from a folder or zip archive of images, texts or sequences.

    Formats are CSV, TSV and other delimited text, JSON and JSON lines (all also gzipped), Parquet, Arrow and Feather.

    Args:
        path: the file or folder.
        header: whether the first line of delimited text names the columns; detected by default.
        encoding: encoding of the text, such as "utf-8" or "cp1252"; detected by default.

    Raises:
        TableError: if the file is missing, empty or damaged, or holds no table.
    """
    path = Path(path)
    if path.is_dir() or zipfile.is_zipfile(path):
        from rosenblatt.data.readers.folders import read_collection

        return read_collection(path)
    content, sample = _read_sample(path)
    try:
        frame, notes = _parse_content(path if content is None else content, sample, header, encoding)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        raise TableError(f"{str(path)!r} cannot be read as a table: {reason}. The file may be damaged.") from error
    except OSError as error:
        raise TableError(f"{str(path)!r} cannot be read: {error}. The file may be damaged.") from error
    except TableError as error:
        raise TableError(f"{str(path)!r}: {error}") from error
    if frame.height == 0:
        raise TableError(f"{str(path)!r} has no rows, only the names of {format_count(frame.width, 'column')}.")
    return Table(_resolve_image_paths(frame, path.parent), str(path), notes)


def _resolve_image_paths(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Turn names of images that exist in the folder of the table into absolute paths."""
    for name in frame.columns:
        cells = frame[name].drop_nulls() if frame[name].dtype == pl.String else frame[name].head(0)
        if len(cells) and has_image_suffix(cells[0]) and (folder / cells[0]).is_file():
            paths = [None if cell is None else str((folder / cell).absolute()) for cell in frame[name]]
            frame = frame.with_columns(pl.Series(name, paths, pl.String))
    return frame
