"""Lossless encoding of curves as binary chunks, their summaries, and downsampling for plots.

Layout of a blob: a version byte; steps, then times in microseconds, each as count, first value, smallest difference and
all differences minus the smallest in the smallest sufficient integer type; values as float32 if that is exact, else as
float64.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rosenblatt.errors import StoreError

FORMAT = 1
_INTEGER_HEADER = struct.Struct("<IqqB")  # count, first value, smallest difference, bytes per difference


class CurvePoints(NamedTuple):
    """Points of one curve in the order in which they were logged, (n,) each."""

    steps: np.ndarray  # int64
    times: np.ndarray  # int64, microseconds since 1970
    values: np.ndarray  # float64


class CurveSummary(NamedTuple):
    """A curve in a few numbers. None stands for NaN, which minimum and maximum ignore."""

    step: int  # the highest step; `last` is the latest value at this step
    last: float | None
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None


def encode(points: CurvePoints) -> bytes:
    """Encode points as one blob."""
    return (
        bytes([FORMAT]) + encode_integers(points.steps) + encode_integers(points.times) + encode_floats(points.values)
    )


def decode(blob: bytes) -> CurvePoints:
    """Decode a blob. Raises StoreError if it is damaged or of a later version."""
    try:
        if blob[0] != FORMAT:
            raise StoreError(f"A curve is stored in format {blob[0]}, later than {FORMAT}. Upgrade Rosenblatt.")
        steps, offset = read_integers(blob, 1)
        times, offset = read_integers(blob, offset)
        values = read_floats(blob, offset, len(steps))
    except (struct.error, IndexError, ValueError) as error:
        raise StoreError(
            "A curve in the store is damaged. `rosenblatt runs tidy --rescue` saves the others."
        ) from error
    return CurvePoints(steps, times, values)


def merge(parts: list[CurvePoints]) -> CurvePoints:
    """Merge parts of a curve, sorted by step, then by time, then by the order of the parts."""
    if not parts:
        return CurvePoints(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    steps, times, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((times, steps))
    return CurvePoints(steps[order], times[order], values[order])


def make_points(steps: Sequence[int] | np.ndarray, times: Sequence[float] | np.ndarray, values: Any) -> CurvePoints:
    """Make points from lists or arrays (n,); times in seconds since 1970."""
    microseconds = np.round(np.asarray(times, np.float64) * 1e6).astype(np.int64)
    return CurvePoints(np.asarray(steps, np.int64), microseconds, np.asarray(values, np.float64))


def summarize(points: CurvePoints) -> CurveSummary:
    """Summarize at least one point."""
    steps, values = points.steps, points.values
    latest = len(steps) - 1 - int(steps[::-1].argmax())
    low, high = int(values.argmin()), int(values.argmax())
    if math.isnan(values[low]):  # argmin and argmax find the first NaN, if there is one
        valid = np.flatnonzero(~np.isnan(values))
        if not valid.size:
            return CurveSummary(int(steps[latest]), None, None, None, None, None)
        low, high = int(valid[values[valid].argmin()]), int(valid[values[valid].argmax()])
    last = float(values[latest])
    bounds = float(values[low]), int(steps[low]), float(values[high]), int(steps[high])
    return CurveSummary(int(steps[latest]), None if math.isnan(last) else last, *bounds)


def summarize_curves(steps: np.ndarray, values: np.ndarray, counts: np.ndarray) -> list[CurveSummary]:
    """Summarize curves (m,) whose points (n,) follow each other; `counts` (m,) has the points of each, at least one."""
    n, starts, nan = len(values), np.cumsum(counts) - counts, np.isnan(values)
    indices = np.arange(n)

    def repeat(column: np.ndarray) -> np.ndarray:
        return np.repeat(column, counts)

    is_last = steps == repeat(np.maximum.reduceat(steps, starts))
    last = np.maximum.reduceat(np.where(is_last, indices, -1), starts)
    extremes = []  # for minimum and maximum: index of its first point, n if all values are NaN
    for extreme, other in ((np.minimum, np.inf), (np.maximum, -np.inf)):
        is_extreme = (values == repeat(extreme.reduceat(np.where(nan, other, values), starts))) & ~nan
        extremes.append(np.minimum.reduceat(np.where(is_extreme, indices, n), starts).tolist())
    summaries = []
    for latest, low, high in zip(last.tolist(), *extremes, strict=True):
        bounds = [(float(values[i]), int(steps[i])) if i < n else (None, None) for i in (low, high)]
        last_value = None if nan[latest] else float(values[latest])
        summaries.append(CurveSummary(int(steps[latest]), last_value, *bounds[0], *bounds[1]))
    return summaries


def merge_summaries(before: CurveSummary | None, after: CurveSummary) -> CurveSummary:
    """Merge the summaries of two parts of a curve; of equal steps, the later part has the last value."""
    if before is None:
        return after
    step, last = (after.step, after.last) if after.step >= before.step else (before.step, before.last)
    low = after if before.min is None or (after.min is not None and after.min < before.min) else before
    high = after if before.max is None or (after.max is not None and after.max > before.max) else before
    return CurveSummary(step, last, low.min, low.min_step, high.max, high.max_step)


def downsample(points: CurvePoints, max_points: int) -> CurvePoints:
    """Keep about `max_points` points: minimum, maximum and first NaN of each stretch, and both ends."""
    n = len(points.values)
    if n <= max_points:
        return points
    n_bins = max(max_points // 2, 1)
    edges = np.linspace(0, n, n_bins + 1).astype(int)
    starts, nan = edges[:-1], np.isnan(points.values)
    bins = np.repeat(np.arange(n_bins), np.diff(edges))
    selected = [np.array([0, n - 1])]
    for values in (np.where(nan, np.inf, points.values), np.where(nan, np.inf, -points.values)):
        bin_minimum = np.minimum.reduceat(values, starts)
        matches = np.flatnonzero((values == bin_minimum[bins]) & ~nan)
        selected.append(matches[np.unique(bins[matches], return_index=True)[1]])
    nan_indices = np.flatnonzero(nan)
    selected.append(nan_indices[np.unique(bins[nan_indices], return_index=True)[1]])
    indices = np.unique(np.concatenate(selected))
    return CurvePoints(*(column[indices] for column in points))


def encode_integers(values: np.ndarray) -> bytes:
    """Encode integers (n,); sums and differences wrap around at 64 bits, so that all integers are restored exactly."""
    if not len(values):
        return _INTEGER_HEADER.pack(0, 0, 0, 0)
    deltas = values[1:] - values[:-1]
    smallest, largest = (int(deltas.min()), int(deltas.max())) if len(deltas) else (0, 0)
    size = next(size for size in (0, 1, 2, 4, 8) if largest - smallest < 256**size)
    header = _INTEGER_HEADER.pack(len(values), int(values[0]), smallest, size)
    return header + (deltas - smallest).view(np.uint64).astype(f"<u{size}").tobytes() if size else header


def read_integers(blob: bytes, offset: int) -> tuple[np.ndarray, int]:
    """Read integers that `encode_integers` has encoded; returns them and the offset of what follows."""
    n, first, smallest, size = _INTEGER_HEADER.unpack_from(blob, offset)
    offset += _INTEGER_HEADER.size
    if n > len(blob) or size not in (0, 1, 2, 4, 8):  # each point has a value of at least 4 bytes
        raise ValueError(f"{n} integers of {size} bytes in {len(blob)} bytes")
    deltas = np.zeros(n, np.uint64)
    if n:
        deltas[0] = np.int64(first).view(np.uint64)
        offsets = np.frombuffer(blob, f"<u{size}", n - 1, offset).astype(np.uint64) if size else np.uint64(0)
        deltas[1:] = offsets + np.int64(smallest).view(np.uint64)
    return np.cumsum(deltas, dtype=np.uint64).view(np.int64), offset + max(n - 1, 0) * size


def encode_floats(values: np.ndarray) -> bytes:
    """Encode numbers (n,) without loss."""
    with np.errstate(over="ignore", invalid="ignore"):
        float32 = values.astype("<f4")
    is_exact = ((float32 == values) | np.isnan(values)).all()
    return b"\x04" + float32.tobytes() if is_exact else b"\x08" + values.astype("<f8").tobytes()


def read_floats(blob: bytes, offset: int, n: int) -> np.ndarray:
    """Read n numbers that `encode_floats` has encoded."""
    size = 4 if blob[offset] == 4 else 8
    return np.frombuffer(blob, f"<f{size}", n, offset + 1).astype(np.float64)
