"""Losses of P stacked networks, the same as those of `compiled/losses.py`.

z is (P, B, K); t is (P, B, 1) class numbers for multiclass losses, else (P, B, K). a (P, 1) is the label smoothing, or
None without it; b (P, 1) is the parameter of the loss.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_PROBABILITY = 1e-30  # probabilities are clipped to it before taking logarithms


def _at_label(values: Tensor, t: Tensor) -> Tensor:
    return values.gather(-1, t.long())[..., 0]


def cross_entropy(z: Tensor, t: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """-sum q log p over the classes, with the smoothed target q."""
    logp = z.log_softmax(dim=-1)
    label_logp = _at_label(logp, t)
    return -label_logp if a is None else (a - 1) * label_logp - a * logp.mean(dim=-1)


def binary_cross_entropy(z: Tensor, t: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """-t log p - (1 - t) log(1 - p) of each unit."""
    target = t if a is None else t * (1 - a[..., None]) + a[..., None] / 2
    return (F.softplus(z) - target * z).sum(dim=-1)


def focal(z: Tensor, t: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """-(1 - p)^b log p of the true class."""
    logp = _at_label(z.log_softmax(dim=-1), t)
    return -((1 - logp.exp()).clamp(min=MIN_PROBABILITY) ** b) * logp


def binary_focal(z: Tensor, t: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """The focal loss of each unit."""
    s = torch.where(t > 0, z, -z)
    return (torch.sigmoid(-s) ** b[..., None] * F.softplus(-s)).sum(dim=-1)


def squared(z: Tensor, t: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """(z - t)^2."""
    return ((z - t) ** 2).sum(dim=-1)


def absolute(z: Tensor, t: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """|z - t|."""
    return (z - t).abs().sum(dim=-1)


def huber(z: Tensor, t: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """Half the squared error up to b, linear beyond it."""
    distance, delta = (z - t).abs(), b[..., None]
    return torch.where(distance <= delta, 0.5 * distance**2, delta * (distance - 0.5 * delta)).sum(dim=-1)


def quantile(z: Tensor, t: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """b (t - z) below the target, (1 - b) (z - t) above it."""
    error = t - z
    return torch.where(error > 0, b[..., None] * error, (b[..., None] - 1) * error).sum(dim=-1)


def poisson(z: Tensor, t: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """e^z - t z."""
    return (z.exp() - t * z).sum(dim=-1)


def hinge(z: Tensor, t: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """max(0, b - z) of units with target 1, max(0, b + z) of the others."""
    return _above_zero(b[..., None] - torch.where(t > 0, z, -z), b[..., None]).sum(dim=-1)


def multiclass_hinge(z: Tensor, t: Tensor, a: Tensor | None, b: Tensor) -> Tensor:
    """max(0, b - z of the true class + the largest other z)."""
    rival = z.scatter(-1, t.long(), -torch.inf).amax(dim=-1)
    return _above_zero(b - _at_label(z, t) + rival, b)


def _above_zero(miss: Tensor, b: Tensor) -> Tensor:
    """max(0, miss), with a gradient also at 0 if the margin is 0 (the perceptron criterion)."""
    return torch.where((miss > 0) | ((b == 0) & (miss == 0)), miss, torch.zeros_like(miss))


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor]] = {
    "cross_entropy": cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "focal": focal,
    "binary_focal": binary_focal,
    "squared": squared,
    "absolute": absolute,
    "huber": huber,
    "quantile": quantile,
    "poisson": poisson,
    "hinge": hinge,
    "hinge_of_classes": multiclass_hinge,
    "perceptron": hinge,
    "perceptron_of_classes": multiclass_hinge,
}
