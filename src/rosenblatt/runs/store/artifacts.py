"""In: files. Out: the same by the hash of their content, each kept once, in a folder or an object store."""

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
from rosenblatt.runs.store.locations import spools

YOUNG = 3600.0  # seconds in which a file is not swept, whoever refers to it
_HASH = re.compile("[0-9a-f]{64}")
FILES = "files"  # the folder of a spool in which files wait


class Kept(NamedTuple):
    """Where a file is kept."""

    hash: str  # SHA-256 of its content
    bytes: int
    root: str


class _Place(Protocol):
    def has(self, digest: str) -> bool: ...
    def put(self, digest: str, path: Path) -> None: ...
    def get(self, digest: str, path: Path) -> None: ...
    def remove(self, digest: str) -> None: ...
    def all(self) -> Iterator[tuple[str, float]]: ...  # with the seconds since 1970 when it was last put


def hash_of(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(path: Path, root: str, url: str) -> Kept:
    """Keep a file in a root; where that cannot be written, in the spool of the store until it can.

    Raises StorageError where the file cannot be read, or nothing takes it.
    """
    try:
        digest, size = hash_of(path), path.stat().st_size
    except OSError as error:
        raise StorageError(f"{str(path)!r} cannot be kept as an artifact: {error.strerror or error}.") from error
    try:
        place = _place_of(root)
        if not place.has(digest):
            place.put(digest, path)
    except (OSError, StorageError) as error:
        if not _wait(path, digest, url):
            raise StorageError(f"{str(path)!r} cannot be kept in {root!r}: {error}.") from error
    return Kept(digest, size, root)


def keep_bytes(content: bytes, root: str, url: str) -> Kept:
    """Keep a few bytes, as `keep` does a file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return keep(Path(file.name), root, url)


def fetch(digest: str, root: str, path: Path) -> None:
    """Write a kept file to a path, after its content was checked. Raises StorageError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        _place_of(root).get(digest, part)
        is_whole = hash_of(part) == digest
        if is_whole:
            part.replace(path)
    except (OSError, StorageError) as error:
        raise StorageError(f"The file {digest} cannot be read from {root!r}: {error}.") from error
    finally:
        part.unlink(missing_ok=True)
    if not is_whole:
        raise StorageError(f"The file {digest} in {root!r} is damaged: its content has another hash.")


def deliver(url: str, root: str) -> int:
    """Put files that wait in spools where they belong; how many."""
    delivered = 0
    for folder in spools(url):
        for path in sorted((folder / FILES).glob("*")) if (folder / FILES).is_dir() else []:
            place = _place_of(root)
            if not place.has(path.name):
                place.put(path.name, path)
            path.unlink()
            delivered += 1
    return delivered


def sweep(root: str, used: set[str]) -> int:
    """Remove files of ours that no run refers to; how many. New ones may belong to a run that is being written."""
    place, before = _place_of(root), time.time() - YOUNG
    unused = [name for name, seen in place.all() if _HASH.fullmatch(name) and name not in used and seen < before]
    for digest in unused:
        place.remove(digest)
    return len(unused)


class _Folder:
    """A folder of this machine, or one that is mounted."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def _path(self, digest: str) -> Path:
        return self._root / digest[:2] / digest

    def has(self, digest: str) -> bool:
        try:
            os.utime(self._path(digest))  # it is used again: young
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

    def all(self) -> Iterator[tuple[str, float]]:
        yield from ((path.name, path.stat().st_mtime) for path in self._root.glob("??/*") if path.is_file())


class _Bucket:
    """An object store, by obstore."""

    def __init__(self, root: str) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ModuleNotFoundError as error:
            raise StorageError(f"Artifacts in {root!r} need obstore: pip install 'rosenblatt[objects]'.") from error
        local = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        options: dict[str, Any] = {"client_options": {"allow_http": True, "timeout": "60s"}} if local else {}
        options["retry_config"] = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
        self._obstore = obstore
        with self._told():
            self._store = from_url(root, **options)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of obstore, which share nothing with others, as ours."""
        try:
            yield
        except self._obstore.exceptions.BaseError as error:
            raise StorageError(str(error).splitlines()[0]) from error

    def has(self, digest: str) -> bool:
        try:
            with self._told():
                self._obstore.head(self._store, digest)
        except FileNotFoundError:
            return False
        return True

    def put(self, digest: str, path: Path) -> None:
        with self._told():
            self._obstore.put(self._store, digest, path)

    def get(self, digest: str, path: Path) -> None:
        with self._told(), path.open("wb") as file:
            for part in self._obstore.get(self._store, digest).stream():
                file.write(part)

    def remove(self, digest: str) -> None:
        with self._told():
            self._obstore.delete(self._store, digest)

    def all(self) -> Iterator[tuple[str, float]]:
        with self._told():
            for batch in self._obstore.list(self._store):
                yield from ((meta["path"], meta["last_modified"].timestamp()) for meta in batch)


@cache
def _place_of(root: str) -> _Place:
    return _Bucket(root) if "://" in root else _Folder(root)


def _wait(path: Path, digest: str, url: str) -> bool:
    for folder in spools(url):
        try:
            (folder / FILES).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / FILES / digest)
        except OSError:
            continue
        return True
    return False
