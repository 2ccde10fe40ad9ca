"""Decompress files as streams within bounds, so that no small file can fill the memory (a decompression bomb)."""

from __future__ import annotations

import io
from typing import Protocol

from rosenblatt.data.free_memory import free_memory
from rosenblatt.errors import TableError

MAX_RATIO = 200  # unpacked bytes for each packed one; tables of text compress to between a third and a hundredth
MIN_CHECKED_BYTES = 100_000_000  # up to this size any ratio is accepted
MEMORY_FRACTION = 0.5  # of the free memory that unpacked files may take; their table needs memory as well
CHUNK_BYTES = 1 << 20


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class UnpackingLimit:
    """Bounds the bytes that are unpacked from one file; raises TableError when they are exceeded.

    Args:
        name: The packed file, for messages.
        packed_bytes: Its size.
    """

    def __init__(self, name: str, packed_bytes: int) -> None:
        self._name, self._packed_bytes = name, packed_bytes
        self._max_bytes = int(free_memory() * MEMORY_FRACTION)
        self._sizes: dict[str, int] = {}  # unpacked bytes by member; members may be read several times

    def read(self, stream: _Readable, member: str = "") -> bytes:
        """Read a stream of unpacked bytes to its end."""
        content = io.BytesIO()
        others = sum(size for name, size in self._sizes.items() if name != member)
        while chunk := stream.read(CHUNK_BYTES):
            content.write(chunk)
            self._check_ratio(others + content.tell())
            self.check_memory(others + content.tell())
        self._sizes[member] = content.tell()
        return content.getvalue()

    def check_memory(self, total: int) -> None:
        """Raise TableError if this many unpacked bytes do not fit."""
        if total > self._max_bytes:
            raise TableError(
                f"{self._name!r} of {self._packed_bytes:,} bytes unpacks to {total:,} bytes or more, but "
                f"{self._max_bytes:,} bytes fit, half of the free memory. Use a part of the data, or a machine with "
                "more memory."
            )

    def _check_ratio(self, total: int) -> None:
        if total > max(MAX_RATIO * self._packed_bytes, MIN_CHECKED_BYTES):
            raise TableError(
                f"{self._name!r} of {self._packed_bytes:,} bytes unpacks to {total:,} bytes or more, like a "
                "decompression bomb. If you trust it, unpack it and give the unpacked files."
            )
