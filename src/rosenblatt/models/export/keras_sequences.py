"""Recurrent layers and pooling of steps as layers of Keras, over (n, T, units)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import layers, ops

from rosenblatt.models.export.keras_features import Steps, Tensor
from rosenblatt.models.export.keras_layers import Block, NetworkLayers, embedding, normalization
from rosenblatt.models.export.layer_parameters import Parameters
from rosenblatt.networks.layers import Embedding, GlobalPooling, LayerNorm, Recurrent

SequenceBlock = Callable[[Tensor, Steps], Tensor]


def _direction(network: NetworkLayers, name: str, layer: Recurrent, values: Parameters) -> Block:
    """A recurrent layer in one direction. LSTM and Elman cells have one bias in Keras, the sum of both of ours."""
    weight, recurrent = values["weight"].T, values["recurrent_weight"].T
    bias = values["bias"] + values["recurrent_bias"]
    kind: Any = layers.LSTM if layer.cell == "lstm" else layers.SimpleRNN
    if layer.cell == "gru":  # gates: reset, update, new; in Keras: update, reset, new
        kind, order = layers.GRU, np.arange(3 * layer.units).reshape(3, -1)[[1, 0, 2]].ravel()
        weight, recurrent = weight[:, order], recurrent[:, order]
        bias = np.stack([values["bias"][order], values["recurrent_bias"][order]])
    return network.make(kind, name, layer.units, return_sequences=True, weights=[weight, recurrent, bias])


def recurrent_layer(network: NetworkLayers, name: str, layer: Recurrent) -> SequenceBlock:
    """A recurrent layer in one direction or both; the backward one reads each sequence from its own end."""
    if layer.directions == 1:
        forwards_only = _direction(network, name, layer, next(network.parameters))
        return lambda a, _: forwards_only(a)
    forwards = _direction(network, f"{name}_forwards", layer, next(network.parameters))
    backwards = _direction(network, f"{name}_backwards", layer, next(network.parameters))
    return lambda a, steps: ops.concatenate([forwards(a), reverse(backwards(reverse(a, steps)), steps)], axis=2)


def reverse(a: Tensor, steps: Steps) -> Tensor:
    """Sequences (n, T, C) reversed within their lengths; the padding stays in place."""
    source = ops.where(steps.mask, steps.lengths - 1 - steps.positions, steps.positions)
    return ops.take_along_axis(a, ops.expand_dims(source, 2), axis=1)


def step_pooling(
    network: NetworkLayers, kind: str, weight: np.ndarray | None = None, *, is_bidirectional: bool = False
) -> SequenceBlock:
    """All steps (n, T, units) as one vector: last, mean, max or attention (Bahdanau et al. 2015)."""
    attention = None
    if weight is not None:
        attention = network.make(layers.Dense, "attention", 1, use_bias=False, weights=[weight])

    def apply(a: Tensor, steps: Steps) -> Tensor:
        mask = ops.expand_dims(steps.mask, 2)
        if kind == "last":
            is_last = ops.expand_dims(ops.equal(steps.positions, steps.lengths - 1), 2)
            last = ops.sum(ops.where(is_last, a, ops.zeros_like(a)), axis=1)
            half = a.shape[2] // 2
            return ops.concatenate([last[:, :half], a[:, 0, half:]], axis=1) if is_bidirectional else last
        if attention is not None:
            scores = ops.where(mask, attention(ops.tanh(a)), -np.inf)
            return ops.sum(ops.softmax(scores, axis=1) * a, axis=1)
        if kind == "max":
            return ops.max(ops.where(mask, a, -np.inf), axis=1)
        return ops.sum(ops.where(mask, a, ops.zeros_like(a)), axis=1) / ops.cast(steps.lengths, "float32")

    return apply


def sequence_layers(
    network: NetworkLayers, tower_layers: tuple[Any, ...], *, is_bidirectional: bool
) -> Iterator[SequenceBlock]:
    """The layers of a recurrent tower, with names such as recurrent1."""
    counts: dict[str, int] = {}

    def name_of(kind: str) -> str:
        counts[kind] = counts.get(kind, 0) + 1
        return f"{kind}{counts[kind]}"

    for layer in tower_layers:
        if isinstance(layer, Embedding):
            yield _ignore_steps(embedding(network, name_of("embedding"), next(network.parameters)["weight"]))
        elif isinstance(layer, Recurrent):
            yield recurrent_layer(network, name_of("recurrent"), layer)
        elif isinstance(layer, LayerNorm):
            norm = normalization(network, "layer", next(network.parameters), name_of("norm"))
            yield _ignore_steps(norm)
        elif isinstance(layer, GlobalPooling):
            weight = next(network.parameters)["weight"] if layer.kind == "attention" else None
            yield step_pooling(network, layer.kind, weight, is_bidirectional=is_bidirectional)
        else:
            yield _ignore_steps(network.dropout(name_of("dropout")))


def _ignore_steps(block: Block) -> SequenceBlock:
    return lambda a, _: block(a)
