"""In: points of a curve. Out: one blob that holds them to the last bit, and back; a curve with fewer points to draw.

Layout of a blob: a version byte; steps, then times in microseconds, each as count, first, smallest difference and the
other differences above it in as few bytes as hold them; values in 4 bytes each where these hold them exactly, else 8.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

from rosenblatt.errors import StoreError

FORMAT = 1
POINTS = 4096  # of a full chunk
_INTEGERS = struct.Struct("<IqqB")  # how many, the first, the smallest difference, bytes of each difference


class Points(NamedTuple):
    """Points of one curve, (n,) each, in the order in which they came."""

    steps: np.ndarray  # int64
    times: np.ndarray  # int64, microseconds since 1970
    values: np.ndarray  # float64


class Summary(NamedTuple):
    """A curve in a few numbers. NaN counts only as `last`; None stands for NaN, and where no value was a number."""

    step: int  # the highest, the latest of equal ones: that of `last`
    last: float | None
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None


def encode(points: Points) -> bytes:
    """The points as one blob."""
    return bytes([FORMAT]) + _integers(points.steps) + _integers(points.times) + _floats(points.values)


def decode(blob: bytes) -> Points:
    """The points of a blob. Raises StoreError where it is of a later version or damaged."""
    try:
        if blob[0] != FORMAT:
            raise StoreError(f"A curve is stored in format {blob[0]}, later than {FORMAT}. Upgrade Rosenblatt.")
        steps, place = _integers_of(blob, 1)
        times, place = _integers_of(blob, place)
        size = 4 if blob[place] == 4 else 8
        values = np.frombuffer(blob, f"<f{size}", len(steps), place + 1).astype(np.float64)
    except (struct.error, IndexError, ValueError) as error:
        raise StoreError("A curve in the store is damaged. `rosenblatt runs tidy --rescue` keeps the rest.") from error
    return Points(steps, times, values)


def joined(parts: list[Points]) -> Points:
    """All points of a curve by their steps; those of equal steps by their times, then as they came."""
    if not parts:
        return Points(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    steps, times, values = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.lexsort((times, steps))
    return Points(steps[order], times[order], values[order])


def summary(points: Points) -> Summary:
    """The summary of one point or more."""
    at = len(points.steps) - 1 - int(np.argmax(points.steps[::-1]))
    last = float(points.values[at])
    numbers = np.flatnonzero(~np.isnan(points.values))
    if not numbers.size:
        return Summary(int(points.steps[at]), None, None, None, None, None)
    low, high = numbers[np.argmin(points.values[numbers])], numbers[np.argmax(points.values[numbers])]
    return Summary(
        int(points.steps[at]),
        None if np.isnan(last) else last,
        float(points.values[low]),
        int(points.steps[low]),
        float(points.values[high]),
        int(points.steps[high]),
    )


def thinned(points: Points, most: int) -> Points:
    """At most about so many points: of each stretch its least, its greatest and its first NaN, and both ends."""
    n = len(points.values)
    if n <= most:
        return points
    stretches = max(most // 2, 1)
    edges = np.linspace(0, n, stretches + 1).astype(int)
    starts, nan = edges[:-1], np.isnan(points.values)
    of = np.repeat(np.arange(stretches), np.diff(edges))
    kept = [np.array([0, n - 1])]
    for values in (np.where(nan, np.inf, points.values), np.where(nan, np.inf, -points.values)):
        least = np.minimum.reduceat(values, starts)
        found = np.flatnonzero((values == least[of]) & ~nan)
        kept.append(found[np.unique(of[found], return_index=True)[1]])
    missing = np.flatnonzero(nan)
    kept.append(missing[np.unique(of[missing], return_index=True)[1]])
    chosen = np.unique(np.concatenate(kept))
    return Points(*(column[chosen] for column in points))


def _integers(values: np.ndarray) -> bytes:
    """Sums and differences wrap round at 64 bits, so that any integers come back as they were."""
    if not len(values):
        return _INTEGERS.pack(0, 0, 0, 0)
    deltas = np.diff(values)
    smallest = deltas.min(initial=np.iinfo(np.int64).max) if len(deltas) else np.int64(0)
    above = (deltas - smallest).view(np.uint64)
    largest = int(above.max(initial=0))
    size = next(size for size in (0, 1, 2, 4, 8) if largest < 256**size)
    head = _INTEGERS.pack(len(values), int(values[0]), int(smallest), size)
    return head + (above.astype(f"<u{size}").tobytes() if size else b"")


def _integers_of(blob: bytes, place: int) -> tuple[np.ndarray, int]:
    n, first, smallest, size = _INTEGERS.unpack_from(blob, place)
    place += _INTEGERS.size
    deltas = np.zeros(n, np.uint64)
    if n:
        deltas[0] = np.int64(first).view(np.uint64)
        above = np.frombuffer(blob, f"<u{size}", n - 1, place).astype(np.uint64) if size else np.uint64(0)
        deltas[1:] = above + np.int64(smallest).view(np.uint64)
    return np.cumsum(deltas, dtype=np.uint64).view(np.int64), place + max(n - 1, 0) * size


def _floats(values: np.ndarray) -> bytes:
    with np.errstate(over="ignore", invalid="ignore"):
        short = values.astype("<f4")
        exact = np.array_equal(short.astype(np.float64), values, equal_nan=True)
    return b"\x04" + short.tobytes() if exact else b"\x08" + values.astype("<f8").tobytes()
