"""Importance of hyperparameters among any runs, also those that no sampler of this library proposed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from rosenblatt.errors import ignore_warnings
from rosenblatt.spec.scoring import Direction
from rosenblatt.tuning.samplers import MIN_IMPORTANCE_TRIALS, create_study

MAX_VALUES = 50  # different texts of a hyperparameter; one with more, such as a file name, is left out


def rank_hyperparameters(runs: Sequence[tuple[Mapping[str, str], float]], minimize: bool) -> dict[str, float]:
    """Importance of each hyperparameter for good scores (PED-ANOVA: Watanabe et al. 2023).

    Args:
        runs: Hyperparameters as text, and the score of each run.
        minimize: Whether smaller scores are better.

    Returns:
        Fractions that add up to 1, most important first, of hyperparameters that all runs have, and that differ; empty
        for fewer than `MIN_IMPORTANCE_TRIALS` runs, or if there are none.
    """
    if len(runs) < MIN_IMPORTANCE_TRIALS:
        return {}
    columns = {name: [params.get(name) for params, _ in runs] for name in runs[0][0]}
    parsed = {name: _parse(values) for name, values in columns.items() if None not in values}
    usable = {name: column for name, column in parsed.items() if column is not None}
    if not usable:
        return {}
    with ignore_warnings():
        study = create_study([Direction.MINIMIZE if minimize else Direction.MAXIMIZE])
        distributions = {name: distribution for name, (_, distribution) in usable.items()}
        for place, (_, score) in enumerate(runs):
            params = {name: values[place] for name, (values, _) in usable.items()}
            study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=score))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        importances = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(usable))
    return dict(sorted(importances.items(), key=lambda item: -item[1]))


def _parse(values: Sequence[str | None]) -> tuple[Sequence[str | float | None], BaseDistribution] | None:
    """The values as numbers if they are, on a logarithmic scale over two decades or more; None if they say nothing."""
    texts = sorted({value for value in values if value is not None})
    if len(texts) < 2:
        return None
    try:
        numbers = [float(value or "") for value in values]
    except ValueError:
        numbers = [math.nan]
    if all(map(math.isfinite, numbers)):
        low, high = min(numbers), max(numbers)
        if low < high:
            return numbers, FloatDistribution(low, high, log=low > 0 and high / low >= 100)
    return (values, CategoricalDistribution(texts)) if len(texts) <= MAX_VALUES else None
