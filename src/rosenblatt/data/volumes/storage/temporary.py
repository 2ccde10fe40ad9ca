"""What an addition keeps outside of memory: temporary files without a name, which vanish with the process."""

from __future__ import annotations

import io
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import polars as pl

from rosenblatt.errors import StorageError

MAX_MEMORY_BYTES = 1 << 26  # of frames that are kept in memory


@contextmanager
def temporary_errors() -> Iterator[None]:
    """Raise errors of temporary files as StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"Temporary files cannot be written to {tempfile.gettempdir()!r}: {error.strerror or error}. Free space "
            "there, or name another folder with TMPDIR."
        ) from error


class FrameFile:
    """Frames that are kept in a temporary file once they are more than a few, and read again in any order."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(MAX_MEMORY_BYTES)  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._file.close)
        self._ends = [0]

    def __len__(self) -> int:
        """The number of frames."""
        return len(self._ends) - 1

    def append(self, frame: pl.DataFrame) -> None:
        """Add a frame. Raises StorageError."""
        buffer = io.BytesIO()
        frame.write_ipc(buffer, compression="lz4")
        with temporary_errors():
            self._file.seek(self._ends[-1])
            self._file.write(buffer.getbuffer())
            self._file.flush()
        self._ends.append(self._file.tell())

    def read(self, number: int) -> pl.DataFrame:
        """Read a frame by its number."""
        start, end = self._ends[number : number + 2]
        with temporary_errors():
            self._file.seek(start)
            content = self._file.read(end - start)
        return pl.read_ipc(io.BytesIO(content))
