"""Architecture of convolutional and recurrent networks: layers and parameter layout.

Each image, sequence or text column has a tower: convolutions, recurrent layers, or a perceptron network for each color.
The outputs of the towers are concatenated with the tabular inputs and feed a dense head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rosenblatt.errors import format_count
from rosenblatt.networks.dense import Architecture, DenseArchitecture, ParameterSlice
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

_COMMON_FIELDS = {"kind", "hidden_sizes", "normalization", "residual", "global_pooling"}
_CONVOLUTIONAL_FIELDS = {
    "channels", "block_layers", "convolution", "kernel_size", "stride", "dilation", "pooling",
}  # fmt: skip
_RECURRENT_FIELDS = {"rnn_cell", "bidirectional", "recurrent_layers", "recurrent_width"}
_GLOBAL_POOLING_SUMMARIES = {
    "last": "last step", "mean": "global mean pool", "max": "global max pool", "attention": "attention pool",
    "flatten": "flatten",
}  # fmt: skip


@dataclass(frozen=True)
class DeepArchitecture(Architecture):
    """Architecture of towers and a dense head."""

    kind: str  # cnn, rnn or channel_mlp
    media: tuple[InputSpec, ...]
    n_tabular_inputs: int  # numeric inputs that go directly to the head
    hidden_sizes: tuple[int, ...]
    n_outputs: int
    activation: str
    normalization: str
    residual: bool
    is_per_step: bool = False  # whether to predict each step, instead of the whole row
    flip_averaging: bool = False  # whether to average predictions over images and their mirror images
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
        """The layers of each tower, from its input to one vector per row (or per step)."""
        return tuple(tuple(layers) for layers, _ in self._towers_and_sizes)

    @cached_property
    def head(self) -> DenseArchitecture:
        """The dense layers after the towers."""
        n_head_inputs = self.n_tabular_inputs + sum(size for _, size in self._towers_and_sizes)
        hidden = () if self.kind == "channel_mlp" else self.hidden_sizes
        return DenseArchitecture("mlp", (n_head_inputs, *hidden, self.n_outputs), self.activation)

    @cached_property
    def _towers_and_sizes(self) -> tuple[tuple[list[Layer], int], ...]:
        return tuple(self._build_tower(medium) for medium in self.media)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs of the head, units of its hidden layers, outputs."""
        return self.head.sizes

    @cached_property
    def parts(self) -> tuple[ParameterSlice, ...]:
        """All parameters in the order of the flat array: towers first, then the head."""
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
    def summary(self) -> str:
        """One-line drawing, such as "32x32x3 image -> conv 3x3 16 -> global max pool -> 10 outputs"."""
        inputs = [
            " -> ".join([_input_summary(medium), *self._layer_summaries(layers)])
            for medium, layers in zip(self.media, self.towers, strict=True)
        ]
        inputs += [format_count(self.n_tabular_inputs, "input")] * (self.n_tabular_inputs > 0)
        joined = f"({') + ('.join(inputs)})" if len(inputs) > 1 else inputs[0]
        return " -> ".join([joined, *self.head.layer_summaries]) + " per step" * self.is_per_step

    def _layer_summaries(self, layers: tuple[Layer, ...]) -> Iterator[str]:
        for layer in layers:
            if isinstance(layer, Embedding):
                yield f"embedding {layer.size}"
            elif isinstance(layer, Conv):
                kind = "depthwise conv" if layer.groups > 1 else "conv"
                kernel = "x".join(str(side) for side in layer.kernel)
                stride = max(layer.stride)
                yield f"{kind} {kernel} {layer.n_out}{f' stride {stride}' * (stride > 1)}"
            elif isinstance(layer, Pool):
                yield f"{layer.kind} pool"
            elif isinstance(layer, Residual):
                yield f"residual ({' -> '.join(self._layer_summaries(layer.body))})"
            elif isinstance(layer, Recurrent):
                yield f"{'bidirectional ' * (layer.directions == 2)}{layer.cell} {layer.units}"
            elif isinstance(layer, GlobalPooling):
                yield _GLOBAL_POOLING_SUMMARIES[layer.kind]
            elif isinstance(layer, PerChannelMLP):
                hidden = (f"{size} {self.activation}" for size in layer.sizes[1:])
                yield f"{layer.channels} x ({' -> '.join([f'{layer.sizes[0]} pixels', *hidden])})"

    def _build_tower(self, medium: InputSpec) -> tuple[list[Layer], int]:
        if self.kind == "channel_mlp":
            sizes = (medium.height * medium.width, *self.hidden_sizes)
            return [PerChannelMLP(medium.channels, sizes)], medium.channels * sizes[-1]
        layers, n = list[Layer](), medium.channels
        if medium.kind == "text":
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
        if self.residual:  # the first convolution has no shortcut
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
        """Convolution, normalization and, unless `is_last`, activation; updates `sides` to the output size."""
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
    """Output pixels per side of a convolution with `same` padding, or 0 for sequences, whose length varies."""
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
    """Build the architecture of a convolutional or recurrent member.

    Args:
        network: resolved hyperparameters.
        media: one input for each image, sequence or text column.
        n_tabular_inputs: number of encoded numeric and categorical inputs.
        n_outputs: number of output units, of each step if `is_per_step`.
        flip_averaging: whether to average predictions over images and their mirror images.
        member: index of the member, which selects its activation function.
    """
    kinds = {medium.kind for medium in media}
    fields = _COMMON_FIELDS | ({"embedding_size"} if "text" in kinds else set())
    if network.kind == "cnn" or (network.kind == "rnn" and "image" in kinds):
        fields |= _CONVOLUTIONAL_FIELDS
    if network.kind == "rnn":
        fields |= _RECURRENT_FIELDS
    return DeepArchitecture(
        media=media,
        n_tabular_inputs=n_tabular_inputs,
        n_outputs=n_outputs,
        activation=network.activation[member % len(network.activation)],
        is_per_step=is_per_step,
        flip_averaging=flip_averaging,
        **network.model_dump(include=fields),
    )


def architecture_from_dict(saved: Mapping[str, Any]) -> DenseArchitecture | DeepArchitecture:
    """Rebuild an architecture from the result of `dataclasses.asdict`, also after a round trip through JSON."""
    tuples = {name: tuple(value) for name, value in saved.items() if isinstance(value, list)}
    if "media" not in saved:
        return DenseArchitecture(**{**saved, **tuples})
    return DeepArchitecture(**{**saved, **tuples, "media": tuple(InputSpec(**medium) for medium in saved["media"])})


def _input_summary(medium: InputSpec) -> str:
    if medium.kind == "image":
        return f"{medium.height}x{medium.width}x{medium.channels} image"
    if medium.kind == "text":
        return f"text of {medium.channels:,} tokens"
    return f"sequence of {format_count(medium.channels, 'channel')}"
