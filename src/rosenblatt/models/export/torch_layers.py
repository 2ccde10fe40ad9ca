"""Networks as ordinary modules of PyTorch, with named layers: dense, convolutional and recurrent ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rosenblatt.models.export.layer_parameters import LayerParameters, Parameters
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
from rosenblatt.training.compiled.normalization import EPSILON, RUNNING_MOMENTUM


class Step(nn.Module):
    """1 above 0, else 0 (Rosenblatt 1958)."""

    def forward(self, z: Tensor) -> Tensor:
        """Return 0 or 1."""
        return (z > 0).to(z.dtype)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "step": Step,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
}


def _set(parameter: Tensor | None, values: np.ndarray) -> None:
    assert parameter is not None  # noqa: S101 - for the type checker
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values.copy()))


def linear(values: Parameters) -> nn.Linear:
    """A linear layer with these weights."""
    n_in, n_out = values["weight"].shape
    layer = nn.Linear(n_in, n_out)
    _set(layer.weight, values["weight"].T)
    _set(layer.bias, values["bias"])
    return layer


def _normalization(layer: nn.Module, values: Parameters) -> nn.Module:
    """A normalization with these gains, shifts and running statistics."""
    for name, parameter in (
        ("gain", "weight"),
        ("shift", "bias"),
        ("mean", "running_mean"),
        ("variance", "running_var"),
    ):
        if name in values:
            _set(getattr(layer, parameter), values[name])
    return layer


def embedding(weight: np.ndarray, *, is_trained: bool = True) -> nn.Embedding:
    """A table of vectors (tokens, size)."""
    layer = nn.Embedding(weight.shape[0], weight.shape[1])
    _set(layer.weight, weight)
    layer.weight.requires_grad_(is_trained)
    return layer


class HiddenLayer(nn.Module):
    """Weighted sums, normalization, activation, dropout; a residual layer adds its input."""

    def __init__(
        self, architecture: DenseArchitecture, values: Parameters, dropout: float, *, is_residual: bool
    ) -> None:
        super().__init__()
        self.linear, n = linear(values), values["bias"].size
        self.norm: nn.Module = nn.Identity()
        if architecture.normalization == "batch":
            self.norm = _normalization(nn.BatchNorm1d(n, EPSILON, RUNNING_MOMENTUM), values)
        elif architecture.normalization == "layer":
            self.norm = _normalization(nn.LayerNorm(n, EPSILON), values)
        self.activation = ACTIVATIONS[architecture.activation]()
        self.blend = nn.Parameter(torch.from_numpy(values["blend"].copy())) if "blend" in values else None
        self.dropout, self.is_residual = nn.Dropout(dropout), is_residual

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of the units, (n, units)."""
        z = self.norm(self.linear(x))
        a = self.activation(z)
        if self.blend is not None:  # a parametric activation
            a = z + self.blend * (a - z)
        a = self.dropout(a)
        return a + x if self.is_residual else a


class DenseNetwork(nn.Module):
    """A multilayer perceptron, or a perceptron: features (n, F) to logits (n, K)."""

    def __init__(self, architecture: DenseArchitecture, parameters: LayerParameters, dropout: float) -> None:
        super().__init__()
        layers, sizes = [next(parameters) for _ in architecture.sizes[1:]], architecture.sizes
        scale = layers[0].get("scale")
        self.scale = None if scale is None else nn.Parameter(torch.from_numpy(scale.copy()))  # of each feature
        self.hidden = nn.ModuleList(
            HiddenLayer(
                architecture, values, dropout, is_residual=architecture.residual and k > 0 and sizes[k] == sizes[k + 1]
            )
            for k, values in enumerate(layers[:-1])
        )
        self.output = linear(layers[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        a = x if self.scale is None else x * self.scale
        for layer in self.hidden:
            a = layer(a)
        return self.output(a)


class KernelPerceptron(nn.Module):
    """Dual coefficients times the kernel between a row and the support rows (Aizerman et al. 1964)."""

    def __init__(self, architecture: DenseArchitecture, parameters: LayerParameters) -> None:
        super().__init__()
        support, dual = next(parameters), next(parameters)
        self.kernel, self.gamma, self.degree = architecture.activation, architecture.gamma, architecture.degree
        self.support_rows = nn.Parameter(torch.from_numpy(support["weight"].T.copy()))  # (M, F)
        self.dual_coefficients = nn.Parameter(torch.from_numpy(dual["weight"].copy()))  # (M, K)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        products = x @ self.support_rows.T
        if self.kernel == "polynomial":
            return (self.gamma * products + 1) ** self.degree @ self.dual_coefficients
        differences = x[:, None] - self.support_rows
        return torch.exp(-self.gamma * (differences**2).sum(dim=2)) @ self.dual_coefficients


def dense_network(architecture: DenseArchitecture, parameters: LayerParameters, dropout: float) -> nn.Module:
    """The module of a perceptron or multilayer perceptron."""
    if architecture.activation in KERNELS:
        return KernelPerceptron(architecture, parameters)
    return DenseNetwork(architecture, parameters, dropout)


# Convolutions, over (n, channels, height, width); sequences are one pixel wide


def convolution(layer: Conv, values: Parameters) -> nn.Module:
    """A convolution whose output has as many pixels as its input, divided by the stride."""
    total = [layer.dilation * (k - 1) for k in layer.kernel]
    is_even = any(pixels % 2 for pixels in total)  # an even kernel pads one pixel more at the end
    conv = nn.Conv2d(
        layer.n_in, layer.n_out, layer.kernel, layer.stride, 0 if is_even else (total[0] // 2, total[1] // 2),
        layer.dilation, layer.groups, layer.bias,
    )  # fmt: skip
    _set(conv.weight, values["weight"])
    if layer.bias:
        _set(conv.bias, values["bias"])
    if not is_even:
        return conv
    (height, width) = total
    padding = (width // 2, width - width // 2, height // 2, height - height // 2)
    return nn.Sequential(nn.ZeroPad2d(padding), conv)


def _channel_norm(layer: Norm, values: Parameters) -> nn.Module:
    n = layer.channels
    if layer.kind == "batch":
        return _normalization(nn.BatchNorm2d(n, EPSILON, RUNNING_MOMENTUM), values)
    groups = 1 if layer.kind == "layer" else max(g for g in range(1, MAX_NORM_GROUPS + 1) if n % g == 0)
    return _normalization(nn.GroupNorm(groups, n, EPSILON), values)


class HalvingPool(nn.Module):
    """Maximum or mean over windows of two pixels; a side of one pixel stays."""

    def __init__(self, kind: str, size: tuple[int, int]) -> None:
        super().__init__()
        self.kind, self.size = kind, size

    def forward(self, a: Tensor) -> Tensor:
        """Return the pooled pixels."""
        size = (min(self.size[0], a.shape[2]), min(self.size[1], a.shape[3]))
        return F.max_pool2d(a, size) if self.kind == "max" else F.avg_pool2d(a, size)


class ResidualBlock(nn.Module):
    """Layers with a shortcut around them (He et al. 2016)."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, a: Tensor) -> Tensor:
        """Return the sum of both."""
        return self.body(a) + self.shortcut(a)


def convolutional_layers(
    layers: tuple[Any, ...], parameters: LayerParameters, activation: str, dropout: float
) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a tower of convolutions before its global pooling, with names such as conv1."""
    counts: dict[str, int] = {}
    for layer in layers:
        if isinstance(layer, Conv):
            name, module = "conv", convolution(layer, next(parameters))
        elif isinstance(layer, Norm):
            name, module = "norm", _channel_norm(layer, next(parameters))
        elif isinstance(layer, Activation):
            name, module = "activation", ACTIVATIONS[activation]()
        elif isinstance(layer, Pool):
            name, module = "pool", HalvingPool(layer.kind, layer.size)
        elif isinstance(layer, Residual):
            body = nn.Sequential()
            for part_name, part in convolutional_layers(layer.body, parameters, activation, dropout):
                body.add_module(part_name, part)
            shortcut = convolution(layer.shortcut, next(parameters)) if layer.shortcut else nn.Identity()
            name, module = "block", ResidualBlock(body, shortcut)
        else:
            continue
        counts[name] = counts.get(name, 0) + 1
        yield f"{name}{counts[name]}", module


class PerChannelNetwork(nn.Module):
    """A multilayer perceptron for each channel of an image."""

    def __init__(self, layer: PerChannelMLP, parameters: LayerParameters, activation: str, dropout: float) -> None:
        super().__init__()
        values = [next(parameters) for _ in layer.sizes[1:]]
        self.weights = nn.ParameterList(torch.from_numpy(v["weight"].copy()) for v in values)  # (channels, in, out)
        self.biases = nn.ParameterList(torch.from_numpy(v["bias"].copy()) for v in values)  # (channels, out)
        self.activation, self.dropout = ACTIVATIONS[activation](), nn.Dropout(dropout)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return (n, channels * units)."""
        a = pixels.flatten(2).transpose(0, 1)  # (channels, n, pixels)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            a = self.dropout(self.activation(torch.baddbmm(bias[:, None], a, weight)))
        return a.transpose(0, 1).flatten(1)


# Sequences, over (n, T, units)


class RecurrentLayer(nn.Module):
    """A recurrent layer in one direction or both; the backward one reads each sequence from its own end."""

    def __init__(self, layer: Recurrent, parameters: LayerParameters) -> None:
        super().__init__()
        kinds: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "elman": nn.RNN}
        names = {"weight_ih_l0": "weight", "weight_hh_l0": "recurrent_weight", "bias_ih_l0": "bias"}
        names["bias_hh_l0"] = "recurrent_bias"

        def direction() -> nn.RNNBase:
            module, values = kinds[layer.cell](layer.n_in, layer.units, batch_first=True), next(parameters)
            for parameter, name in names.items():
                _set(module.get_parameter(parameter), values[name])
            return module

        self.forwards = direction()
        self.backwards = direction() if layer.directions == 2 else None

    def forward(self, a: Tensor, lengths: Tensor) -> Tensor:
        """Return the outputs of all steps, (n, T, units)."""
        out = self.forwards(a)[0]
        if self.backwards is None:
            return out
        backward_out = self.backwards(reverse(a, lengths))[0]
        return torch.cat([out, reverse(backward_out, lengths)], dim=2)


def reverse(a: Tensor, lengths: Tensor) -> Tensor:
    """Sequences (n, T, C) reversed within their lengths; the padding stays in place."""
    steps = torch.arange(a.shape[1], device=a.device)
    source = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return a.gather(1, source[..., None].expand(-1, -1, a.shape[2]))


class StepPooling(nn.Module):
    """All steps of a sequence as one vector: last, mean, max or attention (Bahdanau et al. 2015)."""

    def __init__(self, kind: str, values: Parameters | None = None, *, is_bidirectional: bool = False) -> None:
        super().__init__()
        self.kind, self.is_bidirectional = kind, is_bidirectional
        self.weight = None if values is None else nn.Parameter(torch.from_numpy(values["weight"].copy()))

    def forward(self, a: Tensor, lengths: Tensor) -> Tensor:
        """Return (n, units) for a (n, T, units)."""
        if self.kind == "last":
            last = a.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, a.shape[2]))[:, 0]
            half = a.shape[2] // 2
            return torch.cat([last[:, :half], a[:, 0, half:]], dim=1) if self.is_bidirectional else last
        mask = (torch.arange(a.shape[1], device=a.device) < lengths[:, None])[..., None]
        if self.weight is not None:
            scores = (torch.tanh(a) @ self.weight).masked_fill(~mask, -torch.inf)
            return (scores.softmax(dim=1) * a).sum(dim=1)
        if self.kind == "max":
            return a.masked_fill(~mask, -torch.inf).amax(dim=1)
        return (a * mask).sum(dim=1) / lengths[:, None]


def sequence_layers(
    layers: tuple[Any, ...], parameters: LayerParameters, dropout: float, *, is_bidirectional: bool
) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a recurrent tower, with names such as recurrent1."""
    counts: dict[str, int] = {}
    module: nn.Module
    for layer in layers:
        if isinstance(layer, Embedding):
            values = next(parameters)["weight"]
            name, module = "embedding", embedding(values)
        elif isinstance(layer, Recurrent):
            name, module = "recurrent", RecurrentLayer(layer, parameters)
        elif isinstance(layer, LayerNorm):
            name, module = "norm", _normalization(nn.LayerNorm(layer.units, EPSILON), next(parameters))
        elif isinstance(layer, GlobalPooling):
            values_or_none = next(parameters) if layer.kind == "attention" else None
            name = "pooling"
            module = StepPooling(layer.kind, values_or_none, is_bidirectional=is_bidirectional)
        else:
            name, module = "dropout", nn.Dropout(dropout)
        counts[name] = counts.get(name, 0) + 1
        yield f"{name}{counts[name]}", module
