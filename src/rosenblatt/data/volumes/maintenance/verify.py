"""Compare all data of a version with its hashes, and name what is damaged."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from rosenblatt.data.volumes.columns import HASH, ID, LENGTH, OFFSET, PACK
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.storage.packs import content_hash, is_pack_name, pack_path
from rosenblatt.data.volumes.streaming.links import read_link
from rosenblatt.data.volumes.volume import volume
from rosenblatt.errors import DamagedDataError, format_count

MAX_PENDING_PACKS = 4  # that are read at a time
METADATA_FILE, PACK_FILE, LINKED_FILE = "metadata file", "pack", "linked file"
MISSING, MISMATCH = "is missing", "does not match its name"

ProgressCallback = Callable[[int, int], None]  # samples so far, samples in all


@dataclass(frozen=True)
class Damage:
    """An object that is damaged or missing, and the samples that cannot be read because of that."""

    kind: str  # METADATA_FILE, PACK_FILE or LINKED_FILE
    name: str  # path of a metadata file within its volume, name of a pack, or URI
    reason: str
    samples: tuple[str, ...]  # identities; empty for a metadata file, whose samples are unknown, or if all are intact


@dataclass(frozen=True)
class VerifyReport:
    """What was verified of a version."""

    volume: str
    address: str
    root: str
    n_files: int
    n_packs: int
    n_samples: int
    n_bytes: int  # that were read and hashed
    damages: tuple[Damage, ...]
    seconds: float

    @property
    def is_intact(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damages

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serializable data."""
        return asdict(self) | {"intact": self.is_intact}


def verify(name: str, on_progress: ProgressCallback | None = None) -> VerifyReport:
    """Read all metadata files, packs and linked files of a version, and compare them with their hashes.

    What does not match is read a second time, because a transfer may have been at fault. Nothing comes from a cache.

    Raises:
        VolumeError: if there is no such version.
        DamagedDataError: if the log is not what was committed.
        StorageError: if the root cannot be read.
    """
    started, opened = time.time(), volume(name)
    files = MetadataFiles(opened.objects, opened.volume_name)
    damages, n_packs, n_samples, n_bytes = list[Damage](), 0, 0, 0
    for file in opened.data_files:
        n_bytes, n_samples = n_bytes + file.size, n_samples + file.rows
        try:
            rows = files.read_places(file)
        except DamagedDataError:
            is_missing = opened.objects.info(f"{opened.volume_name}/{file.path}") is None
            damages.append(Damage(METADATA_FILE, file.path, MISSING if is_missing else MISMATCH, ()))
            continue
        for damage, size in _verify_contents(opened.objects, rows) if opened.has_bytes else ():
            n_packs, n_bytes = n_packs + 1, n_bytes + size
            damages += [damage] if damage else []
        if on_progress:
            on_progress(n_samples, len(opened))
    return VerifyReport(
        opened.name, opened.uri, opened.root, len(opened.data_files), n_packs, n_samples, n_bytes, tuple(damages),
        time.time() - started,
    )  # fmt: skip


@dataclass(frozen=True)
class DamagedContent:
    """Content that does not match its hash, or is missing."""

    reason: str
    content: bytes = b""


def read_verified(objects: Objects, path: str, hash_: str) -> bytes | DamagedContent:
    """Read an object, a second time if it does not match its hash."""
    content = b""
    for _ in range(2):
        try:
            content = objects.read(path)
        except FileNotFoundError:
            return DamagedContent(MISSING)
        if content_hash(content) == hash_:
            return content
    return DamagedContent(MISMATCH, content)


def _verify_contents(objects: Objects, rows: pl.DataFrame) -> Iterator[tuple[Damage | None, int]]:
    """Verify the packs and linked files that samples are in, some at a time; also returns the bytes that were read."""
    groups = rows.partition_by(PACK, maintain_order=True)
    pending = deque[Future[tuple[Damage | None, int]]]()
    with ThreadPoolExecutor(MAX_PENDING_PACKS, thread_name_prefix="verifying") as pool:
        for group in groups:
            pending.append(pool.submit(_verify_group, objects, group))
            if len(pending) >= MAX_PENDING_PACKS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _verify_group(objects: Objects, rows: pl.DataFrame) -> tuple[Damage | None, int]:
    """Verify a pack or linked file and the samples in it."""
    name = rows[PACK][0] or ""
    if not is_pack_name(name):
        contents = [read_link(name, offset, length) for offset, length in rows.select(OFFSET, LENGTH).rows()]
        samples = [id_ for id_, hash_, content in zip(rows[ID], rows[HASH], contents, strict=True)
                   if content_hash(content) != hash_]  # fmt: skip
        damage = Damage(LINKED_FILE, name, "is missing, or was changed since it was linked", _names(samples))
        return damage if samples else None, sum(map(len, contents))
    pack = read_verified(objects, pack_path(name), name)
    content = pack if isinstance(pack, bytes) else pack.content
    samples = damaged_samples(content, rows)
    if isinstance(pack, bytes) and not samples:
        return None, len(content)
    reason = "holds other samples than its metadata file says" if isinstance(pack, bytes) else pack.reason
    return Damage(PACK_FILE, name, reason, _names(samples)), len(content)


def damaged_samples(content: bytes, rows: pl.DataFrame) -> list[Any]:
    """The identities of the samples of a pack (columns id, offset, length and hash) that do not match their hash."""
    view = memoryview(content)
    places = rows.select(ID, OFFSET, LENGTH, HASH).rows()
    return [id_ for id_, start, length, hash_ in places if content_hash(view[start : start + length]) != hash_]


def _names(samples: list[Any]) -> tuple[str, ...]:
    return tuple(map(str, samples))


def damage_error(name: str, damages: Sequence[Damage]) -> DamagedDataError:
    """The error of a version that is damaged."""
    n_samples, first = sum(len(damage.samples) for damage in damages), damages[0]
    more = f", and {len(damages) - 1:,} more" if len(damages) > 1 else ""
    return DamagedDataError(
        f"{name} is damaged: {first.kind} {first.name} {first.reason}{more}. "
        f"{format_count(n_samples, 'sample')} cannot be read. `rosenblatt data repair {name}` looks for copies."
    )
