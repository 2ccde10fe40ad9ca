"""The bytes of samples in files or in memory, as columns rather than as an object for each sample."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from rosenblatt.data.volumes.columns import LENGTH, OFFSET, PACK
from rosenblatt.errors import StorageError, VolumeError

PATH, SIZE, MTIME, CTIME, INODE = "path", "size", "mtime_ns", "ctime_ns", "inode"
FILE_SCHEMA = pl.Schema(
    {PATH: pl.String, OFFSET: pl.Int64, LENGTH: pl.Int64, SIZE: pl.Int64, MTIME: pl.Int64, CTIME: pl.Int64,
     INODE: pl.UInt64}
)  # fmt: skip
_OPEN_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
MAX_EXTENSION = 8  # characters of the ending of a file name
MAX_READ_ATTEMPTS = 3  # of a file that changes while it is read


def file_extension(name: str) -> str:
    """The ending of a file name in lower case without its dot, if it is one that any system has."""
    stem, _, ending = name.rpartition("/")[2].rpartition(".")
    return ending.lower() if stem and ending.isascii() and ending.isalnum() and len(ending) <= MAX_EXTENSION else ""


def file_extensions(names: pl.Series) -> pl.Series:
    """The endings of file names, as `file_extension` gives them."""
    return names.str.extract(rf"[^/]\.([0-9A-Za-z]{{1,{MAX_EXTENSION}}})$").str.to_lowercase().fill_null("")


class FileContents:
    """Samples that are whole local files, or parts of them.

    Args:
        frame: `FILE_SCHEMA`; each file as it was listed, with absolute paths.
        names: relative names of the samples, for messages and extensions; the paths by default.
    """

    def __init__(self, frame: pl.DataFrame, names: pl.Series | None = None) -> None:
        self._frame, self._names = frame, frame[PATH] if names is None else names
        self._changed = set[int]()

    @property
    def locations(self) -> pl.DataFrame:
        """Where the bytes are: file:// URIs."""
        return self._frame.select(_uris(self._frame[PATH]).alias(PACK), OFFSET, LENGTH)

    @property
    def stats(self) -> pl.DataFrame:
        """The files as they were listed; the times of files that changed since then are null."""
        if not self._changed:
            return self._frame
        is_changed = pl.int_range(pl.len()).is_in(list(self._changed))
        return self._frame.with_columns(pl.when(~is_changed).then(MTIME).alias(MTIME))

    @cached_property
    def _rows(self) -> list[tuple[Any, ...]]:
        return self._frame.rows()

    @cached_property
    def _extensions(self) -> list[str]:
        return file_extensions(self._names).to_list()

    def __len__(self) -> int:
        return self._frame.height

    def __getitem__(self, rows: slice) -> FileContents:
        return FileContents(self._frame[rows], self._names[rows])

    def name(self, row: int) -> str:
        """The path of the file."""
        return str(self._names[row])

    def extension(self, row: int) -> str:
        """The ending of its name."""
        return self._extensions[row]

    def read(self, row: int) -> bytes:
        """The bytes, of one state of the file. Raises VolumeError or StorageError."""
        path, offset, length, *state = self._rows[row]
        try:
            content = _read_unchanged(path, offset, length, state)
            for _ in range(MAX_READ_ATTEMPTS if content is None else 0):
                self._changed.add(row)
                content = _read_part(path, offset, length, is_whole=length == state[0])
                if content is not None:
                    break
        except FileNotFoundError:
            raise VolumeError(f"{self.name(row)!r} was removed after the folder was listed. Add it again.") from None
        except OSError as error:
            raise StorageError(f"{path!r} cannot be read: {error.strerror or error}. Check its permissions.") from error
        if content is None:
            raise VolumeError(
                f"{self.name(row)!r} changes while it is read. Add it again when no program writes to it."
            )
        return content


def _uris(paths: pl.Series) -> pl.Series:
    """The file:// URIs of absolute paths."""
    uris = "file://" + paths
    others = (~paths.str.contains(r"^/[A-Za-z0-9_.~/-]*$")).arg_true()  # with characters that are quoted
    return uris.scatter(others, [Path(path).as_uri() for path in paths[others]]) if len(others) else uris


def _read_unchanged(path: str, offset: int, length: int, listed: Sequence[int]) -> bytes | None:
    """Read a part of a file; None if its state is not what was listed."""
    descriptor = os.open(path, os.O_RDONLY | _OPEN_FLAGS)
    try:
        if offset:
            os.lseek(descriptor, offset, os.SEEK_SET)
        content, status = os.read(descriptor, length), os.fstat(descriptor)
    finally:
        os.close(descriptor)
    is_same = len(content) == length and [*file_state(status)] == listed
    return content if is_same else None


def _read_part(path: str, offset: int, length: int, *, is_whole: bool) -> bytes | None:
    """Read a part of a file; None if its state changes meanwhile, or if the file ends before the part does.

    Args:
        path: the file.
        offset: of the part.
        length: of the part.
        is_whole: whether the part is the whole file, whatever its size is now.
    """
    descriptor = os.open(path, os.O_RDONLY | _OPEN_FLAGS)
    try:
        state = file_state(os.fstat(descriptor))
        os.lseek(descriptor, offset, os.SEEK_SET)
        parts, n_left = list[bytes](), state[0] if is_whole else length
        while n_left and (part := os.read(descriptor, n_left)):
            parts.append(part)
            n_left -= len(part)
        is_same = not n_left and file_state(os.fstat(descriptor)) == state
    finally:
        os.close(descriptor)
    return b"".join(parts) if is_same else None


def file_state(status: os.stat_result) -> tuple[int, ...]:
    """What `FILE_SCHEMA` records of a file beside its place."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


class BytesContents:
    """Samples whose bytes are in memory."""

    def __init__(self, cells: pl.Series, extensions: Sequence[str], names: Sequence[str]) -> None:
        self._cells, self._extensions, self._names = cells, extensions, names

    locations = stats = None

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, rows: slice) -> BytesContents:
        return BytesContents(self._cells[rows], self._extensions[rows], self._names[rows])

    def name(self, row: int) -> str:
        """The id of the sample."""
        return self._names[row]

    def extension(self, row: int) -> str:
        """The format of the sample, as its first bytes show it."""
        return self._extensions[row]

    def read(self, row: int) -> bytes:
        """The bytes of a sample."""
        return bytes(self._cells[row])
