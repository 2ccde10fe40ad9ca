"""What the page Network shows of a model: its layers, a row on its way through them, one neuron, its boundary."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.dashboard.network_answers import (
    BoundaryHeader,
    ColumnInfo,
    Contribution,
    LayerInfo,
    NetworkInfo,
    TraceAnswer,
    UnitAnswer,
)
from rosenblatt.data.encoding.encoder import CategoryEncoding, NumberEncoding
from rosenblatt.data.schema.columns import Column
from rosenblatt.errors import TableError
from rosenblatt.inspection.walkthrough import (
    ForwardTrace,
    input_names,
    name_output_activation,
    trace_forward,
    trace_to_dict,
    unit_names,
)
from rosenblatt.models.model import Model
from rosenblatt.models.trained import TrainedNetwork
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.training.compiled.activations import ACTIVATIONS

MAX_DRAWN_UNITS = 16  # of a layer in the diagram
MAX_SIDE = 128  # of a heat map
MAX_CONTRIBUTIONS = 20
MAX_CATEGORIES = 64
MAX_FILTERS = 64  # of a convolution, each for its first three inputs
BINS = 40  # of a histogram of weights
GRID_SIZE = 64  # points along each side of a boundary
CURVE_POINTS = 121


def describe_network(model: Model, number: int) -> NetworkInfo:
    """The layers of one of the model's networks, numbered from 1, and the columns of its rows. Raises TableError."""
    trained = _find_network(model, number)
    architecture, trial = trained.architecture, model.trial_for_network(number - 1)
    layers = [_describe_layer(trained, layer) for layer in range(architecture.n_layers)]
    columns = [_describe_column(column, trial.encoder.encodings) for column in model.schema.input_columns]
    drawn, connections, names = list[np.ndarray](), list[list[list[float]]](), list[list[str]]()
    if isinstance(architecture, DenseArchitecture) and not _is_kernel(architecture):
        drawn = _strongest_units(trained)
        for layer, (weights, _) in enumerate(architecture.layers(trained.theta)):
            connections.append(weights[np.ix_(drawn[layer], drawn[layer + 1])].tolist())
        names = _all_names(model, number)
    return NetworkInfo(
        network=number, networks=len(model.networks), kind=architecture.kind, summary=architecture.summary,
        sizes=list(architecture.sizes), task=model.task, target=list(model.target.names), layers=layers,
        drawn=[units.tolist() for units in drawn],
        names=[[group[unit] for unit in units] for group, units in zip(names, drawn, strict=True)],
        connections=connections, columns=columns, has_boundary=has_two_numbers(model), best_epoch=trained.best_epoch,
        n_epochs=trained.n_epochs, weight=trial.weight,
    )  # fmt: skip


def weight_map(model: Model, number: int, layer: int) -> tuple[np.ndarray, list[int]]:
    """The weights of a layer as a picture, and their shape: (inputs, units), or filters (units, inputs, H, W).

    Large layers are reduced to blocks, of which the weight with the largest absolute value is shown. Raises TableError
    if there is no such layer.
    """
    weights = _layer_weights(_find_network(model, number), layer)
    if weights.ndim == 4:
        return weights[:MAX_FILTERS, :3], list(weights.shape)
    return _reduce(_reduce(weights.reshape(weights.shape[0], -1), 0), 1), list(weights.shape)


def trace_row(model: Model, number: int, cells: Mapping[str, str]) -> TraceAnswer:
    """A row, as cells by column, on its way through a network. Raises TableError."""
    frame = make_frame(model, cells)
    messages = list[str]()
    trace = trace_forward(model, frame, 1, number, messages=messages)
    drawn = _strongest_units(trace.network)
    values = [trace.layers[0].inputs, *(layer.outputs for layer in trace.layers)]
    details = trace_to_dict(trace, frame, 1, 1)
    return TraceAnswer(
        values=[group[units].tolist() for group, units in zip(values, drawn, strict=True)],
        predicted=details["predicted"], model=details["model"], messages=messages,
    )  # fmt: skip


def describe_unit(model: Model, number: int, layer: int, unit: int, cells: Mapping[str, str]) -> UnitAnswer:
    """One neuron: inputs, weights, weighted sum, and where the row is on its activation. Raises TableError."""
    trace = trace_forward(model, make_frame(model, cells), 1, number)
    if not (1 <= layer <= len(trace.layers) and 0 <= unit < len(trace.layers[layer - 1].outputs)):
        raise TableError(f"There is no unit {unit} of layer {layer}. Choose a neuron of the diagram.")
    part, names = trace.layers[layer - 1], unit_names(trace, layer - 2) if layer > 1 else input_names(trace)
    products = part.contributions[:, unit]
    largest = np.argsort(-np.abs(products), kind="stable")[:MAX_CONTRIBUTIONS]
    contributions = [
        Contribution(
            input=names[j], value=float(part.inputs[j]), weight=float(part.weights[j, unit]), product=float(products[j])
        )
        for j in largest
    ]
    normalized = float(part.normalized[unit])
    activation, curve = _activation_curve(trace, layer, normalized)
    output = float(part.pre_activations[unit] > 0) if activation == "step" else float(part.outputs[unit])
    return UnitAnswer(
        name=unit_names(trace, layer - 1)[unit], contributions=contributions, others=len(products) - len(contributions),
        others_sum=float(products.sum() - products[largest].sum()), bias=float(part.biases[unit]),
        sum=float(part.pre_activations[unit]), normalized=normalized, output=output, activation=activation,
        is_residual=bool(part.residual), curve_z=curve[0].tolist(), curve_output=curve[1].tolist(),
    )  # fmt: skip


def has_two_numbers(model: Model) -> bool:
    """Whether the inputs are two columns of numbers and nothing else."""
    kinds = [column.kind for column in model.schema.input_columns]
    return kinds == ["number", "number"]


def boundary(model: Model) -> tuple[BoundaryHeader, np.ndarray]:
    """The prediction of a model of two numbers over their plane, (64, 64) from the smallest values.

    It is the probability of the second of two classes, else the index of the class, or the value. Raises TableError.
    """
    if not has_two_numbers(model):
        raise TableError("A decision boundary needs two columns of numbers, but this model has other inputs.")
    encodings = [
        _number_range(encoding) for encoding in model.encoder.encodings if isinstance(encoding, NumberEncoding)
    ]
    (low_x, high_x), (low_y, high_y) = encodings
    x, y = np.linspace(low_x, high_x, GRID_SIZE), np.linspace(low_y, high_y, GRID_SIZE)
    names = [column.name for column in model.schema.input_columns]
    frame = pl.DataFrame({names[0]: np.tile(x, GRID_SIZE), names[1]: np.repeat(y, GRID_SIZE)})
    raw, target = model.predict_raw(frame), model.target
    if target.task == "binary":
        values, shown = raw[:, -1], f"score of {target.labels[1]}"
    elif target.labels:
        values, shown = raw.argmax(axis=1), "class"
    else:
        values, shown = raw[:, 0], target.names[0]
    is_probability = target.task == "binary" and target.output_type == "probabilities"
    header = BoundaryHeader(
        names=names, low=[low_x, low_y], high=[high_x, high_y], shown=shown, classes=[str(c) for c in target.labels],
        middle=0.5 if is_probability else 0.0 if target.task == "binary" else None,
    )  # fmt: skip
    return header, values.reshape(GRID_SIZE, GRID_SIZE)


def make_frame(model: Model, cells: Mapping[str, str]) -> pl.DataFrame:
    """A table of one row from texts; images are in base64, empty texts are missing cells. Raises TableError."""
    columns = list[pl.Series]()
    names = [column.name for column in model.schema.input_columns]
    if unknown := cells.keys() - set(names):
        raise TableError(f"The model has no column {min(unknown)[:80]!r}. Its columns: {', '.join(names)[:400]}.")
    for column in model.schema.input_columns:
        cell = cells.get(column.name, "")
        if column.kind == "image":
            try:
                content = base64.b64decode(cell, validate=True)
            except (ValueError, binascii.Error):
                content = b""
            if not content:
                raise TableError(f"Column {column.name!r} needs an image. Choose a file.")
            columns.append(pl.Series(column.name, [content], pl.Binary))
        else:
            columns.append(pl.Series(column.name, [cell or None], pl.String))
    return pl.DataFrame(columns)


def _find_network(model: Model, number: int) -> TrainedNetwork:
    n = len(model.networks)
    if not 1 <= number <= n:
        raise TableError(f"There is no network {number}; the model has {n}. Choose a network from 1 to {n}.")
    return model.networks[number - 1]


def _is_kernel(architecture: DenseArchitecture) -> bool:
    return architecture.kind == "perceptron" and architecture.activation in ("rbf", "polynomial")


def _layer_weights(trained: TrainedNetwork, layer: int) -> np.ndarray:
    parameters = trained.architecture.parameters_by_name(trained.theta)
    weights = parameters.get((layer - 1, "weight"))
    if weights is None:
        raise TableError(f"Layer {layer} has no weights. Choose another layer.")
    return weights


def _describe_layer(trained: TrainedNetwork, layer: int) -> LayerInfo:
    """A layer with parameters, from 0: its shape, and how its weights are distributed."""
    parts = [part for part in trained.architecture.parts if part.layer == layer]
    weights = next((trained.theta[part.start : part.end] for part in parts if part.name == "weight"), np.empty(0))
    counts, edges = np.histogram(weights, BINS) if weights.size else (np.empty(0, int), np.empty(0))
    return LayerInfo(
        layer=layer + 1, parts={part.name: list(part.shape) for part in parts}, histogram=counts.tolist(),
        edges=edges.tolist(),
    )  # fmt: skip


def _describe_column(column: Column, encodings: Any) -> ColumnInfo:
    """A column of a row, with a typical cell: the median, or the first frequent category."""
    encoding = next((item for item in encodings if getattr(item, "column", "") == column.name), None)
    typical, categories = "", list[str]()
    if isinstance(encoding, NumberEncoding):
        typical = f"{encoding.fill_value:.6g}"
    elif isinstance(encoding, CategoryEncoding):
        categories = list(encoding.categories[:MAX_CATEGORIES])
        typical = next(iter(categories), "")
    if column.kind == "boolean":
        categories, typical = [*column.boolean_pair], column.boolean_pair[0]
    return ColumnInfo(name=column.name, kind=column.kind, typical=typical, categories=categories)


def _strongest_units(trained: TrainedNetwork) -> list[np.ndarray]:
    """The units to draw of each layer: those with the largest sums of squared weights, in order."""
    layers, units = trained.dense.layers(trained.theta), []
    for place, size in enumerate(trained.dense.sizes):
        strength = np.zeros(size)
        if place < len(layers):
            strength += (layers[place][0] ** 2).sum(axis=1)
        if place > 0:
            strength += (layers[place - 1][0] ** 2).sum(axis=0)
        units.append(np.sort(np.argsort(-strength, kind="stable")[:MAX_DRAWN_UNITS]))
    return units


def _all_names(model: Model, number: int) -> list[list[str]]:
    """Names of the inputs and of the units of each layer."""
    trained, trial = model.networks[number - 1], model.trial_for_network(number - 1)
    empty = pl.DataFrame()
    trace = ForwardTrace(model, trial, trained, empty, np.empty(0), [])
    return [input_names(trace), *(unit_names(trace, layer) for layer in range(len(trained.dense.sizes) - 1))]


def _reduce(values: np.ndarray, axis: int) -> np.ndarray:
    """At most `MAX_SIDE` blocks along an axis, each with its value of the largest absolute value."""
    size = values.shape[axis]
    if size <= MAX_SIDE:
        return values
    starts = np.linspace(0, size, MAX_SIDE, endpoint=False).astype(int)
    high, low = np.maximum.reduceat(values, starts, axis), np.minimum.reduceat(values, starts, axis)
    return np.where(high >= -low, high, low)


def _number_range(encoding: NumberEncoding) -> tuple[float, float]:
    """The range of a column in the training rows, or three scales around its center if the encoding has none."""
    if encoding.range:
        margin = 0.05 * (encoding.range[1] - encoding.range[0])
        return encoding.range[0] - margin, encoding.range[1] + margin
    scale = encoding.scale or 1.0
    return encoding.center - 3 * scale, encoding.center + 3 * scale


def _activation_curve(trace: ForwardTrace, layer: int, z: float) -> tuple[str, np.ndarray]:
    """The name of a layer's activation, and its curve (2, n) around z; empty if the outputs depend on each other."""
    is_last = layer == len(trace.layers)
    name = name_output_activation(trace) if is_last else trace.network.dense.activation
    reach = max(4.0, 1.25 * abs(z))
    grid = np.linspace(-reach, reach, CURVE_POINTS)
    if is_last:
        outputs = {"sigmoid": 1 / (1 + np.exp(-grid)), "step": (grid > 0) * 1.0, "identity": grid, "exp": np.exp(grid)}
        return name, np.stack([grid, outputs[name]]) if name in outputs else np.empty((2, 0))
    slopes, outputs_of_hidden = grid.copy(), np.empty_like(grid)
    ACTIVATIONS[trace.network.dense.activation](slopes, outputs_of_hidden)
    return name, np.stack([grid, outputs_of_hidden])
