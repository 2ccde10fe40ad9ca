"""Tests of the importance of hyperparameters among any runs."""

from __future__ import annotations

import numpy as np
import pytest

from rosenblatt.tuning.importance import rank_hyperparameters


def make_runs(n: int) -> list[tuple[dict[str, str], float]]:
    rng = np.random.default_rng(0)
    runs = []
    for number in range(n):
        lr, activation = 10 ** rng.uniform(-4, -1), str(rng.choice(["relu", "tanh"]))
        params = {"lr": repr(lr), "activation": activation, "same": "1", "file": f"{number}.csv" * (number % 60 + 1)}
        runs.append((params, float(abs(np.log10(lr) + 2.5))))
    return runs


def test_the_hyperparameter_behind_the_score_is_the_most_important():
    importance = rank_hyperparameters(make_runs(60), minimize=True)
    assert list(importance) == ["lr", "activation"]
    assert importance["lr"] > 0.9
    assert sum(importance.values()) == pytest.approx(1)


def test_hyperparameters_that_some_runs_lack_and_few_runs_have_no_importance():
    runs = make_runs(60)
    del runs[3][0]["lr"]
    assert list(rank_hyperparameters(runs, minimize=True)) == ["activation"]
    assert rank_hyperparameters(make_runs(3), minimize=True) == {}
    assert rank_hyperparameters([({"same": "1"}, 0.0)] * 10, minimize=False) == {}
