"""Networks as nodes of an ONNX graph: dense, convolutional and recurrent layers, with the parameters of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from rosenblatt.models.export.layer_parameters import LayerParameters, Parameters
from rosenblatt.models.export.onnx_features import step_mask
from rosenblatt.models.export.onnx_graph import DOUBLE, FLOAT, INT32, Graph, axes, float32, float64, integer
from rosenblatt.networks.deep import conv_output_size
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.networks.layers import (
    MAX_NORM_GROUPS,
    Activation,
    Conv,
    Embedding,
    GlobalPooling,
    LayerNorm,
    Norm,
    PerChannelMLP,
    Pool,
    Recurrent,
    Residual,
)
from rosenblatt.training.compiled.kernel_perceptron import KERNELS
from rosenblatt.training.compiled.normalization import EPSILON

ACTIVATIONS = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
    "elu": "Elu",
    "selu": "Selu",
    "gelu": "Gelu",
    "mish": "Mish",
    "softplus": "Softplus",
}
CELLS = {"lstm": "LSTM", "gru": "GRU", "elman": "RNN"}
GATE_ORDERS = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "elman": (0,)}  # of ONNX, as positions in the order of PyTorch


def activation(graph: Graph, name: str, z: str) -> str:
    """An activation function of z."""
    if name == "identity":
        return z
    if name == "step":
        return graph.cast(graph.add("Greater", z, float32(0), name="is_positive"), FLOAT, "step")
    if name == "silu":
        return graph.add("Mul", z, graph.add("Sigmoid", z, name="gate"), name="silu")
    return graph.add(ACTIVATIONS[name], z, name=name)


def linear(graph: Graph, values: Parameters, x: str, *, is_per_step: bool, name: str = "linear") -> str:
    """Weighted sums of x (n, F), or (n, T, F) if each step is predicted."""
    weight, bias = graph.constant(f"{name}.weight", values["weight"]), graph.constant(f"{name}.bias", values["bias"])
    if is_per_step:
        return graph.add("Add", graph.add("MatMul", x, weight, name=f"{name}.products"), bias, name=name)
    return graph.add("Gemm", x, weight, bias, name=name)


def dense_network(
    graph: Graph, architecture: DenseArchitecture, parameters: LayerParameters, x: str, *, is_per_step: bool = False
) -> str:
    """The logits of a perceptron or multilayer perceptron for features x."""
    if architecture.activation in KERNELS:
        return _kernel_perceptron(graph, architecture, parameters, x)
    layers, sizes = [next(parameters) for _ in architecture.sizes[1:]], architecture.sizes
    if "scale" in layers[0]:
        x = graph.add("Mul", x, layers[0]["scale"], name="scale")
    for k, values in enumerate(layers[:-1]):
        a = _hidden_layer(graph.within(f"hidden.{k}"), architecture, values, x, is_per_step=is_per_step)
        is_residual = architecture.residual and k > 0 and sizes[k] == sizes[k + 1]
        x = graph.add("Add", a, x, name=f"hidden.{k}.residual") if is_residual else a
    return linear(graph, layers[-1], x, is_per_step=is_per_step, name="output")


def _hidden_layer(
    graph: Graph, architecture: DenseArchitecture, values: Parameters, x: str, *, is_per_step: bool
) -> str:
    z = linear(graph, values, x, is_per_step=is_per_step)
    if architecture.normalization == "batch":
        z = batch_normalization(graph, values, z)
    elif architecture.normalization == "layer":
        z = layer_normalization(graph, values, z)
    a = activation(graph, architecture.activation, z)
    if "blend" in values:  # a parametric activation
        difference = graph.add("Sub", a, z, name="difference")
        a = graph.add("Add", z, graph.add("Mul", values["blend"], difference, name="part"), name="blend")
    return a


def batch_normalization(graph: Graph, values: Parameters, z: str) -> str:
    """Normalization of the channels of z (n, C, ...) by their running statistics."""
    names = [graph.constant(f"norm.{name}", values[name]) for name in ("gain", "shift", "mean", "variance")]
    return graph.add("BatchNormalization", z, *names, name="norm", epsilon=EPSILON)


def layer_normalization(graph: Graph, values: Parameters, z: str) -> str:
    """Normalization over the last axis of z."""
    names = [graph.constant(f"norm.{name}", values[name]) for name in ("gain", "shift")]
    return graph.add("LayerNormalization", z, *names, name="norm", axis=-1, epsilon=EPSILON)


def _kernel_perceptron(graph: Graph, architecture: DenseArchitecture, parameters: LayerParameters, x: str) -> str:
    """Dual coefficients times the kernel between a row and the support rows (Aizerman et al. 1964)."""
    support, dual = next(parameters)["weight"].astype(np.float64), next(parameters)["weight"].astype(np.float64)
    x, gamma = graph.cast(x, DOUBLE, "features"), architecture.gamma
    products = graph.add("MatMul", x, graph.constant("support_rows", support), name="products")  # (n, M)
    if architecture.activation == "polynomial":
        base = graph.add("Mul", products, float64(gamma), name="scaled_products")
        base = graph.add("Add", base, float64(1), name="base")
        kernel = graph.add("Pow", base, float64(architecture.degree), name="kernel")
    else:
        squares = graph.add("ReduceSumSquare", x, axes(1), name="squares")
        squares = graph.add("Add", squares, (support**2).sum(axis=0), name="sum_of_squares")
        twice = graph.add("Mul", products, float64(2), name="twice")
        distance = graph.add("Max", graph.add("Sub", squares, twice, name="difference"), float64(0), name="distance")
        kernel = graph.add("Exp", graph.add("Mul", distance, float64(-gamma), name="exponent"), name="kernel")
    return graph.cast(graph.add("MatMul", kernel, graph.constant("dual", dual), name="sums"), FLOAT, "output")


# Convolutions, over (n, channels, height, width); sequences are one pixel wide


class ConvolutionalTower:
    """Adds the layers of a tower of convolutions before its global pooling.

    Args:
        parameters: of the network.
        activation_name: the activation function.
        sides: height and width of the input.
    """

    def __init__(self, parameters: LayerParameters, activation_name: str, sides: tuple[int, int]) -> None:
        self._parameters, self._activation, self.sides = parameters, activation_name, sides

    def add(self, graph: Graph, layers: tuple[Any, ...], a: str) -> str:
        """Add the layers after a (n, C, H, W); `sides` are those of the result."""
        counts: dict[str, int] = {}
        for layer in layers:
            if isinstance(layer, Conv | Norm | Activation | Pool | Residual):
                name = type(layer).__name__.lower()
                counts[name] = counts.get(name, 0) + 1
                a = self._layer(graph.within(f"{name}{counts[name]}"), layer, a)
        return a

    def _layer(self, graph: Graph, layer: Any, a: str) -> str:
        if isinstance(layer, Conv):
            return self._convolution(graph, layer, a)
        if isinstance(layer, Norm):
            return _channel_normalization(graph, layer, next(self._parameters), a)
        if isinstance(layer, Activation):
            return activation(graph, self._activation, a)
        return self._pool(graph, layer, a) if isinstance(layer, Pool) else self._residual(graph, layer, a)

    def _convolution(self, graph: Graph, layer: Conv, a: str) -> str:
        values = next(self._parameters)
        total = [layer.dilation * (k - 1) for k in layer.kernel]
        before, after = [n // 2 for n in total], [n - n // 2 for n in total]  # an even kernel pads more at the end
        self.sides = tuple(map(conv_output_size, self.sides, layer.stride))  # type: ignore[assignment] # two sides
        names = [graph.constant(name, values[name]) for name in ("weight", "bias") if name in values]
        return graph.add(
            "Conv", a, *names, name="conv", kernel_shape=layer.kernel, strides=layer.stride,
            dilations=[layer.dilation] * 2, group=layer.groups, pads=[*before, *after],
        )  # fmt: skip

    def _pool(self, graph: Graph, layer: Pool, a: str) -> str:
        size = [min(factor, side) for factor, side in zip(layer.size, self.sides, strict=True)]
        self.sides = self.sides[0] // size[0], self.sides[1] // size[1]
        operator = "MaxPool" if layer.kind == "max" else "AveragePool"
        return graph.add(operator, a, name="pool", kernel_shape=size, strides=size)

    def _residual(self, graph: Graph, layer: Residual, a: str) -> str:
        sides = self.sides
        body, body_sides = self.add(graph.within("body"), layer.body, a), self.sides
        self.sides = sides
        shortcut = self._convolution(graph.within("shortcut"), layer.shortcut, a) if layer.shortcut else a
        self.sides = body_sides
        return graph.add("Add", body, shortcut, name="sum")


def _channel_normalization(graph: Graph, layer: Norm, values: Parameters, a: str) -> str:
    """Batch normalization, or normalization of groups of channels of a (n, C, H, W)."""
    if layer.kind == "batch":
        return batch_normalization(graph, values, a)
    n = layer.channels
    groups = 1 if layer.kind == "layer" else max(g for g in range(1, MAX_NORM_GROUPS + 1) if n % g == 0)
    grouped = graph.add("Reshape", a, axes(0, groups, -1), name="groups")
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    grouped = graph.add("InstanceNormalization", grouped, ones, zeros, name="normalized", epsilon=EPSILON)
    a = graph.add("Reshape", grouped, graph.add("Shape", a, name="shape"), name="channels")
    gain, shift = (graph.constant(f"norm.{name}", values[name][:, None, None]) for name in ("gain", "shift"))
    return graph.add("Add", graph.add("Mul", a, gain, name="scaled"), shift, name="norm")


def pixel_pooling(graph: Graph, kind: str, a: str) -> str:
    """All pixels of a (n, C, H, W) as one vector: mean, max or flatten."""
    if kind != "flatten":
        a = graph.add("GlobalMaxPool" if kind == "max" else "GlobalAveragePool", a, name="pooling")
    return graph.add("Flatten", a, name="flatten")


def per_channel_network(
    graph: Graph, layer: PerChannelMLP, parameters: LayerParameters, activation_name: str, pixels: str
) -> str:
    """A multilayer perceptron for each channel of pixels (n, C, H, W): (n, C * units)."""
    a = graph.add("Reshape", pixels, axes(0, layer.channels, -1), name="pixels")
    a = graph.add("Transpose", a, name="channels", perm=[1, 0, 2])
    for k in range(len(layer.sizes) - 1):
        values, scope = next(parameters), graph.within(f"channel_layers.{k}")
        weight, bias = (scope.constant("weight", values["weight"]), scope.constant("bias", values["bias"][:, None]))
        z = scope.add("Add", scope.add("MatMul", a, weight, name="products"), bias, name="linear")
        a = activation(scope, activation_name, z)
    return graph.add("Flatten", graph.add("Transpose", a, name="rows", perm=[1, 0, 2]), name="flatten")


# Sequences, over (n, T, units)


def recurrent_layers(graph: Graph, layers: tuple[Any, ...], parameters: LayerParameters, a: str, lengths: str) -> str:
    """The layers of a recurrent tower over steps (n, T, C) or tokens (n, T)."""
    counts: dict[str, int] = {}
    directions = max(layer.directions for layer in layers if isinstance(layer, Recurrent))
    for layer in layers:
        name = type(layer).__name__.lower()
        counts[name] = counts.get(name, 0) + 1
        scope = graph.within(f"{name}{counts[name]}")
        if isinstance(layer, Embedding):
            a = embedding(scope, next(parameters), a)
        elif isinstance(layer, Recurrent):
            a = _recurrent(scope, layer, parameters, a, lengths)
        elif isinstance(layer, LayerNorm):
            a = layer_normalization(scope, next(parameters), a)
        elif isinstance(layer, GlobalPooling):
            weight = next(parameters)["weight"] if layer.kind == "attention" else None
            a = step_pooling(scope, layer, a, lengths, weight=weight, is_bidirectional=directions == 2)
    return a


def embedding(graph: Graph, values: Parameters, tokens: str) -> str:
    """The vectors of tokens (n, T)."""
    return graph.add("Gather", graph.constant("weight", values["weight"]), tokens, name="embedding")


def _recurrent(graph: Graph, layer: Recurrent, parameters: LayerParameters, a: str, lengths: str) -> str:
    """The outputs of all steps (n, T, units); the backward direction reads each sequence from its own end."""
    directions = [next(parameters) for _ in range(layer.directions)]

    def stack(name: str) -> np.ndarray:
        return np.stack([_reorder_gates(layer, values[name]) for values in directions])

    weight, recurrent = (
        graph.constant("weight", stack("weight")),
        graph.constant("recurrent", stack("recurrent_weight")),
    )
    bias = graph.constant("bias", np.concatenate([stack("bias"), stack("recurrent_bias")], axis=1))
    attributes: dict[str, Any] = {"linear_before_reset": 1} if layer.cell == "gru" else {}
    steps = graph.add("Transpose", a, name="steps_first", perm=[1, 0, 2])
    out = graph.add(
        CELLS[layer.cell], steps, weight, recurrent, bias, graph.cast(lengths, INT32, "lengths"), name=layer.cell,
        hidden_size=layer.units, direction="bidirectional" if layer.directions == 2 else "forward",
        **attributes,
    )  # fmt: skip
    out = graph.add("Transpose", out, name="rows_first", perm=[2, 0, 1, 3])  # (n, T, directions, units)
    return graph.add("Reshape", out, axes(0, 0, layer.directions * layer.units), name="out")


def _reorder_gates(layer: Recurrent, values: np.ndarray) -> np.ndarray:
    gates = values.reshape(-1, layer.units, *values.shape[1:])
    return gates[list(GATE_ORDERS[layer.cell])].reshape(values.shape)


def step_pooling(
    graph: Graph, pooling: GlobalPooling, a: str, lengths: str, *, weight: np.ndarray | None = None,
    is_bidirectional: bool = False,
) -> str:  # fmt: skip
    """All steps of a (n, T, units) as one vector: last, mean, max or attention (Bahdanau et al. 2015)."""
    if pooling.kind == "last":
        return _last_step(graph, a, lengths, pooling.size, is_bidirectional=is_bidirectional)
    mask = graph.add("Unsqueeze", step_mask(graph, a, lengths), axes(2), name="step_mask")
    if weight is not None:
        scores = graph.add("MatMul", graph.add("Tanh", a, name="tanh"), graph.constant("weight", weight), name="scores")
        scores = graph.add("Where", mask, scores, float32(-np.inf), name="masked_scores")
        attention = graph.add("Softmax", scores, name="attention", axis=1)
        weighted = graph.add("Mul", attention, a, name="weighted")
        return graph.add("ReduceSum", weighted, axes(1), name="pooling", keepdims=0)
    masked = graph.add("Where", mask, a, float32(-np.inf if pooling.kind == "max" else 0), name="masked")
    if pooling.kind == "max":
        return graph.add("ReduceMax", masked, axes(1), name="pooling", keepdims=0)
    total = graph.add("ReduceSum", masked, axes(1), name="total", keepdims=0)
    count = graph.cast(graph.add("Unsqueeze", lengths, axes(1), name="counts"), FLOAT, "float_counts")
    return graph.add("Div", total, count, name="pooling")


def _last_step(graph: Graph, a: str, lengths: str, n_units: int, *, is_bidirectional: bool) -> str:
    """The last step of each sequence (n, units); in the backward direction, the first one."""
    position = graph.add("Unsqueeze", graph.add("Sub", lengths, integer(1), name="position"), axes(1), name="positions")
    last = graph.add("GatherND", a, position, name="last", batch_dims=1)
    if not is_bidirectional:
        return last
    first, half = graph.add("Gather", a, integer(0), name="first", axis=1), n_units // 2
    forwards = graph.add("Slice", last, axes(0), axes(half), axes(1), name="forwards")
    backwards = graph.add("Slice", first, axes(half), axes(n_units), axes(1), name="backwards")
    return graph.add("Concat", forwards, backwards, name="pooling", axis=1)
