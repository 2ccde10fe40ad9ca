"""Cells that stand for samples of a volume in a table: their bytes are read when they are needed.

A cell names the version, the metadata file, the row in it and the sample, so that any process can read it:

    volume-sample:0:17:24:/data/volumes/photos@2:cat/00017.png
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from rosenblatt.data.media.contents import VOLUME_SCHEME
from rosenblatt.data.volumes.columns import BYTES_COLUMNS, ID
from rosenblatt.data.volumes.locations import parse_address
from rosenblatt.data.volumes.streaming.reader import PackReader, SampleColumn
from rosenblatt.data.volumes.volume import Volume, open_volume


@dataclass(frozen=True)
class _Cell:
    file: int  # position of its metadata file
    row: int  # in the file
    uri: str  # of the version
    id: str


class _SampleReader:
    """Reads samples of one version by metadata file and row."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._packs = PackReader(volume.objects, volume.cache, volume.name)
        self._columns: dict[int, tuple[SampleColumn, np.ndarray]] = {}  # by file, with the index of each row

    def add(self, file: int, frame: pl.DataFrame, rows: np.ndarray) -> None:
        """Prepare to read rows of a file, so that of packs of which little is wanted only that is fetched."""
        index = np.full(frame.height, -1)
        index[rows] = np.arange(len(rows))
        self._columns[file] = self._packs.column(frame, rows), index

    def read(self, file: int, row: int) -> memoryview:
        """Return the bytes of a sample. Raises DamagedDataError."""
        if file not in self._columns:
            frame = self._volume.read_file(file, (ID, *BYTES_COLUMNS))
            return self._packs.column(frame, np.array([row]))[0]
        column, index = self._columns[file]
        return column[int(index[row])]


@cache
def _reader_of(uri: str) -> _SampleReader:
    return _SampleReader(open_volume(parse_address(uri)))


def make_cells(volume: Volume, file: int, frame: pl.DataFrame, rows: np.ndarray) -> pl.Series:
    """Make the cells of rows of a metadata file.

    Args:
        volume: the version.
        file: position of the metadata file.
        frame: the id, and where the bytes are, of all rows of the file.
        rows: numbers of the rows.
    """
    _reader_of(volume.uri).add(file, frame, rows)
    prefix = f"{VOLUME_SCHEME}{file}:"
    uri = f":{len(volume.uri)}:{volume.uri}:"
    selected = frame.with_row_index("").select("", ID)[rows]
    cells = pl.concat_str(pl.lit(prefix), pl.col("").cast(pl.String), pl.lit(uri), pl.col(ID))
    return selected.select(cells.alias("image")).to_series()


def read_cell(cell: str) -> memoryview:
    """Return the bytes of the sample that a cell names.

    Raises:
        DamagedDataError: if they do not match their hash.
        VolumeError, StorageError: if the version cannot be opened.
    """
    parsed = _parse(cell)
    return _reader_of(parsed.uri).read(parsed.file, parsed.row)


def name_cell(cell: str) -> str:
    """The sample that a cell names, for messages."""
    parsed = _parse(cell)
    return f"{parsed.id} of {parsed.uri.rsplit('/', 1)[-1]}"


def _parse(cell: str) -> _Cell:
    file, row, length, rest = cell.removeprefix(VOLUME_SCHEME).split(":", 3)
    return _Cell(int(file), int(row), rest[: int(length)], rest[int(length) + 1 :])
