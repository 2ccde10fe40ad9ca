"""Population-based training: truncation selection and perturbation (Jaderberg et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rosenblatt.spec.dimensions import Choice, Integer, Uniform
from rosenblatt.tuning.space import Space

MUTABLE_DURING_TRAINING = (
    "learning_rate", "weight_decay", "dropout", "input_dropout", "label_smoothing", "l1", "clip_norm", "max_norm",
    "beta1", "beta2", "bias_lr_multiplier", "scaling_layer_lr_multiplier", "parametric_activation_lr_multiplier",
)  # fmt: skip
"""Hyperparameters that can change while a network learns."""


def perturb(space: Space, params: Mapping[str, Any], rng: Any) -> dict[str, Any]:
    """Values with those that can change while a network learns times 0.8 or 1.25, or one in four drawn anew.

    Jaderberg et al. 2017, appendix A. Numbers stay in their ranges.
    """
    new_params = dict(params)
    for name, value in params.items():
        dimension = space.dimensions[name]
        if name not in MUTABLE_DURING_TRAINING:
            continue
        if isinstance(dimension, Choice):
            if rng.random() < 0.25:
                new_params[name] = dimension.values[int(rng.integers(len(dimension.values)))]
        elif rng.random() < 0.25:
            fraction = rng.random()
            if isinstance(dimension, Uniform | Integer):
                new_params[name] = dimension.low + fraction * (dimension.high - dimension.low)
            else:
                new_params[name] = dimension.low * (dimension.high / dimension.low) ** fraction
        else:
            new_params[name] = min(max(value * (1.25 if rng.random() < 0.5 else 0.8), dimension.low), dimension.high)
        if isinstance(dimension, Integer):
            new_params[name] = round(new_params[name])
    return new_params


def truncation_selection(scores: dict[int, float], rng: np.random.Generator) -> dict[int, int]:
    """Which trials copy which: the worst fifth each one of the best fifth (Jaderberg et al. 2017, truncation)."""
    ranked = sorted(scores, key=lambda number: (-scores[number], number))
    n_replaced = len(ranked) // 5 or (1 if len(ranked) > 1 else 0)
    return {loser: ranked[int(rng.integers(n_replaced))] for loser in ranked[len(ranked) - n_replaced :]}
