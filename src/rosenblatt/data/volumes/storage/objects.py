"""Objects of a root, named by relative paths: files of a folder, or objects of a bucket or a web server.

    objects = open_objects("s3://bucket/volumes")
    objects.create("volumes/photos/tags/release", b"{}")  # False if it exists already

Objects are written whole or not at all, and what was written is durable.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from rosenblatt.errors import ConflictError, StorageError

CHUNK_BYTES = 1 << 20  # of a stream
PART_SUFFIX = ".part"  # of files that are being written


@dataclass(frozen=True)
class ObjectInfo:
    """What a root knows of an object."""

    path: str
    size: int  # in bytes
    modified: float  # in seconds since 1970
    etag: str | None


class Objects(Protocol):
    """The objects of a root. All methods raise StorageError, with a reason, if the root cannot be read or written."""

    address: str  # without credentials, for messages and records

    def read(self, path: str) -> bytes:
        """Return the content of an object. Raises FileNotFoundError if there is none."""

    def read_ranges(self, path: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """Return parts of an object; parts with small gaps are read together. Raises FileNotFoundError."""

    def stream(self, path: str) -> Iterator[bytes]:
        """Iterate over the content of an object in chunks. Raises FileNotFoundError."""

    def info(self, path: str) -> ObjectInfo | None:
        """Return what is known of an object, or None if there is none."""

    def folders(self) -> list[str]:
        """Return the names of the folders of the root."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Iterate over the objects in a folder and the folders in it, in order of their paths."""

    def create(self, path: str, content: bytes) -> bool:
        """Write an object unless it exists; returns False if it does, however it came to be."""

    def put(self, path: str, content: bytes | BinaryIO) -> None:
        """Write an object, in place of an existing one."""

    def replace(self, path: str, content: bytes, etag: str | None) -> None:
        """Write an object if it still has this tag, or if there is none and the tag is None. Raises ConflictError."""

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects; those that do not exist are skipped."""

    def local_path(self, path: str) -> Path | None:
        """The file of an object of a folder; None for other roots."""


@cache
def open_objects(address: str) -> Objects:
    """Open a root by its address: a folder, file://, s3://, gs://, az:// or, to read, http(s)://.

    Credentials of buckets come from the usual environment variables and files.

    Raises:
        StorageError: if the address cannot be used, or obstore is not installed.
    """
    if address.startswith("file://"):
        return FolderObjects(Path(url2pathname(urlsplit(address).path)))
    if "://" not in address:
        return FolderObjects(Path(address).expanduser().absolute())
    from rosenblatt.data.volumes.storage.buckets import BucketObjects

    return BucketObjects(address)


class FolderObjects:
    """The files of a local or mounted folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.address = root, str(root)

    def _path(self, path: str) -> Path:
        parts = path.split("/")
        if not path or any(part in ("", ".", "..") or "\0" in part or os.sep in part for part in parts):
            raise StorageError(f"{path!r} is no path of an object. Give names that are joined by slashes.")
        return self.root.joinpath(*parts)

    def read(self, path: str) -> bytes:
        with _as_storage_error(self._path(path), "read"):
            return self._path(path).read_bytes()

    def read_ranges(self, path: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        file_path = self._path(path)
        with _as_storage_error(file_path, "read"), file_path.open("rb") as file:
            parts = []
            for start, length in zip(starts, lengths, strict=True):
                file.seek(start)
                parts.append(file.read(length))
            return parts

    def stream(self, path: str) -> Iterator[bytes]:
        file_path = self._path(path)
        with _as_storage_error(file_path, "read"), file_path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def info(self, path: str) -> ObjectInfo | None:
        with _as_storage_error(self._path(path), "read"), suppress(FileNotFoundError, NotADirectoryError):
            status = self._path(path).stat()
            return ObjectInfo(path, status.st_size, status.st_mtime, _tag(status))
        return None

    def folders(self) -> list[str]:
        with _as_storage_error(self.root, "read"), suppress(FileNotFoundError):
            return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())
        return []

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        folder = self._path(prefix) if prefix else self.root
        with _as_storage_error(folder, "read"), suppress(FileNotFoundError):
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                path = f"{prefix}/{entry.name}" if prefix else entry.name
                if entry.is_dir():
                    yield from self.list(path)
                elif not entry.name.endswith(PART_SUFFIX):
                    status = entry.stat()
                    yield ObjectInfo(path, status.st_size, status.st_mtime, _tag(status))

    def create(self, path: str, content: bytes) -> bool:
        target = self._path(path)
        with _as_storage_error(target, "written"):
            if target.exists():
                return False
            with _written_part(target, content) as part:
                try:
                    os.link(part, target)
                except FileExistsError:
                    return False
                except OSError:  # a file system without links
                    return _create_exclusively(target, content)
            _sync_folder(target.parent)
        return True

    def put(self, path: str, content: bytes | BinaryIO) -> None:
        target = self._path(path)
        with _as_storage_error(target, "written"), _written_part(target, content) as part:
            part.replace(target)
            _sync_folder(target.parent)

    def replace(self, path: str, content: bytes, etag: str | None) -> None:
        target = self._path(path)
        lock = target.with_name(f".{target.name}.lock")
        with _as_storage_error(target, "written"), _exclusive(lock):
            info = self.info(path)
            if (info.etag if info else None) != etag:
                raise ConflictError(f"{path!r} was changed by another process at the same time. Try again.")
            self.put(path, content)

    def delete(self, paths: Sequence[str]) -> None:
        for path in paths:
            with _as_storage_error(self._path(path), "deleted"):
                self._path(path).unlink(missing_ok=True)

    def local_path(self, path: str) -> Path | None:
        return self._path(path)


def _tag(status: os.stat_result) -> str:
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


@contextmanager
def _as_storage_error(path: Path, action: str) -> Iterator[None]:
    """Raise other errors of the operating system than a missing file as StorageError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StorageError(f"{str(path)!r} cannot be {action}: {error.strerror or error}.") from error


@contextmanager
def _written_part(target: Path, content: bytes | BinaryIO) -> Iterator[Path]:
    """A durable temporary file beside a target, with its content; it is removed unless it was renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
    try:
        with part.open("xb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                shutil.copyfileobj(content, file, CHUNK_BYTES)
            file.flush()
            os.fsync(file.fileno())
        yield part
    finally:
        part.unlink(missing_ok=True)


def _create_exclusively(target: Path, content: bytes) -> bool:
    try:
        file = target.open("xb")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return True


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the operating system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some mounted file systems cannot
        pass
    finally:
        os.close(descriptor)


@contextmanager
def _exclusive(lock: Path) -> Iterator[None]:
    """Hold a lock that the operating system releases when the process ends."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("ab") as file:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
