"""Cells that stand for samples of a volume in a table: their bytes are read when they are needed.

A cell names the metadata file and row of a sample, the beginning of its hash, the version, and its identity:

    volume-sample:<file>:<row>:<hash>:<length of the address>:<address><identity>
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl

from rosenblatt.data.media.contents import VOLUME_SCHEME, Blocks, Cell, Reading
from rosenblatt.data.volumes.columns import BYTES_COLUMNS, HASH, ID
from rosenblatt.data.volumes.locations import parse_address
from rosenblatt.data.volumes.streaming.passes import SamplePass
from rosenblatt.data.volumes.streaming.reader import PackReader
from rosenblatt.data.volumes.volume import Volume, open_volume
from rosenblatt.errors import VolumeError

MAX_PLACE_FILES = 8  # metadata files of which the places of samples are kept
HASH_DIGITS = 32  # of the hexadecimal hash that a cell has


@dataclass(frozen=True)
class _Cell:
    file: int  # position of its metadata file
    row: int  # in the file
    hash: str
    uri: str  # of the version
    id: str


class _SampleReader:
    """Reads samples of a version one by one, by metadata file and row."""

    def __init__(self, uri: str) -> None:
        self.volume = open_volume(parse_address(uri))
        self._packs = PackReader(self.volume.objects, self.volume.cache, self.volume.name)
        self._read_places = lru_cache(MAX_PLACE_FILES)(self._read_places_of_file)

    def read(self, file: int, row: int) -> memoryview:
        """Return the bytes of a sample. Raises DamagedDataError."""
        return self._packs.column(self._read_places(file), np.array([row]))[0]

    def _read_places_of_file(self, file: int) -> pl.DataFrame:
        return self.volume.read_whole_file(file, (ID, *BYTES_COLUMNS))


_open_reader = cache(_SampleReader)


class _Layout(NamedTuple):
    """Where samples are stored."""

    blocks: Blocks
    lengths: np.ndarray  # (n,) bytes of each sample
    matters: bool  # whether any sample is not a linked file of this machine


class VolumeContents:
    """The contents of samples of one version.

    Args:
        volume: the version.
        files, rows: metadata file and row there of each sample (n,).
    """

    def __init__(self, volume: Volume, files: np.ndarray, rows: np.ndarray) -> None:
        self._volume, self._files, self._rows = volume, files, rows

    @property
    def blocks(self) -> Blocks | None:
        """Samples of one pack, or of consecutive linked files, within a metadata file.

        None if all are linked files of this machine, which are read one by one.
        """
        return self._layout.blocks if self._layout.matters else None

    @cached_property
    def _layout(self) -> _Layout:
        reader = PackReader(self._volume.objects, self._volume.cache, self._volume.name)
        numbers, sizes = np.zeros(len(self._files), np.int32), [np.zeros(0, np.int64)]
        lengths = np.zeros(len(self._files), np.int64)
        n_blocks, matters = 0, False
        for file in np.unique(self._files).tolist():
            samples = np.flatnonzero(self._files == file)
            rows, index = np.unique(self._rows[samples], return_inverse=True)
            frame = self._volume.read_whole_file(file, (ID, *BYTES_COLUMNS))
            column = reader.column(frame, rows)
            n_units, matters = len(column.units), matters or not all(unit.is_local_link for unit in column.units)
            codes = np.where(column.codes < 0, n_units, column.codes)  # what is damaged comes last
            sizes.append(np.array([*(unit.n_bytes for unit in column.units), 0], np.int64))
            numbers[samples] = n_blocks + codes[index]
            lengths[samples] = (column.ends - column.starts)[index]
            n_blocks += n_units + 1
        return _Layout(Blocks(numbers, np.concatenate(sizes)), lengths, matters)

    def damaged(self) -> dict[int, str]:
        """Samples whose headers could not be read when they were added, and why, by row."""
        names, damaged = list(self._volume.commit.inspected), dict[int, str]()
        for file in np.unique(self._files).tolist() if names else ():
            frame = self._volume.read_whole_file(file, names)
            is_damaged = frame.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()
            rows = np.flatnonzero(self._files == file)
            damaged |= dict.fromkeys(rows[is_damaged[self._rows[rows]]].tolist(), "its header cannot be read")
        return damaged

    def reading(self, batches: Sequence[np.ndarray]) -> AbstractContextManager[Reading]:
        """Begin to read batches of rows in order; packs are fetched ahead of their use."""
        blocks, lengths, _ = self._layout
        return SamplePass(self._volume, self._files, self._rows, blocks, lengths, batches)


def open_contents(cells: Sequence[Cell]) -> VolumeContents | None:
    """Open the contents of cells if all name samples of one version; else None."""
    first = _parse(str(cells[0]))
    if not all(isinstance(cell, str) for cell in cells):
        return None
    suffix = re.escape(f":{len(first.uri)}:{first.uri}")
    pattern = rf"^{VOLUME_SCHEME}(?<file>\d+):(?<row>\d+):[0-9a-f]*{suffix}"
    places = pl.Series(cells, dtype=pl.String).str.extract_groups(pattern).struct.unnest()
    if places["file"].has_nulls():
        return None
    files, rows = (places[name].cast(pl.Int64).to_numpy() for name in ("file", "row"))
    return VolumeContents(_open_reader(first.uri).volume, files, rows)


def make_cells(volume: Volume, file: int) -> pl.Series:
    """Make the cells of the selected samples of a metadata file, given by its position."""
    numbers = pl.Series("row", volume.selected_rows(file))
    samples = volume.read_file(file, [ID, HASH]).with_columns(numbers.cast(pl.String))
    begin, address = f"{VOLUME_SCHEME}{file}:", f":{len(volume.uri)}:{volume.uri}"
    hashes, ids = pl.col(HASH).str.head(HASH_DIGITS).fill_null(""), pl.col(ID).cast(pl.String)
    parts = (pl.lit(begin), pl.col("row"), pl.lit(":"), hashes, pl.lit(address), ids)
    return samples.select(pl.concat_str(*parts)).to_series()


def read_cell(cell: str) -> memoryview:
    """Return the bytes of the sample that a cell names.

    Raises:
        DamagedDataError: if they do not match their hash.
        VolumeError, StorageError: if the version cannot be opened.
    """
    parsed = _parse(cell)
    try:
        return _open_reader(parsed.uri).read(parsed.file, parsed.row)
    except IndexError:
        raise VolumeError(f"{parsed.uri!r} has no such sample: {cell!r}.") from None


def cell_hash(cell: str) -> bytes:
    """The first bytes of the BLAKE3 hash of the sample that a cell names."""
    return bytes.fromhex(_parse(cell).hash)


def is_remote(cell: str) -> bool:
    """Whether the volume of a cell is in a bucket, and not in a folder."""
    return "://" in _parse(cell).uri


def name_cell(cell: str) -> str:
    """The sample that a cell names, for messages."""
    try:
        parsed = _parse(cell)
    except VolumeError:
        return cell
    return f"{parsed.id} of {parsed.uri.rsplit('/', 1)[-1]}"


def _parse(cell: str) -> _Cell:
    try:
        file, row, hash_, n_uri, rest = cell.removeprefix(VOLUME_SCHEME).split(":", 4)
        return _Cell(int(file), int(row), hash_, rest[: int(n_uri)], rest[int(n_uri) :])
    except ValueError:
        raise VolumeError(f"{cell!r} names no sample of a volume. Add the images to a volume, and name that.") from None
