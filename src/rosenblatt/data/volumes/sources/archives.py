"""Zip archives as sources of files, which are unpacked one at a time."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import polars as pl

from rosenblatt.data.free_memory import free_memory
from rosenblatt.data.readers.archives import READ_ERRORS
from rosenblatt.data.readers.decompression import MAX_RATIO, MEMORY_FRACTION, MIN_CHECKED_BYTES
from rosenblatt.data.volumes.sources.contents import SIZE, file_extension
from rosenblatt.data.volumes.sources.folders import is_hidden
from rosenblatt.data.volumes.sources.listings import MAX_NAMED, NAME, Listing, count_names, sort_by_name
from rosenblatt.errors import TableError, VolumeError, format_list

MAX_REASON = 100  # characters of an error of the archive in a message
MEMBER = "member"  # name of a file in its archive, as written


class ZipContents:
    """Samples that are files of a zip archive."""

    locations = stats = None

    def __init__(self, archive: zipfile.ZipFile, frame: pl.DataFrame) -> None:
        self._archive, self._frame = archive, frame

    def __len__(self) -> int:
        return self._frame.height

    def __getitem__(self, rows: slice) -> ZipContents:
        return ZipContents(self._archive, self._frame[rows])

    def name(self, row: int) -> str:
        """The path in the archive."""
        return str(self._frame[NAME][row])

    def extension(self, row: int) -> str:
        """The ending of the file's name."""
        return file_extension(self._frame[NAME][row])

    def read(self, row: int) -> bytes:
        """The bytes of a file, after its checksum was compared. Raises VolumeError."""
        try:
            return self._archive.read(self._frame[MEMBER][row])
        except READ_ERRORS as error:
            place, reason = f"{self.name(row)!r} in {self._archive.filename!r}", str(error)[:MAX_REASON]
            raise VolumeError(f"{place} cannot be read: {reason}. The archive may be damaged.") from error


def list_zip(path: Path) -> Listing:
    """List the files of a zip archive.

    Raises:
        VolumeError: if there are none, if names leave the archive, or if it unpacks like a decompression bomb.
        TableError: if it is damaged.
    """
    try:
        archive = zipfile.ZipFile(path)
    except READ_ERRORS as error:
        raise TableError(f"{str(path)!r} is a damaged zip archive: {error}.") from error
    members = [info for info in archive.infolist() if not info.is_dir()]
    check_member_names([info.filename for info in members], str(path))
    links = [info.filename for info in members if stat.S_ISLNK(info.external_attr >> 16)]
    hidden = [info.filename for info in members if any(map(is_hidden, PurePosixPath(info.filename).parts))]
    left_out = {*links, *hidden}
    members = [info for info in members if info.filename not in left_out]
    _check_sizes(members, path)
    names, notes = [info.filename for info in members], list[str]()
    notes += [count_names(hidden, "hidden files")] if hidden else []
    notes += [count_names(links, "links in the archive")] if links else []
    sizes = [info.file_size for info in members]
    frame = pl.DataFrame({NAME: names, MEMBER: names, SIZE: sizes}, schema_overrides={NAME: pl.String, SIZE: pl.Int64})
    if frame.is_empty():
        raise VolumeError(f"{str(path)!r} holds no files, but samples were expected. Check the archive.")
    return Listing(
        str(path), sort_by_name(frame, str(path), notes), lambda rows: ZipContents(archive, rows), tuple(notes)
    )


def check_member_names(names: Sequence[str], archive: str) -> None:
    """Raise VolumeError if members of an archive have names outside of it."""
    outside = [name for name in names if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/")]
    outside += [name for name in names if name[1:3] in (":\\", ":/")]
    if outside:
        raise VolumeError(
            f"{archive!r} holds files with paths outside of the archive: {format_list(outside, MAX_NAMED)}. Do not "
            "trust it, or pack it again with relative paths."
        )


def _check_sizes(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    """Raise VolumeError if files unpack to far more than they are packed, or do not fit the memory.

    No file unpacks to more than the size in its entry, which is what is checked.
    """
    n_packed, max_bytes = path.stat().st_size, int(free_memory() * MEMORY_FRACTION)
    total = sum(info.file_size for info in members)
    is_bomb = total > max(MAX_RATIO * n_packed, MIN_CHECKED_BYTES)
    if is_bomb or any(info.file_size > max(MAX_RATIO * info.compress_size, MIN_CHECKED_BYTES) for info in members):
        raise VolumeError(
            f"{str(path)!r} of {n_packed:,} bytes unpacks to {total:,} bytes, like a decompression bomb. If you trust "
            "it, unpack it and add the folder."
        )
    for info in members:
        if info.file_size > max_bytes:
            raise VolumeError(
                f"{info.filename!r} in {str(path)!r} unpacks to {info.file_size:,} bytes, but {max_bytes:,} bytes fit, "
                "half of the free memory. Use a machine with more memory."
            )
