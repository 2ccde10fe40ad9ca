"""Find the contents that the packs of a root hold already, so that equal content is stored once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import polars as pl

from rosenblatt.data.volumes.columns import HASH, PACK
from rosenblatt.data.volumes.storage.hash_index import HashIndex
from rosenblatt.data.volumes.storage.log import DataFile
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.storage.pack_writer import STORED_SCHEMA
from rosenblatt.data.volumes.storage.packs import PACK_NAME
from rosenblatt.data.volumes.storage.temporary import FrameFile

_PREFIX = 16  # hexadecimal digits of a hash that the index knows


class StoredContents:
    """Where contents are, by hash. Memory is 16 bytes a content at most, see `HashIndex`."""

    def __init__(self) -> None:
        self._index, self._added = HashIndex(), FrameFile()
        self._readers: list[Callable[[], pl.DataFrame]] = []  # of the files of the index

    def add_files(self, files: MetadataFiles, data_files: Iterable[DataFile]) -> None:
        """Add the contents of metadata files, without those that were erased or are linked. Raises VolumeError."""
        for file, rows in files.read_all_places(data_files, [HASH, PACK], skip_erased=True):
            is_stored = rows[PACK].str.contains(PACK_NAME).fill_null(value=False)
            self._index.add(_prefixes(rows[HASH].filter(is_stored)), is_stored.arg_true().to_numpy())
            self._readers.append(partial(files.read_places, file, list(STORED_SCHEMA)))

    def optimize(self) -> None:
        """Make searches fast after many files were added. Raises StorageError."""
        self._index.optimize()

    def add(self, places: pl.DataFrame) -> None:
        """Add contents that were stored meanwhile. Raises StorageError if a temporary file cannot be written.

        Args:
            places: `STORED_SCHEMA`.
        """
        if places.height:
            self._index.add(_prefixes(places[HASH]), np.arange(places.height))
            self._readers.append(partial(self._added.read, len(self._added)))
            self._added.append(places)

    def may_hold(self, hashes: Sequence[str]) -> list[bool]:
        """Which contents are stored, or others whose hashes begin in the same way."""
        prefixes = np.fromiter((int(hash_[:_PREFIX], 16) for hash_ in hashes), np.uint64, len(hashes))
        is_found: list[bool] = self._index.contains(prefixes).tolist()
        return is_found

    def find(self, hashes: pl.Series) -> pl.DataFrame:
        """Where those contents are that are stored: `STORED_SCHEMA`. Raises VolumeError if metadata cannot be read."""
        parts, located = [pl.DataFrame(schema=STORED_SCHEMA)], set[str]()
        for match in self._index.find(_prefixes(hashes)):
            if located.issuperset(hashes[match.queries]):
                continue  # earlier files, such as those of the version before, hold them
            rows = self._readers[match.file]()[match.rows]
            parts.append(rows.filter(rows[HASH] == hashes[match.queries]))
            located.update(parts[-1][HASH])
        return pl.concat(parts).unique(HASH, keep="first", maintain_order=True)


def _prefixes(hashes: pl.Series) -> np.ndarray:
    return hashes.str.head(_PREFIX).str.to_integer(base=16, dtype=pl.UInt64).to_numpy()
