"""Layers of convolutional and recurrent networks: their hyperparameters, shapes and parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rosenblatt.networks.dense import ParameterName

GATES = {"elman": 1, "gru": 3, "lstm": 4}
MAX_NORM_GROUPS = 8  # most groups of channels that group normalization makes


@dataclass(frozen=True)
class InputSpec:
    """What a tower is given: an image, a sequence of numbers, or of tokens."""

    kind: Literal["image", "steps", "tokens"]
    channels: int  # of an image or a sequence; of tokens, how many there are
    height: int = 0  # in pixels; of sequences 0, as their lengths differ
    width: int = 1


class Embedding(NamedTuple):
    """A vector for each token."""

    n_tokens: int
    size: int


class Conv(NamedTuple):
    """Convolution with `same` padding; weight (out, in / groups, *kernel)."""

    n_in: int
    n_out: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: int
    groups: int
    bias: bool


class Norm(NamedTuple):
    """Normalization of channels: over the batch, over all of a row's channels, or over groups of them."""

    kind: str
    channels: int


class Activation(NamedTuple):
    """The activation function."""


class Pool(NamedTuple):
    """The largest, or the mean, of each window of 2."""

    kind: str
    size: tuple[int, int]


class Residual(NamedTuple):
    """What leaves some layers, plus what entered them, by a 1 x 1 convolution where shapes differ (He et al. 2016)."""

    body: tuple[Any, ...]
    shortcut: Conv | None


class Recurrent(NamedTuple):
    """A recurrent layer, in one direction or two side by side; weights as PyTorch has them, (gates * units, ...)."""

    cell: str
    n_in: int
    units: int
    directions: int


class LayerNorm(NamedTuple):
    """Normalization over the units of each step."""

    units: int


class Dropout(NamedTuple):
    """Units set to 0, while learning."""


class GlobalPooling(NamedTuple):
    """One vector of all steps or pixels: the last, the mean, the largest, all of them, or a mean by attention."""

    kind: str
    size: int


class PerChannelMLP(NamedTuple):
    """A perceptron network for each channel of an image, side by side; weight (channels, in, out)."""

    channels: int
    sizes: tuple[int, ...]


Layer = (
    Embedding
    | Conv
    | Norm
    | Activation
    | Pool
    | Residual
    | Recurrent
    | LayerNorm
    | Dropout
    | GlobalPooling
    | PerChannelMLP
)


def iter_parameter_layers(layers: tuple[Layer, ...] | list[Layer]) -> Iterator[Layer]:
    """All layers that may have parameters, those inside of others too."""
    for layer in layers:
        if isinstance(layer, Residual):
            yield from iter_parameter_layers(layer.body)
            if layer.shortcut:
                yield layer.shortcut
        elif isinstance(layer, Recurrent) and layer.directions == 2:
            yield from (layer._replace(directions=1),) * 2
        elif isinstance(layer, PerChannelMLP):
            yield from (layer._replace(sizes=pair) for pair in zip(layer.sizes, layer.sizes[1:], strict=False))
        elif any(True for _ in parameter_shapes(layer)):
            yield layer


def parameter_shapes(layer: Layer) -> Iterator[tuple[ParameterName, tuple[int, ...]]]:
    """Names and shapes of the parameters of a layer."""
    if isinstance(layer, Embedding):
        yield "weight", (layer.n_tokens, layer.size)
    elif isinstance(layer, Conv):
        yield "weight", (layer.n_out, layer.n_in // layer.groups, *layer.kernel)
        if layer.bias:
            yield "bias", (layer.n_out,)
    elif isinstance(layer, Norm | LayerNorm):
        n = layer.channels if isinstance(layer, Norm) else layer.units
        yield "gain", (n,)
        yield "shift", (n,)
        if isinstance(layer, Norm) and layer.kind == "batch":
            yield "mean", (n,)
            yield "variance", (n,)
    elif isinstance(layer, Recurrent):
        gates = GATES[layer.cell] * layer.units
        yield "weight", (gates, layer.n_in)
        yield "recurrent_weight", (gates, layer.units)
        yield "bias", (gates,)
        yield "recurrent_bias", (gates,)
    elif isinstance(layer, GlobalPooling) and layer.kind == "attention":
        yield "weight", (layer.size, 1)
    elif isinstance(layer, PerChannelMLP):
        yield "weight", (layer.channels, layer.sizes[0], layer.sizes[1])
        yield "bias", (layer.channels, layer.sizes[1])
