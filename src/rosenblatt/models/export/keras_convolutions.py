"""Convolutions as layers of Keras, over (n, height, width, channels), or (n, T, channels) for sequences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import layers, ops

from rosenblatt.models.export.keras_features import Tensor
from rosenblatt.models.export.keras_layers import (
    Block,
    NetworkLayers,
    activation_layer,
    chain,
    normalization,
    residual,
)
from rosenblatt.models.export.layer_parameters import Parameters
from rosenblatt.networks.layers import (
    MAX_NORM_GROUPS,
    Activation,
    Conv,
    Norm,
    PerChannelMLP,
    Pool,
    Residual,
)
from rosenblatt.training.compiled.normalization import EPSILON


def convolution(network: NetworkLayers, name: str, layer: Conv, values: Parameters, n_axes: int) -> Block:
    """A convolution whose output has as many pixels as its input, divided by the stride."""
    kernel, stride = layer.kernel[:n_axes], layer.stride[:n_axes]
    total = [layer.dilation * (side - 1) for side in kernel]
    padding = tuple((side // 2, side - side // 2) for side in total)
    is_padded = max(stride) > 1 and layer.dilation == 1  # Keras has no strides with dilation
    weight = values["weight"] if n_axes == 2 else values["weight"][..., 0]  # (out, in / groups, *kernel)
    options: dict[str, Any] = {
        "strides": stride if is_padded else 1, "dilation_rate": layer.dilation, "use_bias": layer.bias,
        "padding": "valid" if is_padded else "same",
    }  # fmt: skip
    if layer.groups > 1:
        kind = layers.DepthwiseConv2D if n_axes == 2 else layers.DepthwiseConv1D
        weight = np.moveaxis(weight, (0, 1), (-2, -1))
        options["strides"] = max(stride) if is_padded else 1
        conv = network.make(kind, name, kernel, weights=_with_bias(weight, values), **options)
    else:
        kind = layers.Conv2D if n_axes == 2 else layers.Conv1D
        weight = np.moveaxis(weight, (0, 1), (-1, -2))
        conv = network.make(kind, name, layer.n_out, kernel, weights=_with_bias(weight, values), **options)
    if is_padded and max(total) > 0:
        pad = layers.ZeroPadding2D if n_axes == 2 else layers.ZeroPadding1D
        return chain([network.make(pad, f"{name}_padding", padding if n_axes == 2 else padding[0]), conv])
    if max(stride) > 1 and not is_padded:
        pixels = (slice(None), *(slice(None, None, step) for step in stride))
        return lambda a: conv(a)[pixels]
    return conv


def _with_bias(weight: np.ndarray, values: Parameters) -> list[np.ndarray]:
    return [weight, values["bias"]] if "bias" in values else [weight]


def _channel_norm(network: NetworkLayers, name: str, layer: Norm, values: Parameters) -> Block:
    if layer.kind == "batch":
        return normalization(network, "batch", values, name)
    n = layer.channels
    groups = 1 if layer.kind == "layer" else max(g for g in range(1, MAX_NORM_GROUPS + 1) if n % g == 0)
    weights = [values["gain"], values["shift"]]
    return network.make(layers.GroupNormalization, name, groups, epsilon=EPSILON, weights=weights)


def _pool(layer: Pool, n_axes: int) -> Block:
    """Maximum or mean over windows of two pixels; a side of one pixel stays."""
    pool = ops.max_pool if layer.kind == "max" else ops.average_pool

    def apply(a: Tensor) -> Tensor:
        size = tuple(min(pixels, side) for pixels, side in zip(layer.size[:n_axes], a.shape[1:-1], strict=True))
        return pool(a, size, size)

    return apply


def convolutional_layers(
    network: NetworkLayers, tower_layers: tuple[Any, ...], activation: str, n_axes: int
) -> Iterator[Block]:
    """The layers of a tower of convolutions before its global pooling, with names such as conv1."""
    counts: dict[str, int] = {}

    def name_of(kind: str) -> str:
        counts[kind] = counts.get(kind, 0) + 1
        return f"{kind}{counts[kind]}"

    for layer in tower_layers:
        if isinstance(layer, Conv):
            yield convolution(network, name_of("conv"), layer, next(network.parameters), n_axes)
        elif isinstance(layer, Norm):
            yield _channel_norm(network, name_of("norm"), layer, next(network.parameters))
        elif isinstance(layer, Activation):
            yield activation_layer(network, activation, name_of("activation"))
        elif isinstance(layer, Pool):
            yield _pool(layer, n_axes)
        elif isinstance(layer, Residual):
            block = network.inside(name_of("block"))
            body = chain(list(convolutional_layers(block, layer.body, activation, n_axes)))
            if layer.shortcut is None:
                yield residual(body)
            else:
                shortcut = convolution(block, "shortcut", layer.shortcut, next(network.parameters), n_axes)
                yield residual(body, shortcut)


def pixel_pooling(network: NetworkLayers, kind: str) -> Block:
    """All pixels of an image as one vector: mean, max or flatten (in the order channels, height, width)."""
    if kind == "flatten":
        permute = network.make(layers.Permute, "channels_first", (3, 1, 2))
        return chain([permute, network.make(layers.Flatten, "pooling")])
    return network.make(layers.GlobalMaxPooling2D if kind == "max" else layers.GlobalAveragePooling2D, "pooling")


def per_channel_network(network: NetworkLayers, layer: PerChannelMLP, activation: str) -> Block:
    """A multilayer perceptron for each channel of an image."""
    n_channels, n_pixels = layer.channels, layer.sizes[0]
    blocks = [
        network.make(layers.Reshape, "pixels", (n_pixels, n_channels)),
        network.make(layers.Permute, "channels_first", (2, 1)),
    ]
    for k, units in enumerate(layer.sizes[1:]):
        values, hidden = next(network.parameters), network.inside(f"hidden{k}")
        weights = [values["weight"], values["bias"]]
        blocks += [
            hidden.make(
                layers.EinsumDense, "linear", "nci,cio->nco", output_shape=(n_channels, units), bias_axes="co",
                weights=weights,
            ),
            activation_layer(hidden, activation),
            hidden.dropout(),
        ]  # fmt: skip
    return chain([*blocks, network.make(layers.Flatten, "flatten")])
