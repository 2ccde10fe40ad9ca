"""Objects of a root, named by relative paths: files of a folder, or objects of a bucket or a web server.

    objects = open_objects("s3://bucket/volumes")
    objects.create("volumes/photos/tags/release", b"{}")  # False if it exists already

Objects are written whole or not at all, and what was written is durable.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from rosenblatt.data.volumes.storage.folders import FolderObjects
from rosenblatt.data.volumes.storage.object_info import ObjectInfo
from rosenblatt.errors import StorageError
from rosenblatt.runs.store.locations import public_address


class Objects(Protocol):
    """The objects of a root. All methods raise StorageError, with a reason, if the root cannot be read or written."""

    address: str  # without credentials, for messages and records

    def read(self, path: str) -> bytes:
        """Return the content of an object. Raises FileNotFoundError if there is none."""

    def read_ranges(self, path: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Return parts of an object; parts with small gaps are read together.

        Raises:
            FileNotFoundError: if there is no such object.
            DamagedDataError: if it ends before a part does.
        """

    def stream(self, path: str) -> Iterator[bytes]:
        """Iterate over the content of an object in chunks. Raises FileNotFoundError."""

    def info(self, path: str) -> ObjectInfo | None:
        """Return what is known of an object, or None if there is none."""

    def folders(self) -> list[str]:
        """Return the names of the folders of the root."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Iterate over the objects in a folder and the folders in it, in order of their paths."""

    def create(self, path: str, content: bytes) -> bool:
        """Write an object unless it exists; returns False if it does, maybe by this very write."""

    def put(self, path: str, content: bytes | BinaryIO) -> None:
        """Write an object, in place of an existing one."""

    def replace(self, path: str, content: bytes, etag: str | None) -> None:
        """Write an object if it still has this tag, or if there is none and the tag is None. Raises ConflictError."""

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects; those that do not exist are skipped."""

    def local_path(self, path: str) -> Path | None:
        """The file of an object of a folder; None for other roots."""


_SCHEME = re.compile("(s3a?|gs|az|abfss?|https?):", re.IGNORECASE)
_SETTINGS = ("AWS_", "AZURE_", "GOOGLE_")  # beginnings of the names of variables that clients of buckets read


def open_objects(address: str) -> Objects:
    """Open a root by its address: a folder, file://, s3://, gs://, az:// or, to read, http(s)://.

    Credentials of buckets come from the usual environment variables and files.

    Raises:
        StorageError: if the address cannot be used, or obstore is not installed.
    """
    check_address(address)
    if address.startswith(("http://", "https://")) and "?" in address:
        raise StorageError(
            f"{public_address(address)!r} has a query (? and what follows), which would be left out. Download what it "
            "names, and use the copy."
        )
    if address.startswith("file://"):
        return FolderObjects(Path(url2pathname(urlsplit(address).path)))
    if "://" not in address:
        return FolderObjects(Path(address).expanduser().absolute())
    return _open_bucket(address, tuple(sorted(item for item in os.environ.items() if item[0].startswith(_SETTINGS))))


def check_address(text: str) -> None:
    """Check that an address of a bucket or server names one, as a folder would be meant else. Raises StorageError."""
    if _SCHEME.match(text) and not urlsplit(text).netloc:
        raise StorageError(f"{text!r} names no bucket or server. Give an address such as s3://bucket/volumes.")


@cache
def _open_bucket(address: str, settings: tuple[tuple[str, str], ...]) -> Objects:  # noqa: ARG001 - part of the key
    """A client, which keeps its connections as long as the settings stay the same."""
    from rosenblatt.data.volumes.storage.buckets import BucketObjects

    return BucketObjects(address)
