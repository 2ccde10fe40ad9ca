"""Objects of buckets and web servers as sources of files: all below an address, or one that is copied first."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

import polars as pl

from rosenblatt.data.volumes.columns import LENGTH, OFFSET, PACK
from rosenblatt.data.volumes.sources.contents import (
    CTIME,
    FILE_SCHEMA,
    INODE,
    MTIME,
    PATH,
    SIZE,
    file_extension,
)
from rosenblatt.data.volumes.sources.folders import is_hidden
from rosenblatt.data.volumes.sources.listings import NAME, Listing, count_names, sort_by_name
from rosenblatt.data.volumes.storage.object_info import ObjectInfo
from rosenblatt.data.volumes.storage.objects import Objects, open_objects
from rosenblatt.errors import VolumeError

FILE_SCHEME = "file://"
KEY = "key"  # path of an object below its address, as the store has it


def is_address(location: str) -> bool:
    """Whether a source is in a bucket or on a web server, and not in a folder."""
    return "://" in location and not location.startswith(FILE_SCHEME)


def local_path(location: str) -> Path:
    """The path of a local source, which may be given as a file:// URI."""
    if location.startswith(FILE_SCHEME):
        return Path(url2pathname(urlsplit(location).path))
    return Path(location)


class ObjectContents:
    """Samples that are objects of a bucket.

    Args:
        objects: the bucket.
        frame: `name`, `key` and `FILE_SCHEMA` of each object, with URIs as paths.
    """

    def __init__(self, objects: Objects, frame: pl.DataFrame) -> None:
        self._objects, self._frame = objects, frame

    @property
    def locations(self) -> pl.DataFrame:
        """Where the bytes are: URIs."""
        return self._frame.select(pl.col(PATH).alias(PACK), OFFSET, LENGTH)

    @property
    def stats(self) -> pl.DataFrame:
        """The objects as they were listed."""
        return self._frame.select(FILE_SCHEMA.names())

    def __len__(self) -> int:
        return self._frame.height

    def __getitem__(self, rows: slice) -> ObjectContents:
        return ObjectContents(self._objects, self._frame[rows])

    def name(self, row: int) -> str:
        """The URI of the object."""
        return str(self._frame[PATH][row])

    def extension(self, row: int) -> str:
        """The ending of its name."""
        return file_extension(self._frame[NAME][row])

    def read(self, row: int) -> bytes:
        """The bytes of an object. Raises VolumeError if it was removed or changed since it was listed."""
        try:
            content = self._objects.read(self._frame[KEY][row])
        except FileNotFoundError:
            raise VolumeError(f"{self.name(row)!r} was removed after it was listed. Add it again.") from None
        if len(content) != self._frame[SIZE][row]:
            raise VolumeError(f"{self.name(row)!r} was changed after it was listed. Add it again.")
        return content


def list_objects(address: str) -> Listing:
    """List the objects below an address.

    Raises:
        VolumeError: if there are none.
        StorageError: if they cannot be listed.
    """
    objects = open_objects(address.rstrip("/"))
    infos = [info for info in objects.list("") if not info.path.endswith("/")]  # others stand for folders
    hidden = [info.path for info in infos if any(map(is_hidden, PurePosixPath(info.path).parts))]
    left_out = set(hidden)
    rows = [_row(objects.address, info) for info in infos if info.path not in left_out]
    schema = pl.Schema([(NAME, pl.String()), (KEY, pl.String()), *FILE_SCHEMA.items()])
    frame = pl.DataFrame(rows, schema, orient="row")
    if frame.is_empty():
        raise VolumeError(f"{objects.address!r} holds no objects, but samples were expected. Check the address.")
    notes = [count_names(hidden, "hidden objects")] if hidden else []
    frame = sort_by_name(frame, objects.address, notes)
    return Listing(objects.address, frame, lambda rows: ObjectContents(objects, rows), tuple(notes))


def _row(address: str, info: ObjectInfo) -> tuple[object, ...]:
    """The row of an object in a listing; its tag stands for the inode, and its last change for both times."""
    tag = int.from_bytes(hashlib.blake2b((info.etag or "").encode(), digest_size=8).digest(), "little")
    changed = int(info.modified * 1e9)
    states = {SIZE: info.size, MTIME: changed, CTIME: changed, INODE: tag}
    return (info.path, info.path, f"{address}/{info.path}", 0, info.size, *states.values())


def copy_object(address: str, folder: Path) -> Path | None:
    """Copy the object at an address into a folder; None if the address is that of a folder.

    Raises StorageError if it cannot be read.
    """
    if is_web := address.startswith("http"):
        open_objects(address)  # refuses addresses with a query
    parent, _, name = address.rpartition("/")
    objects = open_objects(parent)
    if not name or parent.endswith("/") or not (is_web or objects.info(name)):
        return None
    path = folder / PurePosixPath(name).name
    try:
        with path.open("wb") as file:
            for chunk in objects.stream(name):
                file.write(chunk)
    except FileNotFoundError:
        raise VolumeError(f"There is no object {objects.address}/{name}. Check the address.") from None
    return path
