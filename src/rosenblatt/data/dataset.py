"""The rows a model is trained on: a typed table, targets and sample weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import polars as pl
from scipy.sparse import csr_array, issparse

from rosenblatt.data.media.columns import row_hashes


@dataclass(frozen=True)
class Dataset:
    """Rows to learn from, or to validate on: a typed table, what is to be predicted (see `Target`), weights or None.

    Perceptrons also learn from sparse matrices, and from arrays of finite numbers. Rows of one group never stand on
    both sides of a split; rows with an order are validated on by what learnt from earlier ones.
    """

    frame: pl.DataFrame | np.ndarray | csr_array
    y: np.ndarray
    weight: np.ndarray | None = None
    groups: np.ndarray | None = None  # (n,)
    order: np.ndarray | None = None  # (n,)

    @property
    def stratify_by(self) -> np.ndarray:
        """(n,) of which every fold should have the same mix: the classes, or the (first) values."""
        return self.y.reshape(len(self.y), -1)[:, 0]

    def fingerprint(self) -> bytes:
        """A hash of all rows with their answers, weights, groups and order."""
        hasher, frame = hashlib.sha256(), cast("Any", self.frame)
        parts = [frame.data, frame.indices, frame.indptr] if issparse(frame) else [frame]
        for part in [*parts, self.y, *(a for a in (self.weight, self.groups, self.order) if a is not None)]:
            array = row_hashes(part) if isinstance(part, pl.DataFrame) else part
            hasher.update(f"{array.dtype} {array.shape} ".encode())
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.digest()
