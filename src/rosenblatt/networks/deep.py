"""In: hyperparameters, and what a network is given: images, sequences, texts, numbers. Out: its layers and parameters.

A deep network has a tower for each image, sequence or text: convolutions, recurrent layers, or a perceptron network for
each color. What the towers make is joined with the inputs that are plain numbers, and goes into a dense head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rosenblatt.networks.dense import Architecture, Name, Part
from rosenblatt.networks.layers import (
    Activate,
    Colors,
    Conv,
    Dropout,
    Embed,
    Layer,
    LayerNorm,
    Medium,
    Norm,
    Pool,
    Recurrent,
    Residual,
    Summary,
    flat,
    parameters_of,
)
from rosenblatt.spec.network import NetworkSpec


@dataclass(frozen=True)
class Deep:
    """A network of towers and a dense head: which layers it has, whatever its parameters."""

    kind: str  # cnn, rnn or channel_mlp
    media: tuple[Medium, ...]
    n_plain: int  # inputs that are plain numbers
    hidden_sizes: tuple[int, ...]
    n_outputs: int
    activation: str
    normalization: str
    residual: bool
    each_step: bool = False  # whether there is an answer for each step, instead of one for the row
    mirrored: bool = False  # whether what is said is the mean over images and their mirror images
    channels: tuple[int, ...] = ()
    block_layers: int = 1
    convolution: str = "plain"
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    pooling: str = "max"
    summary: str = "mean"
    cell: str = "gru"
    bidirectional: bool = False
    recurrent_layers: int = 1
    recurrent_width: int = 1
    embedding_size: int = 0

    @cached_property
    def towers(self) -> tuple[tuple[Layer, ...], ...]:
        """The layers of each tower, from its input to a vector, or one for each step."""
        return tuple(tuple(layers) for layers, _ in self._built)

    @cached_property
    def head(self) -> Architecture:
        """The dense layers that all towers lead to."""
        joined = self.n_plain + sum(size for _, size in self._built)
        hidden = () if self.kind == "channel_mlp" else self.hidden_sizes
        return Architecture("mlp", (joined, *hidden, self.n_outputs), self.activation)

    @cached_property
    def _built(self) -> tuple[tuple[list[Layer], int], ...]:
        return tuple(self._tower(medium) for medium in self.media)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers that enter the head, units of its hidden layers, outputs."""
        return self.head.sizes

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """All parts, in the order in which they stand in the flat array: those of the towers, then of the head."""
        parts, start, layer = list[Part](), 0, 0
        for tower in self.towers:
            for one in flat(tower):
                for name, shape in parameters_of(one):
                    parts.append(Part(name, layer, start, shape))
                    start = parts[-1].end
                layer += 1
        parts += [Part(p.name, layer + p.layer, start + p.start, p.shape) for p in self.head.parts]
        return tuple(parts)

    @property
    def n_parameters(self) -> int:
        """Numbers in the flat array."""
        return self.parts[-1].end

    @property
    def n_layers(self) -> int:
        """Layers, counted as the parts count them."""
        return self.parts[-1].layer + 1

    def named(self, theta: np.ndarray) -> dict[tuple[int, Name], np.ndarray]:
        """All parts by layer and name, as views of the flat `theta`."""
        return {(p.layer, p.name): theta[p.start : p.end].reshape(p.shape) for p in self.parts}

    @property
    def outline(self) -> str:
        """The layers in words, from input to output."""
        towers = [" - ".join([_input(m), *_words(layers)]) for m, layers in zip(self.media, self.towers, strict=True)]
        plain = [f"{self.n_plain} numbers"] * (self.n_plain > 0)
        head = " - ".join(map(str, self.sizes[1:]))
        joined = " + ".join([*towers, *plain])
        return f"{joined} - {head}{' for each step' if self.each_step else ''}"

    def _tower(self, medium: Medium) -> tuple[list[Layer], int]:
        if self.kind == "channel_mlp":
            sizes = (medium.height * medium.width, *self.hidden_sizes)
            return [Colors(medium.channels, sizes)], medium.channels * sizes[-1]
        layers, n = list[Layer](), medium.channels
        if medium.kind == "tokens":
            layers, n = [Embed(n, self.embedding_size), Dropout()], self.embedding_size
        if self.kind == "rnn" and medium.kind != "image":
            return self._recurrent(layers, n)
        return self._convolutional(layers, n, medium)

    def _recurrent(self, layers: list[Layer], n: int) -> tuple[list[Layer], int]:
        directions = 1 + self.bidirectional
        for k in range(self.recurrent_layers):
            layers += [Dropout()] * (k > 0)
            layers.append(Recurrent(self.cell, n, self.recurrent_width, directions))
            n = self.recurrent_width * directions
            layers += [LayerNorm(n)] * (self.normalization == "layer")
        if not self.each_step:
            layers.append(Summary(self.summary, n))
        return [*layers, Dropout()], n

    def _convolutional(self, layers: list[Layer], n: int, medium: Medium) -> tuple[list[Layer], int]:
        sides, stride = [medium.height, medium.width], self.stride
        if self.residual:  # a first layer that no shortcut goes round
            layers += self._conv(n, self.channels[0], sides, stride)
            n, stride = self.channels[0], 1
        for stage, width in enumerate(self.channels):
            size = (1 if sides[0] == 1 else 2, 1 if sides[1] == 1 else 2)
            if stage and self.pooling == "stride":
                stride = 2
            elif stage and size != (1, 1):
                layers.append(Pool(self.pooling, size))
                sides[:] = [side // by if side else 0 for side, by in zip(sides, size, strict=True)]
            done = 0
            while done < self.block_layers:
                if self.residual:
                    deep = min(2, self.block_layers - done)
                    layers += [self._shortcut(n, width, sides, stride, deep), Activate()]
                    done += deep
                else:
                    layers += self._conv(n, width, sides, stride)
                    done += 1
                n, stride = width, 1
        summary = "mean" if self.summary in ("last", "attention") else self.summary
        pixels = max(sides[0] * sides[1], 1) if summary == "flatten" else 1
        return [*layers, Summary(summary, n), Dropout()], n * pixels

    def _conv(self, n_in: int, n_out: int, sides: list[int], stride: int, last: bool = False) -> list[Layer]:
        """Convolution, normalization, activation (but for the last of a shortcut); `sides` become those after it."""
        kernel = tuple(1 if side == 1 else self.kernel_size for side in sides)
        steps = tuple(1 if side == 1 else stride for side in sides)
        bias, layers = self.normalization == "none", list[Layer]()
        groups = n_in if self.convolution == "depthwise" and n_in > 1 else 1
        first = n_in if groups > 1 else n_out
        layers.append(Conv(n_in, first, kernel, steps, self.dilation, groups, bias and groups == 1))  # type: ignore[arg-type]
        if groups > 1:
            layers.append(Conv(n_in, n_out, (1, 1), (1, 1), 1, 1, bias))
        sides[:] = [after(side, step) for side, step in zip(sides, steps, strict=True)]
        if self.normalization != "none":
            layers.append(Norm(self.normalization, n_out))
        return layers if last else [*layers, Activate()]

    def _shortcut(self, n_in: int, n_out: int, sides: list[int], stride: int, deep: int) -> Residual:
        before = tuple(sides)
        inner = [] if deep == 1 else self._conv(n_in, n_out, sides, stride)
        inner += self._conv(n_in if deep == 1 else n_out, n_out, sides, stride if deep == 1 else 1, last=True)
        around = None
        if n_in != n_out or tuple(sides) != before:
            steps = (1 if before[0] == 1 else stride, 1 if before[1] == 1 else stride)
            around = Conv(n_in, n_out, (1, 1), steps, 1, 1, bias=False)
        return Residual(tuple(inner), around)


def after(side: int, stride: int) -> int:
    """Pixels of a side after a convolution with `same` padding; 0 where it is not known, as that of sequences."""
    return (side - 1) // stride + 1 if side else 0


def build_deep(
    network: NetworkSpec,
    media: tuple[Medium, ...],
    n_plain: int,
    n_outputs: int,
    *,
    each_step: bool = False,
    mirrored: bool = False,
    member: int = 0,
) -> Deep:
    """The architecture of a member by its number, from resolved hyperparameters."""
    chosen: Any = network
    convolutional = {
        "channels": chosen.channels,
        "block_layers": chosen.block_layers,
        "convolution": network.convolution,
        "kernel_size": network.kernel_size,
        "stride": network.stride,
        "dilation": network.dilation,
        "pooling": chosen.pooling,
    }
    recurrent = {
        "cell": network.cell,
        "bidirectional": network.bidirectional,
        "recurrent_layers": network.recurrent_layers,
        "recurrent_width": chosen.recurrent_width,
    }
    images = any(medium.kind == "image" for medium in media)
    has_tokens = any(medium.kind == "tokens" for medium in media)
    return Deep(
        kind=network.kind,
        media=media,
        n_plain=n_plain,
        hidden_sizes=chosen.hidden_sizes,
        n_outputs=n_outputs,
        activation=network.activation[member % len(network.activation)],
        normalization=chosen.normalization,
        residual=bool(chosen.residual),
        each_step=each_step,
        mirrored=mirrored,
        summary=chosen.summary,
        embedding_size=chosen.embedding_size if has_tokens else 0,
        **(convolutional if network.kind == "cnn" or (images and network.kind == "rnn") else {}),
        **(recurrent if network.kind == "rnn" else {}),
    )


def architecture_from(known: Mapping[str, Any]) -> Architecture | Deep:
    """The architecture that `dataclasses.asdict` described."""
    lists = {name: tuple(value) for name, value in known.items() if isinstance(value, list)}
    if "media" not in known:
        return Architecture(**{**known, **lists})
    return Deep(**{**known, **lists, "media": tuple(Medium(**medium) for medium in known["media"])})


def _input(medium: Medium) -> str:
    if medium.kind == "image":
        return f"{medium.height}x{medium.width}x{medium.channels}"
    return f"{medium.channels} {'tokens' if medium.kind == 'tokens' else 'channels'}"


def _words(layers: tuple[Layer, ...]) -> Iterator[str]:
    for layer in layers:
        if isinstance(layer, Embed):
            yield f"embedding {layer.size}"
        elif isinstance(layer, Conv):
            kind = "depthwise" if layer.groups > 1 else "conv"
            yield f"{kind} {'x'.join(map(str, layer.kernel))} {layer.n_out}{' / 2' * (max(layer.stride) == 2)}"
        elif isinstance(layer, Pool):
            yield f"{layer.kind} pool"
        elif isinstance(layer, Residual):
            yield f"({' - '.join(_words(layer.inner))})+"
        elif isinstance(layer, Recurrent):
            yield f"{'two-directional ' * (layer.directions == 2)}{layer.cell} {layer.units}"
        elif isinstance(layer, Summary):
            yield layer.kind
        elif isinstance(layer, Colors):
            yield f"{layer.channels} x ({' - '.join(map(str, layer.sizes))})"
