"""In: typed columns of images, texts and sequences. Out: what networks are given of them; learnt from training rows."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.encoding.vocabulary import Vocabulary
from rosenblatt.data.media.columns import Ragged, steps_of
from rosenblatt.data.media.images import Fit, Pictures, looks_of, statistics
from rosenblatt.errors import TableError
from rosenblatt.spec.data import DataSpec

SAMPLE = 1000  # images from which sizes and statistics of channels are learnt
LARGEST_SIDE = 96  # pixels that `auto` takes at most
LONGEST = 0.99  # share of the rows that `auto` does not cut
MOST_STEPS = 1000  # that `auto` keeps


class _Learnt(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ImageEncoding(_Learnt):
    """How images enter the network: their size, and for each channel mean and standard deviation."""

    kind: Literal["image"] = "image"
    column: str
    side: int
    channels: int
    fit: Fit
    dtype: str
    center: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def learn(cls, column: str, cells: pl.Series, spec: DataSpec) -> ImageEncoding:
        """From the training rows' images. Raises TableError where one cannot be read."""
        some = cells.gather_every(max(len(cells) // SAMPLE, 1)).to_list()[:SAMPLE]
        looks = looks_of(some)
        asked = spec.image_size
        side = asked if asked != "auto" else min(int(np.median([min(look[:2]) for look in looks])), LARGEST_SIDE)
        channels = {"grey": 1, "color": 3, "auto": max(look.channels for look in looks)}[spec.colors]
        dtype = "uint8" if all(look.whole for look in looks) else "float32"
        center, spread = statistics(some, side, channels, spec.image_fit, dtype)
        scale = 1 / np.where(spread > 0, spread, 1.0)
        return cls(
            column=column, side=side, channels=channels, fit=spec.image_fit, dtype=dtype, center=tuple(center.tolist()),
            scale=tuple(scale.tolist()),
        )  # fmt: skip

    @property
    def medium(self) -> tuple[str, int, int, int]:
        """What a tower is given: its kind, channels, height and width."""
        return "image", self.channels, self.side, self.side

    def encode(self, cells: pl.Series) -> Pictures:
        """The images, in memory where half of what is free is enough."""
        return Pictures(
            cells.struct.field("image").to_list(),
            self.side,
            self.channels,
            self.fit,
            self.dtype,
            self.center,
            self.scale,
            _free() / 2,
        )


class TextEncoding(_Learnt):
    """How texts enter the network: as numbers of tokens, the first so many."""

    kind: Literal["text"] = "text"
    column: str
    vocabulary: Vocabulary
    longest: int
    whole: bool = False  # whether rows are never cut

    @classmethod
    def learn(cls, column: str, texts: list[str], spec: DataSpec, *, whole: bool = False) -> TextEncoding:
        """From the training rows' texts."""
        vocabulary = Vocabulary.learn(texts, spec.tokens, spec.vocabulary, spec.min_token_count)
        some = texts if whole else texts[:: max(len(texts) // (10 * SAMPLE), 1)]
        longest = _longest([len(vocabulary.encode(text)) for text in some], spec, whole)
        return cls(column=column, vocabulary=vocabulary, longest=longest, whole=whole)

    @property
    def medium(self) -> tuple[str, int, int, int]:
        """What a tower is given: its kind, and how many tokens there are."""
        return "tokens", self.vocabulary.size, 0, 1

    def encode(self, cells: pl.Series) -> Ragged:
        """The tokens of each row."""
        rows = [self.vocabulary.encode(text) for text in cells.struct.field("text").to_list()]
        return Ragged.of(rows, _most(rows, self.longest) if self.whole else self.longest, keep_end=False)


class SequenceEncoding(_Learnt):
    """How sequences of numbers enter the network: each channel with mean 0 and variance 1, the last so many steps."""

    kind: Literal["sequence"] = "sequence"
    column: str
    center: tuple[float, ...]
    scale: tuple[float, ...]
    longest: int
    whole: bool = False  # whether rows are never cut

    @classmethod
    def learn(cls, column: str, rows: list[np.ndarray], spec: DataSpec, *, whole: bool = False) -> SequenceEncoding:
        """From the training rows' sequences (T, channels), NaN where a number is missing."""
        steps = np.concatenate(rows).astype(np.float64)
        _refuse_infinite(column, steps)
        known = ~np.isnan(steps)
        count = np.maximum(known.sum(axis=0), 1)
        center = np.where(known, steps, 0).sum(axis=0) / count
        spread = np.sqrt((np.where(known, steps - center, 0) ** 2).sum(axis=0) / count)
        scale = 1 / np.where(spread > 0, spread, 1.0)
        longest = _longest([len(row) for row in rows], spec, whole)
        return cls(
            column=column, center=tuple(center.tolist()), scale=tuple(scale.tolist()), longest=longest, whole=whole
        )

    @property
    def medium(self) -> tuple[str, int, int, int]:
        """What a tower is given: its kind and channels."""
        return "steps", len(self.center), 0, 1

    def encode(self, cells: pl.Series) -> Ragged:
        """The scaled steps of each row, 0 where a number is missing. Raises TableError for other channels."""
        rows = steps_of(cells)
        odd = next((row for row in rows if row.size and row.shape[1] != len(self.center)), None)
        if odd is not None:
            raise TableError(
                f"Column {self.column!r} held sequences of {len(self.center)} channels when the model learnt, but now "
                f"some of {odd.shape[1]}."
            )
        if rows:
            _refuse_infinite(self.column, np.concatenate(rows, axis=None))
        center, scale = np.asarray(self.center, np.float32), np.asarray(self.scale, np.float32)
        rows = [np.nan_to_num((row.reshape(-1, len(center)) - center) * scale, nan=0.0) for row in rows]
        return Ragged.of(rows, _most(rows, self.longest) if self.whole else self.longest, keep_end=True)


def _refuse_infinite(column: str, numbers: np.ndarray) -> None:
    """Raises TableError."""
    if np.isinf(numbers).any():
        raise TableError(f"Column {column!r} holds infinite numbers. Write finite ones, or leave them out.")


def _most(rows: list[np.ndarray], least: int) -> int:
    """Steps of the longest row."""
    return max((len(row) for row in rows), default=least)


def _longest(lengths: list[int], spec: DataSpec, whole: bool) -> int:
    if whole:
        return max(lengths, default=1)
    if spec.max_length != "auto":
        return spec.max_length
    return int(max(min(np.quantile(lengths, LONGEST, method="higher"), MOST_STEPS), 1)) if lengths else 1


def _free() -> float:
    """Bytes of memory that are free."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):  # not on this operating system
        return 8 * 2.0**30
