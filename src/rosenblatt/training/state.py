"""Configuration and state of a member during training, as both engines use them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class TrainingConfig(NamedTuple):
    """Hyperparameters of a member's training, as numbers."""

    batch_size: int
    stratified: int  # whether each batch holds its share of every stratum
    strata: np.ndarray  # (S + 1,) int64: start of each stratum in the row order; rows are shuffled within strata
    beta1: float
    beta2: float
    input_dropout: float
    dropout: float
    smoothing: float  # label smoothing
    loss_parameter: float  # of the losses in `recipes.LOSS_PARAMETERS`
    clip_norm: float  # 0 for no clipping
    max_norm: float  # 0 for no limit
    l1: float
    ema_decay: float  # 0 for no running average
    groups: np.ndarray  # (G, 2) int64: start and end of groups of parameters with equal rates
    rates: np.ndarray  # (G, 3) float64: learning rate, weight decay, and whether L1 applies
    unit_weights: np.ndarray  # (W, 4) int64: start, units, inputs, and whether weights are (in, out), else (out, in)


class MemberState(NamedTuple):
    """Everything that changes while a member is trained; a copy of these arrays is a checkpoint."""

    theta: np.ndarray  # (n_parameters,) float
    m: np.ndarray  # (n_parameters,) first moment of the optimizer; sums of an averaged perceptron
    v: np.ndarray  # (n_parameters,) second moment of the optimizer
    mean: np.ndarray  # (n_parameters,) running average of theta, or the pocket of a perceptron; (0,) if unused
    order: np.ndarray  # (n_rows,) int64: training rows, in the order of the last epoch
    counter: np.ndarray  # (1,) uint64: of the random number generator
    step: np.ndarray  # (1,) int64: updates so far; of perceptrons the counters of `perceptron.py`
    counts: np.ndarray  # (0,) float64; of voted perceptrons, for how many rows each weight vector lasted
