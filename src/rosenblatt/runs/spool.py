"""In: batches that a store could not take. Out: the same from a file, in their order, once it can."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from rosenblatt.runs.batches import Row
from rosenblatt.runs.places import spools
from rosenblatt.runs.store import Store

SUFFIX = ".spool"


class Spool:
    """A file in which one process keeps batches for a store, one a line."""

    def __init__(self, url: str, writer: str) -> None:
        self._url, self._writer = url, writer
        self.path: Path | None = None

    def add(self, rows: dict[str, list[Row]]) -> None:
        """Keep a batch on disk. Raises OSError where no place takes it."""
        line = json.dumps(rows, default=_packed, ensure_ascii=True).encode() + b"\n"
        failure: OSError | None = None
        for folder in [self.path.parent] if self.path else spools(self._url):
            path = folder / f"{os.getpid()}-{self._writer}{SUFFIX}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _append(path, line)
            except OSError as error:
                failure = error
                continue
            self.path = path
            return
        if failure:
            raise failure

    def deliver(self, store: Store) -> None:
        """Write all that waits to the store, and take it from the disk. Raises StoreLostError."""
        if self.path is not None:
            _deliver(self.path, store)
            self.path = None


def deliver_left(store: Store) -> int:
    """Write to a store what processes left that have ended since; how many batches. Raises StoreLostError."""
    delivered = 0
    for folder in spools(store.url):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            owner = path.name.split("-", 1)[0]
            if not (owner.isdigit() and psutil.pid_exists(int(owner))):
                delivered += _deliver(path, store)
    return delivered


def left(url: str) -> list[Path]:
    """The files that wait for a store."""
    return [path for folder in spools(url) for path in sorted(folder.glob(f"*{SUFFIX}"))]


def _append(path: Path, line: bytes) -> None:
    """Add a line, or nothing of it."""
    before = path.stat().st_size if path.exists() else 0
    try:
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with suppress(OSError):
            os.truncate(path, before)
        raise


def _deliver(path: Path, store: Store) -> int:
    delivered = 0
    for rows in _batches(path):
        store.write(rows)
        delivered += 1
    path.unlink(missing_ok=True)
    return delivered


def _batches(path: Path) -> Iterator[dict[str, list[Row]]]:
    """All batches of a file; a last line that was cut off was never acknowledged."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line, object_hook=_unpacked)


def _packed(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    raise TypeError(f"{type(value).__name__} is not plain data")


def _unpacked(value: dict[str, Any]) -> Any:
    return base64.b64decode(value["base64"]) if value.keys() == {"base64"} else value
