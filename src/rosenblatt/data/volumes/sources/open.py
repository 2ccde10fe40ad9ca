"""Open a file, folder, archive or address as a source of samples for a volume."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import weakref
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from rosenblatt.data.media.headers import AUDIO_SUFFIXES
from rosenblatt.data.media.images import SUFFIXES
from rosenblatt.data.polars_threads import require_polars
from rosenblatt.data.readers.archives import DELIMITED_SUFFIXES, TEXT_SUFFIX, find_single_table
from rosenblatt.data.readers.read import read_formatted
from rosenblatt.data.readers.sources import ZIP_MAGIC, open_source
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.data.volumes.columns import describe_kind
from rosenblatt.data.volumes.sources.addresses import copy_object, is_address, list_objects, local_path
from rosenblatt.data.volumes.sources.archives import list_zip
from rosenblatt.data.volumes.sources.captions import find_captions
from rosenblatt.data.volumes.sources.coco import is_coco
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
    COLUMNAR_SUFFIXES,
    class_names,
    columnar_files,
    is_saved_dataset,
    saved_dataset_files,
)
from rosenblatt.data.volumes.sources.folders import list_files
from rosenblatt.data.volumes.sources.image_tables import find_image_paths, open_image_table
from rosenblatt.data.volumes.sources.listings import NAME, Listing, count_endings
from rosenblatt.data.volumes.sources.media import has_suffix, open_media
from rosenblatt.data.volumes.sources.sidecar import METADATA_PATTERN
from rosenblatt.data.volumes.sources.source import SampleKind, SampleSource
from rosenblatt.data.volumes.sources.tables import open_table
from rosenblatt.data.volumes.sources.tars import open_tars
from rosenblatt.errors import VolumeError
from rosenblatt.runs.store.locations import public_address

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
        location: a file with a table; a folder, archive or address of images, sounds, texts or sequences; a folder of
            Parquet or Arrow files or of WebDataset's archives, or written by Hugging Face's datasets.
        kind: what the files of a folder are; detected by default. "files" takes all files as they are.
        id_column: the column that identifies samples; by default the column `id` of a table, if it is unique, or else
            a hash of each row. Files are identified by their relative paths.
        sidecar: a table with further columns of files, which names them in one of its columns.
        format: how tables are written.

    Raises:
        VolumeError: if the source cannot be added; TableError or StorageError if it cannot be read.
    """
    require_polars()
    request = _Request(kind, id_column, None if sidecar is None else Path(sidecar), format)
    open_location = _open_address if is_address(str(location)) else _open_path
    source = open_location(str(location), request)
    if kind not in (None, source.kind):
        raise VolumeError(
            f"{source.location!r} holds {describe_kind(source.kind)}, not {describe_kind(kind)}. Omit --kind, or "
            "choose another source."
        )
    if id_column is not None and source.id_origin != "column":
        raise VolumeError(
            f"--id has no effect for {source.kind}, which are identified by their content or path. Omit it."
        )
    return source


class _Request(NamedTuple):
    """What the user asks for."""

    kind: SampleKind | None
    id_column: str | None
    sidecar: Path | None
    format: TableFormat

    def refuse_sidecar(self) -> None:
        """Raise VolumeError if a table is given with --sidecar, as the source is no folder of files."""
        if self.sidecar is not None:
            raise VolumeError("--sidecar describes the files of a folder or zip archive. Omit it for other sources.")


def _open_path(location: str, request: _Request) -> SampleSource:
    """Open a local file or folder."""
    path, magic = local_path(location), _first_bytes(local_path(location))
    if path.is_dir() and not is_saved_dataset(path):
        return _open_listing(list_files(path), request)
    is_zip = magic.startswith(ZIP_MAGIC) and zipfile.is_zipfile(path)
    listing = list_zip(path) if is_zip else None
    if listing and (request.kind or request.sidecar or not find_single_table(listing.collection_files())):
        return _open_listing(listing, request)
    request.refuse_sidecar()
    if path.is_dir():
        files = saved_dataset_files(path)
        return open_columnar(files, str(path), request.id_column, class_names(files, path), [])
    if magic.startswith((PARQUET_MAGIC, ARROW_MAGIC, STREAM_MAGIC)):
        files = [ColumnarFile(path)]
        return open_columnar(files, str(path), request.id_column, class_names(files), [])
    if magic and tarfile.is_tarfile(path):
        return open_tars([path], str(path), request.id_column, [])
    return _open_table(path, magic, request)


def _open_table(path: Path, magic: bytes, request: _Request) -> SampleSource:
    """Open a file that is read whole."""
    if magic.lstrip().startswith(b"{") and is_coco(open_source(path).content):
        raise VolumeError(
            f"{str(path)!r} holds annotations of images in COCO's format. Add the folder of the images, with --sidecar "
            f"{path.name}."
        )
    table = read_formatted(path, request.format)
    column = find_image_paths(table.frame)
    return open_image_table(table, column, request.id_column) if column else open_table(table, request.id_column)


def _open_address(address: str, request: _Request) -> SampleSource:
    """Open what is below an address, or a copy of the one object there, which lives as long as the source."""
    folder = tempfile.mkdtemp(prefix="rosenblatt-")
    remove_copy = partial(shutil.rmtree, folder, ignore_errors=True)
    try:
        source = _open_copy(address, Path(folder), request)
    except BaseException:
        remove_copy()
        raise
    if source is None:
        remove_copy()
        return _open_listing(list_objects(address), request)
    chunks = partial(source.chunks)
    weakref.finalize(chunks, remove_copy)
    return replace(source, location=public_address(address), chunks=chunks)


def _open_copy(address: str, folder: Path, request: _Request) -> SampleSource | None:
    """Copy the object at an address to a folder, and open it; None if there is none."""
    path = copy_object(address, folder)
    if path is not None and tarfile.is_tarfile(path):
        raise _not_local_error(public_address(address), "a tar archive")
    return None if path is None else _open_path(str(path), request)


def _not_local_error(address: str, content: str) -> VolumeError:
    return VolumeError(f"{address!r} is {content}, which is read in place. Copy it to a folder, and add that.")


def _open_listing(listing: Listing, request: _Request) -> SampleSource:
    """Open the files of a folder or an archive, as what most of them are unless the user says otherwise."""
    kind = request.kind or _detect_kind(listing, has_sidecar=request.sidecar is not None)
    if kind in ("images", "audio", "files"):
        return open_media(listing, kind, request.sidecar, request.id_column, request.format)
    request.refuse_sidecar()
    if kind == "shards":
        shards = listing.filter(pl.col(NAME).str.to_lowercase().str.ends_with(TAR_SUFFIX)).frame[PATH]
        return open_tars([Path(path) for path in shards], listing.location, request.id_column, list(listing.notes))
    if kind == "table" and listing.is_local:
        notes = list(listing.notes)
        files = columnar_files(listing, notes)
        if not files:
            raise VolumeError(f"{listing.location!r} holds no Parquet or Arrow files. Give the path of one table.")
        return open_columnar(files, listing.location, request.id_column, class_names(files), notes)
    suffixes = {"texts": (TEXT_SUFFIX,), "sequences": DELIMITED_SUFFIXES}.get(request.kind or "", ("",))
    lowered = pl.col(NAME).str.to_lowercase()
    return open_collection(listing.filter(pl.any_horizontal(map(lowered.str.ends_with, suffixes))))


def _detect_kind(listing: Listing, *, has_sidecar: bool) -> SampleKind | Literal["shards"]:
    """What most files are, with texts and tables about others left aside; as `fit`, for what it reads as well."""
    names, endings = listing.frame[NAME], count_endings(listing.frame[NAME])

    def count(suffixes: Iterable[str]) -> int:
        return sum(endings[suffix] for suffix in suffixes)

    n_images, n_sounds = count(SUFFIXES), count(AUDIO_SUFFIXES)
    n_tables, n_texts = 0 if has_sidecar else count(DELIMITED_SUFFIXES), endings[TEXT_SUFFIX]
    if n_tables:
        n_tables -= int(names.str.to_lowercase().str.contains(METADATA_PATTERN).sum())
    if n_texts:
        media = listing.frame.filter(has_suffix("images") | has_suffix("audio"))[NAME]
        n_texts -= find_captions(listing, media).frame.height
    if max(n_images, n_sounds) > max(n_tables, n_texts):
        return "images" if n_images >= n_sounds else "audio"
    if not (n_tables or n_texts) and (endings[TAR_SUFFIX] or count(COLUMNAR_SUFFIXES)):
        if not listing.is_local:
            raise _not_local_error(listing.location, "a folder of tables or archives")
        return "shards" if endings[TAR_SUFFIX] else "table"
    return "sequences" if n_tables > n_texts else "texts"


def _first_bytes(path: Path) -> bytes:
    """The first bytes of a regular file; none of others, such as pipes, which are read once."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(8)
    except OSError:
        return b""
