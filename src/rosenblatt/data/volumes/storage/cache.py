"""Cache of one machine and user for packs of object stores, shared by all processes.

    <folder>/entries/ab/<name>      content; whoever uses an entry holds a shared lock on it, its lease
    <folder>/fetches/<name>.lock    held by the only one who fetches an entry
    <folder>/fetches/<name>.part    what has arrived so far; renamed when it is complete, verified and on the disk
    <folder>/quarantine/<name>      copies that were damaged twice

All locks are flocks, which the system releases when a process ends, however it ends. The name of an entry is a hash of
what it holds, and content is verified when a process maps it for the first time. Changes made after that would not be
noticed, so a folder that other users can write to is refused.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from pathlib import Path
from threading import Condition, Lock
from typing import BinaryIO, NamedTuple, Self
from weakref import WeakValueDictionary

from rosenblatt.data.volumes.storage.cache_folder import (
    FOLDER_VARIABLE,
    GB,
    LIMIT_VARIABLE,
    named_cache_folder,
    named_cache_limit,
    prepare_cache_folder,
    unusable_cache_error,
)
from rosenblatt.errors import DamagedDataError, StorageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

DEFAULT_DISK_FRACTION = 0.5  # of the space of the disk that is free or holds the cache already
EVICTION_TARGET_FRACTION = 0.9  # of the limit: evictions go on until no more than this is full
MAX_FETCHES = 2  # of an entry whose copy is damaged
SCANS_PER_HEADROOM = 8  # the folder is looked through again when this part of the free space has been used
ROOM_LOCK = "room"  # held while a process makes space

Fetch = Callable[[BinaryIO], None]  # writes the content of an entry
Verify = Callable[[memoryview], None]  # raises DamagedDataError with the reason


class DamagedEntryError(DamagedDataError):
    """Content was damaged again after it was fetched anew; `path` is the copy in quarantine."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class CacheFullError(StorageError):
    """What is in use leaves too little space."""


class _Stored(NamedTuple):
    used: float  # when it was last opened, in seconds since 1970
    size: int
    path: Path


class _Entry:
    """Mapped content, shared by all leases of a process.

    The map keeps the file description with its shared lock open, until neither the entry nor a view of it is left.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        """Map an open file, and take over its descriptor."""
        try:
            status = os.fstat(descriptor)
            self.signature = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
            self.path = path
            self.content = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if status.st_size else b"")
        finally:
            os.close(descriptor)


class Lease:
    """Use of an entry, which stays in the cache until the lease is closed and no view of its content is left."""

    def __init__(self, entry: _Entry) -> None:
        self._entry: _Entry | None = entry

    @property
    def path(self) -> Path:
        """The file of the entry."""
        return self._open_entry.path

    @property
    def content(self) -> memoryview:
        """The mapped content, read-only."""
        return self._open_entry.content

    @property
    def _open_entry(self) -> _Entry:
        if self._entry is None:
            raise ValueError("the lease is closed")
        return self._entry

    def close(self) -> None:
        """End the use."""
        self._entry = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MachineCache:
    """Fetch content once for all processes of this machine, and keep it until others need the space.

        cache = MachineCache()
        with cache.fetch(name, size, write_content, verify_content) as lease:
            lease.content[:10]

    Args:
        folder: by default the one that ROSENBLATT_CACHE names, else `rosenblatt/volumes` in the user's cache folder.
        max_bytes: by default ROSENBLATT_CACHE_GB gigabytes, else half of the disk's free space. The cache may exceed
            it for moments while several processes fetch.

    Raises:
        StorageError: if the folder cannot be used, or others can write to it.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int | None = None) -> None:
        self.folder = named_cache_folder() if folder is None else Path(folder).absolute()
        self._named_limit = named_cache_limit() if max_bytes is None else max_bytes
        prepare_cache_folder(self.folder)
        self._entries: WeakValueDictionary[str, _Entry] = WeakValueDictionary()
        self._verified: dict[str, tuple[int, ...]] = {}  # what this process has verified: signatures of files
        self._reset_locks()

    def _reset_locks(self) -> None:
        self._process = os.getpid()
        self._busy: set[str] = set()
        self._is_idle = Condition()
        self._room = Lock()
        self._allowance = 0  # bytes that may be written before the folder is looked through again

    def __reduce__(self) -> tuple[type[MachineCache], tuple[Path, int | None]]:
        return MachineCache, (self.folder, self._named_limit)

    @cached_property
    def max_bytes(self) -> int:
        """The limit of the cache."""
        if self._named_limit is not None:
            return self._named_limit
        free = shutil.disk_usage(self.folder).free
        return int(DEFAULT_DISK_FRACTION * (free + sum(stored.size for stored in self._scan())))

    def fetch(self, name: str, size: int, fetch: Fetch, verify: Verify) -> Lease:
        """Lease an entry, and fetch it first unless it is there.

        Other threads and processes that want the same entry wait.

        Args:
            name: hex hash of the content, or of what defines it.
            size: number of bytes, as far as it is known before; space is made for as many.
            fetch: writes the content to a file; called again if what arrived was damaged.
            verify: checks the content, at the first use in this process and after each fetch.

        Raises:
            DamagedEntryError: if the content is damaged after a second fetch as well.
            StorageError: if the cache or the disk is full of what is in use, or the folder cannot be written.
        """
        if not name.isalnum():
            raise ValueError(f"{name!r} is not a hash")
        with self._alone(name), self._storage_errors():
            entry = self._entries.get(name) or self._lease(name, size, fetch, verify)
            self._entries[name] = entry
            return Lease(entry)

    def find(self, name: str, verify: Verify) -> Lease | None:
        """Lease an entry if it is there; a damaged one is deleted. Raises StorageError if the cache cannot be used."""
        with self._alone(name), self._storage_errors():
            entry = self._entries.get(name) or self._open(name, verify)
            if entry is None:
                return None
            self._entries[name] = entry
            return Lease(entry)

    def read(self, name: str) -> bytes | None:
        """The content of an entry, which may be damaged; None if it is not there."""
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def forget(self, names: Iterable[str]) -> None:
        """Delete entries that no process uses."""
        for name in names:
            _delete_unused(self._path(name))

    def available_bytes(self, excluding: Container[str] = ()) -> int:
        """How much of the limit is not in use by any process, where the use of some entries does not count."""
        stored = (item for item in self._scan() if item.path.name not in excluding)
        return self.max_bytes - sum(item.size for item in stored if _is_leased(item.path))

    def has_room(self, sizes: Mapping[str, int]) -> bool:
        """Whether these entries, by name and size, fit beside what other entries' users need."""
        size = sum(sizes.values())
        used = sum(item.size for item in self._scan() if item.path.name not in sizes)
        return used + size <= self.max_bytes or size <= self.available_bytes(excluding=sizes)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Let one thread of this process at a time look for an entry."""
        if self._process != os.getpid():  # after a fork, other threads' locks would be held forever
            self._reset_locks()
        with self._is_idle:
            self._is_idle.wait_for(lambda: name not in self._busy)
            self._busy.add(name)
        try:
            yield
        finally:
            with self._is_idle:
                self._busy.discard(name)
                self._is_idle.notify_all()

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:  # what should be fetched
            raise
        except OSError as error:
            raise unusable_cache_error(self.folder, error.strerror or str(error)) from error

    def _lease(self, name: str, size: int, fetch: Fetch, verify: Verify) -> _Entry:
        path = self._path(name)
        while True:
            if entry := self._open(name, verify):
                return entry
            with self._fetch_lock(name):
                if not path.exists():  # else another process has fetched it meanwhile
                    return self._fetch(name, size, fetch, verify)

    def _open(self, name: str, verify: Verify) -> _Entry | None:
        """Map an entry with a shared lock; one that is damaged is deleted."""
        path = self._path(name)
        descriptor = _open_locked(path, fcntl.LOCK_SH)
        if descriptor is None:
            return None
        os.utime(descriptor, ns=(time.time_ns(), os.fstat(descriptor).st_mtime_ns))
        entry = _Entry(descriptor, path)
        if self._verified.get(name) != entry.signature:
            try:
                verify(entry.content)
            except DamagedDataError:
                path.unlink(missing_ok=True)
                return None
            self._verified[name] = entry.signature
        return entry

    def _fetch(self, name: str, size: int, fetch: Fetch, verify: Verify) -> _Entry:
        """Fetch an entry under its lock, verify it, and give it its name once it is durable."""
        part, path = self._part(name), self._path(name)
        damage = ""
        for _ in range(MAX_FETCHES):
            part.unlink(missing_ok=True)
            entry = _Entry(self._write(part, size, fetch), path)
            try:
                verify(entry.content)
            except DamagedDataError as error:
                damage = str(error)
                continue
            _make_folder(path.parent)
            part.replace(path)
            self._verified[name] = entry.signature
            return entry
        quarantined = self.folder / "quarantine" / name
        _make_folder(quarantined.parent)
        part.replace(quarantined)
        raise DamagedEntryError(f"{damage}, and so was a second copy. The last one is in {quarantined}", quarantined)

    def _write(self, part: Path, size: int, fetch: Fetch) -> int:
        """Write what arrives to a file, and return it open, durable and with a shared lock."""
        while True:
            descriptor = self._reserve(part, size)
            try:
                with os.fdopen(os.dup(descriptor), "r+b") as file:
                    fetch(file)
                    file.truncate()
                os.fsync(descriptor)
                _lock(descriptor, fcntl.LOCK_SH)
            except BaseException as error:
                os.close(descriptor)
                part.unlink(missing_ok=True)
                if not (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
                    raise
                if not self._evict(self._scan(), size):
                    raise CacheFullError(
                        f"The disk of the cache in {str(self.folder)!r} is full, and what is left of the cache is in "
                        f"use. Free some space, or name a folder of another disk with {FOLDER_VARIABLE}."
                    ) from error
            else:
                return descriptor

    def _reserve(self, part: Path, size: int) -> int:
        """Create a file whose size shows others how much space it will take, after space was made for it."""
        with self._room:
            if size <= self._allowance:
                self._allowance -= size
                return _create(part, size)
            with self._fetch_lock(ROOM_LOCK):  # against other processes
                self._make_room(size)
                return _create(part, size)

    def _make_room(self, size: int) -> None:
        """Evict what was not used for longest if this many bytes would exceed the limit."""
        stored = self._scan()
        used = sum(item.size for item in stored)
        if used + size > self.max_bytes:
            used -= self._evict(stored, used + size - int(EVICTION_TARGET_FRACTION * self.max_bytes))
        if used + size > self.max_bytes:
            raise CacheFullError(
                f"The cache in {str(self.folder)!r} is full: {_gigabytes(used)} are in use, {_gigabytes(size)} "
                f"more are needed, and its limit is {_gigabytes(self.max_bytes)}. Raise it with {LIMIT_VARIABLE}."
            )
        self._allowance = (self.max_bytes - used - size) // SCANS_PER_HEADROOM

    def _evict(self, stored: list[_Stored], size: int) -> int:
        """Delete what is not in use, until this many bytes are free; returns how many are."""
        freed = 0
        for item in sorted(stored):
            if freed >= size:
                break
            if item.path.parent.name != "fetches" and _delete_unused(item.path):
                freed += item.size
        return freed

    def _scan(self) -> list[_Stored]:
        """All files of the cache; what processes that were killed had begun to fetch is deleted first."""
        for lock in (self.folder / "fetches").glob("*.lock"):
            descriptor = _open_locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if descriptor is not None:
                lock.with_suffix(".part").unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
                os.close(descriptor)
        stored = []
        for folder in (*(self.folder / "entries").glob("*"), self.folder / "fetches", self.folder / "quarantine"):
            with suppress(FileNotFoundError), os.scandir(folder) as items:
                for item in items:
                    with suppress(FileNotFoundError):
                        status = item.stat()
                        stored.append(_Stored(status.st_atime, status.st_size, Path(item.path)))
        return stored

    @contextmanager
    def _fetch_lock(self, name: str) -> Iterator[None]:
        """Hold the lock of an entry against all other processes; they wait."""
        path = self._part(name).with_suffix(".lock")
        descriptor = None
        while descriptor is None:
            _make_folder(path.parent)
            descriptor = _open_locked(path, fcntl.LOCK_EX, os.O_CREAT)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        return self.folder / "entries" / name[:2] / name

    def _part(self, name: str) -> Path:
        return self.folder / "fetches" / f"{name}.part"


def machine_cache() -> MachineCache:
    """The cache that the environment names, or the default one; one object for the whole process."""
    return _open_cache(named_cache_folder(), named_cache_limit())


@cache
def _open_cache(folder: Path, max_bytes: int | None) -> MachineCache:
    return MachineCache(folder, max_bytes)


def _make_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _open_locked(path: Path, operation: int, flags: int = 0) -> int | None:
    """Open a file with a lock; None if there is none, or if it is locked otherwise and the operation does not wait."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | flags, 0o600)
        except FileNotFoundError:
            return None
        try:
            if not _lock(descriptor, operation):
                os.close(descriptor)
                return None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # it was deleted while this waited for the lock


def _create(path: Path, size: int) -> int:
    """Create an empty file of a size, and return it open."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    return True


def _delete_unused(path: Path) -> bool:
    """Delete a file that nobody uses; returns whether it is gone."""
    descriptor = _open_locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if descriptor is None:
        return not path.exists()
    path.unlink(missing_ok=True)
    os.close(descriptor)
    return True


def _is_leased(path: Path) -> bool:
    descriptor = _open_locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if descriptor is None:
        return path.exists()
    os.close(descriptor)
    return False


def _gigabytes(size: int) -> str:
    return f"{size / GB:,.3g} GB"
