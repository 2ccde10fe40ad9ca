"""Early stopping of training functions: worked by hand."""

import pytest

from rosenblatt.spec.scoring import Direction
from rosenblatt.tuning.function_stopping import FunctionStopping


def test_asha_compares_at_powers_of_the_reduction_factor_and_keeps_the_best():
    stopping = FunctionStopping("asha", 3, Direction.MAXIMIZE)
    assert [stopping.report(1, score) for score in (0.5, 0.1)] == [False, False]  # too few to compare
    assert stopping.report(1, 0.4)
    assert not stopping.report(1, 0.6)
    assert not stopping.report(2, 0.0)  # not a rung
    assert [stopping.report(3, score) for score in (0.9, 0.8, 0.7, 0.9)] == [False, False, True, False]


def test_the_median_rule_stops_trials_that_are_worse_than_the_median():
    stopping = FunctionStopping("median", 3, Direction.MINIMIZE)
    assert not any(stopping.report(4, float(loss)) for loss in range(5))
    assert stopping.report(4, 3.5)
    assert not stopping.report(4, 2.0)


def test_without_a_rule_no_trial_stops():
    stopping = FunctionStopping("none", 3, Direction.MAXIMIZE)
    assert not any(stopping.report(1, float(-score)) for score in range(9))


@pytest.mark.parametrize(
    ("direction", "scores"), [(Direction.MAXIMIZE, [0.2, 0.9, 0.1]), (Direction.MINIMIZE, [3.0, 1.0, 2.0])]
)
def test_a_replayed_trial_counts_with_its_best_score_so_far(direction, scores):
    stopping = FunctionStopping("asha", 3, direction)
    for _ in range(3):
        stopping.replay(scores)
    worse = min(scores) if direction is Direction.MAXIMIZE else max(scores)
    assert stopping.report(3, worse)
    assert not stopping.report(3, scores[1])
