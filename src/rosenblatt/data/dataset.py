"""Training or validation rows: a typed table, targets and sample weights."""

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
    """Training or validation rows: a typed table, or for perceptrons a sparse matrix or an array of finite numbers.

    Rows of one group are never split between training and validation. Rows with an order are validated by networks
    that were trained on earlier rows.
    """

    frame: pl.DataFrame | np.ndarray | csr_array
    y: np.ndarray  # targets, as in `Target`
    weight: np.ndarray | None = None  # (n,)
    groups: np.ndarray | None = None  # (n,)
    order: np.ndarray | None = None  # (n,)

    @property
    def stratify_by(self) -> np.ndarray:
        """What folds are stratified by, (n,): the classes, or the values of the first target."""
        return self.y.reshape(len(self.y), -1)[:, 0]

    def fingerprint(self) -> bytes:
        """A hash of all rows, targets, weights, groups and orders."""
        hasher, frame = hashlib.sha256(), cast("Any", self.frame)
        parts = [frame.data, frame.indices, frame.indptr] if issparse(frame) else [frame]
        for part in [*parts, self.y, *(a for a in (self.weight, self.groups, self.order) if a is not None)]:
            array = row_hashes(part) if isinstance(part, pl.DataFrame) else part
            hasher.update(f"{array.dtype} {array.shape} ".encode())
            hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.digest()
