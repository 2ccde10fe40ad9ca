"""Initial parameters of networks.

To add an initializer: a line in `WEIGHTS` or `BIASES`, and its name in the spec.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.networks.layers import (
    GATES,
    Conv,
    Embedding,
    LayerNorm,
    Norm,
    PerChannelMLP,
    Recurrent,
    iter_parameter_layers,
    parameter_shapes,
)
from rosenblatt.spec.network import NetworkSpec
from rosenblatt.training.compiled.activations import ACTIVATIONS

Rng = np.random.Generator
Draw = Callable[[int, int, float, Rng], np.ndarray]

KINK_ROWS = 5  # rows whose weighted mean becomes the zero of a unit's logit
DEFAULT_WEIGHT_SCALE = 0.05  # scale of constant, uniform and normal weights, small enough for any width


def _normal(variance: Callable[[int, int], float]) -> Draw:
    return lambda n_in, n_out, scale, rng: rng.normal(0, scale * np.sqrt(variance(n_in, n_out)), (n_in, n_out))


def _uniform(variance: Callable[[int, int], float]) -> Draw:
    def draw(n_in: int, n_out: int, scale: float, rng: Rng) -> np.ndarray:
        limit = scale * np.sqrt(3 * variance(n_in, n_out))
        return rng.uniform(-limit, limit, (n_in, n_out))

    return draw


def _orthogonal(n_in: int, n_out: int, scale: float, rng: Rng) -> np.ndarray:
    """Orthogonal rows or columns, whichever are fewer, of length `scale` (Saxe et al. 2014)."""
    q, r = np.linalg.qr(rng.normal(size=(max(n_in, n_out), min(n_in, n_out))))
    q = q * np.sign(np.diag(r))
    return scale * (q if n_in >= n_out else q.T)


def he(n_in: int, n_out: int) -> float:
    """Variance of He et al. 2015, equation 10."""
    return 2 / n_in


def glorot(n_in: int, n_out: int) -> float:
    """Variance of Glorot & Bengio 2010, equation 16."""
    return 2 / (n_in + n_out)


def lecun(n_in: int, n_out: int) -> float:
    """Variance of LeCun et al. 1998, section 4.6."""
    return 1 / n_in


WEIGHTS: dict[str, Draw] = {
    "zeros": lambda n_in, n_out, scale, rng: np.zeros((n_in, n_out)),
    "constant": lambda n_in, n_out, scale, rng: np.full((n_in, n_out), scale),
    "uniform": lambda n_in, n_out, scale, rng: rng.uniform(-scale, scale, (n_in, n_out)),
    "normal": lambda n_in, n_out, scale, rng: rng.normal(0, scale, (n_in, n_out)),
    "he_normal": _normal(he),
    "he_uniform": _uniform(he),
    "glorot_normal": _normal(glorot),
    "glorot_uniform": _uniform(glorot),
    "lecun_normal": _normal(lecun),
    "lecun_uniform": _uniform(lecun),
    "orthogonal": _orthogonal,
    "data_dependent": _normal(lecun),  # then scaled to the rows
}

_glorot_uniform = WEIGHTS["glorot_uniform"]

BIASES: dict[str, Draw] = {
    "zeros": lambda n_in, n_out, scale, rng: np.zeros(n_out),
    "constant": lambda n_in, n_out, scale, rng: np.full(n_out, scale),
    "uniform": lambda n_in, n_out, scale, rng: rng.uniform(-scale, scale, n_out) / np.sqrt(n_in),
    "normal": lambda n_in, n_out, scale, rng: rng.normal(0, scale, n_out),
    "data_dependent": lambda n_in, n_out, scale, rng: np.zeros(n_out),  # then shifted to the rows
}


def initialize(architecture: DenseArchitecture, network: NetworkSpec, rng: Rng, x: np.ndarray) -> np.ndarray:
    """Draw all parameters (n_parameters,) float32 of a dense network; those of a perceptron are 0.

    Data-dependent initializers use rows x (n, F): they scale weights so that each logit has variance `weight_scale`^2
    over the rows, and choose biases so that each unit's logit is 0 at a random mean of a few rows ("std" and "he+5" of
    Holzmüller et al. 2024, appendix B).
    """
    theta = np.zeros(architecture.n_parameters, np.float32)
    if architecture.kind == "perceptron":
        return theta
    parameters = architecture.parameters_by_name(theta)
    for (_, name), value in parameters.items():
        value[:] = 1 if name in {"scale", "gain", "variance", "blend"} else 0
    scale = 1.0 if network.weight_scale == "auto" else network.weight_scale
    if network.weight_scale == "auto" and network.initializer in {"constant", "uniform", "normal"}:
        scale = DEFAULT_WEIGHT_SCALE
    is_data_dependent = "data_dependent" in {network.initializer, network.bias_initializer}
    a = x.astype(np.float64) if is_data_dependent else None
    for l, (W, b) in enumerate(architecture.layers(theta)):
        n_in, n_out = W.shape
        W[:] = WEIGHTS[network.initializer](n_in, n_out, scale, rng)
        b[:] = BIASES[network.bias_initializer](n_in, n_out, network.bias_scale, rng)
        if a is not None and len(a):
            a = _fit_to_data(architecture, network, rng, a, W, b, scale, l)
    return theta


def initialize_deep(architecture: DeepArchitecture, network: NetworkSpec, rng: Rng) -> np.ndarray:
    """Draw all parameters (n_parameters,) float32 of towers and head.

    Weights use the spec's initializer; recurrent weights are orthogonal (Saxe et al. 2014), and the forget gates of
    LSTMs have bias 1 (Jozefowicz et al. 2015).
    """
    theta = np.zeros(architecture.n_parameters, np.float32)
    parameters = architecture.parameters_by_name(theta)
    scale = 1.0 if network.weight_scale == "auto" else network.weight_scale
    if network.weight_scale == "auto" and network.initializer in {"constant", "uniform", "normal"}:
        scale = DEFAULT_WEIGHT_SCALE
    for layer, module in enumerate(module for tower in architecture.towers for module in iter_parameter_layers(tower)):
        values = {name: parameters[layer, name] for name, _ in parameter_shapes(module)}
        if isinstance(module, Embedding):
            values["weight"][:] = rng.normal(size=values["weight"].shape)
        elif isinstance(module, Norm | LayerNorm):
            for name in values.keys() & {"gain", "variance"}:
                values[name][:] = 1
        elif isinstance(module, Recurrent):
            for gate in range(GATES[module.cell]):
                rows = slice(gate * module.units, (gate + 1) * module.units)
                values["weight"][rows] = _glorot_uniform(module.n_in, module.units, scale, rng).T
                values["recurrent_weight"][rows] = _orthogonal(module.units, module.units, 1.0, rng)
            if module.cell == "lstm":
                values["bias"][module.units : 2 * module.units] = 1
        elif isinstance(module, PerChannelMLP):
            for c in range(module.channels):
                values["weight"][c] = WEIGHTS[network.initializer](module.sizes[0], module.sizes[1], scale, rng)
        elif isinstance(module, Conv):
            W = values["weight"]
            n_in = W[0].size
            W[:] = WEIGHTS[network.initializer](n_in, module.n_out, scale, rng).T.reshape(W.shape)
    head = architecture.head
    theta[-head.n_parameters :] = initialize(head, network, rng, np.empty((0, head.sizes[0])))
    return theta


def _fit_to_data(
    architecture: DenseArchitecture,
    network: NetworkSpec,
    rng: Rng,
    a: np.ndarray,
    W: np.ndarray,
    b: np.ndarray,
    scale: float,
    l: int,
) -> np.ndarray:
    """Fit W and b of layer l to its inputs a (n, in) in place; return its outputs (n, out)."""
    z = a @ W
    if network.initializer == "data_dependent":
        std = z.std(axis=0)
        factor = np.where(std > 0, scale / np.where(std > 0, std, 1), 1)
        W *= factor
        z *= factor
    if network.bias_initializer == "data_dependent":
        for k in range(b.size):
            sample = rng.integers(len(a), size=KINK_ROWS)
            weights = rng.exponential(size=KINK_ROWS)
            b[k] = -network.bias_scale * (weights / weights.sum()) @ z[sample, k]
    z += b
    if l == len(architecture.sizes) - 2:
        return z
    if architecture.normalization == "batch":
        z = (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5)
    elif architecture.normalization == "layer":
        z = (z - z.mean(axis=1, keepdims=True)) / np.sqrt(z.var(axis=1, keepdims=True) + 1e-5)
    out = np.empty_like(z)
    ACTIVATIONS[architecture.activation](z.ravel(), out.ravel())
    residual = architecture.residual and l > 0 and a.shape == out.shape
    return out + a if residual else out
