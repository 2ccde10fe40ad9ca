"""Architecture of deep networks for images, sequences, texts and numbers: layers and parameter layout.

A deep network has a tower for each image, sequence or text: convolutions, recurrent layers, or a perceptron network for
each color. What the towers make is joined with the inputs that are plain numbers, and goes into a dense head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rosenblatt.networks.dense import DenseArchitecture, ParameterName, ParameterSlice
from rosenblatt.networks.layers import (
    Activation,
    Conv,
    Dropout,
    Embedding,
    GlobalPooling,
    InputSpec,
    Layer,
    LayerNorm,
    Norm,
    PerChannelMLP,
    Pool,
    Recurrent,
    Residual,
    iter_parameter_layers,
    parameter_shapes,
)
from rosenblatt.spec.network import NetworkSpec


@dataclass(frozen=True)
class DeepArchitecture:
    """A network of towers and a dense head: which layers it has, whatever its parameters."""

    kind: str  # cnn, rnn or channel_mlp
    media: tuple[InputSpec, ...]
    n_tabular_inputs: int  # inputs that are plain numbers
    hidden_sizes: tuple[int, ...]
    n_outputs: int
    activation: str
    normalization: str
    residual: bool
    is_per_step: bool = False  # whether there is an answer for each step, instead of one for the row
    flip_averaging: bool = False  # whether what is said is the mean over images and their mirror images
    channels: tuple[int, ...] = ()
    block_layers: int = 1
    convolution: str = "plain"
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    pooling: str = "max"
    global_pooling: str = "mean"
    rnn_cell: str = "gru"
    bidirectional: bool = False
    recurrent_layers: int = 1
    recurrent_width: int = 1
    embedding_size: int = 0

    @cached_property
    def towers(self) -> tuple[tuple[Layer, ...], ...]:
        """The layers of each tower, from its input to a vector, or one for each step."""
        return tuple(tuple(layers) for layers, _ in self._towers_and_sizes)

    @cached_property
    def head(self) -> DenseArchitecture:
        """The dense layers that all towers lead to."""
        n_head_inputs = self.n_tabular_inputs + sum(size for _, size in self._towers_and_sizes)
        hidden = () if self.kind == "channel_mlp" else self.hidden_sizes
        return DenseArchitecture("mlp", (n_head_inputs, *hidden, self.n_outputs), self.activation)

    @cached_property
    def _towers_and_sizes(self) -> tuple[tuple[list[Layer], int], ...]:
        return tuple(self._build_tower(medium) for medium in self.media)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers that enter the head, units of its hidden layers, outputs."""
        return self.head.sizes

    @cached_property
    def parts(self) -> tuple[ParameterSlice, ...]:
        """All parts, in the order in which they stand in the flat array: those of the towers, then of the head."""
        parts, start, layer = list[ParameterSlice](), 0, 0
        for tower in self.towers:
            for parameter_layer in iter_parameter_layers(tower):
                for name, shape in parameter_shapes(parameter_layer):
                    parts.append(ParameterSlice(name, layer, start, shape))
                    start = parts[-1].end
                layer += 1
        parts += [ParameterSlice(p.name, layer + p.layer, start + p.start, p.shape) for p in self.head.parts]
        return tuple(parts)

    @property
    def n_parameters(self) -> int:
        """Numbers in the flat array."""
        return self.parts[-1].end

    @property
    def n_layers(self) -> int:
        """Layers, counted as the parts count them."""
        return self.parts[-1].layer + 1

    def parameters_by_name(self, theta: np.ndarray) -> dict[tuple[int, ParameterName], np.ndarray]:
        """All parts by layer and name, as views of the flat `theta`."""
        return {(p.layer, p.name): theta[p.start : p.end].reshape(p.shape) for p in self.parts}

    @property
    def summary(self) -> str:
        """The layers in words, from input to output."""
        towers = [
            " - ".join([_input_summary(m), *_layer_summaries(layers)])
            for m, layers in zip(self.media, self.towers, strict=True)
        ]
        tabular = [f"{self.n_tabular_inputs} numbers"] * (self.n_tabular_inputs > 0)
        head = " - ".join(map(str, self.sizes[1:]))
        inputs = " + ".join([*towers, *tabular])
        return f"{inputs} - {head}{' for each step' if self.is_per_step else ''}"

    def _build_tower(self, medium: InputSpec) -> tuple[list[Layer], int]:
        if self.kind == "channel_mlp":
            sizes = (medium.height * medium.width, *self.hidden_sizes)
            return [PerChannelMLP(medium.channels, sizes)], medium.channels * sizes[-1]
        layers, n = list[Layer](), medium.channels
        if medium.kind == "tokens":
            layers, n = [Embedding(n, self.embedding_size), Dropout()], self.embedding_size
        if self.kind == "rnn" and medium.kind != "image":
            return self._build_recurrent(layers, n)
        return self._build_convolutional(layers, n, medium)

    def _build_recurrent(self, layers: list[Layer], n: int) -> tuple[list[Layer], int]:
        directions = 1 + self.bidirectional
        for k in range(self.recurrent_layers):
            layers += [Dropout()] * (k > 0)
            layers.append(Recurrent(self.rnn_cell, n, self.recurrent_width, directions))
            n = self.recurrent_width * directions
            layers += [LayerNorm(n)] * (self.normalization == "layer")
        if not self.is_per_step:
            layers.append(GlobalPooling(self.global_pooling, n))
        return [*layers, Dropout()], n

    def _build_convolutional(self, layers: list[Layer], n: int, medium: InputSpec) -> tuple[list[Layer], int]:
        sides, stride = [medium.height, medium.width], self.stride
        if self.residual:  # a first layer that no shortcut goes round
            layers += self._conv_block(n, self.channels[0], sides, stride)
            n, stride = self.channels[0], 1
        for stage, width in enumerate(self.channels):
            size = (1 if sides[0] == 1 else 2, 1 if sides[1] == 1 else 2)
            if stage and self.pooling == "stride":
                stride = 2
            elif stage and size != (1, 1):
                layers.append(Pool(self.pooling, size))
                sides[:] = [side // factor if side else 0 for side, factor in zip(sides, size, strict=True)]
            n_built = 0
            while n_built < self.block_layers:
                if self.residual:
                    depth = min(2, self.block_layers - n_built)
                    layers += [self._residual_block(n, width, sides, stride, depth), Activation()]
                    n_built += depth
                else:
                    layers += self._conv_block(n, width, sides, stride)
                    n_built += 1
                n, stride = width, 1
        pooling = "mean" if self.global_pooling in ("last", "attention") else self.global_pooling
        pixels = max(sides[0] * sides[1], 1) if pooling == "flatten" else 1
        return [*layers, GlobalPooling(pooling, n), Dropout()], n * pixels

    def _conv_block(self, n_in: int, n_out: int, sides: list[int], stride: int, is_last: bool = False) -> list[Layer]:
        """Convolution, normalization, activation (but for the last of a shortcut); `sides` become those after it."""
        kernel = tuple(1 if side == 1 else self.kernel_size for side in sides)
        steps = tuple(1 if side == 1 else stride for side in sides)
        bias, layers = self.normalization == "none", list[Layer]()
        groups = n_in if self.convolution == "depthwise" and n_in > 1 else 1
        n_conv_outputs = n_in if groups > 1 else n_out
        layers.append(Conv(n_in, n_conv_outputs, kernel, steps, self.dilation, groups, bias and groups == 1))  # type: ignore[arg-type]
        if groups > 1:
            layers.append(Conv(n_in, n_out, (1, 1), (1, 1), 1, 1, bias))
        sides[:] = [conv_output_size(side, step) for side, step in zip(sides, steps, strict=True)]
        if self.normalization != "none":
            layers.append(Norm(self.normalization, n_out))
        return layers if is_last else [*layers, Activation()]

    def _residual_block(self, n_in: int, n_out: int, sides: list[int], stride: int, depth: int) -> Residual:
        input_sides = tuple(sides)
        body = [] if depth == 1 else self._conv_block(n_in, n_out, sides, stride)
        body += self._conv_block(n_in if depth == 1 else n_out, n_out, sides, stride if depth == 1 else 1, is_last=True)
        shortcut = None
        if n_in != n_out or tuple(sides) != input_sides:
            steps = (1 if input_sides[0] == 1 else stride, 1 if input_sides[1] == 1 else stride)
            shortcut = Conv(n_in, n_out, (1, 1), steps, 1, 1, bias=False)
        return Residual(tuple(body), shortcut)


def conv_output_size(side: int, stride: int) -> int:
    """Pixels of a side after a convolution with `same` padding; 0 where it is not known, as that of sequences."""
    return (side - 1) // stride + 1 if side else 0


def build_deep(
    network: NetworkSpec,
    media: tuple[InputSpec, ...],
    n_tabular_inputs: int,
    n_outputs: int,
    *,
    is_per_step: bool = False,
    flip_averaging: bool = False,
    member: int = 0,
) -> DeepArchitecture:
    """The architecture of a member by its number, from resolved hyperparameters."""
    resolved: Any = network
    convolutional = {
        "channels": resolved.channels,
        "block_layers": resolved.block_layers,
        "convolution": network.convolution,
        "kernel_size": network.kernel_size,
        "stride": network.stride,
        "dilation": network.dilation,
        "pooling": resolved.pooling,
    }
    recurrent = {
        "rnn_cell": network.rnn_cell,
        "bidirectional": network.bidirectional,
        "recurrent_layers": network.recurrent_layers,
        "recurrent_width": resolved.recurrent_width,
    }
    has_images = any(medium.kind == "image" for medium in media)
    has_tokens = any(medium.kind == "tokens" for medium in media)
    return DeepArchitecture(
        kind=network.kind,
        media=media,
        n_tabular_inputs=n_tabular_inputs,
        hidden_sizes=resolved.hidden_sizes,
        n_outputs=n_outputs,
        activation=network.activation[member % len(network.activation)],
        normalization=resolved.normalization,
        residual=bool(resolved.residual),
        is_per_step=is_per_step,
        flip_averaging=flip_averaging,
        global_pooling=resolved.global_pooling,
        embedding_size=resolved.embedding_size if has_tokens else 0,
        **(convolutional if network.kind == "cnn" or (has_images and network.kind == "rnn") else {}),
        **(recurrent if network.kind == "rnn" else {}),
    )


def architecture_from_dict(saved: Mapping[str, Any]) -> DenseArchitecture | DeepArchitecture:
    """The architecture that `dataclasses.asdict` described."""
    tuples = {name: tuple(value) for name, value in saved.items() if isinstance(value, list)}
    if "media" not in saved:
        return DenseArchitecture(**{**saved, **tuples})
    return DeepArchitecture(**{**saved, **tuples, "media": tuple(InputSpec(**medium) for medium in saved["media"])})


def _input_summary(medium: InputSpec) -> str:
    if medium.kind == "image":
        return f"{medium.height}x{medium.width}x{medium.channels}"
    return f"{medium.channels} {'tokens' if medium.kind == 'tokens' else 'channels'}"


def _layer_summaries(layers: tuple[Layer, ...]) -> Iterator[str]:
    for layer in layers:
        if isinstance(layer, Embedding):
            yield f"embedding {layer.size}"
        elif isinstance(layer, Conv):
            kind = "depthwise" if layer.groups > 1 else "conv"
            yield f"{kind} {'x'.join(map(str, layer.kernel))} {layer.n_out}{' / 2' * (max(layer.stride) == 2)}"
        elif isinstance(layer, Pool):
            yield f"{layer.kind} pool"
        elif isinstance(layer, Residual):
            yield f"({' - '.join(_layer_summaries(layer.body))})+"
        elif isinstance(layer, Recurrent):
            yield f"{'two-directional ' * (layer.directions == 2)}{layer.cell} {layer.units}"
        elif isinstance(layer, GlobalPooling):
            yield layer.kind
        elif isinstance(layer, PerChannelMLP):
            yield f"{layer.channels} x ({' - '.join(map(str, layer.sizes))})"
