"""The bytes of samples in files or in memory, as columns rather than as an object for each sample."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import polars as pl

from rosenblatt.data.volumes.columns import LENGTH, OFFSET, PACK
from rosenblatt.errors import StorageError, VolumeError

PATH, SIZE, MTIME, CTIME, INODE = "path", "size", "mtime_ns", "ctime_ns", "inode"
FILE_SCHEMA = pl.Schema(
    {PATH: pl.String, OFFSET: pl.Int64, LENGTH: pl.Int64, SIZE: pl.Int64, MTIME: pl.Int64, CTIME: pl.Int64,
     INODE: pl.UInt64}
)  # fmt: skip
MAX_READ_ATTEMPTS = 3  # of a file that changes while it is read


def file_extension(name: str) -> str:
    """The ending of a file name in lower case without its dot."""
    return PurePosixPath(name).suffix[1:].lower()


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
        uris = pl.Series(PACK, [Path(path).as_uri() for path in self._frame[PATH]], pl.String)
        return self._frame.select(uris, OFFSET, LENGTH)

    @property
    def stats(self) -> pl.DataFrame:
        """The files as they were listed; the times of files that changed since then are null."""
        if not self._changed:
            return self._frame
        is_changed = pl.int_range(pl.len()).is_in(list(self._changed))
        return self._frame.with_columns(pl.when(~is_changed).then(MTIME).alias(MTIME))

    def __len__(self) -> int:
        return self._frame.height

    def __getitem__(self, rows: slice) -> FileContents:
        return FileContents(self._frame[rows], self._names[rows])

    def name(self, row: int) -> str:
        """The path of the file."""
        return str(self._names[row])

    def extension(self, row: int) -> str:
        """The ending of its name."""
        return file_extension(self._names[row])

    def read(self, row: int) -> bytes:
        """The bytes, of one state of the file. Raises VolumeError or StorageError."""
        path, offset, length, *listed = self._frame.row(row)
        try:
            for _ in range(MAX_READ_ATTEMPTS):
                with Path(path).open("rb", buffering=0) as file:
                    before = os.fstat(file.fileno())
                    is_whole = offset == 0 and length == listed[0]
                    content = file.readall() if is_whole else os.pread(file.fileno(), length, offset)
                    after = os.fstat(file.fileno())
                if file_state(before) == file_state(after) and len(content) == (after.st_size if is_whole else length):
                    if file_state(after) != tuple(listed):
                        self._changed.add(row)
                    return content
        except FileNotFoundError:
            raise VolumeError(f"{self.name(row)!r} was removed after the folder was listed. Add it again.") from None
        except OSError as error:
            raise StorageError(f"{path!r} cannot be read: {error.strerror or error}. Check its permissions.") from error
        raise VolumeError(f"{self.name(row)!r} changes while it is read. Add it again when no program writes to it.")


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
