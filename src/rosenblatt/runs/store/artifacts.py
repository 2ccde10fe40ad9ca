"""Content-addressed storage of files: each is stored once under its hash, in a folder or an object store."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rosenblatt.errors import StorageError
from rosenblatt.runs.store.locations import spool_folders

GRACE_SECONDS = 3600.0  # how long a new file is kept even if no run refers to it yet
_HASH = re.compile("[0-9a-f]{64}")
FILES_FOLDER = "files"  # the folder of a spool in which files wait for the store


class StoredFile(NamedTuple):
    """A stored file."""

    hash: str  # SHA-256 of its content
    bytes: int
    root: str  # the folder or object store


class _ArtifactStore(Protocol):
    def has(self, digest: str) -> bool: ...
    def put(self, digest: str, path: Path) -> None: ...
    def get(self, digest: str, path: Path) -> None: ...
    def remove(self, digest: str) -> None: ...
    def list_files(self) -> Iterator[tuple[str, float]]: ...  # hash, and seconds since 1970 of the last `put`


def file_hash(path: Path) -> str:
    """Compute the SHA-256 of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def store_file(path: Path, root: str, url: str) -> StoredFile:
    """Store a file in a root (folder or object store URL), or in the spool of the store if it cannot be written.

    Raises:
        StorageError: If the file cannot be read, or written to neither.
    """
    try:
        digest, size = file_hash(path), path.stat().st_size
    except OSError as error:
        raise StorageError(f"{str(path)!r} cannot be stored as an artifact: {error.strerror or error}.") from error
    try:
        store = _open_store(root)
        if not store.has(digest):
            store.put(digest, path)
    except (OSError, StorageError) as error:
        if not _spool_file(path, digest, url):
            raise StorageError(f"{str(path)!r} cannot be stored in {root!r}: {error}.") from error
    return StoredFile(digest, size, root)


def store_bytes(content: bytes, root: str, url: str) -> StoredFile:
    """Store a file with this content; see `store_file`."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return store_file(Path(file.name), root, url)


def fetch(digest: str, root: str, path: Path) -> None:
    """Write a stored file to a path once its hash is verified. Raises StorageError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        _open_store(root).get(digest, part)
        is_intact = file_hash(part) == digest
        if is_intact:
            part.replace(path)
    except (OSError, StorageError) as error:
        raise StorageError(f"The file {digest} cannot be read from {root!r}: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
    if not is_intact:
        raise StorageError(f"The file {digest} in {root!r} is damaged: its content does not match its hash.")


def deliver(url: str, root: str) -> int:
    """Store the files that wait in spools; returns their number."""
    n_delivered = 0
    for folder in spool_folders(url):
        for path in sorted((folder / FILES_FOLDER).glob("*")) if (folder / FILES_FOLDER).is_dir() else []:
            store = _open_store(root)
            if not store.has(path.name):
                store.put(path.name, path)
            path.unlink()
            n_delivered += 1
    return n_delivered


def collect_garbage(root: str, used: set[str]) -> int:
    """Remove files that are not used, except new ones, whose runs may not be written yet; returns their number."""
    store, cutoff = _open_store(root), time.time() - GRACE_SECONDS
    unused = [
        name
        for name, modified in store.list_files()
        if _HASH.fullmatch(name) and name not in used and modified < cutoff
    ]
    for digest in unused:
        store.remove(digest)
    return len(unused)


class _Folder:
    """A local or mounted folder."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def _path(self, digest: str) -> Path:
        return self._root / digest[:2] / digest

    def has(self, digest: str) -> bool:
        try:
            os.utime(self._path(digest))  # it is used again, and counts as new
        except OSError:
            return False
        return True

    def put(self, digest: str, path: Path) -> None:
        target = self._path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{digest}.{os.getpid()}.part")
        try:
            shutil.copyfile(path, part)
            part.replace(target)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def get(self, digest: str, path: Path) -> None:
        shutil.copyfile(self._path(digest), path)

    def remove(self, digest: str) -> None:
        self._path(digest).unlink(missing_ok=True)

    def list_files(self) -> Iterator[tuple[str, float]]:
        yield from ((path.name, path.stat().st_mtime) for path in self._root.glob("??/*") if path.is_file())


class _Bucket:
    """An object store, accessed with obstore."""

    def __init__(self, root: str) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ModuleNotFoundError as error:
            raise StorageError(f"Artifacts in {root!r} need obstore: pip install 'rosenblatt[objects]'.") from error
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
            raise StorageError(str(error).splitlines()[0]) from error

    def has(self, digest: str) -> bool:
        try:
            with self._translate_errors():
                self._obstore.head(self._store, digest)
        except FileNotFoundError:
            return False
        return True

    def put(self, digest: str, path: Path) -> None:
        with self._translate_errors():
            self._obstore.put(self._store, digest, path)

    def get(self, digest: str, path: Path) -> None:
        with self._translate_errors(), path.open("wb") as file:
            for part in self._obstore.get(self._store, digest).stream():
                file.write(part)

    def remove(self, digest: str) -> None:
        with self._translate_errors():
            self._obstore.delete(self._store, digest)

    def list_files(self) -> Iterator[tuple[str, float]]:
        with self._translate_errors():
            for batch in self._obstore.list(self._store):
                yield from ((meta["path"], meta["last_modified"].timestamp()) for meta in batch)


@cache
def _open_store(root: str) -> _ArtifactStore:
    return _Bucket(root) if "://" in root else _Folder(root)


def _spool_file(path: Path, digest: str, url: str) -> bool:
    for folder in spool_folders(url):
        try:
            (folder / FILES_FOLDER).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / FILES_FOLDER / digest)
        except OSError:
            continue
        return True
    return False
