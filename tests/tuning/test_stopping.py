"""Stopping rules: promotions worked by hand."""

import numpy as np
import pytest

from rosenblatt.spec.scoring import Direction
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.population_based import truncation_selection
from rosenblatt.tuning.stopping import Median, NoStopping, SuccessiveHalving, make_stopping_rule

MAXIMIZE, MINIMIZE = Direction.MAXIMIZE, Direction.MINIMIZE


def drain(stopping, no_more_trials=False):
    numbers = []
    while (number := stopping.next_promotion(no_more_trials)) is not None:
        numbers.append(number)
    return numbers


def test_one_in_three_is_promoted_the_best_first():
    asha = SuccessiveHalving(rungs=3, direction=MAXIMIZE, reduction_factor=3)
    for number, score in enumerate([0.1, 0.5]):
        asha.report(number, 0, score)
    assert drain(asha) == []
    asha.report(2, 0, 0.3)
    assert drain(asha) == [1]
    for number, score in enumerate([0.6, 0.9, 0.2], start=3):
        asha.report(number, 0, score)
    assert drain(asha) == [4, 3]  # two of six; 1 was promoted before, though it is only third now
    assert drain(asha) == []


def test_a_higher_rung_comes_first():
    asha = SuccessiveHalving(rungs=3, direction=MAXIMIZE, reduction_factor=2)
    for number in range(4):
        asha.report(number, 0, float(number))
    assert asha.next_promotion(no_more_trials=False) == 3
    asha.report(3, 1, 3.0)
    asha.report(2, 1, 2.0)
    assert drain(asha) == [3, 2]


def test_without_more_trials_the_best_is_promoted_though_there_are_few():
    asha = SuccessiveHalving(rungs=3, direction=MAXIMIZE, reduction_factor=3)
    asha.report(7, 0, 0.5)
    assert drain(asha) == []
    assert drain(asha, no_more_trials=True) == [7]
    asha.report(7, 1, 0.5)
    assert drain(asha, no_more_trials=True) == [7]


def test_an_exempt_trial_is_always_promoted():
    for stopping in (SuccessiveHalving(3, MAXIMIZE, 3), Median(3, MAXIMIZE)):
        stopping.exempt.add(0)
        for number in range(1, 8):
            stopping.report(number, 0, 1.0)
        stopping.report(0, 0, -5.0)
        assert 0 in drain(stopping)


def test_brackets_of_hyperband_compare_from_different_rungs():
    hyperband = SuccessiveHalving(rungs=4, direction=MAXIMIZE, reduction_factor=3, brackets=3)
    counts = np.bincount([hyperband.bracket(number) for number in range(len(hyperband._bracket_cycle))])
    assert counts.tolist() == sorted(counts, reverse=True)
    last_bracket_trial = next(number for number in range(100) if hyperband.bracket(number) == 2)
    hyperband.report(last_bracket_trial, 0, -100.0)
    assert drain(hyperband) == [last_bracket_trial]
    hyperband.report(last_bracket_trial, 1, -100.0)
    assert drain(hyperband) == [last_bracket_trial]
    hyperband.report(last_bracket_trial, 2, -100.0)
    assert drain(hyperband) == []


def test_the_median_rule_stops_the_worse_half_once_there_are_enough():
    median = Median(rungs=2, direction=MAXIMIZE)
    for number in range(5):
        median.report(number, 0, float(number))
    assert drain(median) == [0, 1, 2, 3, 4]
    median.report(5, 0, 1.9)
    median.report(6, 0, 2.0)
    assert drain(median) == [6]


def test_without_stopping_all_are_promoted():
    stopping = NoStopping(rungs=2, direction=MAXIMIZE)
    stopping.report(3, 0, -9.0)
    stopping.report(1, 0, 9.0)
    assert drain(stopping) == [3, 1]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("asha", SuccessiveHalving),
        ("hyperband", SuccessiveHalving),
        ("median", Median),
        ("none", NoStopping),
        ("pbt", NoStopping),
    ],
)
def test_each_name_has_its_rule(name, kind):
    assert type(make_stopping_rule(Spec.from_hyperparameters(stopping=name).search, 3, MAXIMIZE)) is kind


def test_the_worst_fifth_copies_from_the_best_fifth():
    scores = {number: float(number) for number in range(10)}
    parents = truncation_selection(scores, MAXIMIZE, np.random.default_rng(0))
    assert set(parents) == {0, 1}
    assert set(parents.values()) <= {8, 9}
    assert truncation_selection({4: 1.0}, MAXIMIZE, np.random.default_rng(0)) == {}
    assert truncation_selection({4: 1.0, 5: 2.0}, MAXIMIZE, np.random.default_rng(0)) == {4: 5}


@pytest.mark.parametrize("make", [lambda d: SuccessiveHalving(3, d, 2, brackets=2), lambda d: Median(3, d)])
def test_minimizing_losses_decides_as_maximizing_their_negatives(make):
    losses = np.random.default_rng(0).normal(size=30)
    minimizing, maximizing = make(MINIMIZE), make(MAXIMIZE)
    for number, loss in enumerate(losses):
        minimizing.report(number, 0, loss)
        maximizing.report(number, 0, -loss)
    promoted = drain(minimizing, no_more_trials=True)
    assert promoted == drain(maximizing, no_more_trials=True)
    assert 0 < len(promoted) < 30


def test_the_worst_fifth_has_the_highest_losses():
    losses = {number: float(number) for number in range(10)}
    assert set(truncation_selection(losses, MINIMIZE, np.random.default_rng(0))) == {8, 9}
