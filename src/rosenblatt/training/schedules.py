"""In: how far training is, t from 0 to 1. Out: the factor by which a hyperparameter is multiplied.

To add a schedule: a line in `SCHEDULES`, its formula in `factor`.
"""

from __future__ import annotations

import math

from rosenblatt.compiled import compiled

CONSTANT, COSINE, FLAT_COSINE, LOG_COSINE, ONE_CYCLE = range(5)

SCHEDULES = {
    "constant": CONSTANT,
    "cosine": COSINE,
    "flat_cosine": FLAT_COSINE,
    "log_cosine": LOG_COSINE,
    "one_cycle": ONE_CYCLE,
}

WARM_UP = 0.1  # share of a one-cycle schedule in which the factor rises


@compiled
def factor(schedule, t):
    """The factor of `schedule` at t in [0, 1]."""
    if schedule == COSINE:  # Loshchilov & Hutter 2017, one period
        return 0.5 * (1 + math.cos(math.pi * t))
    if schedule == FLAT_COSINE:  # Holzmüller et al. 2024: 1 for the first half, then a cosine down to 0
        return 1.0 if t < 0.5 else 0.5 * (1 + math.cos(math.pi * (2 * t - 1)))
    if schedule == LOG_COSINE:  # Holzmüller et al. 2024: four cycles, each twice as long as the one before
        return 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * t)))
    if schedule == ONE_CYCLE:  # Smith & Topin 2019, with a cosine down
        if t < WARM_UP:
            return t / WARM_UP
        return 0.5 * (1 + math.cos(math.pi * (t - WARM_UP) / (1 - WARM_UP)))
    return 1.0
