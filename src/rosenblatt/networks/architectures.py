"""In: the hyperparameters of a network, its number of inputs and outputs. Out: its layers and first parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rosenblatt.spec import NetworkSpec


@dataclass(frozen=True)
class Architecture:
    """A network of fully connected layers: which units it has, whatever its parameters."""

    kind: str
    sizes: tuple[int, ...]  # inputs, units of each hidden layer, outputs
    activation: str

    @property
    def starts(self) -> tuple[int, ...]:
        """Where the parameters of each layer start in the flat array, weights (in, out) then biases; then its size."""
        starts = [0]
        for n_in, n_out in zip(self.sizes, self.sizes[1:], strict=False):
            starts.append(starts[-1] + (n_in + 1) * n_out)
        return tuple(starts)

    @property
    def n_parameters(self) -> int:
        """Weights and biases of all layers."""
        return self.starts[-1]

    def layers(self, theta: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """Each layer's weights (in, out) and biases (out,), as views of the flat `theta`."""
        pairs = []
        for n_in, n_out, start in zip(self.sizes, self.sizes[1:], self.starts, strict=False):
            bias = start + n_in * n_out
            pairs.append((theta[start:bias].reshape(n_in, n_out), theta[bias : bias + n_out]))
        return pairs


def build(network: NetworkSpec, n_inputs: int, n_outputs: int, member: int = 0) -> Architecture:
    """The architecture of a member by its number, from the (resolved) hyperparameters. A perceptron has one layer."""
    if network.kind == "perceptron":
        return Architecture("perceptron", (n_inputs, n_outputs), "step")
    hidden: Any = network.hidden_sizes
    return Architecture("mlp", (n_inputs, *hidden, n_outputs), network.activation[member % len(network.activation)])


def first_parameters(architecture: Architecture, initializer: str, rng: np.random.Generator) -> np.ndarray:
    """Draw weights, (n_parameters,) float32; biases are 0, and so is all of a perceptron, as in Rosenblatt's.

    Variance, for n_in inputs and n_out units: he 2 / n_in (He et al. 2015, equation 10), glorot 2 / (n_in + n_out)
    (Glorot & Bengio 2010, equation 16), lecun 1 / n_in (LeCun et al. 1998, section 4.6).
    """
    theta = np.zeros(architecture.n_parameters, np.float32)
    if architecture.kind == "perceptron":
        return theta
    family, distribution = initializer.split("_")
    for weights, _ in architecture.layers(theta):
        n_in, n_out = weights.shape
        variance = {"he": 2 / n_in, "glorot": 2 / (n_in + n_out), "lecun": 1 / n_in}[family]
        if distribution == "uniform":
            limit = np.sqrt(3 * variance)
            weights[:] = rng.uniform(-limit, limit, weights.shape)
        else:
            weights[:] = rng.normal(0, np.sqrt(variance), weights.shape)
    return theta
