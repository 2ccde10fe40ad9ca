"""Typed columns of images, texts and sequences, and their array forms, from which batches are taken.

A typed table marks such a column by a struct whose first field is named for its kind: `image` (a path or the content
of a file), `text`, or `sequence` (float32 numbers, step after step) with `channels`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
import polars as pl

from rosenblatt.data.media.contents import hash_content, is_sample
from rosenblatt.data.media.images import ImageDataset
from rosenblatt.errors import TableError
from rosenblatt.spec.fields import MediumKind

MEDIA_KINDS: tuple[MediumKind, ...] = get_args(MediumKind)


@dataclass(frozen=True)
class RaggedSequences:
    """Sequences of unequal lengths, end to end: row i is `values[starts[i] : starts[i + 1]]`."""

    values: np.ndarray  # (steps, channels) float32, or (steps,) int32 tokens
    starts: np.ndarray  # (n + 1,) int64
    max_length: int  # maximum number of steps of a row

    @classmethod
    def from_rows(cls, rows: Sequence[np.ndarray], max_length: int, keep_end: bool) -> RaggedSequences:
        """Join rows (T,) or (T, channels), each cut to `max_length` steps; an empty row becomes one step of zeros.

        Args:
            keep_end: whether the last steps of a long row are kept, instead of the first.
        """
        truncated = [row[-max_length:] if keep_end else row[:max_length] for row in rows]
        shape = rows[0].shape[1:] if len(rows) else ()
        truncated = [row if len(row) else np.zeros((1, *shape), row.dtype) for row in truncated]
        lengths = np.array([len(row) for row in truncated], np.int64)
        values = np.concatenate(truncated) if truncated else np.zeros((0, *shape), np.float32)
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]), max_length)

    @cached_property
    def lengths(self) -> np.ndarray:
        """The number of steps of each row, (n,)."""
        return np.diff(self.starts)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.values.nbytes + self.starts.nbytes


@dataclass(frozen=True)
class EncodedInputs:
    """Network inputs of rows: a matrix of numbers, and an array form of each image, text or sequence column."""

    x: np.ndarray  # (n, F) float32
    media: tuple[ImageDataset | RaggedSequences, ...]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.x)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.x.nbytes + sum(medium.nbytes for medium in self.media)


def medium_kind(dtype: pl.DataType | type[pl.DataType]) -> MediumKind | None:
    """Whether a typed column holds images, texts or sequences; None for all other columns."""
    name = dtype.fields[0].name if isinstance(dtype, pl.Struct) and dtype.fields else ""
    return name if name in MEDIA_KINDS else None


def media_kinds(frame: object) -> list[MediumKind]:
    """The kinds of the image, text and sequence columns of a typed table."""
    return [kind for kind in map(medium_kind, frame.dtypes) if kind] if isinstance(frame, pl.DataFrame) else []


def holds_samples(frame: object) -> bool:
    """Whether images of a typed table are samples of a volume."""
    columns = frame.get_columns() if isinstance(frame, pl.DataFrame) else []
    images = [series.struct.field("image") for series in columns if medium_kind(series.dtype) == "image"]
    return any(len(cells) and is_sample(cells[0]) for cells in images)


def to_media_column(series: pl.Series, kind: MediumKind) -> pl.Series:
    """Convert a column of a table to a typed column of images, texts or sequences.

    Raises TableError if a cell holds something else.
    """
    if medium_kind(series.dtype) == kind:
        return series
    if kind == "text":
        return series.cast(pl.String).fill_null("").to_frame("text").to_struct(series.name)
    if kind == "image":
        if isinstance(series.dtype, pl.Struct) and "bytes" in series.struct.fields:  # the format of Hugging Face
            series = series.struct.field("bytes").alias(series.name)
        if series.dtype not in (pl.String, pl.Binary) or series.has_nulls():
            content = "empty cells" if series.has_nulls() else f"{series.dtype} cells"
            raise TableError(f"Column {series.name!r} must hold paths or contents of images, but holds {content}.")
        return series.to_frame("image").to_struct(series.name)
    return sequence_column(series.name, *_parse_sequences(series))


def _parse_sequences(series: pl.Series) -> tuple[list[np.ndarray], int]:
    """The sequences (T, channels) of a column of lists, and their number of channels."""
    rows = [_parse_sequence(series.name, row_number, cell) for row_number, cell in enumerate(series.to_list(), 1)]
    widths = {row_number: row.shape[1] for row_number, row in enumerate(rows, 1) if row.size}
    first, channels = next(iter(widths.items()), (0, 1))
    for row_number, width in widths.items():
        if width != channels:
            raise TableError(
                f"Column {series.name!r}: row {row_number} has {width} numbers per step, but row {first} has "
                f"{channels}. Give all rows the same."
            )
    return [row if row.size else np.zeros((0, channels), np.float32) for row in rows], channels


def _parse_sequence(name: str, row_number: int, cell: list[object] | None) -> np.ndarray:
    """A sequence (T, channels) from a list of numbers, or a list of steps with several numbers each."""
    steps = [list(step.values()) if isinstance(step, dict) else step for step in cell or []]
    try:
        row = np.array(steps, np.float32)
    except (ValueError, TypeError):
        raise TableError(
            f"Column {name!r} must hold sequences of numbers, or of steps with equally many numbers each, but row "
            f"{row_number} holds {str(cell)[:60]!r}."
        ) from None
    return row.reshape(len(row), -1) if row.size else row.reshape(0, 0)


def row_hashes(frame: pl.DataFrame) -> np.ndarray:
    """A hash of each row of a typed table, (n,) uint64; images are hashed by content, not by path."""
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if medium_kind(dtype) == "image":
            hashes = [hash_content(cell, _hash_bytes) for cell in frame[name].struct.field("image")]
            frame = frame.with_columns(pl.Series(name, hashes, pl.Binary))
    return np.ascontiguousarray(frame.hash_rows().to_numpy())


def _hash_bytes(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def sequence_column(name: str, rows: Sequence[np.ndarray], channels: int) -> pl.Series:
    """A typed column of sequences (T, channels)."""
    cells = [np.ascontiguousarray(row, np.float32).tobytes() for row in rows]
    return pl.DataFrame(
        {"sequence": pl.Series(cells, dtype=pl.Binary), "channels": pl.Series([channels] * len(cells), dtype=pl.Int32)}
    ).to_struct(name)


def sequences_from_column(series: pl.Series) -> list[np.ndarray]:
    """The sequences (T, channels) float32 of a typed column."""
    cells, channels = series.struct.field("sequence"), series.struct.field("channels")
    return [
        np.frombuffer(cell or b"", np.float32).reshape(-1, max(n_channels or 1, 1))
        for cell, n_channels in zip(cells, channels, strict=True)
    ]
