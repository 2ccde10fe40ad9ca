"""In: dense or sparse rows, and a unit of a perceptron. Out: its weighted sum for a row; the unit moved along it.

What a perceptron does with a row is written here for both kinds of rows, so that its rules are written once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.data.media.columns import Ragged
from rosenblatt.data.media.images import Pictures


class SparseRows(NamedTuple):
    """Rows of a sparse table (CSR): those of row i are from starts[i] to starts[i + 1]."""

    values: np.ndarray  # (nonzero,) float
    columns: np.ndarray  # (nonzero,) uint32
    starts: np.ndarray  # (n + 1,) int32 or int64
    t: np.ndarray  # (n, 1) class numbers, or (n, K) zeros and ones
    weight: np.ndarray  # (n,) float


class MediaRows(NamedTuple):
    """Rows with images, sequences or texts, as the engine takes them."""

    x: np.ndarray  # (n, F) float32
    media: tuple[Pictures | Ragged, ...]
    t: np.ndarray  # (n, 1) class numbers, (n, K) targets, or (n, T) class numbers of the steps, -1 after their end
    weight: np.ndarray  # (n,) float


class Rows(NamedTuple):
    """The encoded table, shared by all members."""

    x: np.ndarray  # (n, F) float
    t: np.ndarray  # (n, 1) class numbers, or (n, K) targets
    weight: np.ndarray  # (n,) float


Table = Rows | SparseRows | MediaRows
