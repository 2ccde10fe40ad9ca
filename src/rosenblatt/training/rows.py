"""Encoded rows of a dense table, a sparse table, or a table with images, sequences or texts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rosenblatt.data.media.columns import RaggedSequences
from rosenblatt.data.media.images import ImageDataset


class SparseRows(NamedTuple):
    """Rows of a sparse table (CSR): the values of row i are from starts[i] to starts[i + 1]."""

    values: np.ndarray  # (nonzero,) float
    columns: np.ndarray  # (nonzero,) uint32
    starts: np.ndarray  # (n + 1,) int32 or int64
    t: np.ndarray  # (n, 1) class numbers, or (n, K) zeros and ones
    weight: np.ndarray  # (n,) float


class MediaRows(NamedTuple):
    """Rows with images, sequences or texts."""

    x: np.ndarray  # (n, F) float32
    media: tuple[ImageDataset | RaggedSequences, ...]
    t: np.ndarray  # (n, 1) class numbers, (n, K) targets, or (n, T) class numbers of steps, -1 after the end of a row
    weight: np.ndarray  # (n,) float


NO_SPANS = np.empty((0, 3), np.int64)


class DenseRows(NamedTuple):
    """Rows of a dense table, shared by all members."""

    x: np.ndarray  # (n, F) float
    t: np.ndarray  # (n, 1) class numbers, or (n, K) targets
    weight: np.ndarray  # (n,) float
    spans: np.ndarray = NO_SPANS  # (S, 3) int64: first feature, size, whether piecewise (`Encoder.spans`), if known


Rows = DenseRows | SparseRows | MediaRows
