"""Plots of a network's layers and of its decision boundary."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.collections import LineCollection

from rosenblatt.data.tasks.target import Target
from rosenblatt.inspection.plots.figure import BLUE, COLORS, GREY, MOST_POINTS, ORANGE, Picture, figure_of, styled
from rosenblatt.models.model import Model
from rosenblatt.networks.dense import Architecture

UNITS_SHOWN = 14  # units of a layer in the drawing of a network
GRID = 200  # points a side of a plane
FEW_LINES = 200  # between two layers; of more the weak ones are drawn weaker still


@styled
def network(model: Model, which: int = 1) -> Picture:
    """A network by its number: its units, and its weights as lines, blue where they add, orange where they subtract."""
    first = model.networks[which - 1]
    layers = first.dense.layers(first.theta)
    shown = _strongest_units(first.dense, layers)
    figure, (ax,) = figure_of(1, 7.6, max(2.4, 0.8 + 0.3 * max(map(len, shown))))
    heights = [np.linspace(0.5, -0.5, len(units)) * (len(units) - 1) for units in shown]
    for l, (weights, _) in enumerate(layers):
        part = weights[np.ix_(shown[l], shown[l + 1])]
        strength = np.abs(part) / (np.abs(part).max() or 1)
        lines = [[(l, a), (l + 1, b)] for a in heights[l] for b in heights[l + 1]]
        colors = [BLUE if weight > 0 else ORANGE for weight in part.ravel()]
        ax.add_collection(
            LineCollection(
                lines,
                colors=colors,
                linewidths=2.2 * strength.ravel() ** (1 if part.size < FEW_LINES else 2),
                alpha=0.7,
                zorder=1,
            )
        )
    for l, (units, height) in enumerate(zip(shown, heights, strict=True)):
        ax.plot(np.full(len(units), l), height, "o", ms=7, color="white", mec=GREY, zorder=2)
        size = first.dense.sizes[l]
        what = "inputs" if l == 0 else first.dense.activation if l < len(layers) else f"output{'s' * (size > 1)}"
        some = f"\n({len(units)} shown)" if len(units) < size else ""
        ax.text(l, height.min() - 1.2 if len(height) else 0, f"{size} {what}{some}", ha="center", va="top", color=GREY)
    for unit, height in zip(shown[0], heights[0], strict=True):
        ax.text(-0.06, height, model.trial_of(which - 1).encoder.names[unit][:34], ha="right", va="center", fontsize=7)
    for name, height in zip(_output_names(model.target, shown[-1]), heights[-1], strict=True):
        ax.text(len(layers) + 0.06, height, name[:24], ha="left", va="center", fontsize=8)
    ax.set_axis_off()
    ax.autoscale()
    caption = (
        f"Network {which} of {len(model.networks)}. Lines are weights, as thick as they are strong: blue adds, orange "
        "subtracts. Of large "
        "layers the most strongly connected units are drawn."
    )
    return Picture("The network", caption, figure)


@styled
def decision_boundary(model: Model, frame: pl.DataFrame, row: int | None = None) -> Picture:
    """What a model of two numbers says all over their plane, and the rows of a table; `row`, from 1, is marked."""
    across, up = (column.name for column in model.schema.learnt)
    points = model.schema.read(frame).select(across, up).to_numpy()
    known = np.isfinite(points).all(axis=1)
    answers = frame[model.target.names[0]].cast(pl.String) if model.target.names[0] in frame.columns else None
    points, answers = points[known], None if answers is None else answers.filter(known)
    margin = 0.08 * np.ptp(points, axis=0) + 1e-9
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    x, y = np.meshgrid(np.linspace(low[0], high[0], GRID), np.linspace(low[1], high[1], GRID))
    said = model.decoded(pl.DataFrame({across: x.ravel(), up: y.ravel()}))
    figure, (ax,) = figure_of(1, 5.6, 4.6)
    if model.target.task == "regression":
        shades = ax.pcolormesh(x, y, said[:, 0].reshape(x.shape), cmap="viridis", shading="auto", rasterized=True)
        figure.colorbar(shades, label=model.target.names[0])
    else:
        decided = np.asarray(model.target.decide(said)).reshape(GRID * GRID, -1)[:, 0].reshape(x.shape)
        classes = max(len(model.target.labels), 2)
        palette = mpl.colors.ListedColormap([COLORS[k % len(COLORS)] for k in range(classes)])
        ax.pcolormesh(x, y, decided, cmap=palette, vmin=0, vmax=classes - 1, alpha=0.3, shading="auto", rasterized=True)
        for k, label in enumerate(model.target.labels):
            here = points[:0] if answers is None else points[(answers == str(label)).fill_null(False).to_numpy()]
            here = here[:: len(here) // MOST_POINTS + 1]
            ax.plot(*here.T, "o", ms=4, color=COLORS[k % len(COLORS)], label=str(label), alpha=0.8, zorder=3)
        ax.legend(loc="upper right", fontsize=8)
    some = points[:: len(points) // MOST_POINTS + 1]
    ax.plot(some[:, 0], some[:, 1], ".", ms=3, color="black", alpha=0.5)
    if row is not None:
        here = model.schema.read(frame[row - 1 : row]).select(across, up).to_numpy()[0]
        ax.plot(*here, "o", ms=11, mfc="none", mec="black", mew=1.6)
    ax.set(xlabel=across, ylabel=up)
    caption = "Colors are what the model says at each point, dots the rows of the table" + (
        f", the ring row {row}." if row is not None else "."
    )
    return Picture("The decision boundary", caption, figure)


def has_plane(model: Model) -> bool:
    """Whether the model learnt from two numbers and nothing else."""
    return len(model.schema.learnt) == 2 and all(column.kind == "number" for column in model.schema.learnt)


def _strongest_units(architecture: Architecture, layers: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Of each layer, the units to draw: those with the strongest weights, in order."""
    shown = []
    for l, size in enumerate(architecture.sizes):
        strength = np.zeros(size)
        if l < len(layers):
            strength += (layers[l][0] ** 2).sum(axis=1)
        if l > 0:
            strength += (layers[l - 1][0] ** 2).sum(axis=0)
        shown.append(np.sort(np.argsort(-strength, kind="stable")[:UNITS_SHOWN]))
    return shown


def _output_names(target: Target, units: np.ndarray) -> list[str]:
    if target.task == "multiclass":
        return [str(target.labels[unit]) for unit in units]
    return [str(target.labels[1])] if target.task == "binary" else [target.names[unit] for unit in units]
