"""Garbage collection of a root: delete packs and metadata files that no version of any volume refers to.

Only what is older than a week is deleted, because commands that have not committed yet write packs first. Commands that
take longer are protected by markers, see `storage.markers`. A root may be a folder with other files of the user: only
what is named like an object of a volume is looked at.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rosenblatt.data.volumes.columns import PACK
from rosenblatt.data.volumes.locations import RESERVED_NAMES
from rosenblatt.data.volumes.storage.log import LOG_FOLDER, DataFile, VolumeLog
from rosenblatt.data.volumes.storage.markers import MARKER_FOLDER, MAX_SILENCE_SECONDS, deletion_section
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.storage.object_info import ObjectInfo
from rosenblatt.data.volumes.storage.objects import Objects, open_objects
from rosenblatt.data.volumes.storage.packs import is_pack_name, pack_path
from rosenblatt.data.volumes.tags import TAG_FOLDER
from rosenblatt.errors import Notify

MIN_AGE_SECONDS = 7 * 86_400.0  # of what is deleted
DELETED_AT_ONCE = 1000
_METADATA_FILE = re.compile(r"[^/]+/data/\d{8,}-[0-9a-f]{64}\.parquet")
_PACK_OR_PROBE = re.compile(r"packs/([0-9a-f]{2})/\1[0-9a-f]{62}\.tar|probes/[0-9a-f]{32}")
_WRITTEN_WHOLE = re.compile(  # what a folder may hold a part of
    rf"{_PACK_OR_PROBE.pattern}|{_METADATA_FILE.pattern}|[^/]+/_delta_log/\d{{20}}\.json|[^/]+/tags/[^/]+"
    r"|erased/[0-9a-f]{64}|gc/[a-z]+-[0-9a-f]{32}|locations/[^/]+"
)
_PART = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part")


@dataclass(frozen=True)
class GarbageReport:
    """What a root holds, and what of it no version refers to."""

    address: str
    n_referenced: int  # packs and metadata files
    paths: tuple[str, ...]  # that no version refers to and that are older than a week
    n_bytes: int
    n_recent: int  # that no version refers to, but that are not old enough
    is_deleted: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON-serializable data."""
        return asdict(self)


def collect_garbage(root: str, notify: Notify = print, *, delete: bool = False) -> GarbageReport:
    """Find what no version of any volume of a root refers to and is older than a week, and delete it on request.

    Raises:
        VolumeError: if a volume cannot be read, since what it refers to is unknown then.
        StorageError: if the root cannot be read or written.
    """
    objects = open_objects(root)
    references = _References(objects, notify)
    references.update()
    oldest = time.time() - MIN_AGE_SECONDS
    unreferenced = [info for info in _stored_objects(objects) if info.path not in references.paths]
    old = [info for info in unreferenced if info.modified < oldest]
    n_recent = len(unreferenced) - len(old)
    if delete:
        with deletion_section(objects, notify) as marker:
            references.update()  # with what was committed since
            old = [info for info in old if info.path not in references.paths]
            to_delete = [*(info.path for info in old), *_dead_markers(objects, marker.now())]
            for start in range(0, len(to_delete), DELETED_AT_ONCE):
                marker.check()
                objects.delete(to_delete[start : start + DELETED_AT_ONCE])
    paths, n_bytes = tuple(info.path for info in old), sum(info.size for info in old)
    return GarbageReport(objects.address, len(references.paths), paths, n_bytes, n_recent, delete)


class _References:
    """The paths of all packs and metadata files that versions refer to."""

    def __init__(self, objects: Objects, notify: Notify) -> None:
        self._objects, self._notify = objects, notify
        self._versions: dict[str, int] = {}  # of each volume, up to which its log was read
        self.paths: set[str] = set()

    def update(self) -> None:
        """Add what versions refer to that were committed since the last call. Raises VolumeError."""
        for name in volume_names(self._objects):
            log = VolumeLog(self._objects, name)
            first, latest = self._versions.get(name, 0) + 1, log.latest()
            if latest >= first:
                self._add(name, log.every_file(first))
                self._versions[name] = latest
            elif not latest and (files := stored_files(self._objects, name)):
                self._notify(
                    f"{self._objects.address}/{name} has no version: its log is lost, or its first addition has not "
                    "ended. All that it refers to is kept; delete the folder if it was interrupted"
                )
                self._add(name, files)

    def _add(self, name: str, data_files: list[DataFile]) -> None:
        files = MetadataFiles(self._objects, name)
        for file, rows in files.read_all_places(data_files, [PACK], skip_erased=True):
            self.paths.add(f"{name}/{file.path}")
            self.paths |= {pack_path(pack) for pack in rows[PACK].drop_nulls().unique() if is_pack_name(pack)}


def volume_names(objects: Objects) -> list[str]:
    """The names of all folders of a root that volumes can be in."""
    return [name for name in objects.folders() if name not in RESERVED_NAMES and not name.startswith(".")]


def stored_files(objects: Objects, name: str) -> list[DataFile]:
    """All metadata files that are stored of a volume, those that no version has included."""
    infos = [info for info in objects.list(f"{name}/data") if _METADATA_FILE.fullmatch(info.path)]
    return [DataFile(info.path.removeprefix(f"{name}/"), info.size, 0, {}) for info in infos]


def _stored_objects(objects: Objects) -> Iterator[ObjectInfo]:
    """All packs and metadata files of a root, and what interrupted commands left."""
    for folder in ("packs", "probes"):
        yield from (info for info in objects.list(folder) if _PACK_OR_PROBE.fullmatch(info.path))
    names = volume_names(objects)
    for name in names:
        yield from (info for info in objects.list(f"{name}/data") if _METADATA_FILE.fullmatch(info.path))
    if packs := objects.local_path("packs"):
        yield from _unfinished_files(packs.parent, names)


def _unfinished_files(root: Path, names: list[str]) -> Iterator[ObjectInfo]:
    """Files that were being written when a command was interrupted."""
    own = [root / folder for folder in RESERVED_NAMES]
    own += [root / name / folder for name in names for folder in ("data", LOG_FOLDER, TAG_FOLDER)]
    for folder in own:
        for path in folder.rglob(".*.part"):
            target = _PART.fullmatch(path.name)
            if target and _WRITTEN_WHOLE.fullmatch(path.relative_to(root).with_name(target[1]).as_posix()):
                with suppress(FileNotFoundError):
                    status = path.stat()
                    yield ObjectInfo(path.relative_to(root).as_posix(), status.st_size, status.st_mtime, None)


def _dead_markers(objects: Objects, now: float) -> Iterator[str]:
    """Markers of processes that have ended without removing them."""
    for info in objects.list(MARKER_FOLDER):
        if info.modified < now - 2 * MAX_SILENCE_SECONDS:
            yield info.path
