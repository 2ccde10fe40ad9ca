"""Versions of a volume: the log of its Delta Lake table, to which each commit adds one entry.

A version is a schema and a list of metadata files. Its root, a BLAKE3 hash of both, stands in its log entry and is
computed again whenever the version is opened. Entries follow the Delta Lake protocol (versions 1 and 2, without
features): https://github.com/delta-io/delta/blob/master/PROTOCOL.md
"""

from __future__ import annotations

import getpass
import io
import json
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any, NamedTuple

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from rosenblatt.data.volumes.storage.delta_types import schema_from_delta, schema_to_delta
from rosenblatt.data.volumes.storage.erasures import METADATA_FILE_HASH, erased_names
from rosenblatt.data.volumes.storage.log_mirror import LogMirror
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.errors import ConflictError, DamagedDataError, StorageError, VolumeError

LOG_FOLDER = "_delta_log"
CHECKPOINT_INTERVAL = 20  # versions
MAX_READER_VERSION, MAX_WRITER_VERSION = 1, 2  # of the Delta Lake protocol: without features
COMMIT_CHECKS_S = (0.0, 1.0, 2.0, 5.0)  # pauses before looking whether a commit landed whose write failed
FOREVER = "interval 36500 days"
PROPERTIES = {  # other tools must neither delete files of old versions nor shorten the log
    "delta.deletedFileRetentionDuration": FOREVER,
    "delta.logRetentionDuration": FOREVER,
    "delta.enableExpiredLogCleanup": "false",
    "delta.checkpointInterval": "1000000",
}


class Commit(BaseModel):
    """What the log says of a version, beside its files."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: int
    root: str  # hex BLAKE3 hash of the schema and all metadata files
    parent: str | None = None  # root of the version before
    token: str
    who: str
    message: str = ""
    created: float  # seconds since 1970
    kind: str  # of samples, as `sources.source.Source.kind`
    id_origin: str
    is_typed: bool = True  # whether any text is a value, and none such as NA a missing one
    target: str = ""
    texts: tuple[str, ...] = ()  # columns of texts, however short these are
    inspected: tuple[str, ...] = ()  # columns that were computed from the samples' bytes
    source: str = ""
    n_samples: int
    n_bytes: int = 0  # of the samples' bytes; 0 for tables
    added: int = 0
    changed: int = 0
    removed: int = 0


class DataFile(NamedTuple):
    """A metadata file of a version."""

    path: str  # within the volume
    size: int  # in bytes
    rows: int
    statistics: dict[str, Any]  # minValues, maxValues and nullCount by column, as in the log

    @property
    def number(self) -> int:
        """Its place in the order of the volume; a corrected file keeps it."""
        return int(self.path.removeprefix("data/").split("-")[0])


@dataclass(frozen=True)
class LogVersion:
    """A version as the log describes it."""

    commit: Commit
    schema: pl.Schema
    files: pl.DataFrame  # path, size, rows; and min.x, max.x, null_count.x of columns; in the order of the volume

    @cached_property
    def data_files(self) -> list[DataFile]:
        """The metadata files, in the order of the volume."""
        paths, sizes, rows = (self.files[name].to_list() for name in ("path", "size", "rows"))
        return list(map(DataFile, paths, sizes, rows, repeat({})))


def compute_root(schema: pl.Schema, files: pl.DataFrame) -> str:
    """Hash a schema and metadata files (path, size, rows): the identity of a version's content."""
    from blake3 import blake3

    lines = files.sort("path").select(pl.concat_str("path", "size", "rows", separator="\t"))["path"]
    content = "\n".join([schema_to_delta(schema), *lines.to_list()])
    return blake3(content.encode()).hexdigest()


class VolumeLog:
    """The log of one volume.

    Args:
        objects: the root in which the volume is.
        name: of the volume, which is a folder of the root.
    """

    def __init__(self, objects: Objects, name: str) -> None:
        self.objects, self.name = objects, name
        self._mirror = LogMirror(objects, f"{name}/{LOG_FOLDER}")

    def latest(self) -> int:
        """The number of the latest version; 0 if there is none."""
        return max(self._mirror.latest(), 0)

    def open(self, version: int | None = None) -> LogVersion:
        """Read a version, the latest by default, and check its root.

        Raises:
            VolumeError: if there is no such version, or if it was written by a newer or foreign program.
            DamagedDataError: if its files are not those that its root names.
        """
        latest = self.latest()
        version = latest if version is None else version
        if not latest:
            raise VolumeError(f"{self.name!r} has no version in {self.objects.address!r}. Add data first.")
        if not 1 <= version <= latest:
            raise VolumeError(f"{self.name!r} has the versions 1 to {latest}, but not {version}.")
        commit = self.read_commit(version)
        schema, files = self._read_snapshot(version)
        if compute_root(schema, files) != commit.root:
            raise DamagedDataError(
                f"{self.name}@{version} is not what was committed: its log in {self.objects.address!r} was changed. "
                f"Expected root {commit.root[:12]}. Restore the log, or add the data again."
            )
        return LogVersion(commit, schema, files)

    def read_commit(self, version: int) -> Commit:
        """Read what the log says of a version. Raises VolumeError if another program wrote it."""
        return self._parse_commit(version, self._mirror.read_entry(version))

    def _parse_commit(self, version: int, entry: bytes) -> Commit:
        try:
            info = next(line["commitInfo"] for line in map(json.loads, io.BytesIO(entry)) if "commitInfo" in line)
            return Commit.model_validate(info["rosenblatt"] | {"version": version})
        except (StopIteration, KeyError, ValueError, ValidationError) as error:
            raise VolumeError(
                f"{self.name}@{version} in {self.objects.address!r} was not committed by this version of rosenblatt, "
                "but by another program. Restore the version before it, or update rosenblatt."
            ) from error

    def history(self) -> Iterator[Commit]:
        """Iterate over all versions, the latest first."""
        for version in range(self.latest(), 0, -1):
            yield self.read_commit(version)

    def every_file(self, first: int = 1) -> list[DataFile]:
        """All metadata files that versions from `first` on added, each once, without those that were erased."""
        files, erased = dict[str, DataFile](), erased_names(self.objects)
        for entry in self._mirror.read_entries(first, self.latest()):
            for line in entry.splitlines():
                file = self._parse_file(line)
                if file and file.path[METADATA_FILE_HASH] not in erased:
                    files[file.path] = file
        return list(files.values())

    def _parse_file(self, line: bytes) -> DataFile | None:
        """The metadata file that a line of an entry adds; None if it does something else."""
        try:
            action = json.loads(line).get("add")
            n_rows = int(json.loads(action["stats"])["numRecords"]) if action else 0
            return DataFile(str(action["path"]), int(action["size"]), n_rows, {}) if action else None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            place = f"{self.objects.address}/{self.name}/{LOG_FOLDER}"
            raise DamagedDataError(f"A log entry in {place} is damaged. Restore the log from a copy.") from error

    def _read_snapshot(self, version: int) -> tuple[pl.Schema, pl.DataFrame]:
        table = self._mirror.read_table(version)
        if table.reader_version > MAX_READER_VERSION:
            raise VolumeError(
                f"{self.name}@{version} needs features of Delta Lake (reader version {table.reader_version}) that this "
                "version of rosenblatt does not read. Update rosenblatt."
            )
        return schema_from_delta(table.schema), table.files

    def create(self, schema: pl.Schema) -> None:
        """Write version 0, an empty table, unless it exists."""
        lines = [
            {"commitInfo": _commit_info("CREATE TABLE", None)},
            {"protocol": {"minReaderVersion": MAX_READER_VERSION, "minWriterVersion": MAX_WRITER_VERSION}},
            _metadata_action(self.name, schema),
        ]
        self.objects.create(self._entry_path(0), _to_lines(lines))

    def commit(
        self, commit: Commit, schema: pl.Schema | None, added: Sequence[DataFile], removed: Sequence[DataFile]
    ) -> None:
        """Commit a version, exactly once, even if the answer of the store is lost.

        Args:
            commit: the new version, one after the version it is based on.
            schema: the new schema; None if it does not change.
            added, removed: metadata files; what is added must be written already.

        Raises:
            ConflictError: if another commit came first.
            StorageError: if the store cannot be written, or whether it was written cannot be found out.
        """
        if {file.path for file in added} & {file.path for file in removed}:
            raise ValueError("a metadata file cannot be added and removed by one commit")
        now = int(commit.created * 1000)
        lines: list[dict[str, Any]] = [{"commitInfo": _commit_info("WRITE", commit)}]
        if schema is not None:
            lines.append(_metadata_action(self.name, schema))
        lines += [_add_action(file, now) for file in added]
        lines += [_remove_action(file, now) for file in removed]
        path = self._entry_path(commit.version)
        try:
            if self.objects.create(path, _to_lines(lines)):
                return self._checkpoint(commit.version)
        except StorageError as error:
            landed = self._commit_after_error(commit, error)
        else:
            landed = self.read_commit(commit.version)
        if landed.token != commit.token:
            raise ConflictError(
                f"{self.name}@{commit.version} was committed by {landed.who} in the meantime. Run the command again; "
                "what is stored already is not copied again."
            )
        return self._checkpoint(commit.version)

    def _commit_after_error(self, commit: Commit, error: StorageError) -> Commit:
        """The commit that a failed write left in the log; raises the error if there is none, or if it is unknown."""
        is_missing = False
        for delay in COMMIT_CHECKS_S:
            time.sleep(delay)
            try:
                return self._parse_commit(commit.version, self.objects.read(self._entry_path(commit.version)))
            except FileNotFoundError:
                if is_missing:  # twice: a request that was under way did not land
                    raise error from None
                is_missing = True
            except StorageError:
                continue
        raise StorageError(
            f"It is not known whether {self.name}@{commit.version} was committed: {error} `rosenblatt data log "
            f"{self.name}` shows it once the store answers (token {commit.token})."
        ) from error

    def _entry_path(self, version: int) -> str:
        return f"{self.name}/{LOG_FOLDER}/{version:020}.json"

    def _checkpoint(self, version: int) -> None:
        if version % CHECKPOINT_INTERVAL == 0:
            with suppress(StorageError, FileNotFoundError):  # the version is committed; a later one writes another
                self._mirror.write_checkpoint(version)


def new_token() -> str:
    """A random name that identifies one commit."""
    return secrets.token_hex(16)


def current_user() -> str:
    """The user and machine that commit."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a user without a name
        return f"unknown@{socket.gethostname()}"


def _to_lines(actions: Sequence[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(action, ensure_ascii=False)}\n" for action in actions).encode()


def _commit_info(operation: str, commit: Commit | None) -> dict[str, Any]:
    created = commit.created if commit else time.time()
    info: dict[str, Any] = {
        "timestamp": int(created * 1000),
        "operation": operation,
        "operationParameters": {},
        "engineInfo": "rosenblatt",
    }
    if commit:
        info |= {"userName": commit.who, "rosenblatt": commit.model_dump(mode="json", exclude={"version"})}
    return info


def _metadata_action(name: str, schema: pl.Schema) -> dict[str, Any]:
    return {
        "metaData": {
            "id": secrets.token_hex(16),
            "name": name,
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema_to_delta(schema),
            "partitionColumns": [],
            "createdTime": int(time.time() * 1000),
            "configuration": PROPERTIES,
        }
    }


def _add_action(file: DataFile, now: int) -> dict[str, Any]:
    statistics = json.dumps({"numRecords": file.rows} | file.statistics, ensure_ascii=False)
    return {
        "add": {
            "path": file.path,
            "partitionValues": {},
            "size": file.size,
            "modificationTime": now,
            "dataChange": True,
            "stats": statistics,
        }
    }


def _remove_action(file: DataFile, now: int) -> dict[str, Any]:
    return {
        "remove": {
            "path": file.path,
            "deletionTimestamp": now,
            "dataChange": True,
            "extendedFileMetadata": True,
            "partitionValues": {},
            "size": file.size,
        }
    }
