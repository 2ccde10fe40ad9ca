"""Hashes of files that were read before, so that unchanged files are not read again.

    index = StatIndex.open("photos/")
    hashes = index.find(chunk.contents.stats)       # null for files that must be read
    index.record(chunk.contents.stats, hashes)      # after the others were read
    index.save(is_complete=True)

A file is unchanged if its path, size, times of change and inode are the same. Times are trusted only of files that were
left alone for two seconds before the index was opened: a later change might not show in them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from rosenblatt.data.volumes.columns import HASH, OFFSET
from rosenblatt.data.volumes.sources.contents import CTIME, FILE_SCHEMA, MTIME, PATH
from rosenblatt.data.volumes.storage.cache_folder import named_cache_folder
from rosenblatt.data.volumes.storage.hash_index import HashIndex
from rosenblatt.errors import StorageError

MIN_AGE_NS = 2_000_000_000  # of the last change of a file whose times are trusted
PART_ROWS = 1 << 16  # that are put into the index of hashes at a time
_KEYS = FILE_SCHEMA.names()
_SCHEMA = pl.Schema([*FILE_SCHEMA.items(), (HASH, pl.String())])


class StatIndex:
    """Hashes of the files of one source.

    Args:
        path: the file that keeps the index.
        rows: `FILE_SCHEMA` and `hash` of files that were read before.
        opened_ns: when the index was opened, in nanoseconds since 1970.
    """

    def __init__(self, path: Path, rows: pl.DataFrame, opened_ns: int) -> None:
        self._path, self._earlier, self._opened_ns, self._index = path, rows, opened_ns, HashIndex()
        for part in rows.select(_KEYS).iter_slices(PART_ROWS):
            self._index.add(part.hash_rows().to_numpy(), np.arange(part.height))
        self._index.optimize()
        self._current = [pl.DataFrame(schema=_SCHEMA)]

    @classmethod
    def open(cls, location: str | Path, folder: Path | None = None) -> Self:
        """Open the index of a source; one that is missing or damaged is empty.

        Args:
            location: the folder, file or address that is added.
            folder: where indexes are kept; by default a folder in the cache.

        Raises:
            StorageError: if the user has no home folder for the cache.
        """
        source = location if "://" in str(location) else os.path.realpath(location)
        name = hashlib.blake2b(os.fsencode(source), digest_size=16).hexdigest()
        path = (folder or named_cache_folder() / "indexes") / f"{name}.arrow"
        opened_ns = time.time_ns()
        try:
            status = path.stat()
            is_own = os.name != "posix" or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)
            rows = pl.read_ipc(path.read_bytes()) if is_own else pl.DataFrame(schema=_SCHEMA)
        except (OSError, pl.exceptions.PolarsError):
            rows = pl.DataFrame(schema=_SCHEMA)
        return cls(path, rows if rows.schema == _SCHEMA else pl.DataFrame(schema=_SCHEMA), opened_ns)

    def find(self, stats: pl.DataFrame) -> pl.Series:
        """The hash of each file (n,), null for those that are new or may have changed."""
        keys, hashes = stats.select(_KEYS), pl.repeat(None, stats.height, dtype=pl.String, eager=True).alias(HASH)
        for match in self._index.find(keys.hash_rows().to_numpy()):
            rows, wanted = self._earlier[match.file * PART_ROWS + match.rows], keys[match.queries]
            is_same = pl.select(pl.all_horizontal(rows[name] == wanted[name] for name in _KEYS)).to_series()
            is_same = is_same.fill_null(value=False)
            hashes.scatter(match.queries[is_same.to_numpy()], rows[HASH].filter(is_same))
        return hashes

    def record(self, stats: pl.DataFrame, hashes: pl.Series) -> None:
        """Keep the hashes of files as they were listed; files that were changed since, or just before, are left out."""
        rows = stats.select(_KEYS).with_columns(hashes.alias(HASH)).drop_nulls((MTIME, HASH))
        self._current.append(rows.filter(pl.max_horizontal(MTIME, CTIME) < self._opened_ns - MIN_AGE_NS))

    def save(self, *, is_complete: bool) -> None:
        """Write the index whole or not at all. If all files were recorded, others are forgotten.

        Raises:
            StorageError: if it cannot be written; then the files are read again next time.
        """
        rows = pl.concat(self._current)
        if not is_complete:
            rows = pl.concat([rows, self._earlier.join(rows, on=[PATH, OFFSET], how="anti")])
        part = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.part")
        try:
            part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with part.open("xb") as file:
                rows.write_ipc(file)
            part.replace(self._path)
        except OSError as error:
            raise StorageError(
                f"The index of files in {str(part.parent)!r} cannot be written: {error.strerror or error}. All files "
                "are read again next time."
            ) from error
        finally:
            with suppress(OSError):
                part.unlink()
