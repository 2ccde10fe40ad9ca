"""Layers of convolutional and recurrent networks, and the names and shapes of their parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from rosenblatt.networks.dense import ParameterName
from rosenblatt.spec.fields import MediumKind

GATES = {"elman": 1, "gru": 3, "lstm": 4}  # weight matrices per unit of a recurrent cell
MAX_NORM_GROUPS = 8  # maximum number of channel groups in group normalization


@dataclass(frozen=True)
class InputSpec:
    """Input of a tower: an image, a text (a sequence of tokens) or a sequence of numbers."""

    kind: MediumKind
    channels: int  # of an image or sequence; for a text, the vocabulary size
    height: int = 0  # in pixels; 0 for sequences, whose length varies
    width: int = 1


class Embedding(NamedTuple):
    """A trained vector for each token."""

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
    """Batch, layer or group normalization of channels."""

    kind: str
    channels: int


class Activation(NamedTuple):
    """The activation function."""


class Pool(NamedTuple):
    """Max or average pooling over windows of 2."""

    kind: str
    size: tuple[int, int]


class Residual(NamedTuple):
    """Layers with a shortcut, a 1 x 1 convolution if the shape changes, around them (He et al. 2016)."""

    body: tuple[Any, ...]
    shortcut: Conv | None


class Recurrent(NamedTuple):
    """A recurrent layer, in one direction or both; weights as in PyTorch, (gates * units, ...)."""

    cell: str
    n_in: int
    units: int
    directions: int


class LayerNorm(NamedTuple):
    """Normalization over the units of each step."""

    units: int


class Dropout(NamedTuple):
    """Dropout, active only during training."""


class GlobalPooling(NamedTuple):
    """Reduction of all steps or pixels to one vector: last, mean, max, flatten or attention."""

    kind: str
    size: int


class PerChannelMLP(NamedTuple):
    """A separate multilayer perceptron for each channel of an image; weight (channels, in, out)."""

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
    """Iterate over all layers with parameters, including nested ones."""
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
    """Iterate over the names and shapes of the parameters of a layer."""
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
