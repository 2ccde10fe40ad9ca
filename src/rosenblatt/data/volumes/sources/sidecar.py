"""Tables beside files, such as metadata.csv, that give further columns of each file."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from rosenblatt.data.readers.files import read_content, read_source
from rosenblatt.data.readers.sources import open_source
from rosenblatt.data.table import Table, TableFormat
from rosenblatt.data.volumes.sources.coco import is_coco, read_coco
from rosenblatt.data.volumes.sources.listings import NAME, Listing
from rosenblatt.data.volumes.sources.tables import keep_types
from rosenblatt.data.volumes.sources.typed_columns import to_typed_columns
from rosenblatt.errors import TableError, VolumeError, format_count, format_list

METADATA_PATTERN = r"(^|/)metadata\.(csv|jsonl|parquet)$"  # names as in Hugging Face's ImageFolder
TABLE_PATTERN = r"\.(csv|tsv|jsonl|ndjson|json|parquet)$"  # endings of their names in lower case
MIN_MATCH_FRACTION = 0.5  # of the files, or of its rows, that a table must match to describe the files
MAX_TABLES = 10  # tables without a name of `METADATA_PATTERN` up to which each is searched for names of files
_LAST = pl.col(NAME).str.extract("([^/]*)$")
_KEYS = {  # of files, from the most to the least exact
    "paths": pl.col(NAME),
    "names": _LAST,
    "names without suffixes": _LAST.str.replace(r"\.[^.]*$", ""),
}


def read_sidecar(path: Path, files: pl.Series, format: TableFormat, notes: list[str]) -> pl.DataFrame:
    """Read the table given with --sidecar: a row for each file, null for files that it does not name.

    Raises VolumeError if it names too few of the files.
    """
    content = path.read_bytes() if path.suffix.lower() == ".json" and path.is_file() else b""
    table = read_coco(content, path.name, notes) if is_coco(content) else _read_file(path, format)
    metadata = _match(table, files, "", notes)
    if metadata is None:
        raise VolumeError(
            f"No column of {str(path)!r} names the files of the source, such as {files[0]!r}, each once. Give a table "
            "with a column of their paths or names."
        )
    return metadata


def find_sidecars(listing: Listing, files: pl.Series, format: TableFormat, notes: list[str]) -> pl.DataFrame | None:
    """The columns that tables in a folder give of its files: a row for each file; None if there are none.

    A table describes the files in its own folder and in the folders there, and annotations of COCO all files. Tables
    that describe none are noted.
    """
    names = listing.frame[NAME]
    lowered = names.str.to_lowercase()
    is_metadata = lowered.str.contains(METADATA_PATTERN)
    others = names.filter(lowered.str.contains(TABLE_PATTERN) & ~is_metadata).to_list()
    tables, unused = names.filter(is_metadata).to_list(), list[str]()
    (tables if len(others) <= MAX_TABLES else unused).extend(others)
    metadata: pl.DataFrame | None = None
    for name in tables:
        table, folder = _read_table(listing, name, format, notes)
        part_notes = list[str]()
        part = None if table is None else _match(table, files, folder, part_notes)
        if part is None:
            unused.append(name)
        else:
            metadata = part if metadata is None else _merge(metadata, part, name, notes)
            notes += [f"{name}: {note}" for note in (f"gives the columns {', '.join(part.columns)}", *part_notes)]
    if unused:
        tables_text = format_count(len(unused), "table")
        notes.append(f"{tables_text} left out: {format_list(unused, 3)} (--sidecar FILE if one describes the files)")
    return metadata


def _read_file(path: Path, format: TableFormat) -> Table:
    """Read a table with the names of files as they are written. Raises TableError."""
    source = open_source(path)
    try:
        return read_source(source, format)
    except TableError as error:
        raise TableError(f"{str(path)!r}: {error}") from error


def _read_table(listing: Listing, name: str, format: TableFormat, notes: list[str]) -> tuple[Table | None, str]:
    """A table of a folder, None if it is none, and the folder of the files that it describes, with a slash at its end.

    Annotations of COCO are usually in a folder of their own, beside those of the images.

    Raises:
        TableError: if annotations or a table named as metadata are damaged.
    """
    content, folder = listing.read(name), name[: name.rfind("/") + 1]
    if name.lower().endswith(".json") and is_coco(content):
        return read_coco(content, name, notes), ""
    try:
        return read_content(content, format), folder
    except TableError as error:
        if re.search(METADATA_PATTERN, name.lower()):
            raise TableError(f"{name!r}: {error}") from error
        return None, folder


def _merge(first: pl.DataFrame, second: pl.DataFrame, name: str, notes: list[str]) -> pl.DataFrame:
    """The columns of two tables; cells that the first one lacks are those of the second one, which has this name."""
    conflicts = list[str]()
    for series in second:
        if series.name not in first.columns:
            first = first.with_columns(series)
            continue
        cells = _with_one_type(first[series.name], series)
        if cells is None or cells.select((pl.col("first").is_not_null() & pl.col("second").is_not_null()).any()).item():
            conflicts.append(series.name)
        if cells is not None:
            first = first.with_columns(cells.select(pl.coalesce("first", "second").alias(series.name)).to_series())
    if conflicts:
        notes.append(
            f"cells of {format_list(conflicts)} in {name} left out, as another table gives them (--sidecar FILE for "
            "one table only)"
        )
    return first


def _with_one_type(first: pl.Series, second: pl.Series) -> pl.DataFrame | None:
    """Two columns in a type that holds the cells of both; None if there is none."""
    try:
        cells = pl.concat([first.alias("cell").to_frame(), second.alias("cell").to_frame()], how="vertical_relaxed")
    except pl.exceptions.PolarsError:
        return None
    return pl.DataFrame([cells["cell"][: len(first)].alias("first"), cells["cell"][len(first) :].alias("second")])


def _match(table: Table, files: pl.Series, folder: str, notes: list[str]) -> pl.DataFrame | None:
    """The columns of a table with a row for each file, null where it has none; None if no column names files.

    Args:
        table: the table as read.
        files: names of all files (n,).
        folder: the folder of the table, with a slash at its end, in which its files are.
        notes: receives how files are matched, and how many rows and files are not.
    """
    inside = files.to_frame(NAME).with_row_index("file").filter(pl.col(NAME).str.starts_with(folder))
    for key_name, key in _KEYS.items():
        keys = inside.select("file", key=key.str.strip_prefix(folder))
        keys = keys.filter(~pl.col("key").is_duplicated())
        for cells in table.frame:
            if cells.dtype not in (pl.String, pl.Int64):
                continue
            text = _normalize(cells, is_path=key_name == "paths")
            rows = text.alias("key").to_frame().with_row_index("row").join(keys, on="key")
            is_once = text.n_unique() == len(text)
            if not is_once or rows.height < max(1, MIN_MATCH_FRACTION * min(inside.height, len(cells))):
                continue
            notes += _match_notes(cells, key_name, rows.height, inside.height)
            typed = keep_types(to_typed_columns(table.frame, table.format, notes), notes).drop(cells.name)
            positions = pl.DataFrame({"file": pl.arange(len(files), eager=True, dtype=pl.UInt32)}).join(
                rows, on="file", how="left", maintain_order="left"
            )["row"]
            return typed.select(pl.all().gather(positions))
    return None


def _normalize(cells: pl.Series, *, is_path: bool) -> pl.Series:
    """Names of files in a table as in a listing: with slashes and in Unicode's form NFC; without folders on request."""
    text = cells.cast(pl.String).str.strip_chars().str.replace_all("\\", "/", literal=True)
    text = text.str.strip_prefix("./").str.normalize("NFC")
    return text if is_path else text.str.extract("([^/]*)$")


def _match_notes(cells: pl.Series, key_name: str, n_matched: int, n_files: int) -> list[str]:
    notes = [f"rows are matched to files by the {key_name} in column {cells.name!r}"] if key_name != "paths" else []
    if n_matched < len(cells):
        notes.append(f"{format_count(len(cells) - n_matched, 'row')} of column {cells.name!r} name no file: left out")
    if n_matched < n_files:
        n_missing = format_count(n_files - n_matched, "file has", "files have")
        notes.append(f"{n_missing} no row in the table: its columns are empty there")
    return notes
