"""Plots of the curves of several runs."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib as mpl

from rosenblatt.errors import StorageError
from rosenblatt.inspection.plots.figure import COLORS, STYLE, figure_of
from rosenblatt.runs.store.curves import Points


def save_curves(curves: Mapping[str, Mapping[str, Points]], path: str) -> None:
    """Write a picture with a part for each metric, in which each run has a line. Raises StorageError."""
    drawn = {name: lines for name, lines in curves.items() if lines}
    if not drawn:
        raise StorageError("There are no curves to draw: these runs have logged no metric.")
    runs = list(dict.fromkeys(run for lines in drawn.values() for run in lines))
    with mpl.rc_context(STYLE):
        figure, places = figure_of(len(drawn), 4.0, 2.6, columns=min(len(drawn), 3))
        for place, (name, lines) in zip(places, drawn.items(), strict=False):
            for run, points in lines.items():
                style = "o" if len(points.values) == 1 else "-"
                place.plot(points.steps, points.values, style, color=COLORS[runs.index(run) % len(COLORS)], label=run)
            place.set_title(name)
            place.set_xlabel("step")
        places[0].legend(fontsize="small")
        try:
            figure.savefig(path, bbox_inches="tight", dpi=150)
        except (OSError, ValueError) as error:
            raise StorageError(f"The picture {path!r} cannot be written: {error}.") from error
