"""Objects of a root that is a folder: files that are written whole or not at all, durably."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from rosenblatt.data.volumes.storage.object_info import CHUNK_BYTES, ObjectInfo, check_lengths, check_path
from rosenblatt.errors import ConflictError, StorageError


class FolderObjects:
    """The files of a local or mounted folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.address = root, str(root)

    def _path(self, path: str) -> Path:
        check_path(path)
        return self.root / path

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
        check_lengths(f"{self.address}/{path}", parts, lengths)
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
        with _as_storage_error(folder, "read"):
            try:
                entries = list(os.scandir(folder))
            except FileNotFoundError:
                return
        for entry in sorted(entries, key=lambda entry: entry.name + "/" * entry.is_dir()):
            path = f"{prefix}/{entry.name}" if prefix else entry.name
            if entry.name.startswith("."):  # a lock, or a file that is being written
                continue
            if entry.is_dir():
                yield from self.list(path)
            elif info := self.info(path):  # else it was deleted in the meantime
                yield info

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
                    with _exclusive(target):
                        if target.exists():
                            return False
                        part.replace(target)
            _sync_folder(target.parent)
        return True

    def put(self, path: str, content: bytes | BinaryIO) -> None:
        target = self._path(path)
        with _as_storage_error(target, "written"), _written_part(target, content) as part:
            part.replace(target)
            _sync_folder(target.parent)

    def replace(self, path: str, content: bytes, etag: str | None) -> None:
        target = self._path(path)
        with _as_storage_error(target, "written"), _exclusive(target):
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
    """Raise errors of the operating system as StorageError, other than a file that is missing where it is read."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and action == "read":
            raise
        raise StorageError(f"{str(path)!r} cannot be {action}: {error.strerror or error}.") from error


@contextmanager
def _written_part(target: Path, content: bytes | BinaryIO) -> Iterator[Path]:
    """A durable temporary file beside a target, with its content; it is removed unless it was renamed."""
    _make_folder(target.parent)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
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


def _make_folder(folder: Path) -> None:
    """Make a folder durably, with those above it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


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
def _exclusive(target: Path) -> Iterator[None]:
    """Hold the lock of a file, which the operating system releases when the process ends."""
    _make_folder(target.parent)
    with target.with_name(f".{target.name}.lock").open("ab") as file:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
