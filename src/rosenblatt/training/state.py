"""Configuration and state of a member while it is trained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class TrainingConfig(NamedTuple):
    """How a member learns."""

    batch_size: int
    stratified: int  # whether each batch takes its rows from all strata
    strata: np.ndarray  # (S + 1,) int64: where each stratum starts in the order of the rows; they are shuffled within
    beta1: float
    beta2: float
    input_dropout: float
    dropout: float
    smoothing: float
    loss_parameter: float
    clip_norm: float  # 0 for no limit
    max_norm: float  # 0 for no limit
    l1: float
    ema_decay: float  # 0 for none
    groups: np.ndarray  # (G, 2) int64: from where to where in theta parameters learn alike
    rates: np.ndarray  # (G, 3) float64: their learning rate, weight decay, and whether they are weights


class MemberState(NamedTuple):
    """What changes while a member learns; copying these arrays is pausing it."""

    theta: np.ndarray  # (n_parameters,) float
    m: np.ndarray  # (n_parameters,) first memory of the optimizer
    v: np.ndarray  # (n_parameters,) second memory of the optimizer
    mean: np.ndarray  # (n_parameters,) running mean of theta, or (0,)
    order: np.ndarray  # (n_rows,) int64: the rows this member learns from, in the order of the last epoch
    counter: np.ndarray  # (1,) uint64: of the random numbers
    step: np.ndarray  # (1,) int64: updates made so far; of perceptrons what `perceptron.py` counts
    counts: np.ndarray  # (0,) float64; of perceptrons that vote, for how many rows each state lasted
