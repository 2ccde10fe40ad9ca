"""Find the contents that the packs of a root hold already, so that equal content is stored once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np
import polars as pl

from rosenblatt.data.volumes.columns import HASH, OFFSET, PACK
from rosenblatt.data.volumes.storage.hash_index import HashIndex
from rosenblatt.data.volumes.storage.log import DataFile
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.storage.pack_writer import StoredPlace
from rosenblatt.data.volumes.storage.temporary import FrameFile

PACK_NAME_CHARACTERS = 64  # linked files have URIs, which begin with their scheme
_PREFIX = 16  # hexadecimal digits of a hash that the index knows
_PLACES = {HASH: pl.String(), PACK: pl.String(), OFFSET: pl.Int64()}


class StoredContents:
    """Where contents are, by hash. Memory is 16 bytes a content at most, see `HashIndex`."""

    def __init__(self) -> None:
        self._index, self._added = HashIndex(), FrameFile()
        self._readers: list[Callable[[], pl.DataFrame]] = []  # of the files of the index

    def add_files(self, files: MetadataFiles, data_files: Iterable[DataFile]) -> None:
        """Add the contents of metadata files, without those that were erased or are linked. Raises VolumeError."""
        for file, rows in files.read_all_places(data_files, [HASH, PACK], skip_erased=True):
            is_stored = rows[PACK].str.len_bytes() == PACK_NAME_CHARACTERS
            self._index.add(_prefixes(rows[HASH].filter(is_stored)), is_stored.arg_true().to_numpy())
            self._readers.append(partial(files.read_places, file, list(_PLACES)))

    def optimize(self) -> None:
        """Make searches fast after many files were added. Raises StorageError."""
        self._index.optimize()

    def add(self, places: Mapping[str, StoredPlace]) -> None:
        """Add contents that were stored meanwhile. Raises StorageError if a temporary file cannot be written."""
        if places:
            rows = places_frame(places)
            self._index.add(_prefixes(rows[HASH]), np.arange(rows.height))
            self._readers.append(partial(self._added.read, len(self._added)))
            self._added.append(rows)

    def may_hold(self, hash_: str) -> bool:
        """Whether a content is stored, or another one whose hash begins in the same way."""
        return int(hash_[:_PREFIX], 16) in self._index

    def find(self, hashes: pl.Series) -> dict[str, StoredPlace]:
        """Where those contents are that are stored, by hash. Raises VolumeError if their metadata cannot be read."""
        found = dict[str, StoredPlace]()
        for match in self._index.find(_prefixes(hashes)):
            if all(hash_ in found for hash_ in hashes[match.queries]):
                continue  # earlier files, such as those of the version before, hold them
            rows = self._readers[match.file]()[match.rows]
            for hash_, pack, offset in rows.filter(rows[HASH] == hashes[match.queries]).rows():
                found.setdefault(hash_, StoredPlace(pack, offset))
        return found


def _prefixes(hashes: pl.Series) -> np.ndarray:
    return hashes.str.head(_PREFIX).str.to_integer(base=16, dtype=pl.UInt64).to_numpy()


def places_frame(places: Mapping[str, StoredPlace]) -> pl.DataFrame:
    """Places as the columns hash, pack and offset."""
    return pl.DataFrame([(hash_, *place) for hash_, place in places.items()], schema=_PLACES, orient="row")
