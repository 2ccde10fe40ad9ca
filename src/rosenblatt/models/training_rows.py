"""Hashes of the rows that a model was trained on, by which `evaluate` recognizes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.row_hashes import ImageHash, choose_image_hash, hash_rows, hash_targets
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import format_count

MIN_RELEVANT_FRACTION = 0.01  # of the scored rows; if fewer are training rows, the scores hardly depend on them
DEFAULT_IMAGE_HASH: ImageHash = "blake2b"
MAX_HASHES = 65_536  # hashes that a model file holds: at most 512 KiB


@dataclass(frozen=True)
class RowHashes:
    """The hashes (n,) uint64 of rows."""

    inputs: np.ndarray
    rows: np.ndarray  # of the inputs and the targets
    image_hash: ImageHash = DEFAULT_IMAGE_HASH  # how images are hashed; hashes of another kind cannot be compared

    @classmethod
    def from_rows(
        cls, typed: pl.DataFrame, y: np.ndarray, target: Target, image_hash: ImageHash | None = None
    ) -> RowHashes:
        """Hash rows as `Schema.read` returns them, and their targets as `SupervisedTask.y`.

        Images are hashed as `choose_image_hash` says by default.

        Raises ModuleNotFoundError if the package blake3 is needed, but not installed.
        """
        image_hash = image_hash or choose_image_hash(typed)
        inputs = hash_rows(typed, image_hash)
        return cls(inputs, hash_targets(inputs, y, is_padded=target.is_per_step), image_hash)

    @classmethod
    def concatenate(cls, parts: Sequence[RowHashes]) -> RowHashes:
        """The hashes of all rows of several tables, with images hashed alike."""
        inputs, rows = (np.concatenate([getattr(part, name) for part in parts]) for name in ("inputs", "rows"))
        return cls(inputs, rows, parts[0].image_hash)


@dataclass(frozen=True)
class TrainingOverlap:
    """How many of some rows a model was trained on: the same inputs and the same targets."""

    rows: int
    checked: int  # rows for which it is known; fewer than `rows` if the model keeps only some hashes
    seen: int  # of the checked rows

    @property
    def is_certain(self) -> bool:
        """Whether all rows are checked."""
        return self.checked == self.rows

    @property
    def is_none(self) -> bool:
        """Whether it is certain that the model was trained on none of the rows."""
        return self.is_certain and not self.seen

    def describe(self, noun: str = "row") -> str:
        """A line about the overlap, such as "240 of the 300 rows were in training (the same inputs and targets)"."""
        if not self.checked:
            return f"it is not known whether the model was trained on some of these {noun}s"
        if self.rows == 1:
            share = f"the {noun}"
        elif self.is_certain:
            share = "none of" if not self.seen else "all of" if self.seen == self.rows else f"{self.seen:,} of"
            share = f"{share} the {format_count(self.rows, noun)}"
        else:
            share = f"{self.seen:,} of {self.checked:,} randomly chosen {noun}s"
            share += f" (about {self.seen / self.checked:.0%})" if self.seen else ""
        verb = "was" if self.seen == 1 else "were" if self.rows > 1 else "was not"
        text = f"{share} {verb} in training (the same inputs and targets)"
        is_relevant = self.seen > 0 and self.seen >= MIN_RELEVANT_FRACTION * self.checked
        return f"{text}, so the scores are too optimistic for new {noun}s" if is_relevant else text


@dataclass(frozen=True)
class TrainingRows:
    """The smallest distinct hashes of all training rows (k,) uint64, sorted; a random sample of them if incomplete.

    Rows whose hash is at most the largest of these are known to be training rows, or not to be. The sample is as good
    for tables with repeated rows, which count once.
    """

    hashes: np.ndarray
    is_complete: bool
    image_hash: ImageHash = DEFAULT_IMAGE_HASH

    @classmethod
    def from_hashes(cls, hashes: RowHashes) -> TrainingRows:
        """Keep the smallest hashes."""
        distinct = np.unique(hashes.rows)
        return cls(distinct[:MAX_HASHES], len(distinct) <= MAX_HASHES, hashes.image_hash)

    def overlap(self, hashes: np.ndarray) -> TrainingOverlap:
        """How many of the rows with these hashes (n,) are training rows."""
        checked = hashes if self.is_complete else hashes[hashes <= self.hashes[-1]]
        return TrainingOverlap(len(hashes), len(checked), int(np.isin(checked, self.hashes).sum()))
