"""Training or validation rows: a typed table, targets and sample weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from rosenblatt.data.media.columns import row_hashes
from rosenblatt.data.sparse import is_sparse

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_SPARSE_ATTRIBUTES = ("data", "indices", "indptr")


@dataclass(frozen=True)
class Dataset:
    """Training or validation rows: a typed table, a matrix of numbers (NaN if missing), or a sparse matrix.

    Rows of one group are never split between training and validation. Rows with an order are validated by networks
    that were trained on earlier rows.
    """

    frame: pl.DataFrame | np.ndarray | csr_array
    y: np.ndarray  # targets, as in `Target`
    weight: np.ndarray | None = None  # (n,)
    groups: np.ndarray | None = None  # (n,)
    order: np.ndarray | None = None  # (n,)
    columns: tuple[str, ...] = field(default=(), kw_only=True)  # of a matrix of numbers; x0, x1, ... by default

    @property
    def stratify_by(self) -> np.ndarray:
        """What folds are stratified by, (n,): the classes, or the values of the first target."""
        return self.y.reshape(len(self.y), -1)[:, 0]

    def fingerprint(self) -> bytes:
        """A hash of all rows with the names and types of their columns, targets, weights, groups and orders."""
        hasher = hashlib.sha256()
        for part in fields(self):
            for name, array in _arrays(part.name, getattr(self, part.name)):
                hasher.update(f"{name} {array.dtype} {array.shape} ".encode())
                hasher.update(np.ascontiguousarray(array).tobytes())
        return hasher.digest()


def _arrays(
    name: str, part: pl.DataFrame | np.ndarray | csr_array | tuple[str, ...] | None
) -> list[tuple[str, np.ndarray]]:
    """The arrays that a part of a dataset consists of, by what they are."""
    if part is None:
        return []
    if isinstance(part, tuple):
        return [(f"{name} {part}", np.empty(0))] if part else []
    if isinstance(part, pl.DataFrame):
        return [(f"{name} {list(part.schema.items())}", row_hashes(part))]
    if is_sparse(part):
        return [(f"{name} {part.shape} {attribute}", getattr(part, attribute)) for attribute in _SPARSE_ATTRIBUTES]
    return [(name, np.asarray(part))]
