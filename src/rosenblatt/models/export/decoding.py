"""Outputs of networks to predictions, as a few array operations, which every framework has.

For logits z of a network, the prediction is `scale_output(activate(z))`; those of the networks of a trial are averaged,
and those of trials are added with their weights. See `Target.decode`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from rosenblatt.data.tasks.target import CLASS_TASKS, Target
from rosenblatt.training.compiled.losses import EXPONENTIAL, IDENTITY, OUTPUT_ACTIVATIONS, SIGMOID, SOFTMAX

MAX_EXPONENT = 700.0  # of values whose logarithm is predicted, as `Target.decode` limits them
OutputActivation = Literal["identity", "softmax", "sigmoid", "exponential"]
_ACTIVATIONS: dict[int, OutputActivation] = {
    IDENTITY: "identity", SOFTMAX: "softmax", SIGMOID: "sigmoid", EXPONENTIAL: "exponential",
}  # fmt: skip


@dataclass(frozen=True)
class DecodingPlan:
    """Array operations from logits (n, K) float32 to predictions (n, outputs), in this order.

    Attributes:
        activation: of the logits; the rest is computed in float64.
        splits_classes: whether the one output p of two classes becomes (1 - p, p), or (-p, p) for weighted sums.
        is_sum: whether outputs are weighted sums.
        factors: of the class probabilities, which are divided by their sum afterwards; empty for none.
        is_normalized: whether probabilities are divided by their sum.
        is_regression: whether the output is out * scale + center, then exp(out) - 1 where `log` is set, clipped to
            `low` and `high`.
    """

    activation: OutputActivation
    splits_classes: bool
    is_sum: bool
    factors: np.ndarray  # (classes,) float64
    is_normalized: bool
    is_regression: bool
    scale: np.ndarray  # (K,) float64
    center: np.ndarray  # (K,) float64
    log: np.ndarray  # (K,) bool
    low: np.ndarray  # (K,) float64
    high: np.ndarray  # (K,) float64


def make_decoding_plan(target: Target) -> DecodingPlan:
    """The array operations of a target."""
    is_sum, factors = target.output_type == "sums", np.asarray(target.logit_adjustment, np.float64)
    is_normalized = factors.size > 0 if target.task == "binary" else target.task in CLASS_TASKS and not is_sum
    return DecodingPlan(
        activation=_ACTIVATIONS[OUTPUT_ACTIVATIONS.get(target.loss, IDENTITY)],
        splits_classes=target.task == "binary",
        is_sum=is_sum,
        factors=factors,
        is_normalized=is_normalized,
        is_regression=target.task == "regression",
        scale=np.asarray(target.scale, np.float64),
        center=np.asarray(target.center, np.float64),
        log=np.asarray(target.log, bool),
        low=np.asarray(target.low, np.float64),
        high=np.asarray(target.high, np.float64),
    )
