"""In: the hyperparameters of a network, its number of inputs and outputs. Out: its layers, and what they consist of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from rosenblatt.spec.network import NetworkSpec

Name = Literal[
    "scale", "weight", "recurrent_weight", "bias", "recurrent_bias", "gain", "shift", "mean", "variance", "blend"
]


class Part(NamedTuple):
    """A named piece of a network's flat array of parameters."""

    name: Name
    layer: int
    start: int
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        """Where the next part starts."""
        return self.start + int(np.prod(self.shape))


@dataclass(frozen=True)
class Architecture:
    """A network of fully connected layers: which units it has, whatever its parameters.

    Hidden layers are, in this order: weighted sums, normalization, activation (blended with the sums by a factor for
    each unit where it is parametric), and, where residual, what entered the layer added to what leaves it.
    """

    kind: str
    sizes: tuple[int, ...]  # inputs, units of each hidden layer, outputs
    activation: str
    normalization: str = "none"
    residual: bool = False
    parametric: bool = False
    front_scale: bool = False
    gamma: float = 0.0  # of the kernel, where the activation is one
    degree: int = 0

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, in the order in which they stand in the flat array; layers count from 0.

        scale (inputs,); for each layer weight (in, out), bias (out,); for hidden ones gain, shift, mean, variance,
        blend (out,) where they are asked for.
        """
        parts, start = [], 0
        for name, layer, shape in self._layout():
            parts.append(Part(name, layer, start, shape))
            start = parts[-1].end
        return tuple(parts)

    def _layout(self) -> Iterator[tuple[Name, int, tuple[int, ...]]]:
        if self.front_scale:
            yield "scale", 0, (self.sizes[0],)
        for layer, (n_in, n_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            yield "weight", layer, (n_in, n_out)
            yield "bias", layer, (n_out,)
            if layer == len(self.sizes) - 2:
                return
            normalization: tuple[Name, ...] = ("gain", "shift") if self.normalization != "none" else ()
            running: tuple[Name, ...] = ("mean", "variance") if self.normalization == "batch" else ()
            blend: tuple[Name, ...] = ("blend",) if self.parametric else ()
            for name in (*normalization, *running, *blend):
                yield name, layer, (n_out,)

    @property
    def n_parameters(self) -> int:
        """Numbers in the flat array."""
        return self.parts[-1].end

    @property
    def n_outputs(self) -> int:
        """Units of the last layer."""
        return self.sizes[-1]

    @property
    def n_layers(self) -> int:
        """Layers, counted as the parts count them."""
        return len(self.sizes) - 1

    @property
    def outline(self) -> str:
        """The layers in words, from input to output."""
        return " - ".join(map(str, self.sizes))

    def named(self, theta: np.ndarray) -> dict[tuple[int, Name], np.ndarray]:
        """All parts by layer and name, as views of the flat `theta`."""
        return {(p.layer, p.name): theta[p.start : p.end].reshape(p.shape) for p in self.parts}

    def layers(self, theta: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each layer's weights (in, out) and biases (out,), as views of the flat `theta`."""
        named = self.named(theta)
        return [(named[l, "weight"], named[l, "bias"]) for l in range(len(self.sizes) - 1)]


def build(network: NetworkSpec, n_inputs: int, n_outputs: int, member: int = 0) -> Architecture:
    """The architecture of a member by its number, from the (resolved) hyperparameters.

    A perceptron has one layer of step units. One whose states vote has them in front of its outputs, and one that goes
    by likeness the rows it keeps.
    """
    if network.kind == "perceptron" and network.rule == "voted":
        return Architecture("perceptron", (n_inputs, max(network.budget, n_outputs + 1), n_outputs), "step")
    if network.kind == "perceptron" and network.rule == "kernel":
        gamma: Any = 1 / max(n_inputs, 1) if network.gamma == "auto" else network.gamma
        sizes = (n_inputs, network.budget, n_outputs)
        return Architecture("perceptron", sizes, network.kernel, gamma=gamma, degree=network.degree)
    if network.kind == "perceptron":
        return Architecture("perceptron", (n_inputs, n_outputs), "step")
    chosen: Any = network
    return Architecture(
        "mlp",
        (n_inputs, *chosen.hidden_sizes, n_outputs),
        network.activation[member % len(network.activation)],
        network.normalization,
        bool(chosen.residual),
        network.parametric,
        network.front_scale,
    )


def trimmed(architecture: Architecture, theta: np.ndarray, used: int) -> tuple[Architecture, np.ndarray]:
    """A network of one hidden layer without the units that are not used: only the first ones are."""
    (n_in, _, n_out), named = architecture.sizes, architecture.named(theta)
    smaller = replace(architecture, sizes=(n_in, used, n_out))
    parts = [named[0, "weight"][:, :used], named[0, "bias"][:used], named[1, "weight"][:used], named[1, "bias"]]
    return smaller, np.concatenate([part.ravel() for part in parts])
