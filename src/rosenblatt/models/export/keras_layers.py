"""Layers of Keras with names, and the weights of a network.

Each function makes the layers of a part of a network, and returns a function that applies them to symbolic tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import layers, ops

from rosenblatt.models.export.keras_features import Tensor
from rosenblatt.models.export.layer_parameters import LayerParameters, Parameters
from rosenblatt.training.compiled.normalization import EPSILON, RUNNING_MOMENTUM

Block = Callable[[Tensor], Tensor]

LEAKY_SLOPE = 0.01  # of a leaky ReLU below 0
ACTIVATIONS = {"identity": "linear"} | {
    name: name for name in ("sigmoid", "tanh", "relu", "elu", "selu", "gelu", "silu", "mish", "softplus")
}  # names of Keras


class NetworkLayers:
    """Makes the layers of a network: with names, and with weights that they get when all are built."""

    def __init__(self, parameters: LayerParameters, prefix: str, dropout: float) -> None:
        self.parameters, self.dropout_rate, self._prefix = parameters, dropout, prefix
        self._weights: list[tuple[Any, Sequence[np.ndarray]]] = []

    def inside(self, name: str) -> NetworkLayers:
        """The same, for layers whose names start with the name of a part."""
        part = NetworkLayers(self.parameters, f"{self._prefix}_{name}", self.dropout_rate)
        part._weights = self._weights
        return part

    def make(self, kind: Any, name: str, *args: Any, weights: Sequence[np.ndarray] = (), **options: Any) -> Block:
        """Make a layer that computes in float32."""
        layer = kind(*args, name=f"{self._prefix}_{name}", dtype="float32", **options)
        if weights:
            self._weights.append((layer, weights))
        return layer

    def dropout(self, name: str = "dropout") -> Block:
        """A layer of dropout."""
        return self.make(layers.Dropout, name, self.dropout_rate)

    def set_weights(self) -> None:
        """Give all layers their weights, after they have been applied."""
        for layer, weights in self._weights:
            layer.set_weights(weights)


def chain(blocks: Sequence[Block]) -> Block:
    """Apply blocks one after another."""

    def apply(a: Tensor) -> Tensor:
        for block in blocks:
            a = block(a)
        return a

    return apply


def activation_layer(network: NetworkLayers, activation: str, name: str = "activation") -> Block:
    """The layer of an activation function."""
    if activation == "step":
        return lambda z: ops.cast(z > 0, "float32")
    if activation == "leaky_relu":
        return network.make(layers.LeakyReLU, name, negative_slope=LEAKY_SLOPE)
    return network.make(layers.Activation, name, ACTIVATIONS[activation])


def linear(network: NetworkLayers, name: str, values: Parameters) -> Block:
    """A linear layer with these weights."""
    return network.make(layers.Dense, name, values["bias"].size, weights=[values["weight"], values["bias"]])


def normalization(network: NetworkLayers, kind: str, values: Parameters, name: str = "norm") -> Block:
    """Batch normalization, or layer normalization of the last axis, with these gains, shifts and statistics."""
    weights = [values[key] for key in ("gain", "shift", "mean", "variance") if key in values]
    if kind == "batch":
        momentum = 1 - RUNNING_MOMENTUM
        return network.make(layers.BatchNormalization, name, momentum=momentum, epsilon=EPSILON, weights=weights)
    return network.make(layers.LayerNormalization, name, epsilon=EPSILON, weights=weights)


def multiplication(network: NetworkLayers, name: str, weight: np.ndarray) -> Block:
    """Each feature times a trained factor, for which Keras has no other layer."""
    return network.make(layers.EinsumDense, name, "ab,b->ab", output_shape=(weight.size,), weights=[weight.reshape(-1)])


def embedding(network: NetworkLayers, name: str, weight: np.ndarray) -> Block:
    """A table of trained vectors (tokens, size)."""
    return network.make(layers.Embedding, name, *weight.shape, weights=[weight])


def residual(block: Block, shortcut: Block = lambda a: a) -> Block:
    """A block with a shortcut around it (He et al. 2016)."""
    return lambda a: block(a) + shortcut(a)
