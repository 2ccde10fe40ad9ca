"""Plots of test predictions of values: truth against prediction, residuals, errors of a forecast by its horizon."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import format_count
from rosenblatt.inspection.plots.figure import (
    BLUE,
    GREY,
    LIGHT_GREY,
    MAX_POINTS,
    NARROW,
    ORANGE,
    Plot,
    make_figure,
    with_style,
)
from rosenblatt.inspection.prediction_intervals import (
    LOWER_QUANTILE,
    MIN_BIN_ROWS,
    UPPER_QUANTILE,
    PredictionIntervals,
    cross_validated_coverage,
)
from rosenblatt.inspection.tables import format_percent, format_value

MAX_TARGETS = 6  # of several targets, the first ones are drawn


def regression_plots(target: Target, y: np.ndarray, predictions: np.ndarray) -> Iterator[Plot]:
    """For each target, true against predicted values and the residuals; y and predictions are (n, targets)."""
    for k, name in enumerate(target.names[:MAX_TARGETS]):
        suffix = f": {name}" if len(target.names) > 1 else ""
        yield true_against_predicted(name, y[:, k], predictions[:, k], suffix)
        yield residuals(name, y[:, k], predictions[:, k], suffix)


@with_style
def true_against_predicted(
    name: str, y: np.ndarray, predictions: np.ndarray, suffix: str = "", *, with_intervals: bool = True
) -> Plot:
    """True against predicted values (n,), by default with a band for the 90% prediction interval."""
    figure, (ax,) = make_figure(1, NARROW, 3.8)
    sample = np.random.default_rng(0).permutation(len(y))[:MAX_POINTS]
    ax.plot(predictions[sample], y[sample], ".", ms=4, alpha=0.5, color=BLUE)
    limits = np.array([predictions.min(), predictions.max()])
    ax.plot(limits, limits, color=GREY, lw=1)
    caption = "On the line, predictions are exact."
    if with_intervals:
        caption += _draw_intervals(ax, y, predictions)
    ax.set(xlabel=f"predicted {name}", ylabel=f"true {name}")
    return Plot(f"True and predicted values{suffix}", caption, figure)


def _draw_intervals(ax: Axes, y: np.ndarray, predictions: np.ndarray) -> str:
    """Draw the prediction intervals, and return what the caption says about them."""
    intervals = PredictionIntervals.fit(y, predictions)
    if intervals is None:
        return f" There are no prediction intervals: they need {2 * MIN_BIN_ROWS} rows."
    x = np.column_stack([intervals.edges[:-1], intervals.edges[1:]])
    lower, upper = (x + bounds[:, None] for bounds in (intervals.lower, intervals.upper))
    ax.fill_between(x.ravel(), lower.ravel(), upper.ravel(), color=ORANGE, alpha=0.2, lw=0)
    caption = (
        f" The band is a 90% prediction interval: the {LOWER_QUANTILE:.0%} and {UPPER_QUANTILE:.0%} quantiles of the "
        f"residuals of these rows, in {format_count(len(intervals.lower), 'bin')} of the predicted value."
    )
    coverage = cross_validated_coverage(y, predictions)
    if np.isfinite(coverage):
        caption += f" Fitted to four fifths of the rows, such a band covers {format_percent(coverage)} of the others."
    return caption


@with_style
def residuals(name: str, y: np.ndarray, predictions: np.ndarray, suffix: str = "") -> Plot:
    """Histogram of predicted minus true values (n,)."""
    figure, (ax,) = make_figure(1, NARROW, 3.8)
    errors = predictions - y
    low, high = errors.min(), errors.max()
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # equal except for rounding, but a histogram needs a range
        low, high = low - 0.5, high + 0.5
    ax.hist(errors, bins=min(40, max(5, len(y) // 10)), range=(low, high), color=BLUE, alpha=0.8)
    ax.axvline(0, color=GREY, lw=1)
    ax.set(xlabel=f"predicted minus true {name}", ylabel="rows")
    median = format_value(np.median(np.abs(errors)))
    caption = (
        f"Number of rows by error. The mean error is {format_value(errors.mean())}, the median absolute error {median}."
    )
    return Plot(f"Residuals{suffix}", caption, figure)


@with_style
def errors_by_horizon(name: str, y: np.ndarray, predictions: np.ndarray, last_values: np.ndarray) -> Plot:
    """Errors of forecasts (n, horizon) at each step ahead, beside those of repeating the last value (n,)."""
    figure, (ax,) = make_figure(1, NARROW, 3.8)
    steps, errors = np.arange(1, y.shape[1] + 1), predictions - y
    low, high = np.quantile(errors, [LOWER_QUANTILE, UPPER_QUANTILE], axis=0)
    marker = "o" if len(steps) == 1 else ""
    ax.fill_between(steps, low, high, color=BLUE, alpha=0.15, lw=0, label="5% to 95% of the errors")
    ax.plot(steps, np.abs(errors).mean(axis=0), marker=marker, color=BLUE, label="mean absolute error")
    baseline = np.abs(last_values[:, None] - y).mean(axis=0)
    ax.plot(steps, baseline, marker=marker, color=GREY, ls="--", label="mean absolute error of the last value")
    ax.axhline(0, color=LIGHT_GREY, lw=1, zorder=0)
    ax.set(xlabel="steps ahead", ylabel=f"predicted minus true {name}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False, fontsize=8)
    caption = (
        f"Errors of {format_count(len(y), 'forecast')} at each step ahead. Subtracting the bounds of the band from a "
        "forecast gives an interval that held for 90% of these forecasts."
    )
    return Plot("Errors by horizon", caption, figure)
