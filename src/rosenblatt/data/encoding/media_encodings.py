"""Encode typed columns of images, texts and sequences as network inputs; fitted on training rows."""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.encoding.vocabulary import Vocabulary
from rosenblatt.data.free_memory import free_memory
from rosenblatt.data.media.columns import RaggedSequences, sequences_from_column
from rosenblatt.data.media.images import ImageDataset, ResizeMode, channel_statistics, inspect_images
from rosenblatt.errors import TableError
from rosenblatt.spec.data import DataSpec
from rosenblatt.spec.fields import MediumKind

SAMPLE_SIZE = 1000  # images from which size and channel statistics are estimated; ten times as many for texts
MAX_AUTO_SIDE = 96  # largest image size that `auto` chooses, in pixels
LENGTH_QUANTILE = 0.99  # fraction of rows that `auto` does not truncate
MAX_AUTO_STEPS = 1000  # largest number of steps or tokens that `auto` chooses

InputShape = tuple[MediumKind, int, int, int]
"""Kind, channels (for texts the vocabulary size), height and width of an input, as in `InputSpec`."""


class FrozenModel(BaseModel):
    """Base of the encodings, which are saved with a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageEncoding(FrozenModel):
    """Encoding of a column of images: their size, and mean and standard deviation of each channel."""

    kind: Literal["image"] = "image"
    column: str
    side: int  # in pixels
    channels: int
    resize_mode: ResizeMode
    dtype: str
    center: tuple[float, ...]  # mean of each channel
    scale: tuple[float, ...]  # standard deviation of each channel, or 1 if it is constant

    @classmethod
    def fit(cls, column: str, cells: pl.Series, spec: DataSpec) -> ImageEncoding:
        """Fit to the images of the training rows.

        Raises TableError if one cannot be read, or if `auto` would shrink images of one row or column to one pixel.
        """
        sample = cells.gather_every(max(len(cells) // SAMPLE_SIZE, 1)).to_list()[:SAMPLE_SIZE]
        infos = inspect_images(sample)
        auto_side = min(int(np.median([min(info.height, info.width) for info in infos])), MAX_AUTO_SIDE)
        side = spec.image_size if spec.image_size != "auto" else auto_side
        longest = max(infos, key=lambda info: max(info.height, info.width))
        if spec.image_size == "auto" and side == 1 < max(longest.height, longest.width):
            raise TableError(
                f"Column {column!r} holds images of {longest.height} x {longest.width} pixels, which would be resized "
                "to one pixel. Set image_size, or give the pixels as columns of numbers or as sequences."
            )
        channels = {"grey": 1, "color": 3, "auto": max(info.channels for info in infos)}[spec.colors]
        dtype = "uint8" if all(info.is_uint8 for info in infos) else "float32"
        center, std = channel_statistics(sample, side, channels, spec.image_fit, dtype)
        return cls(
            column=column, side=side, channels=channels, resize_mode=spec.image_fit, dtype=dtype,
            center=tuple(center.tolist()), scale=_to_scale(std),
        )  # fmt: skip

    @property
    def input_shape(self) -> InputShape:
        """The shape of the network input."""
        return "image", self.channels, self.side, self.side

    def encode(self, cells: pl.Series) -> ImageDataset:
        """The images, kept in memory if they fit into half of the available memory."""
        return ImageDataset(
            cells.struct.field("image").to_list(), self.side, self.channels, self.resize_mode, self.dtype,
            self.center, self.scale, free_memory() / 2,
        )  # fmt: skip


class TextEncoding(FrozenModel):
    """Encoding of a column of texts as token ids; only the first `max_length` tokens are kept."""

    kind: Literal["text"] = "text"
    column: str
    vocabulary: Vocabulary
    max_length: int
    never_truncate: bool = False  # whether rows longer than `max_length` are kept whole

    @classmethod
    def fit(cls, column: str, texts: list[str], spec: DataSpec, *, never_truncate: bool = False) -> TextEncoding:
        """Fit to the texts of the training rows."""
        vocabulary = Vocabulary.fit(texts, spec.tokens, spec.max_vocabulary, spec.min_token_count)
        sample = texts if never_truncate else texts[:: max(len(texts) // (10 * SAMPLE_SIZE), 1)]
        max_length = _choose_max_length([len(vocabulary.encode(text)) for text in sample], spec, never_truncate)
        return cls(column=column, vocabulary=vocabulary, max_length=max_length, never_truncate=never_truncate)

    @property
    def input_shape(self) -> InputShape:
        """The shape of the network input."""
        return "text", self.vocabulary.size, 0, 1

    def encode(self, cells: pl.Series) -> RaggedSequences:
        """The token ids of each row."""
        rows = [self.vocabulary.encode(text) for text in cells.struct.field("text").to_list()]
        max_length = _longest_row(rows, self.max_length) if self.never_truncate else self.max_length
        return RaggedSequences.from_rows(rows, max_length, keep_end=False)


class SequenceEncoding(FrozenModel):
    """Encoding of a column of sequences: standardized channels; only the last `max_length` steps are kept."""

    kind: Literal["sequence"] = "sequence"
    column: str
    center: tuple[float, ...]  # mean of each channel
    scale: tuple[float, ...]  # standard deviation of each channel, or 1 if it is constant
    max_length: int
    never_truncate: bool = False  # whether rows longer than `max_length` are kept whole

    @classmethod
    def fit(
        cls, column: str, rows: list[np.ndarray], spec: DataSpec, *, never_truncate: bool = False
    ) -> SequenceEncoding:
        """Fit to the sequences (T, channels) of the training rows; missing numbers are NaN."""
        steps = np.concatenate(rows).astype(np.float64)
        _check_finite(column, steps)
        observed = ~np.isnan(steps)
        count = np.maximum(observed.sum(axis=0), 1)
        center = np.where(observed, steps, 0).sum(axis=0) / count
        std = np.sqrt((np.where(observed, steps - center, 0) ** 2).sum(axis=0) / count)
        max_length = _choose_max_length([len(row) for row in rows], spec, never_truncate)
        return cls(
            column=column, center=tuple(center.tolist()), scale=_to_scale(std),
            max_length=max_length, never_truncate=never_truncate,
        )  # fmt: skip

    @property
    def input_shape(self) -> InputShape:
        """The shape of the network input."""
        return "sequence", len(self.center), 0, 1

    def encode(self, cells: pl.Series) -> RaggedSequences:
        """The standardized steps of each row, 0 for missing numbers. Raises TableError for another channel count."""
        rows = sequences_from_column(cells)
        mismatched_row = next((row for row in rows if row.size and row.shape[1] != len(self.center)), None)
        if mismatched_row is not None:
            raise TableError(
                f"Column {self.column!r} must hold sequences of {len(self.center)} channels, as in training, but holds "
                f"one of {mismatched_row.shape[1]}."
            )
        if rows:
            _check_finite(self.column, np.concatenate(rows, axis=None))
        center, factor = np.asarray(self.center, np.float32), (1 / np.asarray(self.scale)).astype(np.float32)
        rows = [np.nan_to_num((row.reshape(-1, len(center)) - center) * factor, nan=0.0) for row in rows]
        max_length = _longest_row(rows, self.max_length) if self.never_truncate else self.max_length
        return RaggedSequences.from_rows(rows, max_length, keep_end=True)


def _to_scale(std: np.ndarray) -> tuple[float, ...]:
    """Standard deviations as divisors: 1 for constant channels."""
    return tuple(np.where(std > 0, std, 1.0).tolist())


def _check_finite(column: str, numbers: np.ndarray) -> None:
    if np.isinf(numbers).any():
        raise TableError(f"Column {column!r} holds infinite numbers. Replace them by finite ones, or leave them out.")


def _longest_row(rows: list[np.ndarray], default: int) -> int:
    return max((len(row) for row in rows), default=default)


def _choose_max_length(lengths: list[int], spec: DataSpec, never_truncate: bool) -> int:
    if never_truncate:
        return max(lengths, default=1)
    if spec.max_length != "auto":
        return spec.max_length
    return int(max(min(np.quantile(lengths, LENGTH_QUANTILE, method="higher"), MAX_AUTO_STEPS), 1)) if lengths else 1
