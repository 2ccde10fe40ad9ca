"""Features, dense networks and predictions in NumPy alone, from a tree of `network_tree`.

Exported Python files contain the functions of this module, and readers of safetensors folders use them; so it imports
nothing else. Arrays: numbers (n, N) float64, codes of categories (n, C) int64, features (n, F), logits (n, K).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np


def encode_features(plan: dict[str, Any], numbers: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Numbers, NaN if missing, and codes of categories as the features (n, F) of a network."""
    if plan["is_identity"]:
        return numbers.astype(np.float32)
    blocks = []
    if len(plan["fill"]):
        missing = np.isnan(numbers)
        x = np.where(missing, plan["fill"], numbers)
        z = (x[:, plan["scaled_columns"]] - plan["center"]) * plan["factor"]
        blocks.append(np.where(plan["smooth_clip"], z / np.sqrt(1 + (z / plan["smooth_limit"]) ** 2), z))
        blocks += [normal_quantile(x[:, q["column"]], q["quantiles"])[:, None] for q in plan["quantile_columns"]]
        parts = (x[:, plan["part_columns"]] - plan["part_start"]) / plan["part_width"]
        blocks.append(np.clip(parts, plan["part_min"], plan["part_max"]))
        blocks.append(missing[:, plan["missing_columns"]])
    blocks += [table[code] for table, code in zip(plan["category_tables"], codes.T, strict=True)]
    return np.concatenate(blocks, axis=1)[:, plan["order"]].astype(np.float32)


def normal_quantile(x: np.ndarray, quantiles: np.ndarray) -> np.ndarray:
    """The standard normal quantile of the fraction of training values below each x (n,); ties are averaged."""
    levels = np.linspace(0, 1, len(quantiles))
    below = np.interp(x, quantiles, levels)
    above = 1 - np.interp(-x, -quantiles[::-1], levels)
    fractions = np.clip((below + above) / 2, 1e-3, 1 - 1e-3)
    inverse = statistics.NormalDist().inv_cdf
    return np.array([inverse(fraction) for fraction in fractions])


def sigmoid(z: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-z), without overflow."""
    return 0.5 * (1 + np.tanh(z / 2))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda z: z,
    "step": lambda z: np.where(z > 0, 1.0, 0.0),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0))),
    "gelu": lambda z: z * (1 + np.vectorize(math.erf, otypes=[float])(z / math.sqrt(2))) / 2,
    "silu": lambda z: z * sigmoid(z),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
    "softplus": lambda z: np.logaddexp(0, z),
}


def normalize(layer: dict[str, Any], z: np.ndarray) -> np.ndarray:
    """Batch or layer normalization of weighted sums (..., units)."""
    if layer["normalization"] == "batch":
        mean, variance = layer["mean"], layer["variance"]
    else:
        mean, variance = z.mean(axis=-1, keepdims=True), z.var(axis=-1, keepdims=True)
    return (z - mean) / np.sqrt(variance + layer["epsilon"]) * layer["gain"] + layer["shift"]


def dense_layer(layer: dict[str, Any], a: np.ndarray) -> np.ndarray:
    """Weighted sums, normalization and activation; a residual layer adds its input."""
    z = a @ layer["weight"].astype(np.float64) + layer["bias"]
    if layer["normalization"] != "none":
        z = normalize(layer, z)
    out = ACTIVATIONS[layer["activation"]](z)
    if "blend" in layer:  # a parametric activation
        out = z + layer["blend"] * (out - z)
    return out + a if layer["residual"] else out


def dense_logits(network: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """The logits (n, K) of a multilayer perceptron or a perceptron for features x (n, F)."""
    if network["kind"] == "kernel":
        return kernel_logits(network, x)
    a = x * network["scale"] if "scale" in network else x
    for layer in network["layers"]:
        a = dense_layer(layer, a)
    return a


def kernel_logits(network: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """The kernel between each row and each support row, times the dual coefficients."""
    x, rows, gamma = x.astype(np.float64), network["support_rows"].astype(np.float64), network["gamma"]
    products = x @ rows.T
    if network["kernel"] == "polynomial":
        return (gamma * products + 1) ** network["degree"] @ network["dual_coefficients"]
    distances = (x**2).sum(axis=1)[:, None] + (rows**2).sum(axis=1) - 2 * products
    return np.exp(-gamma * np.maximum(distances, 0)) @ network["dual_coefficients"]


def decode(plan: dict[str, Any], logits: np.ndarray) -> np.ndarray:
    """Logits as predictions: probabilities, weighted sums or values."""
    out = logits.astype(np.float64)
    if plan["activation"] == "softmax":
        exponentials = np.exp(out - out.max(axis=-1, keepdims=True))
        out = exponentials / exponentials.sum(axis=-1, keepdims=True)
    elif plan["activation"] == "sigmoid":
        out = sigmoid(out)
    elif plan["activation"] == "exponential":
        out = np.exp(out)
    if plan["splits_classes"]:
        out = np.concatenate([-out if plan["is_sum"] else 1 - out, out], axis=-1)
    if len(plan["factors"]):
        out = out * plan["factors"]
    if plan["is_normalized"]:
        out = out / out.sum(axis=-1, keepdims=True)
    if plan["is_regression"]:
        out = out * plan["scale"] + plan["center"]
        out = np.where(plan["log"], np.expm1(np.minimum(out, plan["max_exponent"])), out)
        out = np.clip(out, plan["low"], plan["high"])
    return out


def predict_arrays(trials: list[dict[str, Any]], numbers: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The predictions (n, K) of an ensemble of dense networks."""
    total: Any = 0.0
    for trial in trials:
        x = encode_features(trial["features"], numbers, codes)
        outputs = [decode(trial["decoding"], dense_logits(network, x)) for network in trial["networks"]]
        total = total + trial["weight"] * sum(outputs) / len(outputs)
    return total
