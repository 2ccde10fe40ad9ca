"""Tables that name an image file in each row as sources of samples with bytes."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from rosenblatt.data.schema.inference import detect_medium
from rosenblatt.data.table import Table
from rosenblatt.data.volumes.columns import ID, RESERVED_COLUMNS
from rosenblatt.data.volumes.sources.contents import FILE_SCHEMA, FileContents, file_state
from rosenblatt.data.volumes.sources.identity import find_id_column, free_names
from rosenblatt.data.volumes.sources.listings import MAX_NAMED
from rosenblatt.data.volumes.sources.media import INSPECTED, inspect_image
from rosenblatt.data.volumes.sources.source import IdOrigin, SampleSource, frame_chunks
from rosenblatt.data.volumes.sources.tables import identify_rows, keep_types
from rosenblatt.data.volumes.sources.typed_columns import to_typed_columns
from rosenblatt.errors import VolumeError, format_count, format_list

_RESERVED = (*RESERVED_COLUMNS, *INSPECTED["images"])


def find_image_paths(frame: pl.DataFrame) -> str | None:
    """The column of a table that names image files, as `read_formatted` resolves their paths; None without one."""
    for series in frame:
        if series.dtype == pl.String and detect_medium(series) == "image":
            first = Path(series.drop_nulls()[0])
            if first.is_absolute() and first.is_file():
                return series.name
    return None


def open_image_table(table: Table, column: str, id_column: str | None) -> SampleSource:
    """The rows of a table that names image files, with the bytes of these, identified by an own column or their paths.

    Raises VolumeError if a row names no file.
    """
    notes, paths = list(table.notes), table.frame[column]
    contents = _open_files(paths, table.source)
    metadata = table.frame.drop(column)
    typed = keep_types(to_typed_columns(metadata, table.format, notes), notes)
    names, origin = _relative_names(paths, Path(table.source).absolute().parent), _BY_PATH
    if id_column or find_id_column(typed.columns, None) or names.is_duplicated().any():
        frame, origin = identify_rows(typed, table.frame, id_column, notes, _RESERVED)
    else:
        frame = typed.rename(free_names(typed.columns, _RESERVED, notes)).insert_column(0, names)
    return SampleSource(
        location=table.source, kind="images", columns=pl.Schema(dict(frame.schema) | INSPECTED["images"]),
        id_origin=origin, n_samples=frame.height, chunks=frame_chunks(frame, contents), inspect=inspect_image,
        notes=tuple(notes), format=table.format,
    )  # fmt: skip


_BY_PATH: IdOrigin = "path"


def _open_files(paths: pl.Series, source: str) -> FileContents:
    rows, missing = list[tuple[object, ...]](), list[str]()
    for path in paths:
        if path is None or not Path(path).is_file():
            missing.append(path or "")
            continue
        state = file_state(Path(path).stat())
        rows.append((path, 0, state[0], *state))
    if missing:
        raise VolumeError(
            f"Column {paths.name!r} of {source!r} must name an image file in each row, but does not in "
            f"{format_count(len(missing), 'row')}, such as {format_list(missing[:MAX_NAMED])}. Correct these rows."
        )
    return FileContents(pl.DataFrame(rows, FILE_SCHEMA, orient="row"))


def _relative_names(paths: pl.Series, folder: Path) -> pl.Series:
    """Paths relative to the folder of the table, with slashes; others as they are."""
    names = [Path(path).relative_to(folder) if Path(path).is_relative_to(folder) else Path(path) for path in paths]
    return pl.Series(ID, [name.as_posix() for name in names], pl.String).str.normalize("NFC")
