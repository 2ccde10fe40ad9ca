"""Which trials may go on: worked by hand."""

import numpy as np
import pytest

from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.population_based import exploits
from rosenblatt.tuning.stopping import Median, NoStopping, SuccessiveHalving, stopping_of


def drained(stopping, ending=False):
    found = []
    while (number := stopping.next(ending)) is not None:
        found.append(number)
    return found


def test_one_in_three_goes_on_the_best_first():
    asha = SuccessiveHalving(rungs=3, reduction=3)
    for number, score in enumerate([0.1, 0.5]):
        asha.reached(number, 0, score)
    assert drained(asha) == []
    asha.reached(2, 0, 0.3)
    assert drained(asha) == [1]
    for number, score in enumerate([0.6, 0.9, 0.2], start=3):
        asha.reached(number, 0, score)
    assert drained(asha) == [4, 3]  # two of six; 1 went on before, though it is only third now
    assert drained(asha) == []


def test_a_higher_rung_comes_first():
    asha = SuccessiveHalving(rungs=3, reduction=2)
    for number in range(4):
        asha.reached(number, 0, float(number))
    assert asha.next(ending=False) == 3
    asha.reached(3, 1, 3.0)
    asha.reached(2, 1, 2.0)
    assert drained(asha) == [3, 2]


def test_where_no_more_trials_come_the_best_goes_on_though_they_are_few():
    asha = SuccessiveHalving(rungs=3, reduction=3)
    asha.reached(7, 0, 0.5)
    assert drained(asha) == []
    assert drained(asha, ending=True) == [7]
    asha.reached(7, 1, 0.5)
    assert drained(asha, ending=True) == [7]


def test_a_free_trial_goes_on_in_any_case():
    for stopping in (SuccessiveHalving(3, 3), Median(3)):
        stopping.free.add(0)
        for number in range(1, 8):
            stopping.reached(number, 0, 1.0)
        stopping.reached(0, 0, -5.0)
        assert 0 in drained(stopping)


def test_brackets_of_hyperband_compare_from_different_rungs_on():
    hyperband = SuccessiveHalving(rungs=4, reduction=3, brackets=3)
    counts = np.bincount([hyperband.bracket(number) for number in range(len(hyperband._turns))])
    assert counts.tolist() == sorted(counts, reverse=True)
    late = next(number for number in range(100) if hyperband.bracket(number) == 2)
    hyperband.reached(late, 0, -100.0)
    assert drained(hyperband) == [late]
    hyperband.reached(late, 1, -100.0)
    assert drained(hyperband) == [late]
    hyperband.reached(late, 2, -100.0)
    assert drained(hyperband) == []


def test_the_median_rule_stops_the_worse_half_once_there_are_some():
    median = Median(rungs=2)
    for number in range(5):
        median.reached(number, 0, float(number))
    assert drained(median) == [0, 1, 2, 3, 4]
    median.reached(5, 0, 1.9)
    median.reached(6, 0, 2.0)
    assert drained(median) == [6]


def test_without_stopping_all_go_on():
    stopping = NoStopping(rungs=2)
    stopping.reached(3, 0, -9.0)
    stopping.reached(1, 0, 9.0)
    assert drained(stopping) == [3, 1]


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
    assert type(stopping_of(Spec.of(stopping=name).search, 3)) is kind


def test_the_worst_fifth_copies_the_best_fifth():
    scores = {number: float(number) for number in range(10)}
    found = exploits(scores, np.random.default_rng(0))
    assert set(found) == {0, 1}
    assert set(found.values()) <= {8, 9}
    assert exploits({4: 1.0}, np.random.default_rng(0)) == {}
    assert exploits({4: 1.0, 5: 2.0}, np.random.default_rng(0)) == {4: 5}
