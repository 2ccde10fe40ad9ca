"""Perceptrons and multilayer perceptrons as layers of Keras."""

from __future__ import annotations

from keras import layers, ops

from rosenblatt.models.export.keras_features import Tensor
from rosenblatt.models.export.keras_layers import (
    Block,
    NetworkLayers,
    activation_layer,
    chain,
    linear,
    multiplication,
    normalization,
    residual,
)
from rosenblatt.models.export.layer_parameters import Parameters
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.training.compiled.kernel_perceptron import KERNELS


def dense_network(network: NetworkLayers, architecture: DenseArchitecture) -> Block:
    """A perceptron or multilayer perceptron: features (n, F) to logits (n, K)."""
    if architecture.activation in KERNELS:
        return _kernel_perceptron(network, architecture)
    sizes = architecture.sizes
    values = [next(network.parameters) for _ in sizes[1:]]
    blocks = list[Block]()
    if "scale" in values[0]:
        blocks.append(multiplication(network, "scale", values[0]["scale"]))
    for k, layer_values in enumerate(values[:-1]):
        is_residual = architecture.residual and k > 0 and sizes[k] == sizes[k + 1]
        hidden = _hidden_layer(network.inside(f"hidden{k}"), architecture, layer_values)
        blocks.append(residual(hidden) if is_residual else hidden)
    return chain([*blocks, linear(network, "output", values[-1])])


def _hidden_layer(network: NetworkLayers, architecture: DenseArchitecture, values: Parameters) -> Block:
    """Weighted sums, normalization, activation, dropout."""
    sums = [linear(network, "linear", values)]
    if architecture.normalization != "none":
        sums.append(normalization(network, architecture.normalization, values))
    weighted_sums, activation = chain(sums), activation_layer(network, architecture.activation)
    blend = multiplication(network, "blend", values["blend"]) if "blend" in values else None
    dropout = network.dropout()

    def apply(x: Tensor) -> Tensor:
        z = weighted_sums(x)
        a = activation(z)
        return dropout(a if blend is None else z + blend(a - z))

    return apply


def _kernel_perceptron(network: NetworkLayers, architecture: DenseArchitecture) -> Block:
    """Dual coefficients times the kernel between a row and the support rows (Aizerman et al. 1964)."""
    rows, dual = next(network.parameters)["weight"], next(network.parameters)["weight"]  # (F, M), (M, K)
    gamma = architecture.gamma
    output = network.make(layers.Dense, "dual_coefficients", dual.shape[1], use_bias=False, weights=[dual])
    if architecture.activation == "polynomial":
        products = network.make(layers.Dense, "support_rows", rows.shape[1], use_bias=False, weights=[rows])
        return lambda x: output((gamma * products(x) + 1) ** architecture.degree)
    support = network.make(
        layers.EinsumDense, "support_rows", "no,ofm->nfm", output_shape=rows.shape, weights=[rows[None]]
    )

    def apply(x: Tensor) -> Tensor:
        differences = ops.expand_dims(x, 2) - support(ops.ones_like(x[:, :1]))
        return output(ops.exp(-gamma * ops.sum(ops.square(differences), axis=1)))

    return apply
