"""Plots of partial dependence and individual conditional expectation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rosenblatt.errors import format_count
from rosenblatt.inspection.partial_dependence import PartialDependence
from rosenblatt.inspection.plots.figure import COLORS, GREY, NARROW, Plot, make_figure, with_style

MAX_LINES = 50  # individual rows that are drawn
MAX_OUTPUTS = 6  # classes, labels or targets that are drawn


def partial_dependence_plots(dependences: Sequence[PartialDependence]) -> list[Plot]:
    """A plot for each column, all on the same vertical scale."""
    if not dependences:
        return []
    drawn = [_drawn_values(dependence) for dependence in dependences]
    low, high = min(values.min() for values in drawn), max(values.max() for values in drawn)
    margin = 0.04 * (high - low) or 0.5
    return [plot_partial_dependence(dependence, (low - margin, high + margin)) for dependence in dependences]


@with_style
def plot_partial_dependence(dependence: PartialDependence, limits: tuple[float, float]) -> Plot:
    """Mean predictions over the values of a column as lines, or as bars for categories; thin lines are single rows."""
    figure, (ax,) = make_figure(1, NARROW, 3.0)
    mean, n_rows = dependence.mean[:, :MAX_OUTPUTS], len(dependence.values)
    has_lines = len(dependence.outputs) == 1 and dependence.is_numeric
    if has_lines:
        ax.plot(dependence.grid, dependence.values[:MAX_LINES, :, 0].T, color=GREY, lw=0.5, alpha=0.35)
    for k, output in enumerate(dependence.outputs[:MAX_OUTPUTS]):
        color = COLORS[k % len(COLORS)]
        if dependence.is_numeric:
            ax.plot(dependence.grid, mean[:, k], color=color, lw=2, label=output)
        else:
            width = 0.8 / mean.shape[1]
            x = np.arange(len(mean)) + (k - (mean.shape[1] - 1) / 2) * width
            ax.bar(x, mean[:, k], width=width, color=color, label=output)
    if not dependence.is_numeric:
        names = [str(value)[:16] for value in dependence.grid]
        is_long = sum(map(len, names)) > 36
        ax.set_xticks(np.arange(len(names)), names, rotation=45 if is_long else 0, ha="right" if is_long else "center")
    ax.set(xlabel=dependence.column[:50], ylim=limits)
    if len(dependence.outputs) == 1:
        ax.set_ylabel(dependence.outputs[0][:40])
    else:
        ax.legend(frameon=False, fontsize=7)
    lines = f" Thin lines are {format_count(min(n_rows, MAX_LINES), 'single row')}." if has_lines else ""
    shown = (
        f" The first {MAX_OUTPUTS} of {len(dependence.outputs)} outputs."
        if len(dependence.outputs) > MAX_OUTPUTS
        else ""
    )
    caption = f"Mean prediction of {format_count(n_rows, 'row')} if all of them had this value.{lines}{shown}"
    return Plot(f"Partial dependence on {dependence.column}", caption, figure)


def _drawn_values(dependence: PartialDependence) -> np.ndarray:
    if len(dependence.outputs) == 1 and dependence.is_numeric:
        return dependence.values[:MAX_LINES]
    return (
        np.append(dependence.mean[:, :MAX_OUTPUTS], 0.0)
        if not dependence.is_numeric
        else dependence.mean[:, :MAX_OUTPUTS]
    )
