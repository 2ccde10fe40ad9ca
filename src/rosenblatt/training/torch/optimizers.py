"""Optimizers for the parameters of P stacked networks.

The same updates as in `compiled/optimizers.py`: theta, g, m, v are (P, n), lr and decay_factor (P, 1) or (P, n), the
betas and step (P, 1); step counts from 1.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rosenblatt.training.compiled.optimizers import EPSILON

Update = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], None]


def sgd(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """theta -= lr g."""
    theta.mul_(decay_factor).sub_(lr * g)


def momentum(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """m = beta1 m + g; theta -= lr m."""
    m.mul_(beta1).add_(g)
    theta.mul_(decay_factor).sub_(lr * m)


def nesterov(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """m = beta1 m + g; theta -= lr (g + beta1 m)."""
    m.mul_(beta1).add_(g)
    theta.mul_(decay_factor).sub_(lr * (g + beta1 * m))


def rmsprop(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """theta -= lr g / (sqrt(v) + eps), with the running mean v of g^2."""
    v.add_((g * g).sub_(v).mul_(1 - beta2))
    theta.mul_(decay_factor).sub_(lr * (g / v.sqrt().add_(EPSILON)))


def adagrad(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """theta -= lr g / (sqrt(v) + eps), with the sum v of g^2."""
    v.addcmul_(g, g)
    theta.mul_(decay_factor).sub_(lr * (g / v.sqrt().add_(EPSILON)))


def adam(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """theta -= lr m / (sqrt(v) + eps), with bias-corrected moments."""
    m.lerp_(g, (1 - beta1).expand_as(g))
    v.mul_(beta2).addcmul_(g, g * (1 - beta2))
    root = v.mul(1 / (1 - beta2**step)).sqrt_().add_(EPSILON)
    theta.mul_(decay_factor).addcdiv_(m * (-lr / (1 - beta1**step)), root)


def nadam(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """Adam with Nesterov momentum."""
    m.lerp_(g, (1 - beta1).expand_as(g))
    v.mul_(beta2).addcmul_(g, g * (1 - beta2))
    root = v.mul(1 / (1 - beta2**step)).sqrt_().add_(EPSILON)
    momentum_rate, gradient_rate = lr * beta1 / (1 - beta1 ** (step + 1)), lr * (1 - beta1) / (1 - beta1**step)
    theta.mul_(decay_factor).sub_((momentum_rate * m + gradient_rate * g) / root)


OPTIMIZERS: dict[str, Update] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "adam": adam,
    "adamw": adam,
    "nadam": nadam,
}
