"""Read the bytes of samples from packs: mapped in place from a folder, from the machine's cache from other roots.

Samples are views of mapped files. A pack is verified by its name when it is first mapped in a process. Where under half
of a pack is wanted, only those ranges are fetched, and each sample is verified by its own hash, like linked files.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import BinaryIO
from weakref import WeakValueDictionary, ref

import numpy as np
import polars as pl

from rosenblatt.data.volumes.columns import HASH, ID, LENGTH, OFFSET, PACK
from rosenblatt.data.volumes.sources.addresses import FILE_SCHEME
from rosenblatt.data.volumes.storage.cache import CacheFullError, DamagedEntryError, MachineCache, machine_cache
from rosenblatt.data.volumes.storage.erasures import missing_error
from rosenblatt.data.volumes.storage.object_info import MAX_GAP_BYTES
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.storage.packs import (
    BLOCK_BYTES,
    END_BYTES,
    MAX_SAMPLE_BYTES,
    content_hash,
    is_pack_name,
    pack_path,
)
from rosenblatt.data.volumes.streaming.links import read_link, read_part
from rosenblatt.errors import DamagedDataError, StorageError

# The order of samples depends on the next two lines and on MAX_GAP_BYTES: raise ORDER_VERSION if you change them.
PARTIAL_FRACTION = 0.5  # of a pack: if less has to be moved for what is wanted, only that is fetched
BUNDLE_BYTES, BUNDLE_FILES = 16 << 20, 256  # linked files that are read together
MAX_COPIED_BYTES = 4 << 20  # smaller packs are read, larger ones mapped: each map keeps a file open
LINK_THREADS = 16  # that read the linked files of a bundle
OPEN_FILES = 4096  # limit of a process that streams: three windows of a gigabyte in packs of a few megabytes
MAX_OPEN_UNITS = 256  # that random access holds, and at most a quarter of the files that a process may open
OPEN_CACHE_FRACTION = 0.25  # of the cache's limit that random access holds in use
MAX_ATTEMPTS = 3  # of a download that breaks off
CHANGED_LINK = "is missing, or was changed since it was linked"
DAMAGED = -1  # unit of samples that are damaged

Check = Callable[[], None]  # raises an error if the work is no longer wanted

_verified: dict[tuple[str, str], tuple[int, ...]] = {}  # files that this process has verified, and for what


@dataclass(frozen=True)
class Unit:
    """Bytes that are opened together: a pack, the wanted ranges of a pack, or a bundle of linked files."""

    name: str  # of its entry in the cache
    pack: str  # the pack, or the URI of the first linked file
    n_bytes: int  # that are wanted of it, wherever the root is, because windows depend on it
    is_whole: bool  # verified by the hash of the pack; else each sample is
    path: Path | None  # of the pack in a folder
    is_cached: bool  # else it is mapped, or linked files of folders are read into memory
    fetch: Callable[..., None]  # of a file and a `Check`

    @property
    def is_local_link(self) -> bool:
        """Whether it is a bundle of linked files of this machine."""
        return self.path is None and not self.is_cached


class PackReader:
    """Reads samples of a root, and of files that they link to.

        reader = PackReader(open_objects("s3://bucket/volumes"), volume="photos@2")
        column = reader.column(frame)  # with the columns pack, offset, length and hash
        column[17], column.take([3, 5])

    Args:
        objects: the root.
        cache: for roots that are not folders; by default the one of the machine.
        volume: name of the volume, for messages.
    """

    def __init__(self, objects: Objects, cache: MachineCache | None = None, volume: str = "the volume") -> None:
        self.objects, self.volume, self._cache = objects, volume, cache
        self.is_local = objects.local_path("packs") is not None
        self._open: deque[tuple[ref[SampleColumn], int, int]] = deque()  # column, unit, bytes: held by random access
        self._open_lock = Lock()
        self._quarantined: dict[str, Path] = {}
        self._max_open = min(MAX_OPEN_UNITS, _raise_open_files() // 4)

    def __reduce__(self) -> tuple[type[PackReader], tuple[Objects, MachineCache | None, str]]:
        return PackReader, (self.objects, self._cache, self.volume)

    @property
    def cache(self) -> MachineCache:
        """The cache of packs that are fetched."""
        if self._cache is None:
            self._cache = machine_cache()
        return self._cache

    def column(self, frame: pl.DataFrame, rows: np.ndarray | None = None) -> SampleColumn:
        """Prepare random access to samples.

        Args:
            frame: pack, offset, length and hash, and preferably the id, of all samples of a metadata file: what is
                known of a pack's size comes from them.
            rows: numbers of the rows that are wanted, in order; all by default.
        """
        return SampleColumn(self, frame, rows)

    def load(self, unit: Unit, verify: Callable[[memoryview], None], check: Check) -> memoryview:
        """Open the bytes of a unit. Raises _DamagedUnitError, with the bytes, if they cannot be verified."""
        try:
            content = self._load(unit, verify, check)
        except FileNotFoundError:
            error = missing_error(self.objects, pack_path(unit.pack), unit.pack)
            if not isinstance(error, DamagedDataError):  # it was erased
                raise error from None
            raise _DamagedUnitError("is missing", memoryview(b"")) from None
        except OSError as error:
            hint = "; raise the limit with `ulimit -n`" if error.errno == errno.EMFILE else ""
            raise StorageError(f"Pack {unit.pack} cannot be read: {error.strerror}{hint}.") from error
        return memoryview(bytes(content)) if len(content) <= MAX_COPIED_BYTES else content

    def _load(self, unit: Unit, verify: Callable[[memoryview], None], check: Check) -> memoryview:
        fetch = partial(_fetch, unit, check)
        if unit.name in self._quarantined:  # what was damaged twice is not fetched again in each epoch
            with suppress(FileNotFoundError):
                raise _damaged_twice_error(self._quarantined[unit.name])
        if unit.path is not None:
            return _map_verified(unit.path, unit.name, verify)
        if not unit.is_cached:
            return _read_verified(fetch, verify)
        try:
            try:
                return self.cache.fetch(unit.name, unit.n_bytes, fetch, verify).content
            except CacheFullError:
                if not self._close_units(0):
                    raise
                return self.cache.fetch(unit.name, unit.n_bytes, fetch, verify).content
        except DamagedEntryError as error:
            self._quarantined[unit.name] = error.path
            raise _damaged_twice_error(error.path) from error

    def hold(self, column: SampleColumn, code: int) -> None:
        """Remember that random access holds a unit open; what was opened first is closed if it is too much."""
        with self._open_lock:
            self._open.append((ref(column), code, column.units[code].n_bytes))
        self._close_units(self._max_open, None if self.is_local else int(OPEN_CACHE_FRACTION * self.cache.max_bytes))

    def _close_units(self, max_units: int, max_bytes: int | None = None) -> int:
        """Close units that random access holds open, down to these limits; returns how many were closed."""
        n_closed = 0
        with self._open_lock:
            n_bytes = sum(size for _, _, size in self._open)
            while len(self._open) > max_units or (
                max_bytes is not None and n_bytes > max_bytes and len(self._open) > 1
            ):
                column, code, size = self._open.popleft()
                n_bytes, n_closed = n_bytes - size, n_closed + 1
                if is_alive := column():
                    is_alive.close(code)
        return n_closed


class _DamagedUnitError(Exception):
    """Bytes that cannot be verified as a whole; the samples in them are verified one by one."""

    def __init__(self, reason: str, content: memoryview) -> None:
        super().__init__(reason)
        self.content = content


def _damaged_twice_error(path: Path) -> _DamagedUnitError:
    return _DamagedUnitError(f"does not match its hash, nor does a second copy (kept in {path})", _map(path)[0])


class SampleColumn:
    """The bytes of the selected samples of one metadata file.

    `column[i]` and `column.take(indices)` return views. For streaming, `codes`, `starts` and `ends` say where each
    sample is in the content of its unit, which `open` returns.
    """

    def __init__(self, reader: PackReader, frame: pl.DataFrame, rows: np.ndarray | None) -> None:
        builder = _UnitBuilder(reader, frame, rows)
        self._reader, self._rows = reader, rows
        self._frame = frame.select(name for name in (ID, PACK, OFFSET, HASH) if name in frame.columns)
        self.codes, self.starts, self.units = builder.codes, builder.starts, builder.units
        self._unit_codes = self.codes.copy()  # of damaged samples as well: all are verified whenever a unit is
        self.ends = self.starts + builder.lengths
        self._contents: list[memoryview | None] = [None] * (len(self.units) + 1)  # the last one is that of `DAMAGED`
        self._in_use: WeakValueDictionary[int, memoryview] = WeakValueDictionary()  # open contents, whoever holds them
        self._reasons: dict[int, str] = {}  # why samples are damaged
        self._lock = Lock()
        self._fast_codes, self._fast_starts = self.codes.data, self.starts.data  # of integers
        self._fast_ends = self.ends.data

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> memoryview:
        """Return the bytes of a sample. Raises DamagedDataError."""
        content = self._contents[self._fast_codes[index]]
        if content is None:
            content = self._hold(index)
        return content[self._fast_starts[index] : self._fast_ends[index]]

    def take(self, indices: np.ndarray | Sequence[int]) -> list[memoryview]:
        """Return the bytes of samples. Raises DamagedDataError."""
        indices = np.asarray(indices, np.int64)
        contents, codes = self._contents, self.codes[indices].tolist()
        if any(contents[code] is None for code in set(codes)):
            return [self[index] for index in indices.tolist()]
        starts, ends = self.starts[indices].tolist(), self.ends[indices].tolist()
        try:
            return [contents[code][start:end] for code, start, end in zip(codes, starts, ends, strict=True)]
        except TypeError:  # another thread has closed one meanwhile
            return [self[index] for index in indices.tolist()]

    def _hold(self, index: int) -> memoryview:
        code = self._fast_codes[index]
        content = self.open(code) if code != DAMAGED else None
        if content is None or self._fast_codes[index] == DAMAGED:
            raise self.damage(index)
        self._contents[code] = content
        self._reader.hold(self, code)
        return content

    def read_linked(self, index: int) -> memoryview:
        """Read a linked file on its own. Raises DamagedDataError."""
        row = index if self._rows is None else int(self._rows[index])
        place = self._frame.row(row, named=True)
        content = read_link(place[PACK], place[OFFSET], int(self.ends[index] - self.starts[index]))
        if content_hash(content) != place[HASH]:
            self._reasons[index] = CHANGED_LINK
            raise self.damage(index)
        return memoryview(content)

    def close(self, code: int) -> None:
        """Let go of a unit that random access holds open."""
        self._contents[code] = None

    def open(self, code: int, check: Check = lambda: None) -> memoryview:
        """Open the bytes of a unit. Samples that are damaged get the code `DAMAGED`."""
        if (content := self._in_use.get(code)) is not None:
            return content
        unit = self.units[code]
        verify = partial(_verify_pack, unit.pack) if unit.is_whole else partial(self._verify_samples, code)
        try:
            content = self._reader.load(unit, verify, check)
        except _DamagedUnitError as error:
            self._mark_damaged(code, error)
            content = error.content
        self._in_use[code] = content
        return content

    def _damaged_samples(self, code: int, content: memoryview) -> list[int]:
        indices = np.flatnonzero(self._unit_codes == code)
        hashes = self._frame[HASH].gather(indices if self._rows is None else self._rows[indices])
        places = zip(indices.tolist(), self.starts[indices].tolist(), self.ends[indices].tolist(), hashes, strict=True)
        return [index for index, start, end, hash_ in places if content_hash(content[start:end]) != hash_]

    def _verify_samples(self, code: int, content: memoryview) -> None:
        if self._damaged_samples(code, content):
            raise DamagedDataError("samples do not match their hashes")

    def _mark_damaged(self, code: int, error: _DamagedUnitError) -> None:
        with self._lock:
            for index in self._damaged_samples(code, error.content):
                self._reasons[index] = str(error)
                self.codes[index] = DAMAGED

    def damage(self, index: int) -> DamagedDataError:
        """The error of a damaged sample."""
        index = range(len(self))[index]
        row = index if self._rows is None else int(self._rows[index])
        pack = self._frame[PACK][row] or "(null)"
        place = f"pack {pack} of {self._reader.objects.address!r}" if is_pack_name(pack) else f"the linked file {pack}"
        name = repr(self._frame[ID][row]) if ID in self._frame.columns else f"in row {row + 1}"
        reason = self._reasons.get(index, "holds no bytes of it")
        return DamagedDataError(
            f"{self._reader.volume}: sample {name} is damaged, because {place} {reason}. Restore it from a copy, or "
            "leave the sample out."
        )


class _UnitBuilder:
    """Finds out which bytes are wanted of each pack, and which linked files are read together."""

    def __init__(self, reader: PackReader, frame: pl.DataFrame, rows: np.ndarray | None) -> None:
        self.reader = reader
        self.hashes = frame[HASH] if rows is None else frame[HASH].gather(rows)
        self.names, packs = _find_packs(frame[PACK])
        is_possible = (frame[OFFSET] >= 0) & frame[LENGTH].is_between(0, MAX_SAMPLE_BYTES)
        is_possible = is_possible.fill_null(value=False)  # else the volume was made to harm
        offsets, lengths = (frame[name].cast(pl.Int64).set(~is_possible, 0).to_numpy() for name in (OFFSET, LENGTH))
        self.extents = np.zeros(len(self.names), np.int64)  # sizes of packs
        np.maximum.at(self.extents, packs, offsets + lengths)
        self.extents += -self.extents % BLOCK_BYTES + END_BYTES
        if rows is not None:
            packs, offsets, lengths = packs[rows], offsets[rows], lengths[rows]
        self.codes, self.starts, self.lengths = np.full(len(packs), DAMAGED, np.int32), np.array(offsets), lengths
        self.units: list[Unit] = []
        linked = list[np.ndarray]()
        counts = np.bincount(packs, minlength=len(self.names))
        possible = is_possible.to_numpy() if rows is None else is_possible.to_numpy()[rows]
        for number, every in enumerate(np.split(np.argsort(packs, kind="stable"), np.cumsum(counts)[:-1])):
            indices = every[possible[every]]
            if not len(indices):
                continue
            if is_pack_name(self.names[number]):
                self._add_pack(number, indices)
            elif "://" in self.names[number]:
                linked.append(indices)
        if linked:
            self._add_links(np.sort(np.concatenate(linked)), packs)

    def _add(self, indices: np.ndarray, unit: Unit) -> None:
        self.codes[indices] = len(self.units)
        self.units.append(unit)

    def _add_pack(self, number: int, indices: np.ndarray) -> None:
        pack, size = self.names[number], int(self.extents[number])
        objects, path = self.reader.objects, pack_path(pack)
        local = objects.local_path(path)
        offsets, inverse = np.unique(self.starts[indices], return_inverse=True)
        lengths = np.zeros(len(offsets), np.int64)
        np.maximum.at(lengths, inverse, self.lengths[indices])
        if _bytes_moved(offsets, lengths) >= PARTIAL_FRACTION * size:
            self._add(indices, Unit(pack, pack, size, True, local, local is None, partial(_fetch_pack, objects, path)))
            return
        if local is None:
            self.starts[indices] = (np.cumsum(lengths) - lengths)[inverse]
        fetch = partial(_fetch_ranges, self.reader, pack, offsets.tolist(), lengths.tolist())
        name = self._name_ranges([pack], offsets, lengths, indices)
        self._add(indices, Unit(name, pack, int(lengths.sum()), False, local, local is None, fetch))

    def _name_ranges(self, packs: list[str], offsets: np.ndarray, lengths: np.ndarray, indices: np.ndarray) -> str:
        """Name of a cache entry: who opens it again expects the same ranges with the same content."""
        parts = "\0".join(packs), "\0".join(sorted(set(self.hashes.gather(indices))))
        return content_hash(b"".join([*(part.encode() for part in parts), offsets.tobytes(), lengths.tobytes()]))

    def _add_links(self, indices: np.ndarray, packs: np.ndarray) -> None:
        bundles = np.maximum(np.cumsum(self.lengths[indices]) // BUNDLE_BYTES, np.arange(len(indices)) // BUNDLE_FILES)
        for bundle in np.split(indices, np.flatnonzero(np.diff(bundles)) + 1):
            uris = [self.names[number] for number in packs[bundle].tolist()]
            offsets, lengths = self.starts[bundle].copy(), self.lengths[bundle]
            self.starts[bundle] = np.cumsum(lengths) - lengths
            fetch = partial(_fetch_links, list(zip(uris, offsets.tolist(), lengths.tolist(), strict=True)))
            is_cached = not all(uri.startswith(FILE_SCHEME) for uri in uris)
            name = self._name_ranges(uris, offsets, lengths, bundle)
            self._add(bundle, Unit(name, uris[0], int(lengths.sum()), False, None, is_cached, fetch))


def _find_packs(packs: pl.Series) -> tuple[list[str], np.ndarray]:
    """Distinct packs in order of their names, and the number of each row's pack; rows of a pack are usually runs."""
    if not len(packs):
        return [], np.zeros(0, np.int64)
    runs = packs.fill_null("").rle_id().to_numpy()
    first_rows = np.flatnonzero(np.diff(runs, prepend=-1))
    names, numbers = np.unique(packs.fill_null("").gather(first_rows).to_numpy(), return_inverse=True)
    return names.tolist(), numbers[runs]


def _bytes_moved(offsets: np.ndarray, lengths: np.ndarray) -> int:
    """How many bytes are moved for these ranges: small gaps between them are read as well."""
    gaps = offsets[1:] - (offsets + lengths)[:-1]
    return int(lengths.sum() + gaps[(gaps > 0) & (gaps <= MAX_GAP_BYTES)].sum())


def _fetch(unit: Unit, check: Check, file: BinaryIO) -> None:
    """Fetch a unit, again from its start if the transfer breaks off."""
    for attempt in range(1, MAX_ATTEMPTS + 1):
        file.seek(0)
        try:
            unit.fetch(file, check)
        except StorageError:
            if attempt == MAX_ATTEMPTS:
                raise
        else:
            return


def _fetch_pack(objects: Objects, path: str, file: BinaryIO, check: Check) -> None:
    for chunk in objects.stream(path):
        check()
        file.write(chunk)


def _fetch_ranges(
    reader: PackReader, pack: str, offsets: list[int], lengths: list[int], file: BinaryIO, check: Check
) -> None:
    """Read ranges of a pack, from the cache if it holds the whole pack."""
    check()
    if lease := reader.cache.find(pack, partial(_verify_pack, pack)):
        with lease:
            places = zip(offsets, lengths, strict=True)
            file.writelines(bytes(lease.content[start : start + size]).ljust(size, b"\0") for start, size in places)
        return
    objects, path = reader.objects, pack_path(pack)
    try:
        file.writelines(objects.read_ranges(path, offsets, lengths))
    except DamagedDataError:  # the pack ends too early
        file.seek(0)
        file.writelines(
            read_part(objects, path, offset, length).ljust(length, b"\0")
            for offset, length in zip(offsets, lengths, strict=True)
        )


def _fetch_links(ranges: list[tuple[str, int, int]], file: BinaryIO, check: Check) -> None:
    def read(place: tuple[str, int, int]) -> bytes:
        check()
        return read_link(*place).ljust(place[2], b"\0")

    with ThreadPoolExecutor(LINK_THREADS) as pool:
        file.writelines(pool.map(read, ranges))


def _verify_pack(pack: str, content: memoryview) -> None:
    if content_hash(content) != pack:
        raise DamagedDataError("the content of the pack does not match its name")


def _map(path: Path) -> tuple[memoryview, tuple[int, ...]]:
    """Map a file; also returns what tells whether it was changed."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if status.st_size else b""
    return memoryview(content), (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _map_verified(path: Path, name: str, verify: Callable[[memoryview], None]) -> memoryview:
    """Map a file of a folder, and verify what is wanted of it unless this process has done so."""
    content, signature = _map(path)
    if _verified.get((str(path), name)) != signature:
        try:
            verify(content)
        except DamagedDataError:
            raise _DamagedUnitError("does not match its hash", content) from None
        _verified[str(path), name] = signature
    return content


def _read_verified(fetch: Callable[[BinaryIO], None], verify: Callable[[memoryview], None]) -> memoryview:
    """Read linked files into memory."""
    file = io.BytesIO()
    fetch(file)
    content = memoryview(file.getvalue())
    try:
        verify(content)
    except DamagedDataError:
        raise _DamagedUnitError(CHANGED_LINK, content) from None
    return content


def _raise_open_files() -> int:
    """Let this process open as many files as windows need, if its hard limit allows it; returns how many it may."""
    try:
        import resource
    except ImportError:  # Windows
        return 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if 0 <= soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return OPEN_FILES if soft == resource.RLIM_INFINITY else soft
