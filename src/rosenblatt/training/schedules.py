"""Schedules: the factor of a hyperparameter at a fraction t of training, from 0 to 1.

To add a schedule: its formula here, and a line in `SCHEDULES` and in `spec.fields.Schedule`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rosenblatt.spec.scoring import Direction
from rosenblatt.spec.training import TrainingSpec
from rosenblatt.training.member import Member


def constant(t: np.ndarray, spec: TrainingSpec) -> np.ndarray:
    """1."""
    return np.ones_like(t)


def step(t: np.ndarray, spec: TrainingSpec) -> np.ndarray:
    """Down to `schedule_end` in equal ratios, at `schedule_drops` equal distances."""
    drops = np.floor(t * (spec.schedule_drops + 1)).clip(max=spec.schedule_drops)
    return spec.schedule_end ** (drops / spec.schedule_drops)


def exponential(t: np.ndarray, spec: TrainingSpec) -> np.ndarray:
    """Down to `schedule_end`, by the same ratio in each step."""
    return spec.schedule_end**t


def cosine(t: np.ndarray, spec: TrainingSpec) -> np.ndarray:
    """Half a period, from 1 to 0 (Loshchilov & Hutter 2017)."""
    return 0.5 * (1 + np.cos(np.pi * t))


def flat_cosine(t: np.ndarray, spec: TrainingSpec) -> np.ndarray:
    """1 for the first half, then a cosine down to 0 (Holzmüller et al. 2024)."""
    return cosine((2 * t - 1).clip(min=0), spec)


def log_cosine(t: np.ndarray, spec: TrainingSpec) -> np.ndarray:
    """Four cycles from 0 to 1 and back, each twice as long as the one before (Holzmüller et al. 2024)."""
    return 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t)))


def warmup_cosine(t: np.ndarray, spec: TrainingSpec) -> np.ndarray:
    """Linear from 0 to 1 in the first `warmup` of training (Goyal et al. 2017), then a cosine down to 0."""
    cosine_t = ((t - spec.warmup) / (1 - spec.warmup)).clip(min=0)
    return np.where(t < spec.warmup, t / max(spec.warmup, 1e-12), cosine(cosine_t, spec))


def one_cycle(t: np.ndarray, spec: TrainingSpec) -> np.ndarray:
    """A cosine from 1/25 up to 1 in the first 30%, then one down to 0 (Smith & Topin 2019)."""
    warmup = 1 - (1 - 1 / 25) * cosine(t / 0.3, spec)
    return np.where(t < 0.3, warmup, cosine(((t - 0.3) / 0.7).clip(min=0), spec))


SCHEDULES: dict[str, Callable[[np.ndarray, TrainingSpec], np.ndarray]] = {
    "constant": constant,
    "step": step,
    "exponential": exponential,
    "cosine": cosine,
    "flat_cosine": flat_cosine,
    "log_cosine": log_cosine,
    "warmup_cosine": warmup_cosine,
    "one_cycle": one_cycle,
}


def plateau(scores: Sequence[float], direction: Direction, spec: TrainingSpec) -> float:
    """`plateau_factor`, once for every `plateau_patience` epochs in a row without a new best score."""
    factor, best, waited = 1.0, direction.worst, 0
    for score in scores:
        if direction.is_better(score, best):
            best, waited = score, 0
        else:
            waited += 1
        if waited == spec.plateau_patience:
            factor, waited = factor * spec.plateau_factor, 0
    return factor


def schedule_factors(spec: TrainingSpec, steps: np.ndarray, total: int, plateau_factor: float = 1.0) -> np.ndarray:
    """Factors (len(steps), 3) of learning rate, dropout and weight decay for steps, counted from 0, of `total`.

    `plateau_factor` is the factor of the learning rate for the schedule "plateau".
    """
    t = steps / max(total, 1)
    rate = np.full(t.shape, plateau_factor) if spec.schedule == "plateau" else SCHEDULES[spec.schedule](t, spec)
    dropout, decay = (SCHEDULES[name](t, spec) for name in (spec.dropout_schedule, spec.weight_decay_schedule))
    return np.column_stack([rate, dropout, decay])


def member_factors(member: Member, first_epoch: int, epochs: int, n_batches: int) -> np.ndarray:
    """Factors (epochs * n_batches, 3), as `schedule_factors`, for some epochs of a member, counted from 0.

    The schedule "plateau" watches the validation score, or the training loss if there are no validation scores.
    """
    training = member.spec.training
    steps = np.arange(first_epoch * n_batches, (first_epoch + epochs) * n_batches)
    plateau_factor = _plateau_factor(member) if training.schedule == "plateau" else 1.0
    return schedule_factors(training, steps, n_batches * member.spec["epochs"], plateau_factor)


def _plateau_factor(member: Member) -> float:
    scores, direction = [record.score for record in member.history if not np.isnan(record.score)], member.direction
    if not scores:
        scores, direction = [record.loss for record in member.history], Direction.MINIMIZE
    return plateau(scores, direction, member.spec.training)
