"""Compiled encoding of a matrix of numbers, equal to `Encoder.matrix` to the last bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rosenblatt.data.encoding.encoder import Encoding, NumberEncoding, normal_scores
from rosenblatt.training.compiled.jit import exact_jit

# Rows of `places` (6, F + 1): where the features, edges and quantiles of a column start, and those of the next column;
# the column of its fractions; and whether it is clipped smoothly, and has an indicator of missing values.
FEATURE, EDGE, QUANTILE, FRACTION, SMOOTH_CLIP, MISSING = range(6)
CENTER, FACTOR, FILL = range(3)  # rows of `scales` (3, F)


@exact_jit
def encode_rows(places, scales, edges, points, values, out, fractions):
    """Write the features of values (n, F), NaN if missing, to `out` (n, features), as `NumberEncoding.encode`.

    Args:
        places, scales: of the columns.
        edges: of all columns, one after the other.
        points: (3, quantiles) the quantiles of all columns; their negatives, reversed for each column; and the levels
            of the quantiles, from 0 to 1 for each column.
        values: (n, F) float64.
        out: (n, features) float32, written.
        fractions: (n, columns with quantiles), written: the fraction of training values below each value, instead of
            its feature.
    """
    for i in range(values.shape[0]):
        for f in range(values.shape[1]):
            is_missing = np.isnan(values[i, f])
            x = scales[FILL, f] if is_missing else values[i, f]
            feature, first, last = places[FEATURE, f], places[QUANTILE, f], places[QUANTILE, f + 1]
            if last > first:
                below = interpolate(x, points[0, first:last], points[2, first:last])
                above = 1 - interpolate(-x, points[1, first:last], points[2, first:last])
                fractions[i, places[FRACTION, f]] = (below + above) / 2
            else:
                z = (x - scales[CENTER, f]) * scales[FACTOR, f]
                out[i, feature] = z / np.sqrt(1 + (z / 3) * (z / 3)) if places[SMOOTH_CLIP, f] else z
            write_parts(x, edges[places[EDGE, f] : places[EDGE, f + 1]], out[i, feature + 1 :])
            if places[MISSING, f]:
                out[i, places[FEATURE, f + 1] - 1] = is_missing


@exact_jit
def scale_rows(scales, values, out):
    """Write the features of values (n, F), as `encode_rows`, for columns that are only shifted and scaled."""
    for i in range(values.shape[0]):
        for f in range(values.shape[1]):
            x = scales[FILL, f] if np.isnan(values[i, f]) else values[i, f]
            out[i, f] = (x - scales[CENTER, f]) * scales[FACTOR, f]


@exact_jit
def write_parts(x, edges, out):
    """Write the piecewise-linear parts of a number."""
    last = edges.size - 2
    for t in range(last + 1):
        low, high = edges[t], edges[t + 1]
        if x >= high and t < last:
            out[t] = 1
        elif x <= low and t > 0:
            out[t] = 0
        else:
            out[t] = min(max((x - low) / (high - low), -2.0), 3.0)


@exact_jit
def interpolate(x, points, levels):
    """The level at x, linear between the points, as `numpy.interp`."""
    low, high = 0, points.size - 1
    if x >= points[high]:
        return levels[high]
    if x < points[low]:
        return levels[low]
    while high - low > 1:  # points[low] <= x < points[high]
        middle = (low + high) // 2
        if points[middle] <= x:
            low = middle
        else:
            high = middle
    slope = (levels[high] - levels[low]) / (points[high] - points[low])
    return slope * (x - points[low]) + levels[low]


class MatrixEncoder:
    """Encodings of columns, all of numbers, prepared for `encode_rows`."""

    def __init__(self, encodings: Sequence[Encoding]) -> None:
        numbers = [encoding for encoding in encodings if isinstance(encoding, NumberEncoding)]
        has_quantiles = [bool(encoding.quantiles) for encoding in numbers]
        quantiles = [np.asarray(encoding.quantiles, np.float64) for encoding in numbers]
        self._places = np.array(
            [
                _starts([encoding.width for encoding in numbers]),
                _starts([len(encoding.edges) for encoding in numbers]),
                _starts([len(encoding.quantiles) for encoding in numbers]),
                _starts(has_quantiles),
                [*(encoding.smooth_clip for encoding in numbers), 0],
                [*(encoding.missing_indicator for encoding in numbers), 0],
            ],
            np.int64,
        )
        self._scales = np.array([(e.center, e.factor, e.fill_value) for e in numbers], np.float64).T.copy()
        self._edges = np.array([edge for encoding in numbers for edge in encoding.edges], np.float64)
        levels = [np.linspace(0, 1, points.size) for points in quantiles]
        self._points = np.array(
            [np.concatenate(parts) for parts in (quantiles, [-points[::-1] for points in quantiles], levels)]
        )
        self._is_affine = not (self._edges.size or self._points.size or self._places[SMOOTH_CLIP:].any())
        self._quantile_features = self._places[FEATURE, :-1][has_quantiles]

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Encode numbers (n, F) float64, NaN if missing, as a matrix (n, features) float32, as `Encoder.matrix`."""
        values = np.require(values, np.float64, ["C", "W"])  # one type of array, for which the kernel is compiled
        out = np.empty((len(values), self._places[FEATURE, -1]), np.float32)
        if self._is_affine:
            scale_rows(self._scales, values, out)
            return out
        fractions = np.empty((len(values), self._quantile_features.size))
        encode_rows(self._places, self._scales, self._edges, self._points, values, out, fractions)
        if fractions.size:
            out[:, self._quantile_features] = normal_scores(fractions)
        return out


def _starts(sizes: Sequence[int]) -> np.ndarray:
    """Where each of several parts starts if they are put one after the other, and their end."""
    return np.concatenate([[0], np.cumsum(np.asarray(sizes, np.int64))])
