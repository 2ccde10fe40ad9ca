"""The Delta Lake table of a volume, read from a local copy of its log: of folders, buckets and web servers alike.

This is the only module that uses deltalake.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import polars as pl

from rosenblatt.data.volumes.storage.objects import Objects, open_objects
from rosenblatt.errors import DamagedDataError, StorageError, VolumeError

MAX_ROWS = 1 << 20  # of a metadata file; those that are written have fewer
MAX_READS = 16  # of entries at a time
_JSON, _CHECKPOINT = ".json", ".checkpoint.parquet"
_LAST_CHECKPOINT = "_last_checkpoint"
_VERSION = re.compile("[0-9]{20}")


class DeltaTableState(NamedTuple):
    """A version of the table, as Delta Lake describes it."""

    reader_version: int  # of the protocol, that a program needs to read it
    schema: str  # JSON
    files: pl.DataFrame  # path, size, rows; and min.x, max.x, null_count.x of columns; by path


class LogMirror:
    """Log entries of a volume, read in place from a folder, and copied from elsewhere as far as a version needs them.

    Args:
        objects: the root.
        folder: path of the log within it.
    """

    def __init__(self, objects: Objects, folder: str) -> None:
        self._objects, self._folder = objects, folder
        self._is_local = objects.local_path(folder) is not None  # whether it is read in place, without copies

    def latest(self) -> int:
        """The number of the latest entry; -1 if there is none."""
        if self._objects.address.startswith("http"):
            return self._probe_latest()
        return max(self._versions(_JSON), default=-1)

    def read_entry(self, version: int) -> bytes:
        """Read the entry of a version. Raises VolumeError if it is missing."""
        if not self._is_local and (copy := self._copy_folder / _entry_name(version)).exists():
            return copy.read_bytes()
        try:
            return self._objects.read(f"{self._folder}/{_entry_name(version)}")
        except FileNotFoundError:
            raise VolumeError(
                f"Entry {version} is missing in {self._objects.address}/{self._folder}. Restore it from a copy."
            ) from None

    def read_entries(self, first: int, last: int) -> Iterator[bytes]:
        """Read the entries of consecutive versions, some at a time. Raises VolumeError if one is missing."""
        if not self._is_local:
            self._copy_folder.stat()  # made before the threads look into it
        with ThreadPoolExecutor(MAX_READS, thread_name_prefix="log") as pool:
            yield from pool.map(self.read_entry, range(first, last + 1))

    def folder_for(self, version: int) -> Path:
        """A local folder of a Delta Lake table whose log can be read up to a version."""
        if local := self._objects.local_path(self._folder):
            return local.parent
        first = max((n for n in self._checkpoints() if n <= version), default=-1)
        if first >= 0:
            self._copy(f"{first:020}{_CHECKPOINT}")
        folder = self._copy_folder.parent
        with ThreadPoolExecutor(MAX_READS, thread_name_prefix="log") as pool:
            deque(pool.map(self._copy, map(_entry_name, range(max(first, 0), version + 1))), maxlen=0)
        return folder

    def read_table(self, version: int) -> DeltaTableState:
        """Read the table at a version. Raises DamagedDataError if its log cannot be read."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            table = DeltaTable(str(self.folder_for(version)), version=version)
            files = _list_files(pl.DataFrame(table.get_add_actions()))
            schema = table.schema().to_json()
        except (DeltaError, TableNotFoundError, ValueError, pl.exceptions.PolarsError) as error:
            reason = str(error).splitlines()[0]
            raise DamagedDataError(
                f"The log in {self._objects.address}/{self._folder} cannot be read: {reason}."
            ) from error
        return DeltaTableState(table.protocol().min_reader_version, schema, files)

    def write_checkpoint(self, version: int) -> None:
        """Write a checkpoint, with which later versions open without the entries before it. Raises StorageError."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        folder = self.folder_for(version)
        try:
            DeltaTable(str(folder), version=version).create_checkpoint()
        except (DeltaError, OSError) as error:
            raise StorageError(f"The checkpoint of version {version} was not written: {error}") from error
        if self._objects.local_path(self._folder) is None:
            for name in (f"{version:020}{_CHECKPOINT}", _LAST_CHECKPOINT):
                self._objects.put(f"{self._folder}/{name}", (folder / self._copy_folder.name / name).read_bytes())

    @cached_property
    def _copy_folder(self) -> Path:
        temporary = tempfile.mkdtemp(prefix="rosenblatt-log-")
        weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
        folder = Path(temporary) / Path(self._folder).name
        folder.mkdir()
        return folder

    def _copy(self, name: str) -> None:
        target = self._copy_folder / name
        if not target.exists():
            content = self._objects.read(f"{self._folder}/{name}")
            open_objects(str(self._copy_folder)).put(name, content)

    def _versions(self, ending: str) -> list[int]:
        """The versions that have a file of this ending; other programs may write files of other names."""
        names = (info.path.rpartition("/")[2] for info in self._objects.list(self._folder))
        versions = (name.removesuffix(ending) for name in names if name.endswith(ending))
        return [int(version) for version in versions if _VERSION.fullmatch(version)]

    def _checkpoints(self) -> list[int]:
        if self._objects.address.startswith("http"):
            return []
        return self._versions(_CHECKPOINT)

    def _probe_latest(self) -> int:
        """The latest entry on a web server, which lists no files: the last of consecutive numbers."""

        def exists(version: int) -> bool:
            return self._objects.info(f"{self._folder}/{_entry_name(version)}") is not None

        if not exists(0):
            return -1
        low, step = 0, 1
        while exists(low + step):
            low, step = low + step, 2 * step
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if exists(middle) else (low, middle)
        return low


def _list_files(actions: pl.DataFrame) -> pl.DataFrame:
    """The metadata files of a version in order, with a column for each bound and number of nulls of a column."""
    files = actions.select("path", pl.col("size_bytes").alias("size"), pl.col("num_records").alias("rows"))
    numbers = files.select(pl.col("size") >= 0, pl.col("rows").is_between(0, MAX_ROWS)).fill_null(value=False)
    if not numbers.select(pl.all_horizontal("size", "rows").all()).item():
        raise ValueError("a file has an impossible size or number of rows")
    statistics = [
        actions[kind].struct.field(field.name).alias(f"{kind}.{field.name}")
        for kind in ("null_count", "min", "max")
        if isinstance(dtype := actions.schema.get(kind), pl.Struct)
        for field in dtype.fields
        if not isinstance(field.dtype, pl.Struct)  # whose fields have names such as those of other columns
    ]
    return files.with_columns(statistics).sort("path")


def _entry_name(version: int) -> str:
    return f"{version:020}{_JSON}"
