"""Columns of images, sequences and texts, and their array forms from which batches of rows are taken.

A typed table marks such a column by a struct of one kind: `image` (the path or the content of a file), `text`, or
`steps` with `channels` (float32 numbers, step after step).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from rosenblatt.data.media.images import ImageDataset
from rosenblatt.errors import TableError

MEDIA_KINDS = ("image", "text", "sequence")


@dataclass(frozen=True)
class RaggedSequences:
    """Sequences of unequal lengths, one after the other: those of row i are from starts[i] to starts[i + 1]."""

    values: np.ndarray  # (steps, channels) float32, or (steps,) int32 tokens
    starts: np.ndarray  # (n + 1,) int64
    max_length: int  # steps that a row can have

    @classmethod
    def from_rows(cls, rows: Sequence[np.ndarray], max_length: int, keep_end: bool) -> RaggedSequences:
        """The rows, cut to so many steps; what has none gets one of zeros, so that every row says something."""
        truncated = [row[-max_length:] if keep_end else row[:max_length] for row in rows]
        shape = rows[0].shape[1:] if len(rows) else ()
        truncated = [row if len(row) else np.zeros((1, *shape), row.dtype) for row in truncated]
        lengths = np.array([len(row) for row in truncated], np.int64)
        values = np.concatenate(truncated) if truncated else np.zeros((0, *shape), np.float32)
        return cls(values, np.concatenate([[0], np.cumsum(lengths)]), max_length)

    @cached_property
    def lengths(self) -> np.ndarray:
        """(n,) steps of each row."""
        return np.diff(self.starts)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.values.nbytes + self.starts.nbytes


@dataclass(frozen=True)
class EncodedInputs:
    """What networks are given of some rows: plain numbers, and for each image, sequence or text column its own form."""

    x: np.ndarray  # (n, F) float32
    media: tuple[ImageDataset | RaggedSequences, ...]

    def __len__(self) -> int:
        """Rows."""
        return len(self.x)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.x.nbytes + sum(medium.nbytes for medium in self.media)


def medium_type(dtype: pl.DataType | type[pl.DataType]) -> str:
    """What a typed column marks as an image, a text or a sequence; nothing for all others."""
    if not isinstance(dtype, pl.Struct):
        return ""
    first = dtype.fields[0].name
    return {"image": "image", "text": "text", "steps": "sequence"}.get(first, "")


def media_types(frame: object) -> list[str]:
    """What the columns of images, sequences and texts of a typed table hold."""
    return [kind for kind in map(medium_type, frame.dtypes) if kind] if isinstance(frame, pl.DataFrame) else []


def has_media(frame: object) -> bool:
    """Whether a typed table has a column of images, sequences or texts."""
    return bool(media_types(frame))


def to_media_column(series: pl.Series, kind: str) -> pl.Series:
    """A column of a table as typed images, texts or sequences. Raises TableError for cells that are none."""
    if medium_type(series.dtype) == kind:
        return series
    if kind == "text":
        return series.cast(pl.String).fill_null("").to_frame("text").to_struct(series.name)
    if kind == "image":
        if isinstance(series.dtype, pl.Struct) and "bytes" in series.struct.fields:  # as Hugging Face writes them
            series = series.struct.field("bytes").alias(series.name)
        if series.dtype not in (pl.String, pl.Binary) or series.has_nulls():
            content = "empty cells" if series.has_nulls() else f"{series.dtype} cells"
            raise TableError(f"Column {series.name!r} must hold paths or contents of images, but holds {content}.")
        return series.to_frame("image").to_struct(series.name)
    return sequence_column(series.name, *_sequences(series))


def _sequences(series: pl.Series) -> tuple[list[np.ndarray], int]:
    """The sequences (T, channels) of lists of numbers, or of lists of as many numbers each."""
    rows = list[np.ndarray]()
    for row_number, cell in enumerate(series.to_list(), 1):
        steps = [] if cell is None else cell
        steps = [list(step.values()) if isinstance(step, dict) else step for step in steps]
        try:
            row = np.array(steps, np.float32)
        except (ValueError, TypeError):
            raise TableError(
                f"Column {series.name!r} must hold sequences of numbers, or of steps with as many numbers each, but "
                f"row {row_number} holds {str(cell)[:60]!r}."
            ) from None
        rows.append(row.reshape(len(row), -1) if row.size else row.reshape(0, 0))
    channels = max((row.shape[1] for row in rows), default=1) or 1
    mismatched_row = next(
        (row_number for row_number, row in enumerate(rows, 1) if row.size and row.shape[1] != channels), None
    )
    if mismatched_row:
        raise TableError(
            f"Column {series.name!r}: row {mismatched_row} has {rows[mismatched_row - 1].shape[1]} numbers a step, but "
            f"others have {channels}. Give all the same."
        )
    return [row if row.size else np.zeros((0, channels), np.float32) for row in rows], channels


def row_hashes(frame: pl.DataFrame) -> np.ndarray:
    """(n,) uint64: a hash of each row of a typed table; images go by their content, wherever they lie."""
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if medium_type(dtype) == "image":
            contents = [
                hashlib.blake2b(Path(cell).read_bytes() if isinstance(cell, str) else cell, digest_size=16).digest()
                for cell in frame[name].struct.field("image")
            ]
            frame = frame.with_columns(pl.Series(name, contents, pl.Binary))
    return np.ascontiguousarray(frame.hash_rows().to_numpy())


def sequence_column(name: str, rows: Sequence[np.ndarray], channels: int) -> pl.Series:
    """A typed column of sequences (T, channels)."""
    cells = [np.ascontiguousarray(row, np.float32).tobytes() for row in rows]
    return pl.DataFrame(
        {"steps": pl.Series(cells, dtype=pl.Binary), "channels": pl.Series([channels] * len(cells), dtype=pl.Int32)}
    ).to_struct(name)


def sequences_from_column(series: pl.Series) -> list[np.ndarray]:
    """The sequences (T, channels) float32 of a typed column."""
    cells, channels = series.struct.field("steps"), series.struct.field("channels")
    return [
        np.frombuffer(cell or b"", np.float32).reshape(-1, max(n_channels or 1, 1))
        for cell, n_channels in zip(cells, channels, strict=True)
    ]
