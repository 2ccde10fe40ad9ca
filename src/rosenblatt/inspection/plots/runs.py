"""Plots of the curves of several runs."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl

from rosenblatt.errors import StorageError
from rosenblatt.inspection.plots.figure import COLORS, STYLE, make_figure
from rosenblatt.runs.store.curves import CurvePoints


def save_curves(curves: Mapping[str, Mapping[str, CurvePoints]], path: str) -> None:
    """Write a figure with axes for each metric and a line for each run. Raises StorageError."""
    metrics = {name: lines for name, lines in curves.items() if lines}
    if not metrics:
        raise StorageError("There are no curves to plot: these runs have logged no metrics.")
    runs = list(dict.fromkeys(run for lines in metrics.values() for run in lines))
    with mpl.rc_context(STYLE):
        figure, axes = make_figure(len(metrics), 4.0, 2.6, columns=min(len(metrics), 3))
        for ax, (name, lines) in zip(axes, metrics.items(), strict=False):
            for run, points in lines.items():
                style = "o" if len(points.values) == 1 else "-"
                ax.plot(points.steps, points.values, style, color=COLORS[runs.index(run) % len(COLORS)], label=run)
            ax.set_title(name)
            ax.set_xlabel("step")
        axes[0].legend(fontsize="small")
        try:
            figure.savefig(path, bbox_inches="tight", dpi=150)
        except (OSError, ValueError) as error:
            raise StorageError(f"The plot {path!r} cannot be written: {error}.") from error
