"""Cells that stand for samples of a volume in a table: their bytes are read when they are needed.

A cell names the version, the query that selects the sample, its metadata file and row, and its identity. The query
decides which parts of packs are fetched, so that all processes share what is in the cache of the machine:

    volume-sample:<file>:<row>:<length of the address>:<length of the query>:<address><query><identity>
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from threading import Lock

import numpy as np
import polars as pl

from rosenblatt.data.media.contents import VOLUME_SCHEME
from rosenblatt.data.volumes.columns import BYTES_COLUMNS, ID
from rosenblatt.data.volumes.locations import parse_address
from rosenblatt.data.volumes.streaming.reader import PackReader, SampleColumn
from rosenblatt.data.volumes.volume import Volume, open_volume
from rosenblatt.errors import VolumeError


@dataclass(frozen=True)
class _Cell:
    file: int  # position of its metadata file
    row: int  # in the file
    uri: str  # of the version
    query: str
    id: str


class _SampleReader:
    """Reads the selected samples of a version by metadata file and row."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._packs = PackReader(volume.objects, volume.cache, volume.name)
        self._columns: dict[int, tuple[SampleColumn, np.ndarray]] = {}  # by file, with the index of each row
        self._lock = Lock()

    def read(self, file: int, row: int) -> memoryview:
        """Return the bytes of a sample. Raises DamagedDataError."""
        with self._lock:
            if file not in self._columns:
                self._columns[file] = self._open(file)
        column, index = self._columns[file]
        return column[int(index[row])]

    def _open(self, file: int) -> tuple[SampleColumn, np.ndarray]:
        frame = self._volume.read_whole_file(file, (ID, *BYTES_COLUMNS))
        rows = self._volume.selected_rows(file)
        index = np.full(frame.height, -1)
        index[rows] = np.arange(len(rows))
        return self._packs.column(frame, rows), index


@cache
def _open_reader(uri: str, query: str) -> _SampleReader:
    version = open_volume(parse_address(uri))
    return _SampleReader(version.query(query, lambda _: None) if query else version)


def make_cells(volume: Volume, file: int) -> pl.Series:
    """Make the cells of the selected samples of a metadata file, given by its position."""
    uri, query = volume.uri, volume.query_text
    numbers = pl.Series("row", volume.selected_rows(file))
    begin, middle = f"{VOLUME_SCHEME}{file}:", f":{len(uri)}:{len(query)}:{uri}{query}"
    samples = volume.read_file(file, [ID]).with_columns(numbers.cast(pl.String))
    return samples.select(pl.concat_str(pl.lit(begin), "row", pl.lit(middle), pl.col(ID).cast(pl.String))).to_series()


def read_cell(cell: str) -> memoryview:
    """Return the bytes of the sample that a cell names.

    Raises:
        DamagedDataError: if they do not match their hash.
        VolumeError, StorageError: if the version cannot be opened.
    """
    parsed = _parse(cell)
    try:
        return _open_reader(parsed.uri, parsed.query).read(parsed.file, parsed.row)
    except IndexError:
        raise VolumeError(f"{parsed.uri!r} has no such sample: {cell!r}.") from None


def name_cell(cell: str) -> str:
    """The sample that a cell names, for messages."""
    try:
        parsed = _parse(cell)
    except VolumeError:
        return cell
    return f"{parsed.id} of {parsed.uri.rsplit('/', 1)[-1]}"


def _parse(cell: str) -> _Cell:
    try:
        *numbers, rest = cell.removeprefix(VOLUME_SCHEME).split(":", 4)
        file, row, n_uri, n_query = map(int, numbers)
    except ValueError:
        raise VolumeError(f"{cell!r} names no sample of a volume. Add the images to a volume, and name that.") from None
    return _Cell(file, row, rest[:n_uri], rest[n_uri : n_uri + n_query], rest[n_uri + n_query :])
