"""Trace one row forward and backward through a network, layer by layer, as plain NumPy.

Activations, losses and output activations are the compiled functions that training uses; everything else is written out
in NumPy, in float64, and independent of the engine. Tests compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.errors import TableError
from rosenblatt.models.model import Model
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.training.compiled.activations import ACTIVATIONS
from rosenblatt.training.compiled.losses import (
    EXPONENTIAL,
    LOSSES,
    OUTPUT_ACTIVATIONS,
    SIGMOID,
    SOFTMAX,
    apply_output_activation,
)
from rosenblatt.training.compiled.normalization import EPSILON

LOSS_PARAMETERS = {"focal": "focal_gamma", "huber": "huber_delta", "quantile": "quantile", "hinge": "hinge_margin"}


@dataclass
class LayerTrace:
    """Computation of one layer with n_in inputs and n_out units for one row."""

    inputs: np.ndarray  # (n_in,)
    weights: np.ndarray  # (n_in, n_out)
    biases: np.ndarray  # (n_out,)
    pre_activations: np.ndarray  # (n_out,) inputs x weights + biases
    normalized: np.ndarray  # (n_out,) pre-activations after normalization, if there is one
    outputs: np.ndarray  # (n_out,) after the activation; in the last layer after the output activation
    activation_derivatives: np.ndarray  # (n_out,) derivatives of the outputs by the normalized pre-activations
    inv_std: np.ndarray  # (n_out,) 1 / standard deviation of the normalization, or 1
    residual: bool  # whether the inputs are added to the outputs
    deltas: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_out,) dLoss/d pre-activations
    input_gradients: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_in,) dLoss/d inputs

    @property
    def contributions(self) -> np.ndarray:
        """(n_in, n_out) inputs times weights."""
        return self.inputs[:, None] * self.weights

    @property
    def weight_gradients(self) -> np.ndarray:
        """(n_in, n_out) dLoss/d weights."""
        return self.inputs[:, None] * self.deltas


@dataclass
class ForwardTrace:
    """Forward pass of one row through one network, with the gradients after `trace_backward`."""

    model: Model
    trial: TrainedTrial  # that the network belongs to
    network: TrainedNetwork
    typed: pl.DataFrame  # the row, as `Schema.read` returns it
    x: np.ndarray  # (F,) encoded row
    layers: list[LayerTrace]
    target: np.ndarray = field(default_factory=lambda: np.empty(0))  # encoded target; empty before `trace_backward`
    loss: float = np.nan

    @property
    def predicted(self) -> np.ndarray:
        """Prediction of this network alone, a row of what `Model.predict_raw` returns."""
        return self.trial.target.decode(self.layers[-1].outputs[None])[0]


def trace_forward(
    model: Model,
    frame: pl.DataFrame,
    row: int,
    network: int = 1,
    format: TableFormat = DETECT_FORMAT,
    messages: list[str] | None = None,
) -> ForwardTrace:
    """Trace a row of a table, numbered from 1, through one of the model's networks, numbered from 1.

    `format` and `messages` are as in `Schema.read`. Raises TableError if there is no such row or network, or if the
    network does not consist of weighted sums.
    """
    if model.encoder.n_sparse_columns:
        raise TableError("The model was trained on a sparse matrix, so rows of a table cannot be explained.")
    if not 1 <= row <= frame.height:
        raise TableError(
            f"There is no row {row}; the table has {frame.height:,}. Choose a row from 1 to {frame.height:,}."
        )
    if not 1 <= network <= len(model.networks):
        n = len(model.networks)
        raise TableError(f"There is no network {network}; the model has {n}. Choose a network from 1 to {n}.")
    trial, trained = model.trial_for_network(network - 1), model.networks[network - 1]
    if trial.resolved_spec.network.perceptron_rule == "kernel" and trial.resolved_spec.network.kind == "perceptron":
        raise TableError(
            "A kernel perceptron compares a row with its support rows instead of weighting inputs, so it has no trace."
        )
    typed = model.schema.read(frame, messages, format)[row - 1 : row]  # all rows show how one is written
    x = trial.encoder.matrix(typed)[0].astype(np.float64)
    return ForwardTrace(model, trial, trained, typed, x, _forward(trained, trial.target.loss, x))


def _forward(network: TrainedNetwork, loss: str, x: np.ndarray) -> list[LayerTrace]:
    architecture, layers = network.dense, []
    parameters = {key: part.astype(np.float64) for key, part in architecture.parameters_by_name(network.theta).items()}
    a = x * parameters[0, "scale"] if architecture.scaling_layer else x
    last = len(architecture.sizes) - 2
    for l in range(last + 1):
        W, b = parameters[l, "weight"], parameters[l, "bias"]
        pre_activations = a @ W + b
        ones = np.ones_like(pre_activations)
        if l == last:
            outputs = pre_activations[None].copy()
            apply_output_activation(loss, outputs)
            layers.append(LayerTrace(a, W, b, pre_activations, pre_activations, outputs[0], ones, ones, residual=False))
            return layers
        normalized, inv_std = _normalize(architecture.normalization, parameters, l, pre_activations)
        derivatives, outputs = normalized.copy(), np.empty_like(normalized)
        ACTIVATIONS[architecture.activation](derivatives, outputs)
        if architecture.parametric_activation:
            alpha = parameters[l, "blend"]
            outputs, derivatives = normalized + alpha * (outputs - normalized), 1 + alpha * (derivatives - 1)
        residual = architecture.residual and l > 0 and a.shape == outputs.shape
        outputs = outputs + a if residual else outputs
        layers.append(LayerTrace(a, W, b, pre_activations, normalized, outputs, derivatives, inv_std, residual))
        a = outputs
    return layers


def _normalize(
    kind: str, parameters: dict[Any, np.ndarray], l: int, pre_activations: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Normalized pre-activations and 1 / standard deviation; batch normalization uses its running statistics."""
    if kind == "none":
        return pre_activations.copy(), np.ones_like(pre_activations)
    mean, variance = (
        (parameters[l, "mean"], parameters[l, "variance"])
        if kind == "batch"
        else (pre_activations.mean(), np.full_like(pre_activations, pre_activations.var()))
    )
    inv_std = 1 / np.sqrt(variance + EPSILON)
    return (pre_activations - mean) * inv_std * parameters[l, "gain"] + parameters[l, "shift"], inv_std


def trace_backward(trace: ForwardTrace, y_true: np.ndarray) -> None:
    """Add the loss and its gradients to a trace, for the target (1,) or (1, K) of the row as `Dataset.y` has it.

    Normalization is computed as in prediction. Raises TableError for perceptrons, which have no gradients.
    """
    trial, layers = trace.trial, trace.layers
    if trace.network.dense.kind == "perceptron":
        raise TableError("A perceptron is trained without gradients. Show its training with rosenblatt learn-step.")
    t, d = trial.target.encode(y_true).astype(np.float64), np.empty((1, len(layers[-1].pre_activations)))
    training = trial.resolved_spec.training
    loss_parameter = (
        float(getattr(training, LOSS_PARAMETERS[training.loss])) if training.loss in LOSS_PARAMETERS else 0.0
    )
    trace.target = t[0]
    trace.loss = LOSSES[trial.target.loss](
        layers[-1].pre_activations[None].copy(), t, np.ones(1), d, training.label_smoothing, loss_parameter
    )
    parameters = trace.network.dense.parameters_by_name(trace.network.theta)
    e = d[0]
    for l in range(len(layers) - 1, -1, -1):
        layer = layers[l]
        layer.deltas = e * layer.activation_derivatives
        if l < len(layers) - 1 and trace.network.dense.normalization != "none":
            layer.deltas = _through_normalization(
                trace.network.dense.normalization, layer, parameters[l, "gain"].astype(np.float64)
            )
        layer.input_gradients = layer.weights @ layer.deltas + (e if layer.residual else 0)
        e = layer.input_gradients


def _through_normalization(kind: str, layer: LayerTrace, gain: np.ndarray) -> np.ndarray:
    d = layer.deltas * gain
    if kind == "batch":
        return d * layer.inv_std
    normalized = (layer.pre_activations - layer.pre_activations.mean()) * layer.inv_std
    return layer.inv_std * (d - d.mean() - normalized * (d * normalized).mean())


def input_names(trace: ForwardTrace) -> list[str]:
    """Names of the encoded inputs."""
    return trace.trial.encoder.feature_names


def unit_names(trace: ForwardTrace, l: int) -> list[str]:
    """Names of the units of layer l: hidden units by layer and number, outputs by class, label or target."""
    architecture, target = trace.network.dense, trace.model.target
    n = architecture.sizes[l + 1]
    if l < len(architecture.sizes) - 2:
        return [f"h{l + 1}.{k + 1}" for k in range(n)]
    if target.task == "binary":
        return [str(target.labels[1])]
    return [str(name) for name in target.labels or target.names]


def trace_to_dict(trace: ForwardTrace, frame: pl.DataFrame, row: int, top_k: int) -> dict[str, Any]:
    """Convert a trace to JSON-serializable data, with the `top_k` largest units and contributions of each layer."""
    parts = list(trace.model.schema.parts(frame.clear()))
    cells = {column.name: frame[column.name][row - 1] for column, _ in parts}
    table_columns = {series.name: column.name for column, typed_columns in parts for series in typed_columns}
    result: dict[str, Any] = {
        "row": row,
        "network": next(k for k, n in enumerate(trace.model.networks, 1) if n is trace.network),
        "networks": len(trace.model.networks),
        "cells": {
            name: cell if isinstance(cell, int | float | str | bool | None) else str(cell)
            for name, cell in cells.items()
        },
        "inputs": [
            {"input": name, "column": table_columns[column], "value": float(value)}
            for name, column, value in zip(
                trace.trial.encoder.feature_names, trace.trial.encoder.source_columns, trace.x, strict=True
            )
            if value
        ],
        "layers": [_layer_to_dict(trace, l, top_k) for l in range(len(trace.layers))],
        "predicted": _output_values(trace.model, trace.predicted),
        "model": _output_values(trace.model, trace.model.predict_typed(trace.typed)[0]),
    }
    if trace.target.size:
        result["loss"] = {"name": trace.model.target.loss, "value": float(trace.loss), "target": trace.target.tolist()}
    return result


def _output_values(model: Model, predictions: np.ndarray) -> dict[str, float]:
    names = model.target.labels or model.target.names
    return {str(name): float(value) for name, value in zip(names, predictions, strict=True)}


def _layer_to_dict(trace: ForwardTrace, l: int, top_k: int) -> dict[str, Any]:
    layer, architecture = trace.layers[l], trace.network.dense
    names = unit_names(trace, l - 1) if l else input_names(trace)
    units, is_last = unit_names(trace, l), l == len(trace.layers) - 1
    unit_indices = _largest(layer.outputs if not is_last else layer.pre_activations, top_k)
    output_activation = name_output_activation(trace) if is_last else ""
    return {
        "layer": l + 1,
        "inputs": len(layer.inputs),
        "units": len(layer.pre_activations),
        "activation": output_activation or architecture.activation,
        "normalization": "none" if is_last else architecture.normalization,
        "residual": layer.residual,
        "top_units": [_unit_to_dict(trace, l, int(k), units[k], names, top_k) for k in unit_indices],
    }


def name_output_activation(trace: ForwardTrace) -> str:
    """Name of the output activation of a traced network."""
    if trace.network.dense.kind == "perceptron":
        return "the largest" if trace.model.target.task == "multiclass" else "step"
    return {SIGMOID: "sigmoid", SOFTMAX: "softmax", EXPONENTIAL: "exp"}.get(
        OUTPUT_ACTIVATIONS.get(trace.model.target.loss, 0), "identity"
    )


def _top_contributions(
    trace: ForwardTrace, l: int, k: int, names: list[str], top_k: int
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The `top_k` largest contributions to unit k of layer l, and all of them, summed by column for many inputs."""
    layer = trace.layers[l]
    products, columns = layer.contributions[:, k], trace.trial.encoder.source_columns if l == 0 else []
    column_names = list(dict.fromkeys(columns))
    if len(column_names) == len(columns) or len(columns) <= top_k:
        contributions = [
            {"input": names[j], "value": float(layer.inputs[j]), "weight": float(layer.weights[j, k])}
            for j in range(len(products))
        ]
    else:
        column_indices = np.array([column_names.index(column) for column in columns])
        products = np.bincount(column_indices, products, len(column_names))
        contributions = [{"input": name} for name in column_names]
    return [contributions[j] | {"product": float(products[j])} for j in _largest(products, top_k)], products


def _unit_to_dict(trace: ForwardTrace, l: int, k: int, name: str, names: list[str], top_k: int) -> dict[str, Any]:
    layer = trace.layers[l]
    contributions, products = _top_contributions(trace, l, k, names, top_k)
    is_step = trace.network.dense.kind == "perceptron" and l == len(trace.layers) - 1
    unit: dict[str, Any] = {
        "unit": name,
        "contributions": contributions,
        "remainder": {
            "count": len(products) - len(contributions),
            "sum": float(products.sum() - sum(contribution["product"] for contribution in contributions)),
        },
        "bias": float(layer.biases[k]),
        "sum": float(layer.pre_activations[k]),
        "normalized": float(layer.normalized[k]),
        "output": float(layer.outputs[k] > 0)
        if is_step and name_output_activation(trace) == "step"
        else float(layer.outputs[k]),
    }  # fmt: skip
    if layer.deltas.size:
        unit["delta"] = float(layer.deltas[k])
        unit["gradients"] = [
            {"input": names[j], "value": float(layer.inputs[j] * layer.deltas[k])}
            for j in _largest(layer.weight_gradients[:, k], top_k)
        ]
    return unit


def _largest(values: np.ndarray, top_k: int) -> np.ndarray:
    """Indices of the `top_k` values with the largest absolute values, in ascending order."""
    return np.sort(np.argsort(-np.abs(values), kind="stable")[:top_k])
