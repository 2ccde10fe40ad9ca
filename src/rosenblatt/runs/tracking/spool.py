"""Spool files: batches of records that could not be written to a store wait in them and are delivered in order."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from rosenblatt.errors import StorageError, StoreError, StoreUnavailableError
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.locations import spool_folders
from rosenblatt.runs.store.records import Row
from rosenblatt.runs.store.store import Store

SPOOL_SUFFIX, REJECTED_SUFFIX = ".spool", ".rejected"
REMOTE_TIMEOUT = 3600.0  # seconds without changes after which a file of another machine is delivered
_own_files: set[str] = set()  # names of files that this process writes


class Spool:
    """A file of batches of one process that wait for a store, one per line."""

    def __init__(self, url: str, writer: str) -> None:
        self._url, self._writer = url, writer
        self.path: Path | None = None

    def add(self, rows: dict[str, list[Row]]) -> None:
        """Append a batch. Raises OSError if no folder can be written."""
        line = json.dumps(rows, default=_encode_bytes, ensure_ascii=True).encode() + b"\n"
        failure: OSError | None = None
        for folder in [self.path.parent] if self.path else spool_folders(self._url):
            path = folder / f"{_owner()}+{self._writer}{SPOOL_SUFFIX}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _append(path, line)
            except OSError as error:
                failure = error
                continue
            self.path = path
            _own_files.add(path.name)
            return
        if failure:
            raise failure

    def deliver(self, store: Store) -> None:
        """Write all batches to the store and remove the file. Raises StoreUnavailableError."""
        if self.path is not None:
            _deliver(self.path, store)
            self.path = None

    def release(self) -> None:
        """Allow other processes to deliver the file."""
        if self.path is not None:
            _own_files.discard(self.path.name)


def deliver_all(store: Store) -> None:
    """Deliver records and files that ended processes left for a store, as far as possible."""
    with suppress(StoreError, StorageError, OSError):
        deliver_pending(store)
        Artifacts(store.url, store).deliver()


def deliver_pending(store: Store) -> int:
    """Deliver the records of ended processes; returns the number of batches. Raises StoreUnavailableError."""
    n_delivered = 0
    for path in pending_files(store.url):
        if _is_alive(path):
            continue
        own_path = path.with_name(f"{_owner()}+{path.name.rpartition('+')[2]}")
        try:
            path.rename(own_path)  # so that no other process delivers it as well
            n_delivered += _deliver(own_path, store)
        except (OSError, ValueError):  # another process delivers it, or it cannot be read
            continue
    return n_delivered


def _owner() -> str:
    return f"{socket.gethostname()}+{os.getpid()}"


def _is_alive(path: Path) -> bool:
    """Whether the process of a file may still write to it; on another machine, until it has not for a while."""
    host, _, process = path.name.rpartition("+")[0].rpartition("+")
    if host != socket.gethostname():
        with suppress(OSError):
            return time.time() - path.stat().st_mtime < REMOTE_TIMEOUT
        return True
    if process == str(os.getpid()):
        return path.name in _own_files
    return process.isdigit() and psutil.pid_exists(int(process))


def pending_files(url: str, suffix: str = SPOOL_SUFFIX) -> list[Path]:
    """List files that wait for a store; with `REJECTED_SUFFIX`, files of records that it rejected."""
    return [path for folder in spool_folders(url) for path in sorted(folder.glob(f"*{suffix}"))]


def _append(path: Path, line: bytes) -> None:
    """Append a line completely or not at all."""
    size = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            os.truncate(path, size)
        raise


def _deliver(path: Path, store: Store) -> int:
    """Write all batches of a file and remove it; batches that the database rejects are kept in another file."""
    n_delivered = 0
    for rows in _read_batches(path):
        try:
            store.write(rows)
            n_delivered += 1
        except StoreUnavailableError:
            raise
        except StoreError:
            _append(path.with_suffix(REJECTED_SUFFIX), json.dumps(rows, default=_encode_bytes).encode() + b"\n")
    path.unlink(missing_ok=True)
    _own_files.discard(path.name)
    return n_delivered


def _read_batches(path: Path) -> Iterator[dict[str, list[Row]]]:
    """Read all batches of a file; an incomplete last line was never acknowledged, and is ignored."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line, object_hook=_decode_bytes)


def _encode_bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} is not plain data")


def _decode_bytes(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if value.keys() == {"base64"} else value
