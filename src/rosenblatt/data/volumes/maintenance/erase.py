"""Erase samples from all versions of a volume, for personal data: their rows, and their bytes.

Metadata files with such rows and packs with such bytes are written anew without them, the latest version of each volume
that they belong to gets a successor, and the old objects are deleted. Older versions that refer to these can no longer
be read; tombstones say so. If the command is interrupted, it is run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import polars as pl

from rosenblatt.data.volumes.columns import HASH, ID, KINDS_WITH_BYTES, PACK
from rosenblatt.data.volumes.locations import LATEST, parse_address, unknown_volume_error
from rosenblatt.data.volumes.maintenance.garbage import stored_files, volume_names
from rosenblatt.data.volumes.maintenance.pack_members import read_members
from rosenblatt.data.volumes.maintenance.rewrite import commit_rewritten, move_rows
from rosenblatt.data.volumes.storage.cache import machine_cache
from rosenblatt.data.volumes.storage.erasures import METADATA_FILE_HASH, put_tombstones
from rosenblatt.data.volumes.storage.log import LOG_FOLDER, DataFile, LogVersion, VolumeLog, current_user
from rosenblatt.data.volumes.storage.markers import Marker, deletion_section
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.storage.pack_writer import PackWriter, StoredPlace
from rosenblatt.data.volumes.storage.packs import is_pack_name, pack_path
from rosenblatt.errors import Notify, VolumeError, did_you_mean, format_count, format_list


@dataclass(frozen=True)
class EraseReport:
    """What was erased."""

    volume: str
    ids: tuple[str, ...]
    n_packs: int  # that held their bytes
    n_files: int  # metadata files that held their rows, or rows of the same packs
    new_versions: tuple[str, ...]
    unreadable_versions: tuple[str, ...]
    shared_with: tuple[str, ...]  # other samples with the same bytes, which therefore stay

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serializable data."""
        return asdict(self)


def erase(name: str, ids: Sequence[str], notify: Notify = print) -> EraseReport:
    """Erase samples from all versions of a volume.

    Bytes that other samples of the root have as well stay, and those samples are named.

    Args:
        name: of the volume, without version.
        ids: identities of the samples.
        notify: called with what the user should know.

    Raises:
        VolumeError: if no version has a sample of these identities, or a volume of the root cannot be read.
        DamagedDataError: if a pack or metadata file that must be written anew is damaged.
        StorageError: if the root cannot be written.
    """
    address = parse_address(name)
    if address.version != LATEST:
        raise VolumeError(f"Samples are erased from all versions. Name the volume without @: {address.name}.")
    if not address.exists:
        raise unknown_volume_error(address)
    with deletion_section(address.objects, notify) as marker:
        erasure = _Erasure(address.objects, address.name, tuple(dict.fromkeys(ids)), marker)
        report = erasure.carry_out()
    if erasure.has_links:
        notify("the samples are linked files, which stay where they are; delete them there")
    notify("copies in caches of other machines and in backups are not erased")
    return report


class _FileRows(NamedTuple):
    """The rows of a metadata file: identity as text, and where their bytes are."""

    volume: str
    file: DataFile
    rows: pl.DataFrame
    is_erased: pl.Series


class _Erasure:
    """The objects that hold samples, and what is to be written in their place."""

    def __init__(self, objects: Objects, volume: str, ids: tuple[str, ...], marker: Marker) -> None:
        self.objects, self.volume, self.ids, self._marker = objects, volume, ids, marker
        self._volumes, self.has_links = volume_names(objects), False
        hashes = self._find_hashes()
        self.shared = self._find_shared(hashes)
        self.hashes = hashes - set(self.shared[HASH])  # of bytes that only erased samples have
        self.packs = self._find_packs()
        self.affected = self._find_affected()

    def _read_rows(self, volumes: Sequence[str]) -> Iterator[_FileRows]:
        """The rows of all metadata files of volumes, of interrupted additions as well."""
        for name in volumes:
            files = MetadataFiles(self.objects, name)
            for file, rows in files.read_all_places(stored_files(self.objects, name)):
                yield _FileRows(name, file, rows, rows[ID].is_in(list(self.ids) if name == self.volume else []))

    def _find_hashes(self) -> set[str]:
        """The hashes of the samples' bytes. Raises VolumeError if a sample is unknown."""
        erased_ids, names, hashes = set[str](), set[str](), set[str]()
        for item in self._read_rows([self.volume]):
            erased = item.rows.filter(item.is_erased)
            erased_ids |= set(erased[ID])
            names |= set(item.rows[ID].head(1000))
            hashes |= set(erased[HASH].drop_nulls())
            self.has_links |= not all(map(is_pack_name, erased[PACK].drop_nulls()))
        if unknown := [id_ for id_ in self.ids if id_ not in erased_ids]:
            raise VolumeError(
                f"No version of {self.volume!r} has {format_list(unknown)}.{did_you_mean(unknown[0], sorted(names))}"
            )
        return hashes

    def _find_shared(self, hashes: set[str]) -> pl.DataFrame:
        """Samples that stay and have some of these bytes: columns volume, id and hash."""
        frames = [pl.DataFrame(schema={"volume": pl.String, ID: pl.String, HASH: pl.String})]
        for item in self._read_rows(self._volumes):
            rows = item.rows.filter(~item.is_erased & item.rows[HASH].is_in(list(hashes)))
            frames.append(rows.select(pl.lit(item.volume).alias("volume"), ID, HASH))
        return pl.concat(frames).unique(maintain_order=True)

    def _find_packs(self) -> list[str]:
        """Packs that hold bytes to erase, those included that no version refers to."""
        referenced, packs = set[str](), set[str]()
        for item in self._read_rows(self._volumes):
            referenced |= set(item.rows[PACK].drop_nulls())
            packs |= set(item.rows.filter(item.rows[HASH].is_in(list(self.hashes)))[PACK].drop_nulls())
        stored = {info.path.rsplit("/", 1)[-1].removesuffix(".tar") for info in self.objects.list("packs")}
        for pack in stored - referenced if self.hashes else ():
            if any(member.hash in self.hashes for member in read_members(self.objects, pack)):
                packs.add(pack)
        return sorted(filter(is_pack_name, packs))

    def _find_affected(self) -> list[tuple[str, DataFile]]:
        """Metadata files to write anew, with their volumes: those with the samples' rows come last.

        They are deleted in this order, so that the samples are found again if the command is interrupted.
        """
        others, own = list[tuple[str, DataFile]](), list[tuple[str, DataFile]]()
        for item in self._read_rows(self._volumes):
            if item.is_erased.any():
                own.append((item.volume, item.file))
            elif item.rows[PACK].is_in(self.packs).any():
                others.append((item.volume, item.file))
        return others + own

    def carry_out(self) -> EraseReport:
        """Write what stays, commit, record what is erased, and delete it, in this order."""
        unreadable, places = self._unreadable_versions(), self._write_packs()
        volumes = sorted({volume for volume, _ in self.affected})
        new_versions = [self._commit(volume, places) for volume in volumes]
        names = [*self.packs, *(file.path[METADATA_FILE_HASH] for _, file in self.affected)]
        put_tombstones(self.objects, names, current_user())
        paths = [pack_path(pack) for pack in self.packs] + [f"{volume}/{file.path}" for volume, file in self.affected]
        for volume in volumes:
            _strip_log(self.objects, volume, {file.path for name, file in self.affected if name == volume})
        self._marker.check()
        self.objects.delete(paths)
        if self.objects.local_path("packs") is None:
            machine_cache().forget(names)
        shared = tuple(f"{volume}: {id_}" for volume, id_ in self.shared.select("volume", ID).rows())
        return EraseReport(
            self.volume, self.ids, len(self.packs), len(self.affected), tuple(filter(None, new_versions)), unreadable,
            shared,
        )  # fmt: skip

    def _unreadable_versions(self) -> tuple[str, ...]:
        """Versions that refer to what will be erased."""
        affected, versions = set(self.affected_paths), list[str]()
        for name in self._volumes:
            log = VolumeLog(self.objects, name)
            for version in range(1, log.latest() + 1):
                if any(f"{name}/{file.path}" in affected for file in log.open(version).data_files):
                    versions.append(f"{name}@{version}")
        return tuple(versions)

    @property
    def affected_paths(self) -> list[str]:
        """Paths of the metadata files that are written anew."""
        return [f"{volume}/{file.path}" for volume, file in self.affected]

    def _write_packs(self) -> dict[tuple[str, str], StoredPlace]:
        """Write packs with the bytes that stay; returns their places by old pack and hash."""
        places = dict[tuple[str, str], StoredPlace]()
        with PackWriter(self.objects) as writer:
            for pack in self.packs:
                members = [member for member in read_members(self.objects, pack) if member.hash not in self.hashes]
                for member in members:
                    writer.add(member.content, member.hash, member.extension)
                places |= {(pack, hash_): StoredPlace(*place) for hash_, *place in writer.flush().iter_rows()}
        return places

    def _commit(self, volume: str, places: dict[tuple[str, str], StoredPlace]) -> str:
        """Commit the next version of a volume, if its latest one is affected; returns its name."""
        log, affected = VolumeLog(self.objects, volume), set(self.affected_paths)
        if not log.latest():  # the first addition was interrupted
            return ""
        base, replaced, removed = log.open(), dict[str, DataFile | None](), list[pl.DataFrame]()
        for file in base.data_files:
            if f"{volume}/{file.path}" in affected:
                replaced[file.path] = self._rewrite(volume, base, file, places, removed)
        if not replaced:
            return ""
        self._marker.check()
        message = f"{format_count(len(self.ids), 'sample')} erased"
        return f"{volume}@{commit_rewritten(log, base, replaced, removed, message).version}"

    def _rewrite(
        self,
        volume: str,
        base: LogVersion,
        file: DataFile,
        places: dict[tuple[str, str], StoredPlace],
        removed: list[pl.DataFrame],
    ) -> DataFile | None:
        """Write a metadata file anew; None if no rows are left. Erased rows are added to `removed`."""
        files = MetadataFiles(self.objects, volume)
        rows = files.read(file, base.schema)
        is_erased = rows[ID].cast(pl.String).is_in(list(self.ids) if volume == self.volume else [])
        removed.append(rows.filter(is_erased))
        rows = rows.filter(~is_erased)
        if base.commit.kind in KINDS_WITH_BYTES:
            rows = move_rows(rows, places)
        return files.write(file.number, rows) if rows.height else None


def _strip_log(objects: Objects, volume: str, paths: set[str]) -> None:
    """Remove the bounds of columns of erased metadata files from a log, as they may be values of erased samples."""
    for info in list(objects.list(f"{volume}/{LOG_FOLDER}")):
        if not info.path.endswith(".json"):
            objects.delete([info.path])  # a checkpoint, which a later version writes again
            continue
        actions = [json.loads(line) for line in objects.read(info.path).splitlines()]
        added = [action["add"] for action in actions if action.get("add", {}).get("path") in paths]
        for file in added:
            file["stats"] = json.dumps({"numRecords": json.loads(file["stats"])["numRecords"]})
        if added:
            lines = [f"{json.dumps(action, ensure_ascii=False)}\n" for action in actions]
            objects.put(info.path, "".join(lines).encode())
