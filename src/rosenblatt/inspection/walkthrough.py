"""In: a model, and one row of a table. Out: the row's way through a network, layer by layer, as the textbook walks it.

The activations, losses and normalizations are those that training runs; the walk itself is written out in NumPy, in
float64, and is independent of the engine, which must come to the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.errors import TableError
from rosenblatt.models.model import Model, TrainedNetwork, TrainedTrial
from rosenblatt.training.compiled.activations import ACTIVATIONS
from rosenblatt.training.compiled.dispatch import shape_of
from rosenblatt.training.compiled.losses import EXPONENTIAL, LINKS, LOSSES, SIGMOID, SOFTMAX, predict_from_sums
from rosenblatt.training.compiled.normalization import EPSILON

PARAMETERS = {"focal": "focal_gamma", "huber": "huber_delta", "quantile": "quantile", "hinge": "hinge_margin"}


@dataclass
class LayerWalk:
    """What happens in one layer to one row; n_in inputs, n_out units."""

    inputs: np.ndarray  # (n_in,)
    weights: np.ndarray  # (n_in, n_out)
    biases: np.ndarray  # (n_out,)
    sums: np.ndarray  # (n_out,) inputs times weights, plus biases
    normalized: np.ndarray  # (n_out,) the same where there is no normalization
    outputs: np.ndarray  # (n_out,) after the activation; of the last layer what the link makes of the sums
    slopes: np.ndarray  # (n_out,) of the outputs with respect to the normalized sums
    inverse: np.ndarray  # (n_out,) 1 / deviation of the normalization, or 1
    residual: bool  # whether the inputs were added to the outputs
    deltas: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_out,) dLoss/d sums
    input_gradients: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_in,) dLoss/d inputs

    @property
    def contributions(self) -> np.ndarray:
        """(n_in, n_out) each input times each weight."""
        return self.inputs[:, None] * self.weights

    @property
    def weight_gradients(self) -> np.ndarray:
        """(n_in, n_out) dLoss/d weights."""
        return self.inputs[:, None] * self.deltas


@dataclass
class Walk:
    """One row's way through one network."""

    model: Model
    trial: TrainedTrial  # the network's
    network: TrainedNetwork
    x: np.ndarray  # (F,) as the encoder makes it
    layers: list[LayerWalk]
    target: np.ndarray = field(default_factory=lambda: np.empty(0))  # what was taught, where it is known
    loss: float = np.nan

    @property
    def predicted(self) -> np.ndarray:
        """What this network alone says, as `Model.decoded`: (classes, labels or values,)."""
        return self.trial.target.decode(self.layers[-1].outputs[None])[0]


def walk(model: Model, frame: pl.DataFrame, row: int, network: int = 1) -> Walk:
    """Walk a row of a table, numbered from 1, through one of the model's networks, numbered from 1.

    Raises TableError where there is no such row or network, or where the network is no layers of weighted sums.
    """
    if model.encoder.sparse:
        raise TableError("The model learnt from a sparse matrix, of which a table has no rows to explain.")
    if not 1 <= row <= frame.height:
        raise TableError(f"There is no row {row}; the table has {frame.height:,}. Choose one from 1 on.")
    if not 1 <= network <= len(model.networks):
        raise TableError(f"There is no network {network}; the model has {len(model.networks)}. Choose one from 1 on.")
    trial, chosen = model.trial_of(network - 1), model.networks[network - 1]
    if trial.chosen.network.rule == "kernel" and trial.chosen.network.kind == "perceptron":
        raise TableError("A kernel perceptron goes by likeness to rows it keeps, not by weighted sums of inputs.")
    x = trial.encoder.matrix(model.schema.read(frame[row - 1 : row]))[0].astype(np.float64)
    return Walk(model, trial, chosen, x, _forward(chosen, trial.target.loss, x))


def _forward(network: TrainedNetwork, loss: str, x: np.ndarray) -> list[LayerWalk]:
    architecture, layers = network.dense, []
    named = {key: part.astype(np.float64) for key, part in architecture.named(network.theta).items()}
    a = x * named[0, "scale"] if architecture.front_scale else x
    last = len(architecture.sizes) - 2
    for l in range(last + 1):
        W, b = named[l, "weight"], named[l, "bias"]
        sums = a @ W + b
        ones = np.ones_like(sums)
        if l == last:
            outputs = sums[None].copy()
            predict_from_sums(shape_of(architecture, loss).link, outputs)
            layers.append(LayerWalk(a, W, b, sums, sums, outputs[0], ones, ones, residual=False))
            return layers
        normalized, inverse = _normalized(architecture.normalization, named, l, sums)
        slopes, outputs = normalized.copy(), np.empty_like(normalized)
        ACTIVATIONS[architecture.activation](slopes, outputs)
        if architecture.parametric:
            alpha = named[l, "blend"]
            outputs, slopes = normalized + alpha * (outputs - normalized), 1 + alpha * (slopes - 1)
        residual = architecture.residual and l > 0 and a.shape == outputs.shape
        outputs = outputs + a if residual else outputs
        layers.append(LayerWalk(a, W, b, sums, normalized, outputs, slopes, inverse, residual))
        a = outputs
    return layers


def _normalized(kind: str, named: dict[Any, np.ndarray], l: int, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sums after normalization, and 1 / deviation; a batch's mean and variance are the running ones."""
    if kind == "none":
        return sums.copy(), np.ones_like(sums)
    mean, variance = (
        (named[l, "mean"], named[l, "variance"]) if kind == "batch" else (sums.mean(), np.full_like(sums, sums.var()))
    )
    inverse = 1 / np.sqrt(variance + EPSILON)
    return (sums - mean) * inverse * named[l, "gain"] + named[l, "shift"], inverse


def go_back(walked: Walk, truth: np.ndarray) -> None:
    """Fill in loss and gradients of a walk, for the row's true answer (1,) or (1, K) as `Data.y` has it.

    Normalization is that of prediction. Raises TableError for perceptrons, which have no gradients.
    """
    trial, layers = walked.trial, walked.layers
    if walked.network.dense.kind == "perceptron":
        raise TableError(
            "A perceptron learns from its mistakes, not by gradients. Watch it do so with rosenblatt learn-step."
        )
    t, d = trial.target.encode(truth).astype(np.float64), np.empty((1, len(layers[-1].sums)))
    chosen = trial.chosen.training
    parameter = float(getattr(chosen, PARAMETERS[chosen.loss])) if chosen.loss in PARAMETERS else 0.0
    walked.target = t[0]
    walked.loss = LOSSES[trial.target.loss](
        layers[-1].sums[None].copy(), t, np.ones(1), d, chosen.label_smoothing, parameter
    )
    named = walked.network.dense.named(walked.network.theta)
    e = d[0]
    for l in range(len(layers) - 1, -1, -1):
        layer = layers[l]
        layer.deltas = e * layer.slopes
        if l < len(layers) - 1 and walked.network.dense.normalization != "none":
            layer.deltas = _through_normalization(
                walked.network.dense.normalization, layer, named[l, "gain"].astype(np.float64)
            )
        layer.input_gradients = layer.weights @ layer.deltas + (e if layer.residual else 0)
        e = layer.input_gradients


def _through_normalization(kind: str, layer: LayerWalk, gain: np.ndarray) -> np.ndarray:
    d = layer.deltas * gain
    if kind == "batch":
        return d * layer.inverse
    hat = (layer.sums - layer.sums.mean()) * layer.inverse
    return layer.inverse * (d - d.mean() - hat * (d * hat).mean())


def input_names(walked: Walk) -> list[str]:
    """What each input is, in the words of the table."""
    return walked.trial.encoder.names


def unit_names(walked: Walk, l: int) -> list[str]:
    """What the units of layer l are called: hidden ones by layer and number, the last by what they stand for."""
    architecture, target = walked.network.dense, walked.model.target
    n = architecture.sizes[l + 1]
    if l < len(architecture.sizes) - 2:
        return [f"h{l + 1}.{k + 1}" for k in range(n)]
    if target.task == "binary":
        return [str(target.labels[1])]
    return [str(name) for name in target.labels or target.names]


def described(walked: Walk, frame: pl.DataFrame, row: int, most: int) -> dict[str, Any]:
    """The walk as plain data: of each layer the `most` largest units, of each unit the `most` largest contributions."""
    cells = {column.name: frame[column.name][row - 1] for column in walked.model.schema.learnt}
    told: dict[str, Any] = {
        "row": row,
        "network": next(k for k, n in enumerate(walked.model.networks, 1) if n is walked.network),
        "networks": len(walked.model.networks),
        "cells": {
            name: cell if isinstance(cell, int | float | str | bool | None) else str(cell)
            for name, cell in cells.items()
        },
        "inputs": [
            {"input": name, "column": column, "value": float(value)}
            for name, column, value in zip(
                walked.trial.encoder.names, walked.trial.encoder.source_columns, walked.x, strict=True
            )
            if value
        ],
        "layers": [_layer(walked, l, most) for l in range(len(walked.layers))],
        "predicted": _answers(walked.model, walked.predicted),
        "model": _answers(walked.model, walked.model.decoded(frame[row - 1 : row])[0]),
    }
    if walked.target.size:
        told["loss"] = {"name": walked.model.target.loss, "value": float(walked.loss), "target": walked.target.tolist()}
    return told


def _answers(model: Model, decoded: np.ndarray) -> dict[str, float]:
    names = model.target.labels or model.target.names
    return {str(name): float(value) for name, value in zip(names, decoded, strict=True)}


def _layer(walked: Walk, l: int, most: int) -> dict[str, Any]:
    layer, architecture = walked.layers[l], walked.network.dense
    names = unit_names(walked, l - 1) if l else input_names(walked)
    units, last = unit_names(walked, l), l == len(walked.layers) - 1
    shown = _largest(layer.outputs if not last else layer.sums, most)
    answer = _answer(walked) if last else ""
    return {
        "layer": l + 1,
        "inputs": len(layer.inputs),
        "units": len(layer.sums),
        "activation": answer or architecture.activation,
        "normalization": "none" if last else architecture.normalization,
        "residual": layer.residual,
        "shown": [_unit(walked, l, int(k), units[k], names, most) for k in shown],
    }


def _answer(walked: Walk) -> str:
    """What the last layer makes of its sums."""
    if walked.network.dense.kind == "perceptron":
        return "the largest" if walked.model.target.task == "multiclass" else "step"
    return {SIGMOID: "sigmoid", SOFTMAX: "softmax", EXPONENTIAL: "exp"}.get(
        LINKS.get(walked.model.target.loss, 0), "identity"
    )


def _contributions(
    walked: Walk, l: int, k: int, names: list[str], most: int
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The largest contributions to unit k of layer l, and all of them; many inputs made of few columns go by column."""
    layer = walked.layers[l]
    products, columns = layer.contributions[:, k], walked.trial.encoder.source_columns if l == 0 else []
    known = list(dict.fromkeys(columns))
    if len(known) == len(columns) or len(columns) <= most:
        told = [
            {"input": names[j], "value": float(layer.inputs[j]), "weight": float(layer.weights[j, k])}
            for j in range(len(products))
        ]
    else:
        of_column = np.array([known.index(column) for column in columns])
        products = np.bincount(of_column, products, len(known))
        told = [{"input": name} for name in known]
    return [told[j] | {"product": float(products[j])} for j in _largest(products, most)], products


def _unit(walked: Walk, l: int, k: int, name: str, names: list[str], most: int) -> dict[str, Any]:
    layer = walked.layers[l]
    told, products = _contributions(walked, l, k, names, most)
    steps = walked.network.dense.kind == "perceptron" and l == len(walked.layers) - 1
    unit: dict[str, Any] = {
        "unit": name,
        "contributions": told,
        "others": {
            "count": len(products) - len(told),
            "sum": float(products.sum() - sum(contribution["product"] for contribution in told)),
        },
        "bias": float(layer.biases[k]),
        "sum": float(layer.sums[k]),
        "normalized": float(layer.normalized[k]),
        "output": float(layer.outputs[k] > 0) if steps and _answer(walked) == "step" else float(layer.outputs[k]),
    }  # fmt: skip
    if layer.deltas.size:
        unit["delta"] = float(layer.deltas[k])
        unit["gradients"] = [
            {"weight_of": names[j], "value": float(layer.inputs[j] * layer.deltas[k])}
            for j in _largest(layer.weight_gradients[:, k], most)
        ]
    return unit


def _largest(values: np.ndarray, most: int) -> np.ndarray:
    """The numbers of the `most` values that are farthest from 0, in order."""
    return np.sort(np.argsort(-np.abs(values), kind="stable")[:most])
