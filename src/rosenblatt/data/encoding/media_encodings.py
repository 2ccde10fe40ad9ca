"""Encode typed columns of images, texts and sequences as network inputs; fitted on training rows."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.encoding.vocabulary import Vocabulary
from rosenblatt.data.media.columns import RaggedSequences, sequences_from_column
from rosenblatt.data.media.images import ImageDataset, ResizeMode, channel_statistics, inspect_images
from rosenblatt.errors import TableError
from rosenblatt.spec.data import DataSpec

SAMPLE_SIZE = 1000  # images from which sizes and statistics of channels are learnt
MAX_AUTO_SIDE = 96  # pixels that `auto` takes at most
LENGTH_QUANTILE = 0.99  # share of the rows that `auto` does not cut
MAX_AUTO_STEPS = 1000  # that `auto` keeps


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageEncoding(_FrozenModel):
    """How images enter the network: their size, and for each channel mean and standard deviation."""

    kind: Literal["image"] = "image"
    column: str
    side: int
    channels: int
    resize_mode: ResizeMode
    dtype: str
    center: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def fit(cls, column: str, cells: pl.Series, spec: DataSpec) -> ImageEncoding:
        """From the training rows' images. Raises TableError where one cannot be read."""
        sample = cells.gather_every(max(len(cells) // SAMPLE_SIZE, 1)).to_list()[:SAMPLE_SIZE]
        infos = inspect_images(sample)
        image_size = spec.image_size
        side = (
            image_size
            if image_size != "auto"
            else min(int(np.median([min(info[:2]) for info in infos])), MAX_AUTO_SIDE)
        )
        channels = {"grey": 1, "color": 3, "auto": max(info.channels for info in infos)}[spec.colors]
        dtype = "uint8" if all(info.is_uint8 for info in infos) else "float32"
        center, spread = channel_statistics(sample, side, channels, spec.image_fit, dtype)
        scale = 1 / np.where(spread > 0, spread, 1.0)
        return cls(
            column=column, side=side, channels=channels, resize_mode=spec.image_fit, dtype=dtype,
            center=tuple(center.tolist()), scale=tuple(scale.tolist()),
        )  # fmt: skip

    @property
    def medium(self) -> tuple[str, int, int, int]:
        """What a tower is given: its kind, channels, height and width."""
        return "image", self.channels, self.side, self.side

    def encode(self, cells: pl.Series) -> ImageDataset:
        """The images, in memory where half of what is free is enough."""
        return ImageDataset(
            cells.struct.field("image").to_list(),
            self.side,
            self.channels,
            self.resize_mode,
            self.dtype,
            self.center,
            self.scale,
            _available_memory() / 2,
        )


class TextEncoding(_FrozenModel):
    """How texts enter the network: as numbers of tokens, the first so many."""

    kind: Literal["text"] = "text"
    column: str
    vocabulary: Vocabulary
    max_length: int
    never_truncate: bool = False  # whether rows are never cut

    @classmethod
    def fit(cls, column: str, texts: list[str], spec: DataSpec, *, never_truncate: bool = False) -> TextEncoding:
        """From the training rows' texts."""
        vocabulary = Vocabulary.fit(texts, spec.tokens, spec.max_vocabulary, spec.min_token_count)
        sample = texts if never_truncate else texts[:: max(len(texts) // (10 * SAMPLE_SIZE), 1)]
        max_length = _choose_max_length([len(vocabulary.encode(text)) for text in sample], spec, never_truncate)
        return cls(column=column, vocabulary=vocabulary, max_length=max_length, never_truncate=never_truncate)

    @property
    def medium(self) -> tuple[str, int, int, int]:
        """What a tower is given: its kind, and how many tokens there are."""
        return "tokens", self.vocabulary.size, 0, 1

    def encode(self, cells: pl.Series) -> RaggedSequences:
        """The tokens of each row."""
        rows = [self.vocabulary.encode(text) for text in cells.struct.field("text").to_list()]
        return RaggedSequences.from_rows(
            rows, _longest_row(rows, self.max_length) if self.never_truncate else self.max_length, keep_end=False
        )


class SequenceEncoding(_FrozenModel):
    """How sequences of numbers enter the network: each channel with mean 0 and variance 1, the last so many steps."""

    kind: Literal["sequence"] = "sequence"
    column: str
    center: tuple[float, ...]
    scale: tuple[float, ...]
    max_length: int
    never_truncate: bool = False  # whether rows are never cut

    @classmethod
    def fit(
        cls, column: str, rows: list[np.ndarray], spec: DataSpec, *, never_truncate: bool = False
    ) -> SequenceEncoding:
        """From the training rows' sequences (T, channels), NaN where a number is missing."""
        steps = np.concatenate(rows).astype(np.float64)
        _check_finite(column, steps)
        observed = ~np.isnan(steps)
        count = np.maximum(observed.sum(axis=0), 1)
        center = np.where(observed, steps, 0).sum(axis=0) / count
        spread = np.sqrt((np.where(observed, steps - center, 0) ** 2).sum(axis=0) / count)
        scale = 1 / np.where(spread > 0, spread, 1.0)
        max_length = _choose_max_length([len(row) for row in rows], spec, never_truncate)
        return cls(
            column=column,
            center=tuple(center.tolist()),
            scale=tuple(scale.tolist()),
            max_length=max_length,
            never_truncate=never_truncate,
        )

    @property
    def medium(self) -> tuple[str, int, int, int]:
        """What a tower is given: its kind and channels."""
        return "steps", len(self.center), 0, 1

    def encode(self, cells: pl.Series) -> RaggedSequences:
        """The scaled steps of each row, 0 where a number is missing. Raises TableError for other channels."""
        rows = sequences_from_column(cells)
        mismatched_row = next((row for row in rows if row.size and row.shape[1] != len(self.center)), None)
        if mismatched_row is not None:
            raise TableError(
                f"Column {self.column!r} held sequences of {len(self.center)} channels when the model learnt, but now "
                f"some of {mismatched_row.shape[1]}."
            )
        if rows:
            _check_finite(self.column, np.concatenate(rows, axis=None))
        center, scale = np.asarray(self.center, np.float32), np.asarray(self.scale, np.float32)
        rows = [np.nan_to_num((row.reshape(-1, len(center)) - center) * scale, nan=0.0) for row in rows]
        return RaggedSequences.from_rows(
            rows, _longest_row(rows, self.max_length) if self.never_truncate else self.max_length, keep_end=True
        )


def _check_finite(column: str, numbers: np.ndarray) -> None:
    """Raises TableError."""
    if np.isinf(numbers).any():
        raise TableError(f"Column {column!r} holds infinite numbers. Write finite ones, or leave them out.")


def _longest_row(rows: list[np.ndarray], default: int) -> int:
    """Steps of the longest row."""
    return max((len(row) for row in rows), default=default)


def _choose_max_length(lengths: list[int], spec: DataSpec, never_truncate: bool) -> int:
    if never_truncate:
        return max(lengths, default=1)
    if spec.max_length != "auto":
        return spec.max_length
    return int(max(min(np.quantile(lengths, LENGTH_QUANTILE, method="higher"), MAX_AUTO_STEPS), 1)) if lengths else 1


def _available_memory() -> float:
    """Bytes of memory that are free."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # not on this operating system
        return 8 * 2.0**30
