"""Population-based training: truncation selection and perturbation (Jaderberg et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rosenblatt.models.prepared import PreparedData
from rosenblatt.spec.dimensions import Choice, Integer, Uniform
from rosenblatt.spec.scoring import Direction
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member
from rosenblatt.training.recipes import make_training_config
from rosenblatt.training.state import TrainingConfig
from rosenblatt.tuning.space import Space
from rosenblatt.tuning.trial import Proposal, Trial

MUTABLE_DURING_TRAINING = (
    "learning_rate", "weight_decay", "dropout", "input_dropout", "label_smoothing", "l1", "clip_norm", "max_norm",
    "beta1", "beta2", "bias_lr_multiplier", "scaling_layer_lr_multiplier", "parametric_activation_lr_multiplier",
)  # fmt: skip
"""Hyperparameters that can change between two epochs of training."""


def truncation_selection(scores: Mapping[int, float], direction: Direction, rng: np.random.Generator) -> dict[int, int]:
    """Assign to each trial of the worst fifth a random trial of the best fifth to copy (truncation selection)."""
    ranked = sorted(scores, key=lambda number: (-direction.to_maximize(scores[number]), number))
    n_replaced = len(ranked) // 5 or (1 if len(ranked) > 1 else 0)
    return {loser: ranked[int(rng.integers(n_replaced))] for loser in ranked[len(ranked) - n_replaced :]}


def inherit_networks(
    winner: Trial, loser: Trial, space: Space, prepared: PreparedData, rng: np.random.Generator
) -> None:
    """Replace the networks of the losing trial by copies of the winner's, with perturbed hyperparameters."""
    params = perturb(space, winner.proposal.params, rng)
    resolved_spec = prepared.resolve(space.spec(params))
    loser.proposal = Proposal(params, resolved_spec, winner.proposal.encoder, winner.proposal.target)
    loser.inherited_from.append((winner.statistics.epochs, winner.number))
    loser.folds.members = [
        member and _with_new_hyperparameters(member.copy(), resolved_spec, rng) for member in winner.folds.members
    ]


def perturb(space: Space, params: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Multiply the hyperparameters that can change during training by 0.8 or 1.25, or resample them (one in four).

    Jaderberg et al. 2017, appendix A. Values stay in their ranges.
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


def _with_new_hyperparameters(member: Member, resolved_spec: Spec, rng: np.random.Generator) -> Member:
    """Continue a member with other hyperparameters and another stream of random numbers."""
    member.spec = resolved_spec
    if isinstance(member.config, TrainingConfig):
        member.config = make_training_config(resolved_spec, member.architecture, member.config.strata)
    member.state.counter[0] = rng.integers(2**63, dtype=np.uint64)
    return member
