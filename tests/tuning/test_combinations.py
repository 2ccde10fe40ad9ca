"""All combinations of a space are found once, in random order."""

from itertools import islice

import numpy as np
import pytest

from rosenblatt.spec.dimensions import choice, integer, log_uniform, uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.combinations import combinations
from rosenblatt.tuning.space import Space


def list_combinations(space, seed=0, limit=100, **options):
    space = Space(Spec(), space)
    return list(islice(combinations(space, np.random.default_rng(seed), **options), limit))


def test_each_combination_of_a_finite_space_is_found_once():
    space = {"optimizer": choice("adam", "sgd"), "batch_size": integer(1, 8, log=True), "beta2": choice(0.9, 0.99)}
    found = list_combinations(space)  # sgd has no beta2
    assert len({str(params) for params in found}) == len(found) == 8 * 2 + 8
    assert list_combinations(space, seed=1) != found
    assert list_combinations(space) == found


@pytest.mark.parametrize("dimension", [uniform(0, 0.5), log_uniform(1e-9, 0.5)])
def test_a_range_of_numbers_has_no_end(dimension):
    found = [params["dropout"] for params in list_combinations({"dropout": dimension})]
    assert len(set(found)) == 100
    assert all(dimension.low <= value <= dimension.high for value in found)


def test_a_huge_range_of_whole_numbers_is_not_listed_first():
    found = [params["epochs"] for params in list_combinations({"epochs": integer(1, 10**15)}, limit=5)]
    assert len(set(found)) == 5


def test_a_grid_has_a_few_values_of_each_range_and_its_bounds():
    found = list_combinations({"dropout": uniform(0.1, 0.3), "l2": log_uniform(1e-8, 1)}, on_grid=True)
    assert len(found) == 25
    assert sorted({params["dropout"] for params in found}) == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3])
    assert sorted({params["l2"] for params in found}) == pytest.approx([1e-8, 1e-6, 1e-4, 1e-2, 1])
