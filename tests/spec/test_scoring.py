import math

import pytest

from rosenblatt.spec.scoring import Direction, scoring_direction


@pytest.mark.parametrize(
    ("scoring", "direction"),
    [("loss", Direction.MINIMIZE), ("roc_auc", Direction.MAXIMIZE), ("neg_log_loss", Direction.MAXIMIZE)],
)
def test_only_the_loss_is_minimized(scoring, direction):
    assert scoring_direction(scoring) is direction


@pytest.mark.parametrize(("direction", "better", "worse"), [("minimize", 0.1, 0.2), ("maximize", 0.2, 0.1)])
def test_scores_are_compared_by_direction(direction, better, worse):
    direction = Direction(direction)
    assert direction.is_better(better, worse)
    assert not direction.is_better(worse, better)
    assert not direction.is_better(better, better)
    assert direction.is_better(worse, direction.worst)
    assert direction.to_maximize(better) > direction.to_maximize(worse)


@pytest.mark.parametrize("direction", Direction)
def test_nan_is_neither_better_nor_worse(direction):
    assert not direction.is_better(math.nan, 0.5)
    assert not direction.is_better(0.5, math.nan)
