"""All combinations of values in a search space, in random order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from rosenblatt.spec.dimensions import Choice, Dimension, Integer, LogUniform
from rosenblatt.tuning.space import Space

GRID_POINTS = 5  # values of a continuous dimension on a grid


def combinations(space: Space, rng: np.random.Generator, *, on_grid: bool = False) -> Iterator[dict[str, Any]]:
    """Yield each combination once, without end if the space is infinite.

    Args:
        space: The space.
        rng: Decides the order.
        on_grid: Whether ranges of numbers are replaced by `GRID_POINTS` values, except those of whole numbers.
    """
    return _extend(space, list(space.dimensions), {}, rng, on_grid)


def _extend(
    space: Space, names: Sequence[str], params: dict[str, Any], rng: np.random.Generator, on_grid: bool
) -> Iterator[dict[str, Any]]:
    if not names:
        yield params
    elif not space.is_active(names[0], params):
        yield from _extend(space, names[1:], params, rng, on_grid)
    else:
        for value in _values(space.dimensions[names[0]], rng, on_grid):
            yield from _extend(space, names[1:], {**params, names[0]: value}, rng, on_grid)


def _values(dimension: Dimension, rng: np.random.Generator, on_grid: bool) -> Iterator[Any]:
    """The values of a dimension in random order; whole numbers from a random one upwards, and then from the first."""
    if isinstance(dimension, Choice):
        yield from (dimension.values[i] for i in rng.permutation(len(dimension.values)))
    elif on_grid and (not isinstance(dimension, Integer) or dimension.log):
        yield from rng.permutation(_grid_points(dimension)).tolist()
    elif isinstance(dimension, Integer):
        low, end = dimension.low, dimension.high + 1
        start = int(np.exp(rng.uniform(np.log(low), np.log(end)))) if dimension.log else int(rng.integers(low, end))
        yield from range(start, end)
        yield from range(low, start)
    elif dimension.low == dimension.high:
        yield dimension.low
    else:
        is_log = isinstance(dimension, LogUniform)
        bounds = np.array([dimension.low, dimension.high])
        while True:
            value = np.exp(rng.uniform(*np.log(bounds))) if is_log else rng.uniform(*bounds)
            yield float(np.clip(value, *bounds))


def _grid_points(dimension: Any) -> list[Any]:
    """Evenly spaced values of a range, on a log scale if the dimension has one."""
    is_log = isinstance(dimension, LogUniform | Integer)
    values: list[float] = (np.geomspace if is_log else np.linspace)(dimension.low, dimension.high, GRID_POINTS).tolist()
    values[0], values[-1] = dimension.low, dimension.high  # without rounding errors
    return sorted({round(value) for value in values} if isinstance(dimension, Integer) else set(values))
