"""Optimizers for the parameters of P stacked networks.

The rules are those of `optimizers.py`, over stacks: theta, g, m, v are (P, n); lr and decay_factor (P, 1) or (P, n),
the betas (P, 1) and step (P, 1), which counts from 1, may differ from network to network.
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
    """Steps add up, the earlier ones ever less."""
    m.mul_(beta1).add_(g)
    theta.mul_(decay_factor).sub_(lr * m)


def nesterov(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """Momentum that looks one step ahead."""
    m.mul_(beta1).add_(g)
    theta.mul_(decay_factor).sub_(lr * (g + beta1 * m))


def rmsprop(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """Each gradient by the root of its mean square of late."""
    v.add_((g * g).sub_(v).mul_(1 - beta2))
    theta.mul_(decay_factor).sub_(lr * (g / v.sqrt().add_(EPSILON)))


def adagrad(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """Each gradient by the root of the sum of its squares so far."""
    v.addcmul_(g, g)
    theta.mul_(decay_factor).sub_(lr * (g / v.sqrt().add_(EPSILON)))


def adam(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """The mean gradient by the root of the mean square, both of late."""
    m.lerp_(g, (1 - beta1).expand_as(g))
    v.mul_(beta2).addcmul_(g, g * (1 - beta2))
    root = v.mul(1 / (1 - beta2**step)).sqrt_().add_(EPSILON)
    theta.mul_(decay_factor).addcdiv_(m * (-lr / (1 - beta1**step)), root)


def nadam(
    theta: Tensor, g: Tensor, m: Tensor, v: Tensor, lr: Tensor, decay_factor: Tensor, beta1: Tensor, beta2: Tensor,
    step: Tensor,
) -> None:  # fmt: skip
    """Adam that looks one step ahead."""
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
