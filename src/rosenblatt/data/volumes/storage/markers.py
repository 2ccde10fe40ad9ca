"""Markers of commits and deletions that are under way in a root, so that no version refers to what is being deleted.

    gc/commit-<token>    a command that is about to commit a version
    gc/delete-<token>    a garbage collection or an erasure

Each side first writes its marker and then looks for those of the other side, so at least one of two sees the other: a
commit then withdraws and waits, a deletion waits (mutual exclusion by flags, Dekker's algorithm). A commit looks for
all that it refers to while no deletion is under way, so it does not matter when its packs were written. Stores must
list what was written before, as folders, S3, Google Cloud Storage and Azure do. Markers are renewed every minute; one
that is silent for a quarter of an hour belongs to a process that has ended, and its owner stops itself before that. On
the same machine, a process that has ended is noticed at once.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Self

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from rosenblatt.data.volumes.storage.erasures import METADATA_FILE_HASH, erased_names, remove_tombstones
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.storage.packs import pack_path
from rosenblatt.errors import Notify, StorageError

MARKER_FOLDER = "gc"
COMMIT, DELETE = "commit", "delete"
HEARTBEAT_SECONDS = 60.0
MAX_PAUSE_SECONDS = 600.0  # between heartbeats, after which the owner of a marker stops
MAX_SILENCE_SECONDS = 900.0  # after which others take the owner of a marker for dead
POLL_SECONDS = 2.0
LISTED_PACKS = 1000  # beyond which packs are listed rather than looked for one by one
LOOKUPS = 16  # at a time


class Marker:
    """A marker that is written and renewed until the end of the context.

    Args:
        objects: the root.
        purpose: COMMIT or DELETE.
    """

    def __init__(self, objects: Objects, purpose: str) -> None:
        self._objects, self._path = objects, f"{MARKER_FOLDER}/{purpose}-{secrets.token_hex(16)}"
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._renew()
        self._thread = threading.Thread(target=self._keep_renewing, name="marker", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        with suppress(StorageError):  # others will take it for dead
            self._objects.delete([self._path])

    def _renew(self) -> None:
        started = time.monotonic()
        self._objects.put(self._path, _Owner.this_process().model_dump_json().encode())
        self._renewed = started

    def _keep_renewing(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            with suppress(StorageError):  # `check` notices if it goes on
                self._renew()

    def check(self) -> None:
        """Raise StorageError if others may take this process for dead."""
        pause = time.monotonic() - self._renewed
        if pause > MAX_PAUSE_SECONDS:
            raise StorageError(
                f"This process was interrupted, or could not write to {self._objects.address!r}, for {pause:.0f} s. "
                "Nothing was lost. Run the command again."
            )

    def now(self) -> float:
        """The time by the clock of the store when the marker was last renewed, in seconds since 1970."""
        info = self._objects.info(self._path)
        if info is None:
            raise StorageError(f"{self._objects.address}/{self._path} was deleted. Run the command again.")
        return info.modified

    def has_others(self, purpose: str) -> bool:
        """Whether other processes have a marker of this purpose and are alive."""
        infos = [info for info in self._objects.list(MARKER_FOLDER) if info.path != self._path]
        others = [info for info in infos if info.path.startswith(f"{MARKER_FOLDER}/{purpose}-")]
        if not others:
            return False
        oldest = self.now() - MAX_SILENCE_SECONDS
        return any(info.modified > oldest and not _has_ended(self._objects, info.path) for info in others)


class _Owner(BaseModel):
    """The process that wrote a marker."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    place: str  # identifies a boot of a machine and a namespace of processes; "" if unknown
    pid: int
    started: float

    @classmethod
    def this_process(cls) -> Self:
        pid = os.getpid()
        return cls(place=_place(), pid=pid, started=psutil.Process(pid).create_time())


@cache
def _place() -> str:
    """What distinguishes this machine, since it was started, and this container from others; "" if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return ""


def _has_ended(objects: Objects, path: str) -> bool:
    """Whether the owner of a marker is a process of this machine that has ended."""
    try:
        owner = _Owner.model_validate_json(objects.read(path))
    except FileNotFoundError:
        return True
    except ValidationError:
        return False
    if not owner.place or owner.place != _place():
        return False
    try:
        process = psutil.Process(owner.pid)
        return process.create_time() != owner.started or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def commit_section(objects: Objects, notify: Notify) -> Iterator[None]:
    """Keep deletions away while a version is committed; what it refers to must be looked for inside."""
    has_waited = False
    while True:
        with Marker(objects, COMMIT) as marker:
            if not marker.has_others(DELETE):
                yield
                return
        if not has_waited:
            notify("waiting for a garbage collection or an erasure to end")
        has_waited = True
        time.sleep(POLL_SECONDS)


@contextmanager
def deletion_section(objects: Objects, notify: Notify) -> Iterator[Marker]:
    """Keep commits away while objects are deleted; call the marker's `check` before each deletion."""
    with Marker(objects, DELETE) as marker:
        has_waited = False
        while marker.has_others(COMMIT):
            if not has_waited:
                notify("waiting for a commit to end")
            has_waited = True
            time.sleep(POLL_SECONDS)
        yield marker


def check_references(objects: Objects, packs: Iterable[str], paths: Iterable[str]) -> None:
    """Check in a commit section that all that a version will refer to is there.

    A deletion may have taken something for garbage before it was written again, or before it was first referred to.
    What was erased once and is written again is no longer counted as erased.

    Args:
        objects: the root.
        packs: names of packs.
        paths: of new metadata files.

    Raises:
        StorageError: if something was deleted.
    """
    referenced = {pack_path(name): name for name in packs} | {path: path[METADATA_FILE_HASH] for path in paths}
    suspects = list(referenced)
    if len(suspects) > LISTED_PACKS:
        present = {info.path for info in objects.list("packs")}
        suspects = [path for path in suspects if path not in present]
    with ThreadPoolExecutor(LOOKUPS, thread_name_prefix="references") as pool:
        infos = pool.map(objects.info, suspects)
        missing = [path for path, info in zip(suspects, infos, strict=True) if info is None]
    if missing:
        raise StorageError(
            f"{missing[0]!r} was deleted in the meantime by a garbage collection or an erasure. Run the command again "
            "to write it anew."
        )
    remove_tombstones(objects, sorted(erased_names(objects) & set(referenced.values())))
