"""Spool files: batches of records that could not be written to a store wait in them and are delivered in order.

They lie in a folder of the user's own. The process that writes or delivers a file holds a lock on it. A file without
content has just been created, or delivered and not yet removed.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rosenblatt.errors import Notify, StorageError, StoreError, StoreUnavailableError
from rosenblatt.runs.capture.environment import user_name
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.batches import format_rows, parse_batch
from rosenblatt.runs.store.file_lock import lock_file
from rosenblatt.runs.store.private_files import PrivateFolder, open_spool
from rosenblatt.runs.store.record_store import RecordStore
from rosenblatt.runs.store.records import Row

SPOOL_SUFFIX, REJECTED_SUFFIX = ".spool", ".rejected"
REMOTE_TIMEOUT = 3600.0  # seconds without changes after which a file of another machine is delivered


class Spool:
    """A file of batches of one process that wait for a store, one per line."""

    def __init__(self, url: str, writer: str) -> None:
        self._url, self._name = url, f"{writer}{SPOOL_SUFFIX}"
        self._folder: PrivateFolder | None = None  # opened for the locked file
        self._descriptor: int | None = None

    @property
    def path(self) -> Path | None:
        """The file, if batches wait in it."""
        return self._folder.path / self._name if self._folder and self._descriptor is not None else None

    def add(self, rows: dict[str, list[Row]]) -> None:
        """Append a batch. Raises OSError or StorageError if there is no folder for it."""
        line = format_batch(rows)
        if self._descriptor is None:
            self._folder = self._folder or open_spool(self._url, create=True)
            self._descriptor = _create_file(self._folder, self._name, line)
        else:
            _append(self._descriptor, line)

    def deliver(self, store: RecordStore, notify: Notify = print) -> None:
        """Write all batches to the store and remove the file. Raises StoreUnavailableError."""
        if self._folder and self._descriptor is not None:
            _deliver(self._folder, self._name, self._descriptor, store, notify)
            folder, self._folder = self._folder, None
            with folder:
                self.release()
                folder.remove(self._name)

    def release(self) -> None:
        """Allow other processes to deliver the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._folder:
            self._folder.close()
            self._folder = None


def deliver_all(store: RecordStore, notify: Notify = print) -> None:
    """Deliver records and files that ended processes left for a store, as far as possible; `notify` gets problems."""
    with suppress(StoreError):  # it cannot be written
        try:
            deliver_pending(store, notify)
            Artifacts(store.url, store).deliver(notify)
        except (StorageError, OSError) as error:
            notify(f"waiting records are not delivered: {error}.")


def deliver_pending(store: RecordStore, notify: Notify = print) -> int:
    """Deliver the records of ended processes; returns the number of batches.

    Raises:
        StoreUnavailableError: If the store cannot be written.
        StorageError: If others can write to the folder of the records.
    """
    n_delivered = 0
    with suppress(FileNotFoundError), open_spool(store.url) as folder:
        for name in folder.names(SPOOL_SUFFIX):
            try:
                descriptor = folder.open(name, os.O_RDWR)
            except FileNotFoundError:  # another process has delivered it
                continue
            except (OSError, StorageError) as error:
                notify(f"waiting records are not delivered: {error}")
                continue
            try:
                if not _lock_ended(descriptor):
                    continue
                n_delivered += _deliver(folder, name, descriptor, store, notify)
            finally:
                os.close(descriptor)
            folder.remove(name)
    return n_delivered


def pending_files(url: str, suffix: str = SPOOL_SUFFIX) -> list[Path]:
    """List files that wait for a store; with `REJECTED_SUFFIX`, files of records that it rejected."""
    with suppress(FileNotFoundError), open_spool(url) as folder:
        return [folder.path / name for name in folder.names(suffix)]
    return []


def format_batch(rows: Mapping[str, Sequence[Row]]) -> bytes:
    """Format a batch as a line of a spool."""
    return format_rows(rows, writer=_describe_process()) + b"\n"


def _describe_process() -> dict[str, Any]:
    return {"user": user_name(), "host": socket.gethostname(), "process": os.getpid()}


def _create_file(folder: PrivateFolder, name: str, line: bytes) -> int:
    """Create a file with one line, and lock it; returns its descriptor. Raises OSError."""
    descriptor = folder.open(name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
    try:
        lock_file(descriptor, wait=True)  # another process may be looking whether there is something to deliver
        _append(descriptor, line)
    except OSError:
        os.close(descriptor)
        folder.remove(name)
        raise
    return descriptor


def _append(descriptor: int, line: bytes) -> None:
    """Append a line completely or not at all."""
    size = os.fstat(descriptor).st_size
    try:
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise


def _lock_ended(descriptor: int) -> bool:
    """Lock a file whose process has ended, so that only this process delivers it; returns whether this was possible.

    An empty file, and that of another machine, whose locks may not be visible here, must not have changed for a while
    as well.
    """
    try:
        lock_file(descriptor)
    except OSError:
        return False
    info = os.fstat(descriptor)
    with os.fdopen(os.dup(descriptor), "rb") as file:
        line = file.readline()
    try:
        is_own = bool(line) and json.loads(line)["writer"]["host"] == socket.gethostname()
    except (ValueError, LookupError, TypeError, RecursionError):
        is_own = True
    return is_own or time.time() - info.st_mtime > REMOTE_TIMEOUT


def _deliver(folder: PrivateFolder, name: str, descriptor: int, store: RecordStore, notify: Notify) -> int:
    """Write all batches of a file and empty it; batches that are rejected are kept in another file.

    An incomplete last line was never acknowledged, and is ignored.
    """
    n_delivered, rejected, reason = 0, list[bytes](), ""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                store.write(parse_batch(line))
                n_delivered += 1
            except StoreUnavailableError:
                raise
            except StoreError as error:
                rejected.append(line)
                reason = reason or str(error)
    if rejected:
        rejected_name = name.removesuffix(SPOOL_SUFFIX) + REJECTED_SUFFIX
        _keep_rejected(folder, rejected_name, rejected)
        file_name = str(folder.path / rejected_name)
        notify(f"{len(rejected):,} of the waiting batches of records are rejected, and kept in {file_name!r}: {reason}")
    os.ftruncate(descriptor, 0)
    return n_delivered


def _keep_rejected(folder: PrivateFolder, name: str, lines: list[bytes]) -> None:
    """Append lines to a file of rejected batches unless they are in it."""
    descriptor = folder.open(name, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        existing = set(file.read().splitlines(keepends=True))
        _append(descriptor, b"".join(line for line in lines if line not in existing))
