"""Loss on validation rows."""

from __future__ import annotations

from typing import cast

import numpy as np

from rosenblatt.training.compiled.losses import LOSSES
from rosenblatt.training.member import Member
from rosenblatt.training.state import TrainingConfig


def mean_loss(member: Member, sums: np.ndarray, t: np.ndarray, weight: np.ndarray) -> float:
    """Weighted mean loss of logits (n, K) or (n, T, K); of a perceptron, the fraction of misclassified rows."""
    if sums.ndim == 3:  # steps count as rows, except those after the end of a row
        steps = t[:, : sums.shape[1]]
        mask = steps >= 0
        weight = np.broadcast_to(weight[:, None], mask.shape)[mask]
        sums, t = sums[mask[:, : sums.shape[1]]], steps[mask][:, None]
    if member.architecture.kind != "perceptron":
        parameter = cast("TrainingConfig", member.config).loss_parameter
        return float(LOSSES[member.loss](sums, t, weight, np.empty_like(sums), 0.0, parameter) / weight.sum())
    if member.loss == "perceptron_of_classes":
        is_mistake = sums.argmax(axis=1) != t[:, 0]
    else:  # one vs. rest: targets are zeros and ones (n, K), or the number of the unit with target 1
        is_positive = t > 0 if t.shape[1] == sums.shape[1] else t == np.arange(sums.shape[1])
        is_mistake = ((sums > 0) != is_positive).any(axis=1)
    return float(np.average(is_mistake, weights=weight))
