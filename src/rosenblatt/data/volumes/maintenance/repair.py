"""Repair a version: write damaged packs and metadata files again from a copy, or commit a version without them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from rosenblatt.data.volumes.columns import HASH, ID, LENGTH, OFFSET, PACK, PLACES_SCHEMA
from rosenblatt.data.volumes.maintenance.pack_members import parse_members
from rosenblatt.data.volumes.maintenance.rewrite import commit_rewritten, move_rows
from rosenblatt.data.volumes.maintenance.verify import (
    LINKED_FILE,
    METADATA_FILE,
    PACK_FILE,
    Damage,
    VerifyReport,
    read_verified,
    verify,
)
from rosenblatt.data.volumes.sources.contents import file_extension
from rosenblatt.data.volumes.storage.cache import machine_cache
from rosenblatt.data.volumes.storage.erasures import METADATA_FILE_HASH
from rosenblatt.data.volumes.storage.log import DataFile, VolumeLog
from rosenblatt.data.volumes.storage.markers import check_references, commit_section
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.storage.objects import Objects, open_objects
from rosenblatt.data.volumes.storage.pack_writer import PackWriter, StoredPlace
from rosenblatt.data.volumes.storage.packs import PackBuilder, content_hash, pack_path
from rosenblatt.data.volumes.volume import Volume, volume
from rosenblatt.errors import DamagedDataError, Notify, StorageError, VolumeError, format_count


@dataclass(frozen=True)
class RepairReport:
    """What was repaired of a version, and what was not."""

    volume: str
    repaired: tuple[str, ...]  # names of packs and metadata files that were written again
    damages: tuple[Damage, ...]  # that are left
    new_version: str  # without the damaged samples; "" if none was committed
    dropped: tuple[str, ...]  # identities of the samples that it lacks

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serializable data."""
        return asdict(self)


def repair(name: str, sources: Sequence[str] = (), notify: Notify = print, *, drop: bool = False) -> RepairReport:
    """Verify a version, and write what is damaged again from a copy whose hash is right.

    Copies are looked for in other roots, in the cache of this machine, and in the folder that the data was added from:
    packs are built again from its files.

    Args:
        name: of the version.
        sources: other roots that hold the volume, and folders or buckets with the original files.
        notify: called with what the user should know.
        drop: commit a version without the samples that are still damaged.

    Raises:
        VolumeError: if there is no such version, or `drop` is set and it is not the latest.
        StorageError: if the root cannot be read or written.
    """
    repaired, opened = list[str](), volume(name)
    copies = _Copies(opened, [open_objects(source) for source in sources])
    report = verify(name)
    while (round_repaired := _write_copies(copies, report)) and not set(round_repaired) <= set(repaired):
        repaired += round_repaired
        report = verify(name)  # a metadata file names further packs
    version, dropped = "", tuple[str, ...]()
    if report.damages and drop:
        version, dropped = _drop_damaged(opened, report, notify)
    return RepairReport(opened.name, tuple(dict.fromkeys(repaired)), report.damages, version, dropped)


def _write_copies(copies: _Copies, report: VerifyReport) -> list[str]:
    """Write damaged objects again as far as copies exist; returns their names."""
    repaired = list[str]()
    for damage in report.damages:
        if damage.kind != LINKED_FILE and (content := copies.find(damage)) is not None:
            copies.opened.objects.put(_path(copies.opened, damage), content)
            repaired.append(damage.name)
    return repaired


def _path(opened: Volume, damage: Damage) -> str:
    return pack_path(damage.name) if damage.kind == PACK_FILE else f"{opened.volume_name}/{damage.name}"


class _Copies:
    """Looks for copies of damaged objects."""

    def __init__(self, opened: Volume, sources: list[Objects]) -> None:
        self.opened, self._sources = opened, sources
        self._originals = list(sources)
        with suppress(StorageError):
            self._originals.append(open_objects(opened.commit.source))

    def find(self, damage: Damage) -> bytes | None:
        """Return the right content of an object; None if there is no copy."""
        path = _path(self.opened, damage)
        hash_ = damage.name if damage.kind == PACK_FILE else damage.name[METADATA_FILE_HASH]
        for source in self._sources:
            with suppress(StorageError):
                content = read_verified(source, path, hash_)
                if isinstance(content, bytes):
                    return content
        with suppress(StorageError):
            cached = machine_cache().read(hash_)
            if cached is not None and content_hash(cached) == hash_:
                return cached
        return self._build_pack(hash_) if damage.kind == PACK_FILE else None

    def _build_pack(self, name: str) -> bytes | None:
        """Build a pack again from what is intact of it and from original files."""
        damaged = read_verified(self.opened.objects, pack_path(name), name)
        content = damaged if isinstance(damaged, bytes) else damaged.content
        members = {member.hash: member for member in parse_members(content)}
        builder = PackBuilder()
        for id_, start, length, hash_ in self._rows(name):
            part: bytes | None = content[start : start + length]
            if content_hash(part or b"") != hash_:
                part = self._read_original(id_, hash_)
            if part is None:
                return None
            member = members.get(hash_)
            extension = member.extension if member else file_extension(id_)
            builder.add(part, hash_, extension)
        pack = builder.finish()
        return pack.content if pack.name == name else None

    def _rows(self, pack: str) -> Iterator[tuple[str, int, int, str]]:
        """Identity, offset, length and hash of the samples of a pack, in their order in it, from all versions."""
        files = MetadataFiles(self.opened.objects, self.opened.volume_name)
        frames = [pl.DataFrame(schema=PLACES_SCHEMA)]
        for file in VolumeLog(self.opened.objects, self.opened.volume_name).every_file():
            with suppress(DamagedDataError):
                frames.append(files.read_places(file).filter(pl.col(PACK) == pack))
        rows = pl.concat(frames).unique(OFFSET, keep="first", maintain_order=True).sort(OFFSET)
        yield from rows.select(ID, OFFSET, LENGTH, HASH).iter_rows()

    def _read_original(self, path: str, hash_: str) -> bytes | None:
        for objects in self._originals:
            with suppress(StorageError, FileNotFoundError):
                content = objects.read(path)
                if content_hash(content) == hash_:
                    return content
        return None


def _drop_damaged(opened: Volume, report: VerifyReport, notify: Notify) -> tuple[str, tuple[str, ...]]:
    """Commit a version without damaged samples; returns its name and their identities."""
    log = VolumeLog(opened.objects, opened.volume_name)
    if log.latest() != opened.version:
        raise VolumeError(
            f"{opened.name} is not the latest version, so no version without its damaged samples can follow it. Repair "
            f"{opened.volume_name}@{log.latest()}."
        )
    files, base = MetadataFiles(opened.objects, opened.volume_name), log.open(opened.version)
    damaged_files = {damage.name for damage in report.damages if damage.kind == METADATA_FILE}
    samples = {sample for damage in report.damages for sample in damage.samples}
    packs = [damage.name for damage in report.damages if damage.kind == PACK_FILE]
    replaced, removed = dict[str, DataFile | None](), list[pl.DataFrame]()
    for file in base.data_files:
        if file.path in damaged_files:
            replaced[file.path] = None
            removed.append(pl.DataFrame({"": pl.zeros(file.rows, eager=True)}))
            notify(f"all {format_count(file.rows, 'sample')} of {file.path} are lost, as it is damaged")
            continue
        rows = files.read(file, base.schema)
        is_damaged = rows[ID].cast(pl.String).is_in(list(samples))
        if not is_damaged.any() and not (opened.has_bytes and rows[PACK].is_in(packs).any()):
            continue
        removed.append(rows.filter(is_damaged))
        intact = rows.filter(~is_damaged)
        intact = move_rows(intact, _move_intact(opened.objects, intact.filter(intact[PACK].is_in(packs))))
        replaced[file.path] = files.write(file.number, intact) if intact.height else None
    paths = [f"{opened.volume_name}/{file.path}" for file in replaced.values() if file]
    with commit_section(opened.objects, notify):
        check_references(opened.objects, files.packs_written - set(packs) if opened.has_bytes else (), paths)
        n_dropped = sum(rows.height for rows in removed)
        commit = commit_rewritten(log, base, replaced, removed, f"{format_count(n_dropped, 'damaged sample')} dropped")
    return f"{opened.volume_name}@{commit.version}", tuple(sorted(samples))


def _move_intact(objects: Objects, rows: pl.DataFrame) -> dict[tuple[str, str], StoredPlace]:
    """Write the intact samples of damaged packs to new packs; returns their places by old pack and hash."""
    places = dict[tuple[str, str], StoredPlace]()
    with PackWriter(objects) as writer:
        for group in rows.partition_by(PACK, maintain_order=True):
            pack = group[PACK][0]
            damaged = read_verified(objects, pack_path(pack), pack)
            content = damaged if isinstance(damaged, bytes) else damaged.content
            for id_, start, length, hash_ in group.select(pl.col(ID).cast(pl.String), OFFSET, LENGTH, HASH).iter_rows():
                writer.add(content[start : start + length], hash_, file_extension(id_))
            places |= {(pack, hash_): StoredPlace(*place) for hash_, *place in writer.flush().iter_rows()}
    return places
