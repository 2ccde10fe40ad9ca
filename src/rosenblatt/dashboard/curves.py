"""Curves of some runs as columns of numbers, thinned for a plot, with their extremes and the number of their points.

The answer is binary: the length of a header as uint32; the header as JSON, padded to a multiple of 8 bytes; as float64
the x of all columns (n,) and the values of each series, one after the other; as uint32 the places of these values among
the x. All series share the x, so that the page need not join them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, Field, model_validator

from rosenblatt.dashboard.binary import pack_header
from rosenblatt.dashboard.endpoints import ApiRequest
from rosenblatt.runs.store.curves import CurvePoints
from rosenblatt.runs.store.queries import load_curves
from rosenblatt.runs.store.store import Store

MAX_CURVES = 500  # of a request
MAX_POINTS = 20_000  # of a curve in an answer
SMOOTHING_BLOCK = 256  # points that one product of matrices averages
_MICROSECONDS = 1e6


class CurvesRequest(ApiRequest):
    """Which curves, over which axis, and how many points of each."""

    runs: list[str] = Field(min_length=1, max_length=MAX_CURVES, description="Ids of runs.")
    metrics: list[str] = Field(min_length=1, max_length=MAX_CURVES, description="Names of metrics, without quotes.")
    x: Literal["step", "elapsed", "time", "metric"] = Field(
        "step",
        description="The x axis: the step, seconds since the first point of the run, seconds since 1970, or the value "
        "of another metric at the same step.",
    )
    x_metric: str = Field("", description="The metric of the x axis.")
    low: float | None = Field(None, allow_inf_nan=False, description="The smallest x of the points.")
    high: float | None = Field(None, allow_inf_nan=False, description="The largest x of the points.")
    log_x: bool = Field(False, description="Whether points are thinned evenly along a logarithmic x axis.")
    points: int = Field(1000, ge=10, le=MAX_POINTS, description="Number of points of a curve at most.")
    smoothing: float = Field(0.0, ge=0, lt=1, description="Weight of the past in the debiased moving average; 0: none.")
    groups: list[str] | None = Field(None, description="The group of each run; adds mean and standard deviation.")

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        if len(self.runs) * len(self.metrics) > MAX_CURVES:
            raise ValueError(f"runs times metrics are more than {MAX_CURVES} curves")
        if self.groups is not None and len(self.groups) != len(self.runs):
            raise ValueError("groups must have an entry for each run")
        return self


class CurveInfo(BaseModel):
    """A curve before it was thinned."""

    run: str
    metric: str
    total: int = Field(description="Number of points.")
    in_range: int = Field(description="Number of points between `low` and `high`.")
    not_finite: int = Field(description="Of them, NaN and infinite ones, which are gaps.")
    not_positive: int = Field(description="Of them, those that a logarithmic y axis cannot show.")
    without_x: int = Field(description="Number of points without a finite x; those of x <= 0 too if `log_x`.")


class SeriesInfo(BaseModel):
    """A column of values: of a curve, or of a group of runs."""

    kind: Literal["raw", "smooth", "mean", "low", "high"]
    metric: str
    run: str = ""
    group: str = ""
    shown: int = Field(description="Number of values.")


class CurvesHeader(BaseModel):
    """What the columns are."""

    n: int = Field(description="Number of x.")
    thinned: bool = Field(description="Whether each of the x stands for a range of points.")
    curves: list[CurveInfo]
    series: list[SeriesInfo]


@dataclass(frozen=True)
class _Curve:
    """The points of a curve in the range, sorted by x: x, value and moving average (n,)."""

    run: str
    metric: str
    x: np.ndarray
    values: np.ndarray
    smooth: np.ndarray | None


@dataclass(frozen=True)
class _Axis:
    """The x that all series share; `edges` are those of buckets with two x each, or None if all points are there."""

    x: np.ndarray
    edges: np.ndarray | None

    def place(self, x: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places and values of a curve: all points, or the first and last extreme of each bucket."""
        if self.edges is None:
            return np.searchsorted(self.x, x), values
        buckets = _find_buckets(self.edges, x)
        starts = np.flatnonzero(np.diff(buckets, prepend=-1))
        if not starts.size:
            return np.empty(0, np.int64), values
        filled = buckets[starts]
        lows, highs = (_extreme_index(sign * values, starts) for sign in (1, -1))
        first, second = np.minimum(lows, highs), np.maximum(lows, highs)
        is_pair = first < second
        places = np.concatenate([2 * filled, 2 * filled[is_pair] + 1])
        indices = np.concatenate([first, second[is_pair]])
        order = np.argsort(places)
        return places[order], values[indices[order]]

    def mean(self, x: np.ndarray, values: np.ndarray) -> np.ndarray:
        """A curve at each x: its mean in each bucket, interpolated between its points; NaN outside of them."""
        is_finite = np.isfinite(values)
        x, values = x[is_finite], values[is_finite]
        if not x.size:
            return np.full(len(self.x), np.nan)
        if self.edges is not None:
            buckets = _find_buckets(self.edges, x)
            counts = np.bincount(buckets, minlength=len(self.edges) - 1)
            sums = np.bincount(buckets, values, minlength=len(self.edges) - 1)
            filled = np.flatnonzero(counts)
            x, values = self.x[2 * filled], sums[filled] / counts[filled]
        grid = self.x if self.edges is None else self.x[::2]
        return np.interp(grid, x, values, left=np.nan, right=np.nan)


def load_plot(store: Store, request: CurvesRequest) -> bytes:
    """Load curves as a binary answer; see the module. Raises StoreError."""
    curves, infos = list[_Curve](), list[CurveInfo]()
    runs = list(dict.fromkeys(request.runs))
    x_curves = load_curves(store, runs, request.x_metric, None) if request.x == "metric" else {}
    for metric in dict.fromkeys(request.metrics):
        for run, points in load_curves(store, runs, metric, None).items():
            curve, info = _prepare(request, run, metric, points, x_curves.get(run))
            curves.append(curve)
            infos.append(info)
    order = {run: place for place, run in enumerate(runs)}
    curves.sort(key=lambda curve: order[curve.run])
    infos.sort(key=lambda info: order[info.run])
    axis = _make_axis(request, curves)
    series = [(SeriesInfo(kind="raw", metric=c.metric, run=c.run, shown=0), *axis.place(c.x, c.values)) for c in curves]
    series += [
        (SeriesInfo(kind="smooth", metric=c.metric, run=c.run, shown=0), *axis.place(c.x, c.smooth))
        for c in curves if c.smooth is not None
    ]  # fmt: skip
    if request.groups is not None:
        series += _make_bands(axis, curves, dict(zip(request.runs, request.groups, strict=True)))
    for column, places, _ in series:
        column.shown = len(places)
    header = CurvesHeader(
        n=len(axis.x), thinned=axis.edges is not None, curves=infos, series=[column for column, _, _ in series]
    )
    return _encode(header, axis, [places for _, places, _ in series], [values for _, _, values in series])


def _prepare(
    request: CurvesRequest, run: str, metric: str, points: CurvePoints, x_points: CurvePoints | None
) -> tuple[_Curve, CurveInfo]:
    """Put the points of a curve on the x axis, smooth them, and cut the range."""
    x = _x_values(request, points, x_points)
    has_x = np.isfinite(x) & ((x > 0) | (not request.log_x))
    order = np.flatnonzero(has_x)
    if np.any(np.diff(x[order]) < 0):
        order = order[np.argsort(x[order], kind="stable")]
    x, values = x[order], points.values[order]
    smooth = _smooth(values, request.smoothing) if request.smoothing else None
    low = -math.inf if request.low is None else request.low
    high = math.inf if request.high is None else request.high
    part = slice(*np.searchsorted(x, [low, np.nextafter(high, math.inf)]))
    is_finite = np.isfinite(values[part])
    info = CurveInfo(
        run=run, metric=metric, total=len(points.values), in_range=len(values[part]),
        not_finite=int(np.sum(~is_finite)), not_positive=int(np.sum(values[part][is_finite] <= 0)),
        without_x=int(np.sum(~has_x)),
    )  # fmt: skip
    plotted = np.where(is_finite, values[part], np.nan)
    return _Curve(run, metric, x[part], plotted, None if smooth is None else smooth[part]), info


def _x_values(request: CurvesRequest, points: CurvePoints, x_points: CurvePoints | None) -> np.ndarray:
    """The x of each point; NaN for steps at which the metric of the x axis has no value."""
    if request.x == "step":
        return points.steps.astype(np.float64)
    if request.x == "time":
        return points.times / _MICROSECONDS
    if request.x == "elapsed":
        return (points.times - (points.times.min() if points.times.size else 0)) / _MICROSECONDS
    x = np.full(len(points.steps), np.nan)
    if x_points is None or not x_points.steps.size:
        return x
    places = np.searchsorted(x_points.steps, points.steps, side="right") - 1  # the last value of a step
    is_equal = (places >= 0) & (x_points.steps[places] == points.steps)
    x[is_equal] = x_points.values[places[is_equal]]
    return x


def _smooth(values: np.ndarray, weight: float) -> np.ndarray:
    """The exponential moving average of finite values, divided by the sum of its weights (Kingma & Ba 2015, section 3).

    It is NaN where a value is not finite, which changes nothing after it.
    """
    indices = np.flatnonzero(np.isfinite(values))
    ages = np.subtract.outer(np.arange(SMOOTHING_BLOCK), np.arange(SMOOTHING_BLOCK))
    weights = np.where(ages >= 0, (1 - weight) * weight ** np.maximum(ages, 0), 0.0)
    averages, last = np.empty(len(indices)), 0.0
    for start in range(0, len(indices), SMOOTHING_BLOCK):  # SciPy has this filter, but takes 2 s to import
        block = values[indices[start : start + SMOOTHING_BLOCK]]
        n = len(block)
        averages[start : start + n] = weights[:n, :n] @ block + weight ** np.arange(1, n + 1) * last
        last = averages[start + n - 1]
    smooth = np.full(len(values), np.nan)
    smooth[indices] = averages / (1 - weight ** np.arange(1, len(indices) + 1))
    return smooth


def _make_axis(request: CurvesRequest, curves: list[_Curve]) -> _Axis:
    """The x of all points if they are few, or else two for each of `points / 2` buckets."""
    x = np.unique(np.concatenate([curve.x for curve in curves])) if curves else np.empty(0)
    is_unique = all(np.all(np.diff(curve.x) > 0) for curve in curves)
    if is_unique and len(x) <= request.points:
        return _Axis(x, None)
    low = x[0] if request.low is None else max(x[0], request.low)
    high = x[-1] if request.high is None else min(x[-1], request.high)
    edges = (np.geomspace if request.log_x else np.linspace)(low, high, request.points // 2 + 1)
    if edges[-1] <= edges[0]:
        edges = np.array([low, np.nextafter(low, math.inf)])
    widths = np.diff(edges)
    return _Axis(np.ravel(np.stack([edges[:-1] + widths / 4, edges[:-1] + widths * 0.75], axis=1)), edges)


def _find_buckets(edges: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)


def _extreme_index(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The index of the smallest value of each stretch that begins at `starts`; of its start if all are NaN."""
    finite = np.where(np.isnan(values), np.inf, values)
    smallest = np.minimum.reduceat(finite, starts)
    lengths = np.diff(starts, append=len(values))
    is_smallest = finite == np.repeat(smallest, lengths)
    return np.minimum.reduceat(np.where(is_smallest, np.arange(len(values)), len(values)), starts)


def _make_bands(
    axis: _Axis, curves: list[_Curve], groups: dict[str, str]
) -> list[tuple[SeriesInfo, np.ndarray, np.ndarray]]:
    """Mean of the runs of each group and metric, and the mean minus and plus their standard deviation."""
    members: dict[tuple[str, str], list[np.ndarray]] = {}
    for curve in curves:
        values = curve.values if curve.smooth is None else curve.smooth
        members.setdefault((groups[curve.run], curve.metric), []).append(axis.mean(curve.x, values))
    bands = list[tuple[SeriesInfo, np.ndarray, np.ndarray]]()
    step = 1 if axis.edges is None else 2
    for (group, metric), rows in members.items():
        table = np.stack(rows)
        places = np.flatnonzero(np.isfinite(table).any(axis=0))
        mean, deviation = np.nanmean(table[:, places], axis=0), np.nanstd(table[:, places], axis=0)
        for kind, values in (("mean", mean), ("low", mean - deviation), ("high", mean + deviation)):
            info = SeriesInfo.model_validate({"kind": kind, "metric": metric, "group": group, "shown": 0})
            bands.append((info, places * step, values))
    return bands


def _encode(header: CurvesHeader, axis: _Axis, places: list[np.ndarray], values: list[np.ndarray]) -> bytes:
    numbers = np.concatenate([axis.x, *values]).astype("<f8")
    return pack_header(header) + numbers.tobytes() + np.concatenate([*places, []]).astype("<u4").tobytes()
