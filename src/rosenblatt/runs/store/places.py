"""Places that hold files by name: a folder, or an object store."""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from rosenblatt.errors import StorageError
from rosenblatt.runs.redaction import redact
from rosenblatt.runs.store.locations import public_address
from rosenblatt.runs.store.permissions import create_file, make_folder

ContentFile = io.BufferedReader | io.BytesIO


class Place(Protocol):
    """Holds files under the hash of their content."""

    def has(self, digest: str, size: int) -> bool:
        """Whether there is a file of this hash and size, intact as far as can be known quickly."""

    def put(self, digest: str, file: ContentFile) -> None:
        """Write the rest of a file under its hash."""

    def get(self, digest: str, path: Path) -> None:
        """Write the file of a hash to a path. Raises FileNotFoundError."""

    def remove(self, digest: str) -> None:
        """Remove the file of a hash."""

    def list_files(self) -> Iterator[tuple[str, float]]:
        """Hashes of all files, and seconds since 1970 of their last `put`."""


def file_hash(path: Path) -> str:
    """Compute the SHA-256 of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Folder:
    """A local or mounted folder."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def _path(self, digest: str) -> Path:
        return self._root / digest[:2] / digest

    def has(self, digest: str, size: int) -> bool:
        path = self._path(digest)
        try:
            os.utime(path)  # it is used again, and counts as new
            return path.is_file() and path.stat().st_size == size and file_hash(path) == digest
        except OSError:
            return False

    def put(self, digest: str, file: ContentFile) -> None:
        target = self._path(digest)
        make_folder(target.parent)
        part = target.with_name(f".{digest}.{secrets.token_hex(4)}.part")
        try:
            with os.fdopen(create_file(part), "wb") as copy:
                shutil.copyfileobj(file, copy)
            if file_hash(part) != digest:
                raise StorageError("it changed while it was stored")
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def get(self, digest: str, path: Path) -> None:
        stored = self._path(digest)
        if not stat.S_ISREG(stored.stat().st_mode):  # a device has no end
            raise StorageError(f"{str(stored)!r} is no regular file")
        shutil.copyfile(stored, path)

    def remove(self, digest: str) -> None:
        self._path(digest).unlink(missing_ok=True)

    def list_files(self) -> Iterator[tuple[str, float]]:
        yield from ((path.name, path.stat().st_mtime) for path in self._root.glob("??/*") if path.is_file())


class Bucket:
    """An object store, accessed with obstore; its methods raise StorageError."""

    def __init__(self, root: str) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ModuleNotFoundError as error:
            raise StorageError(
                f"Artifacts in {public_address(root)!r} need obstore: pip install 'rosenblatt[objects]'."
            ) from error
        is_local_http = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        options: dict[str, Any] = {"client_options": {"allow_http": True, "timeout": "60s"}} if is_local_http else {}
        options["retry_config"] = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
        self._obstore = obstore
        with self._translate_errors():
            self._store = from_url(root, **options)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise errors of obstore as StorageError."""
        try:
            yield
        except self._obstore.exceptions.BaseError as error:
            reason = redact((str(error).splitlines() or [type(error).__name__])[0])
            raise StorageError(re.sub(r"\?[^\s\"')]+", "", reason)) from None  # a query may hold credentials

    def has(self, name: str, size: int) -> bool:
        """Whether there is a file of this name and size."""
        try:
            with self._translate_errors():
                return bool(self._obstore.head(self._store, name)["size"] == size)
        except FileNotFoundError:
            return False

    def put(self, name: str, file: ContentFile) -> None:
        """Write the rest of a file under a name."""
        with self._translate_errors():
            self._obstore.put(self._store, name, file)

    def get(self, name: str, path: Path) -> None:
        """Write a file to a path. Raises FileNotFoundError."""
        with self._translate_errors(), path.open("wb") as file:
            for part in self._obstore.get(self._store, name).stream():
                file.write(part)

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._translate_errors():
            self._obstore.delete(self._store, name)

    def list_files(self) -> Iterator[tuple[str, float]]:
        """Names of all files, and seconds since 1970 of their last `put`."""
        with self._translate_errors():
            for batch in self._obstore.list(self._store):
                yield from ((meta["path"], meta["last_modified"].timestamp()) for meta in batch)


@cache
def open_place(root: str) -> Place:
    """Open a place by its address: a folder, or that of an object store. Raises StorageError."""
    return Bucket(root) if "://" in root else _Folder(root)


def join_address(address: str, part: str) -> str:
    """The address of a part of a place; a query stays at the end."""
    if "://" not in address:
        return os.path.join(address, part)  # noqa: PTH118 - addresses are text
    address_parts = urlsplit(address)
    return urlunsplit(address_parts._replace(path=f"{address_parts.path.rstrip('/')}/{part}"))
