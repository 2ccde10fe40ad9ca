"""Open a file, folder, archive or address as a source of samples for a volume."""

from __future__ import annotations

from pathlib import Path

from rosenblatt.data.polars_threads import require_polars
from rosenblatt.data.readers.read import read_formatted
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.data.volumes.sources.folders import list_files
from rosenblatt.data.volumes.sources.listings import Listing
from rosenblatt.data.volumes.sources.media import open_media
from rosenblatt.data.volumes.sources.source import SampleKind, SampleSource
from rosenblatt.data.volumes.sources.tables import open_table


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
        location: a file with a table; a folder or archive of images, sounds, texts or sequences.
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
    sidecar = None if sidecar is None else Path(sidecar)
    if path.is_dir():
        return _open_listing(list_files(path), kind, sidecar, format)
    return open_table(read_formatted(location, format), id_column)


def _open_listing(listing: Listing, kind: SampleKind | None, sidecar: Path | None, format: TableFormat) -> SampleSource:
    return open_media(listing, kind or "images", sidecar, format, [])
