"""Metadata files for streaming and random access: the selected rows, and where the bytes of each sample are."""

from __future__ import annotations

import hashlib
import mmap
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.volumes.columns import BYTES_COLUMNS, ID
from rosenblatt.data.volumes.streaming.order import GROUP_ROWS, FileUnits
from rosenblatt.data.volumes.streaming.reader import Check, PackReader, SampleColumn

MAX_LOADED_ROWS = 2 * GROUP_ROWS  # of metadata that are kept in memory: the group in use and the next one


@dataclass(frozen=True)
class StreamSource:
    """What is streamed: a version of a volume, or samples that a query selects from it.

    Args:
        name: such as "photos@2", for messages.
        version: identifies the content; the order of samples depends on it.
        n_rows: of each metadata file, in the order of the version.
        n_bytes: size of each metadata file.
        read_metadata: reads columns of all rows of a metadata file, given by its position.
        columns: of the metadata that batches have.
        reader: reads the bytes of samples; None if they have none.
        selection: of each metadata file, the numbers of the selected rows in order; None for all.
    """

    name: str
    version: str
    n_rows: Sequence[int]
    n_bytes: Sequence[int]
    read_metadata: Callable[[int, Sequence[str]], pl.DataFrame]
    columns: Sequence[str]
    reader: PackReader | None = None
    selection: Sequence[np.ndarray] | None = None

    @cached_property
    def n_selected(self) -> list[int]:
        """Number of selected rows of each metadata file."""
        return list(self.n_rows) if self.selection is None else [len(rows) for rows in self.selection]

    @property
    def n_samples(self) -> int:
        """Number of selected samples."""
        return sum(self.n_selected)

    @cached_property
    def selection_hash(self) -> str:
        """Identifies the selected samples; empty if there is no selection."""
        if self.selection is None:
            return ""
        digest = hashlib.blake2b(digest_size=16)
        for rows in self.selection:
            digest.update(len(rows).to_bytes(8, "little") + np.asarray(rows, "<u4").tobytes())
        return digest.hexdigest()

    def load(self, file: int) -> LoadedFile:
        """Read the metadata of a file."""
        names = list(self.columns)
        if self.reader:
            names += [name for name in (ID, *BYTES_COLUMNS) if name not in names]
        frame = self.read_metadata(file, names)
        rows = None if self.selection is None else np.asarray(self.selection[file], np.int64)
        selected = frame.select(self.columns)
        selected = selected if rows is None else selected[rows]
        column = self.reader.column(frame, rows) if self.reader else None
        return LoadedFile(selected, column, _find_units(column, self.n_selected[file], int(self.n_bytes[file])))


@dataclass(frozen=True)
class LoadedFile:
    """The selected rows of a metadata file."""

    frame: pl.DataFrame
    column: SampleColumn | None
    units: FileUnits

    @property
    def n_rows(self) -> int:
        """Number of selected rows."""
        return len(self.units.codes)


def _find_units(column: SampleColumn | None, n_rows: int, n_bytes: int) -> FileUnits:
    """Which samples are read together: those of a pack, or, of rows without bytes, those of the file."""
    if column is None:
        return FileUnits(np.zeros(n_rows, np.int32), np.array([n_bytes]))
    return FileUnits(column.codes.copy(), np.array([unit.n_bytes for unit in column.units], np.int64))


class FileLoader:
    """Loads metadata files, and keeps those that were loaded last."""

    def __init__(self, source: StreamSource) -> None:
        self.source = source
        self._files: dict[int, LoadedFile] = {}
        self._lock = Lock()

    def load(self, file: int) -> LoadedFile:
        """Return a file."""
        return self._files.get(file) or self._load(file)

    def _load(self, file: int) -> LoadedFile:
        loaded = self.source.load(file)
        with self._lock:
            self._files[file] = loaded
            n_rows = sum(other.n_rows for other in self._files.values())
            while n_rows > MAX_LOADED_ROWS and len(self._files) > 1:
                n_rows -= self._files.pop(next(iter(self._files))).n_rows
        return loaded

    def load_group(self, files: Iterable[int], executor: Executor) -> LoadedGroup:
        """Load several files at once."""
        return LoadedGroup(list(executor.map(self.load, files)))


class LoadedGroup:
    """Metadata files of consecutive samples. Rows and units are numbered consecutively, as in `SampleOrder.windows`."""

    def __init__(self, files: list[LoadedFile]) -> None:
        self.files = files
        self.units = [file.units for file in files]
        self._first_units = np.cumsum([0, *(len(units.n_bytes) + 1 for units in self.units)]).tolist()

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The metadata of all rows."""
        return pl.concat([file.frame for file in self.files], rechunk=False)

    @cached_property
    def starts(self) -> np.ndarray:
        """Where the bytes of each row begin in its unit."""
        return np.concatenate([file.column.starts for file in self.files if file.column])

    @cached_property
    def ends(self) -> np.ndarray:
        """Where the bytes of each row end in its unit."""
        return np.concatenate([file.column.ends for file in self.files if file.column])

    def find_unit(self, unit: int) -> tuple[SampleColumn, int] | None:
        """The column of a unit, and its number there; None for samples without bytes."""
        index = bisect_right(self._first_units, unit) - 1
        code, column = unit - self._first_units[index], self.files[index].column
        return (column, code) if column and code < len(column.units) else None

    def open_unit(self, unit: int, check: Check) -> memoryview:
        """Open the bytes of a unit, and read what is not in memory ahead of its use."""
        if not (place := self.find_unit(unit)):
            return memoryview(b"")
        column, code = place
        content = column.open(code, check)
        if column.units[code].is_whole and content:
            np.frombuffer(content, np.uint8)[:: mmap.PAGESIZE].max()  # without Python's global interpreter lock
        return content

    def damage(self, rows: np.ndarray) -> dict[int, Exception]:
        """The errors of damaged samples among opened ones, by their index in `rows`."""
        codes = np.concatenate([file.column.codes for file in self.files if file.column])
        indices = np.flatnonzero(codes[rows] < 0).tolist()
        firsts = np.cumsum([0, *(file.n_rows for file in self.files)]).tolist()
        errors = dict[int, Exception]()
        for index in indices:
            file = bisect_right(firsts, int(rows[index])) - 1
            column = self.files[file].column
            if column:
                errors[index] = column.damage(int(rows[index]) - firsts[file])
        return errors


class SampleAccess:
    """Random access to samples by their position in the order of the version."""

    def __init__(self, source: StreamSource) -> None:
        self.source = source
        self._load = FileLoader(source).load
        self._firsts = np.cumsum([0, *source.n_selected]).tolist()

    def __reduce__(self) -> tuple[type[SampleAccess], tuple[StreamSource]]:
        return SampleAccess, (self.source,)

    def __len__(self) -> int:
        return self._firsts[-1]

    def locate(self, index: int) -> tuple[LoadedFile, int]:
        """The metadata file of a sample, and its row there. Raises IndexError."""
        firsts = self._firsts
        n = firsts[-1]
        if not 0 <= index < n:
            if not -n <= index < 0:
                raise IndexError(f"{self.source.name} has {n:,} samples")
            index += n
        file = bisect_right(firsts, index) - 1
        return self._load(file), index - firsts[file]

    def content(self, index: int) -> memoryview:
        """The bytes of a sample. Raises DamagedDataError."""
        loaded, row = self.locate(index)
        if loaded.column is None:
            raise TypeError(f"the samples of {self.source.name} are rows without further bytes")
        return loaded.column[row]

    def row(self, index: int) -> dict[str, Any]:
        """The metadata of a sample."""
        loaded, row = self.locate(index)
        return loaded.frame.row(row, named=True)
