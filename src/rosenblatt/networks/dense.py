"""Architecture of fully connected networks: layers and parameter layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from rosenblatt.errors import format_count
from rosenblatt.spec.network import NetworkSpec

ParameterName = Literal[
    "scale", "weight", "recurrent_weight", "bias", "recurrent_bias", "gain", "shift", "mean", "variance", "blend"
]


class ParameterSlice(NamedTuple):
    """Name, place and shape of one parameter in the flat parameter array of a network."""

    name: ParameterName
    layer: int
    start: int
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        """Index after the last value."""
        return self.start + int(np.prod(self.shape))


class Architecture(ABC):
    """Layers of a network and the layout of their parameters in one flat array, without the parameter values."""

    @property
    @abstractmethod
    def parts(self) -> tuple[ParameterSlice, ...]:
        """All parameters in the order of the flat array; layers are numbered from 0."""

    @property
    def n_parameters(self) -> int:
        """Length of the flat array."""
        return self.parts[-1].end

    @property
    def n_layers(self) -> int:
        """Number of layers with parameters."""
        return self.parts[-1].layer + 1

    def parameters_by_name(self, theta: np.ndarray) -> dict[tuple[int, ParameterName], np.ndarray]:
        """All parameters by layer and name, as views of the flat `theta`."""
        return {(p.layer, p.name): theta[p.start : p.end].reshape(p.shape) for p in self.parts}


@dataclass(frozen=True)
class DenseArchitecture(Architecture):
    """Architecture of fully connected layers.

    A hidden layer computes, in this order, weighted sums, normalization and activation. A parametric activation is
    blended with the weighted sums by a trained factor per unit. A residual layer adds its input to its output.
    """

    kind: str
    sizes: tuple[int, ...]  # inputs, units of each hidden layer, outputs
    activation: str
    normalization: str = "none"
    residual: bool = False
    parametric_activation: bool = False
    scaling_layer: bool = False
    gamma: float = 0.0  # of an rbf or polynomial kernel
    degree: int = 0  # of a polynomial kernel

    @property
    def parts(self) -> tuple[ParameterSlice, ...]:
        """All parameters in the order of the flat array; layers are numbered from 0.

        First scale (inputs,) of a scaling layer. Then for each layer weight (in, out) and bias (out,), and for hidden
        layers, as configured, gain, shift, mean, variance and blend, each (out,).
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
    def n_outputs(self) -> int:
        """Number of units of the last layer."""
        return self.sizes[-1]

    @property
    def summary(self) -> str:
        """One-line drawing, such as "20 inputs -> 64 relu -> 64 relu -> 2 outputs"."""
        return " -> ".join([f"{format_count(self.sizes[0], 'input')}", *self.layer_summaries])

    @property
    def layer_summaries(self) -> list[str]:
        """A short text for each layer after the inputs."""
        hidden = [f"{size} {self.activation}" for size in self.sizes[1:-1]]
        return [*hidden, format_count(self.n_outputs, "output")]

    def layers(self, theta: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights (in, out) and biases (out,) of each layer, as views of the flat `theta`."""
        parameters = self.parameters_by_name(theta)
        return [(parameters[l, "weight"], parameters[l, "bias"]) for l in range(len(self.sizes) - 1)]


def build_dense(network: NetworkSpec, n_inputs: int, n_outputs: int, member: int = 0) -> DenseArchitecture:
    """Build the architecture of a dense member, from resolved hyperparameters and its number of encoded inputs.

    A perceptron has one layer of step units. The hidden layer of a voted perceptron holds its weight vectors, that of
    a kernel perceptron its support rows. The index `member` selects the activation function.
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
    """Keep only the first `n_used` units of a network with one hidden layer; return it and its flat parameters."""
    (n_in, _, n_out), parameters = architecture.sizes, architecture.parameters_by_name(theta)
    smaller = replace(architecture, sizes=(n_in, n_used, n_out))
    parts = [
        parameters[0, "weight"][:, :n_used],
        parameters[0, "bias"][:n_used],
        parameters[1, "weight"][:n_used],
        parameters[1, "bias"],
    ]
    return smaller, np.concatenate([part.ravel() for part in parts])
