"""Plots of a network's layers and of its decision boundary."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.collections import LineCollection

from rosenblatt.data.tasks.target import Target
from rosenblatt.inspection.plots.figure import BLUE, COLORS, GREY, MAX_POINTS, ORANGE, Plot, make_figure, with_style
from rosenblatt.models.model import Model
from rosenblatt.networks.dense import DenseArchitecture

MAX_UNITS = 14  # units of a layer in the drawing of a network
GRID_SIZE = 200  # points a side of a plane
MIN_FADED_LINES = 200  # between two layers; of more the weak ones are drawn weaker still


@with_style
def plot_network(model: Model, number: int = 1) -> Plot:
    """A network by its number: its units, and its weights as lines, blue where they add, orange where they subtract."""
    trained = model.networks[number - 1]
    layers = trained.dense.layers(trained.theta)
    layer_units = _strongest_units(trained.dense, layers)
    figure, (ax,) = make_figure(1, 7.6, max(2.4, 0.8 + 0.3 * max(map(len, layer_units))))
    heights = [np.linspace(0.5, -0.5, len(units)) * (len(units) - 1) for units in layer_units]
    for l, (weights, _) in enumerate(layers):
        block = weights[np.ix_(layer_units[l], layer_units[l + 1])]
        strength = np.abs(block) / (np.abs(block).max() or 1)
        lines = [[(l, a), (l + 1, b)] for a in heights[l] for b in heights[l + 1]]
        colors = [BLUE if weight > 0 else ORANGE for weight in block.ravel()]
        ax.add_collection(
            LineCollection(
                lines,
                colors=colors,
                linewidths=2.2 * strength.ravel() ** (1 if block.size < MIN_FADED_LINES else 2),
                alpha=0.7,
                zorder=1,
            )
        )
    for l, (units, height) in enumerate(zip(layer_units, heights, strict=True)):
        ax.plot(np.full(len(units), l), height, "o", ms=7, color="white", mec=GREY, zorder=2)
        size = trained.dense.sizes[l]
        label = "inputs" if l == 0 else trained.dense.activation if l < len(layers) else f"output{'s' * (size > 1)}"
        suffix = f"\n({len(units)} shown)" if len(units) < size else ""
        ax.text(
            l, height.min() - 1.2 if len(height) else 0, f"{size} {label}{suffix}", ha="center", va="top", color=GREY
        )
    for unit, height in zip(layer_units[0], heights[0], strict=True):
        ax.text(
            -0.06,
            height,
            model.trial_for_network(number - 1).encoder.feature_names[unit][:34],
            ha="right",
            va="center",
            fontsize=7,
        )
    for name, height in zip(_output_names(model.target, layer_units[-1]), heights[-1], strict=True):
        ax.text(len(layers) + 0.06, height, name[:24], ha="left", va="center", fontsize=8)
    ax.set_axis_off()
    ax.autoscale()
    caption = (
        f"Network {number} of {len(model.networks)}. Lines are weights, as thick as they are strong: blue adds, orange "
        "subtracts. Of large "
        "layers the most strongly connected units are drawn."
    )
    return Plot("The network", caption, figure)


@with_style
def decision_boundary(model: Model, frame: pl.DataFrame, row: int | None = None) -> Plot:
    """What a model of two numbers says all over their plane, and the rows of a table; `row`, from 1, is marked."""
    x_name, y_name = (column.name for column in model.schema.input_columns)
    points = model.schema.read(frame).select(x_name, y_name).to_numpy()
    is_finite = np.isfinite(points).all(axis=1)
    targets = frame[model.target.names[0]].cast(pl.String) if model.target.names[0] in frame.columns else None
    points, targets = points[is_finite], None if targets is None else targets.filter(is_finite)
    margin = 0.08 * np.ptp(points, axis=0) + 1e-9
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    x, y = np.meshgrid(np.linspace(low[0], high[0], GRID_SIZE), np.linspace(low[1], high[1], GRID_SIZE))
    predictions = model.predict_raw(pl.DataFrame({x_name: x.ravel(), y_name: y.ravel()}))
    figure, (ax,) = make_figure(1, 5.6, 4.6)
    if model.target.task == "regression":
        mesh = ax.pcolormesh(x, y, predictions[:, 0].reshape(x.shape), cmap="viridis", shading="auto", rasterized=True)
        figure.colorbar(mesh, label=model.target.names[0])
    else:
        predicted_classes = (
            np.asarray(model.target.to_predictions(predictions))
            .reshape(GRID_SIZE * GRID_SIZE, -1)[:, 0]
            .reshape(x.shape)
        )
        n_classes = max(len(model.target.labels), 2)
        palette = mpl.colors.ListedColormap([COLORS[k % len(COLORS)] for k in range(n_classes)])
        ax.pcolormesh(
            x,
            y,
            predicted_classes,
            cmap=palette,
            vmin=0,
            vmax=n_classes - 1,
            alpha=0.3,
            shading="auto",
            rasterized=True,
        )
        for k, label in enumerate(model.target.labels):
            selected = points[:0] if targets is None else points[(targets == str(label)).fill_null(False).to_numpy()]
            selected = selected[:: len(selected) // MAX_POINTS + 1]
            ax.plot(*selected.T, "o", ms=4, color=COLORS[k % len(COLORS)], label=str(label), alpha=0.8, zorder=3)
        ax.legend(loc="upper right", fontsize=8)
    sample = points[:: len(points) // MAX_POINTS + 1]
    ax.plot(sample[:, 0], sample[:, 1], ".", ms=3, color="black", alpha=0.5)
    if row is not None:
        selected = model.schema.read(frame[row - 1 : row]).select(x_name, y_name).to_numpy()[0]
        ax.plot(*selected, "o", ms=11, mfc="none", mec="black", mew=1.6)
    ax.set(xlabel=x_name, ylabel=y_name)
    caption = "Colors are what the model says at each point, dots the rows of the table" + (
        f", the ring row {row}." if row is not None else "."
    )
    return Plot("The decision boundary", caption, figure)


def has_two_numeric_inputs(model: Model) -> bool:
    """Whether the model learnt from two numbers and nothing else."""
    return len(model.schema.input_columns) == 2 and all(
        column.kind == "number" for column in model.schema.input_columns
    )


def _strongest_units(architecture: DenseArchitecture, layers: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Of each layer, the units to draw: those with the strongest weights, in order."""
    units = []
    for l, size in enumerate(architecture.sizes):
        strength = np.zeros(size)
        if l < len(layers):
            strength += (layers[l][0] ** 2).sum(axis=1)
        if l > 0:
            strength += (layers[l - 1][0] ** 2).sum(axis=0)
        units.append(np.sort(np.argsort(-strength, kind="stable")[:MAX_UNITS]))
    return units


def _output_names(target: Target, units: np.ndarray) -> list[str]:
    if target.task == "multiclass":
        return [str(target.labels[unit]) for unit in units]
    return [str(target.labels[1])] if target.task == "binary" else [target.names[unit] for unit in units]
