"""Architecture of fully connected networks: layers and parameter layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from rosenblatt.spec.network import NetworkSpec

ParameterName = Literal[
    "scale", "weight", "recurrent_weight", "bias", "recurrent_bias", "gain", "shift", "mean", "variance", "blend"
]


class ParameterSlice(NamedTuple):
    """A named piece of a network's flat array of parameters."""

    name: ParameterName
    layer: int
    start: int
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        """Where the next part starts."""
        return self.start + int(np.prod(self.shape))


@dataclass(frozen=True)
class DenseArchitecture:
    """A network of fully connected layers: which units it has, whatever its parameters.

    Hidden layers are, in this order: weighted sums, normalization, activation (blended with the sums by a factor for
    each unit where it is parametric), and, where residual, what entered the layer added to what leaves it.
    """

    kind: str
    sizes: tuple[int, ...]  # inputs, units of each hidden layer, outputs
    activation: str
    normalization: str = "none"
    residual: bool = False
    parametric_activation: bool = False
    scaling_layer: bool = False
    gamma: float = 0.0  # of the kernel, where the activation is one
    degree: int = 0

    @property
    def parts(self) -> tuple[ParameterSlice, ...]:
        """All parts, in the order in which they stand in the flat array; layers count from 0.

        scale (inputs,); for each layer weight (in, out), bias (out,); for hidden ones gain, shift, mean, variance,
        blend (out,) where they are asked for.
        """
        parts, start = [], 0
        for name, layer, shape in self._layout():
            parts.append(ParameterSlice(name, layer, start, shape))
            start = parts[-1].end
        return tuple(parts)

    def _layout(self) -> Iterator[tuple[ParameterName, int, tuple[int, ...]]]:
        if self.scaling_layer:
            yield "scale", 0, (self.sizes[0],)
        for layer, (n_in, n_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            yield "weight", layer, (n_in, n_out)
            yield "bias", layer, (n_out,)
            if layer == len(self.sizes) - 2:
                return
            normalization: tuple[ParameterName, ...] = ("gain", "shift") if self.normalization != "none" else ()
            running_statistics: tuple[ParameterName, ...] = (
                ("mean", "variance") if self.normalization == "batch" else ()
            )
            activation_alpha: tuple[ParameterName, ...] = ("blend",) if self.parametric_activation else ()
            for name in (*normalization, *running_statistics, *activation_alpha):
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
    def summary(self) -> str:
        """The layers in words, from input to output."""
        return " - ".join(map(str, self.sizes))

    def parameters_by_name(self, theta: np.ndarray) -> dict[tuple[int, ParameterName], np.ndarray]:
        """All parts by layer and name, as views of the flat `theta`."""
        return {(p.layer, p.name): theta[p.start : p.end].reshape(p.shape) for p in self.parts}

    def layers(self, theta: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each layer's weights (in, out) and biases (out,), as views of the flat `theta`."""
        parameters = self.parameters_by_name(theta)
        return [(parameters[l, "weight"], parameters[l, "bias"]) for l in range(len(self.sizes) - 1)]


def build_dense(network: NetworkSpec, n_inputs: int, n_outputs: int, member: int = 0) -> DenseArchitecture:
    """The architecture of a member by its number, from the (resolved) hyperparameters.

    A perceptron has one layer of step units. A voted perceptron has its states as a hidden layer, and a kernel
    perceptron its support rows.
    """
    if network.kind == "perceptron" and network.perceptron_rule == "voted":
        return DenseArchitecture("perceptron", (n_inputs, max(network.budget, n_outputs + 1), n_outputs), "step")
    if network.kind == "perceptron" and network.perceptron_rule == "kernel":
        gamma: Any = 1 / max(n_inputs, 1) if network.gamma == "auto" else network.gamma
        sizes = (n_inputs, network.budget, n_outputs)
        return DenseArchitecture("perceptron", sizes, network.kernel, gamma=gamma, degree=network.degree)
    if network.kind == "perceptron":
        return DenseArchitecture("perceptron", (n_inputs, n_outputs), "step")
    resolved: Any = network
    return DenseArchitecture(
        "mlp",
        (n_inputs, *resolved.hidden_sizes, n_outputs),
        network.activation[member % len(network.activation)],
        network.normalization,
        bool(resolved.residual),
        network.parametric_activation,
        network.scaling_layer,
    )


def drop_unused_units(
    architecture: DenseArchitecture, theta: np.ndarray, n_used: int
) -> tuple[DenseArchitecture, np.ndarray]:
    """A network of one hidden layer without the units that are not used: only the first ones are."""
    (n_in, _, n_out), parameters = architecture.sizes, architecture.parameters_by_name(theta)
    smaller = replace(architecture, sizes=(n_in, n_used, n_out))
    parts = [
        parameters[0, "weight"][:, :n_used],
        parameters[0, "bias"][:n_used],
        parameters[1, "weight"][:n_used],
        parameters[1, "bias"],
    ]
    return smaller, np.concatenate([part.ravel() for part in parts])
