"""What folders and buckets share: the description of an object, and checks of paths and ranges."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from rosenblatt.errors import DamagedDataError, StorageError

CHUNK_BYTES = 1 << 20  # of a stream
MAX_GAP_BYTES = 1 << 16  # between ranges that are read together


@dataclass(frozen=True)
class ObjectInfo:
    """What a root knows of an object."""

    path: str
    size: int  # in bytes
    modified: float  # in seconds since 1970
    etag: str | None


def check_path(path: str) -> None:
    """Check that a path leads from a root to an object below it. Raises StorageError."""
    has_control_characters = any(character < " " or character == "\x7f" for character in path)
    if has_control_characters or any(name in ("", ".", "..") or os.sep in name for name in path.split("/")):
        raise StorageError(f"{path!r} is no path of an object. Give printable names, joined by slashes.")


def check_lengths(place: str, parts: Sequence[bytes], lengths: Sequence[int]) -> None:
    """Check that parts of an object are whole. Raises DamagedDataError."""
    if any(len(part) != length for part, length in zip(parts, lengths, strict=True)):
        raise truncated_error(place)


def truncated_error(place: str) -> DamagedDataError:
    """The error of an object that ends before a part of it does."""
    return DamagedDataError(f"{place!r} is damaged: it ends too early. Run `rosenblatt data verify` and `repair`.")


def merge_ranges(starts: Sequence[int], lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Merge ranges with small gaps between them into the (start, end) of the ranges to read, in ascending order.

    >>> merge_ranges([200_000, 0, 50], [10, 5, 5])
    [(0, 55), (200000, 200010)]
    """
    merged: list[tuple[int, int]] = []
    for start, length in sorted(zip(starts, lengths, strict=True)):
        if merged and start - merged[-1][1] <= MAX_GAP_BYTES:
            merged[-1] = merged[-1][0], max(merged[-1][1], start + length)
        elif length:
            merged.append((start, start + length))
    return merged
