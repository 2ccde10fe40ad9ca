"""Reading files of others: sizes are checked before memory is used, and damage is one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from rosenblatt.errors import ExportError, StorageError

MAX_BYTES = 2**31  # of a file, or of what an archive holds
MAX_ENTRIES = 10_000  # of an archive
MAX_REASON_LENGTH = 200  # characters of an error in a message
DAMAGE = (  # errors from content that does not follow its format
    LookupError, TypeError, ValueError, ArithmeticError, AttributeError, AssertionError, RecursionError, MemoryError,
    OSError, EOFError, BadZipFile, NotImplementedError, RuntimeError,
)  # fmt: skip


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises StorageError if there is none, and ExportError if it is too large."""
    check_size(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error


def check_size(path: Path) -> None:
    """Raise StorageError if there is no such file, and ExportError if it is too large."""
    if not path.is_file():
        raise StorageError(f"There is no file {str(path)!r}. Check its name and folder.")
    if path.stat().st_size > MAX_BYTES:
        raise ExportError(f"{str(path)!r} has {path.stat().st_size / 2**30:.1f} GiB, but at most 2 GiB are read.")


@contextmanager
def reports_damage(path: Path, kind: str) -> Iterator[None]:
    """Turn errors from a damaged file into one sentence."""
    try:
        yield
    except DAMAGE as error:
        reason = next(iter(str(error).splitlines()), "")[:MAX_REASON_LENGTH] or type(error).__name__
        raise ExportError(f"{str(path)!r} is damaged, or not {kind} ({reason}).") from error


@contextmanager
def open_archive(path: Path, kind: str) -> Iterator[ZipFile]:
    """A ZIP archive whose content is not larger than `MAX_BYTES`. Raises as `check_size` and `reports_damage`."""
    check_size(path)
    with reports_damage(path, kind), ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_BYTES:
            raise ExportError(f"{str(path)!r} holds more than 2 GiB, or more than {MAX_ENTRIES:,} files.")
        yield archive


def read_json(archive: ZipFile, name: str) -> Any:
    """A file of JSON in an archive."""
    return json.loads(archive.read(name))


def as_vector(values: np.ndarray) -> np.ndarray:
    """A parameter of one axis, or with others of length 1, as (n,) float64."""
    if values.size != max(values.shape, default=1):
        raise ValueError(f"a vector is expected, but the shape is {values.shape}")
    return np.asarray(values, np.float64).reshape(-1)


def array_from_bytes(content: bytes, dtype: np.dtype[Any], shape: Sequence[int]) -> np.ndarray:
    """An array whose bytes have exactly this shape."""
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{len(content):,} bytes are not an array of shape {tuple(shape)}")
    return np.frombuffer(content, dtype).reshape(shape)
