"""Open a file, folder, archive or address as a source of samples for a volume."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from rosenblatt.data.polars_threads import require_polars
from rosenblatt.data.readers.archives import DELIMITED_SUFFIXES, TEXT_SUFFIX, find_single_table
from rosenblatt.data.readers.read import read_formatted
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.data.volumes.sources.archives import list_zip
from rosenblatt.data.volumes.sources.collections import open_collection
from rosenblatt.data.volumes.sources.columnar import (
    ARROW_MAGIC,
    PARQUET_MAGIC,
    STREAM_MAGIC,
    ColumnarFile,
    open_columnar,
)
from rosenblatt.data.volumes.sources.contents import PATH
from rosenblatt.data.volumes.sources.datasets import (
    COLUMNAR_PATTERN,
    class_names,
    columnar_files,
    is_saved_dataset,
    saved_dataset_files,
)
from rosenblatt.data.volumes.sources.folders import list_files
from rosenblatt.data.volumes.sources.listings import NAME, Listing
from rosenblatt.data.volumes.sources.media import has_suffix, open_media
from rosenblatt.data.volumes.sources.sidecar import METADATA_PATTERN
from rosenblatt.data.volumes.sources.source import SampleKind, SampleSource
from rosenblatt.data.volumes.sources.tables import open_table
from rosenblatt.data.volumes.sources.tars import open_tars

TAR_SUFFIX = ".tar"


def open_samples(
    location: str | Path,
    *,
    kind: SampleKind | None = None,
    id_column: str | None = None,
    sidecar: str | Path | None = None,
    format: TableFormat = DETECT_FORMAT,
) -> SampleSource:
    """Open what is added to a volume, by the same rules as what a model is fitted to.

    Args:
        location: a file with a table; a folder or archive of images, sounds, texts or sequences, of Parquet or Arrow
            files, or written by Hugging Face's datasets.
        kind: what the files of a folder are; detected by default. "files" takes all files as they are.
        id_column: the column that identifies samples; by default the column `id` of a table, if it is unique, or else
            a hash of each row. Files are identified by their relative paths.
        sidecar: a table with further columns of files, which names them in one of its columns.
        format: how tables are written.

    Raises:
        VolumeError: if the source cannot be added; TableError or StorageError if it cannot be read.
    """
    require_polars()
    path = Path(location)
    request = _Request(kind, id_column, None if sidecar is None else Path(sidecar), format)
    if path.is_dir():
        if is_saved_dataset(path):
            files = saved_dataset_files(path)
            return open_columnar(files, str(path), id_column, class_names(files, path), [])
        return _open_listing(list_files(path), request)
    magic = _first_bytes(path)
    if magic.startswith((PARQUET_MAGIC, ARROW_MAGIC, STREAM_MAGIC)):
        files = [ColumnarFile(path)]
        return open_columnar(files, str(path), id_column, class_names(files), [])
    if magic and zipfile.is_zipfile(path):
        listing = list_zip(path)
        if kind is not None or not find_single_table(listing.collection_files()):
            return _open_listing(listing, request)
    if magic and tarfile.is_tarfile(path):
        return open_tars([path], str(path), [])
    return open_table(read_formatted(location, format), id_column)


class _Request(NamedTuple):
    """What the user asks for."""

    kind: SampleKind | None
    id_column: str | None
    sidecar: Path | None
    format: TableFormat


def _open_listing(listing: Listing, request: _Request) -> SampleSource:
    """Open the files of a folder or an archive, as what most of them are unless the user says otherwise."""
    kind = request.kind or _detect_kind(listing, has_sidecar=request.sidecar is not None)
    if kind in ("images", "audio", "files"):
        return open_media(listing, kind, request.sidecar, request.format, [])
    if kind == "shards":
        shards = listing.filter(pl.col(NAME).str.to_lowercase().str.ends_with(TAR_SUFFIX)).frame[PATH]
        return open_tars([Path(path) for path in shards], listing.location, list(listing.notes))
    if kind == "table":
        notes = list(listing.notes)
        files = columnar_files(listing, notes)
        return open_columnar(files, listing.location, request.id_column, class_names(files), notes)
    return open_collection(listing)


def _detect_kind(listing: Listing, *, has_sidecar: bool) -> SampleKind | Literal["shards"]:
    """What most files are, with tables for metadata left aside; as `fit`, for what it reads as well."""
    lowered = pl.col(NAME).str.to_lowercase()
    is_table = (
        pl.any_horizontal(map(lowered.str.ends_with, DELIMITED_SUFFIXES))
        & ~lowered.str.contains(METADATA_PATTERN)
        & ~pl.lit(has_sidecar)
    )
    counts = listing.frame.select(
        images=has_suffix("images").sum(), audio=has_suffix("audio").sum(), tables=is_table.sum(),
        texts=lowered.str.ends_with(TEXT_SUFFIX).sum(), shards=lowered.str.ends_with(TAR_SUFFIX).sum(),
        columnar=lowered.str.contains(COLUMNAR_PATTERN).sum(),
    ).row(0, named=True)  # fmt: skip
    others = max(counts["tables"], counts["texts"])
    for kind in ("images", "audio"):
        if counts[kind] > others and counts[kind] == max(counts["images"], counts["audio"]):
            return "images" if kind == "images" else "audio"
    if PATH in listing.frame.columns and not others and counts["shards"]:
        return "shards"
    if PATH in listing.frame.columns and not others and counts["columnar"]:
        return "table"
    return "sequences" if counts["tables"] > counts["texts"] else "texts"


def _first_bytes(path: Path) -> bytes:
    """The first bytes of a regular file; none of others, such as pipes, which are read once."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(8)
    except OSError:
        return b""
