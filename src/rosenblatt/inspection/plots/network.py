"""Plots of a network's layers and of its decision boundary."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from rosenblatt.data.tasks.target import Target
from rosenblatt.inspection.plots.figure import (
    BLUE,
    COLORS,
    GREY,
    MAX_POINTS,
    ORANGE,
    WIDE,
    Plot,
    make_figure,
    with_style,
)
from rosenblatt.models.model import Model
from rosenblatt.networks.dense import DenseArchitecture

MAX_UNITS = 14  # units that are drawn of each layer
GRID_SIZE = 200  # grid points along each side of a decision boundary
MIN_FADED_LINES = 200  # from this number of weights between two layers on, weak weights are drawn thinner still


@with_style
def plot_network(model: Model, number: int = 1) -> Plot:
    """Units and weights of one of the model's networks, numbered from 1."""
    trained = model.networks[number - 1]
    layers = trained.dense.layers(trained.theta)
    units = _strongest_units(trained.dense, layers)
    heights = [np.linspace(0.5, -0.5, len(selected)) * (len(selected) - 1) for selected in units]
    figure, (ax,) = make_figure(1, WIDE, max(2.4, 0.8 + 0.3 * max(map(len, units))))
    figure.set_layout_engine("none")  # the names of inputs and outputs are outside the axes
    ax.set_position((0.24, 0.1, 0.6, 0.85))
    for l, (weights, _) in enumerate(layers):
        _draw_weights(ax, l, weights[np.ix_(units[l], units[l + 1])], heights[l], heights[l + 1])
    for l, (selected, height) in enumerate(zip(units, heights, strict=True)):
        ax.plot(np.full(len(selected), l), height, "o", ms=7, color="white", mec=GREY, zorder=2)
        size = trained.dense.sizes[l]
        label = "inputs" if l == 0 else trained.dense.activation if l < len(layers) else f"output{'s' * (size > 1)}"
        label = f"{size} {label}" + (f"\n({len(selected)} shown)" if len(selected) < size else "")
        ax.text(l, height.min() - 1.2 if len(height) else 0, label, ha="center", va="top", color=GREY)
    input_names = model.trial_for_network(number - 1).encoder.feature_names
    for unit, height in zip(units[0], heights[0], strict=True):
        ax.text(-0.06, height, input_names[unit][:34], ha="right", va="center", fontsize=7)
    for name, height in zip(_output_names(model.target, units[-1]), heights[-1], strict=True):
        ax.text(len(layers) + 0.06, height, name[:24], ha="left", va="center", fontsize=8)
    ax.set_axis_off()
    ax.autoscale()
    caption = (
        f"Network {number} of {len(model.networks)}. Lines are weights, with a width by their absolute value: blue "
        "ones are positive, orange ones negative. For large layers, only the units with the largest weights are shown."
    )
    return Plot("Network", caption, figure)


def _draw_weights(ax: Axes, l: int, weights: np.ndarray, heights_in: np.ndarray, heights_out: np.ndarray) -> None:
    """Draw the weights (inputs, outputs) from the units of layer l to those of the next as lines."""
    strength = np.abs(weights).ravel() / (np.abs(weights).max() or 1)
    lines = LineCollection(
        [[(l, a), (l + 1, b)] for a in heights_in for b in heights_out],
        colors=[BLUE if weight > 0 else ORANGE for weight in weights.ravel()],
        linewidths=2.2 * strength ** (1 if weights.size < MIN_FADED_LINES else 2),
        alpha=0.7,
        zorder=1,
    )
    ax.add_collection(lines)


@with_style
def decision_boundary(model: Model, frame: pl.DataFrame, row: int | None = None) -> Plot:
    """Predictions of a model of two numbers over their plane, and the rows of a table; `row`, from 1, is marked."""
    x_name, y_name = (column.name for column in model.schema.input_columns)
    all_points = model.schema.read(frame).select(x_name, y_name).to_numpy()
    is_finite = np.isfinite(all_points).all(axis=1)
    points = all_points[is_finite]
    margin = 0.08 * np.ptp(points, axis=0) + 1e-9
    low, high = points.min(axis=0) - margin, points.max(axis=0) + margin
    x, y = np.meshgrid(np.linspace(low[0], high[0], GRID_SIZE), np.linspace(low[1], high[1], GRID_SIZE))
    predictions = model.predict_raw(pl.DataFrame({x_name: x.ravel(), y_name: y.ravel()}))
    figure, (ax,) = make_figure(1, 5.6, 4.6)
    if model.target.task == "regression":
        values = predictions[:, 0].reshape(x.shape)
        mesh = ax.pcolormesh(x, y, values, cmap="viridis", shading="auto", rasterized=True)
        figure.colorbar(mesh, label=model.target.names[0])
    else:
        _draw_regions(ax, model.target, x, y, predictions)
        name = model.target.names[0]
        targets = frame[name].cast(pl.String).filter(is_finite) if name in frame.columns else None
        _draw_classes(ax, model.target, points, targets)
    sample = points[:: len(points) // MAX_POINTS + 1]
    ax.plot(sample[:, 0], sample[:, 1], ".", ms=3, color="black", alpha=0.5)
    caption = "Colors are the predictions at each point, dots the rows of the table."
    if row is not None:
        ax.plot(*all_points[row - 1], "o", ms=11, mfc="none", mec="black", mew=1.6)
        caption = f"{caption[:-1]}, the ring row {row}."
    ax.set(xlabel=x_name, ylabel=y_name)
    return Plot("Decision boundary", caption, figure)


def _draw_regions(ax: Axes, target: Target, x: np.ndarray, y: np.ndarray, predictions: np.ndarray) -> None:
    """Color the grid x, y (G, G) by the predicted class, or by the first of several labels."""
    classes = np.asarray(target.to_predictions(predictions)).reshape(x.size, -1)[:, 0].reshape(x.shape)
    n_classes = max(len(target.labels), 2)
    palette = mpl.colors.ListedColormap([COLORS[k % len(COLORS)] for k in range(n_classes)])
    ax.pcolormesh(x, y, classes, cmap=palette, vmin=0, vmax=n_classes - 1, alpha=0.3, shading="auto", rasterized=True)


def _draw_classes(ax: Axes, target: Target, points: np.ndarray, classes: pl.Series | None) -> None:
    """Draw the rows of each class in its color, if the table has the classes."""
    for k, label in enumerate(target.labels):
        is_member = (
            np.zeros(len(points), bool) if classes is None else (classes == str(label)).fill_null(False).to_numpy()
        )
        selected = points[is_member][:: is_member.sum() // MAX_POINTS + 1]
        ax.plot(*selected.T, "o", ms=4, color=COLORS[k % len(COLORS)], label=str(label), alpha=0.8, zorder=3)
    ax.legend(loc="upper right", fontsize=8)


def has_two_numeric_inputs(model: Model) -> bool:
    """Whether the inputs of the model are two columns of numbers and nothing else."""
    return len(model.schema.input_columns) == 2 and all(
        column.kind == "number" for column in model.schema.input_columns
    )


def _strongest_units(architecture: DenseArchitecture, layers: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
    """Indices of the units to draw of each layer: those with the largest sums of squared weights, in order."""
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
