"""Tests of the largest margin and Novikoff's bound."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from rosenblatt.dashboard.point_sets import POINT_SETS
from rosenblatt.dashboard.separability import find_separation


def test_the_margin_of_two_points_is_half_their_distance_with_the_constant():
    separation = find_separation(np.array([[3.0, 4.0], [-3.0, -4.0]]), np.array([1, 0]))
    assert separation is not None
    assert separation.margin == pytest.approx(5.0)
    assert separation.radius == pytest.approx(26**0.5)
    assert separation.max_mistakes == pytest.approx(26 / 25)


@pytest.mark.parametrize("seed", range(5))
def test_the_margin_equals_that_of_a_hard_support_vector_machine(seed: int):
    x, classes = POINT_SETS["separable"](80, np.random.default_rng(seed))
    separation = find_separation(x, classes)
    rows = np.column_stack([x, np.ones(80)])
    machine = LinearSVC(C=1e6, loss="hinge", fit_intercept=False, max_iter=1_000_000, tol=1e-8).fit(rows, classes)
    margin = np.min(np.where(classes == 1, 1, -1) * (rows @ machine.coef_[0])) / np.linalg.norm(machine.coef_)
    assert separation is not None
    assert separation.margin == pytest.approx(margin, rel=1e-3)
    assert separation.margin >= margin * (1 - 1e-9)


@pytest.mark.parametrize("name", ["nearly separable", "xor", "circles", "spirals"])
def test_classes_that_no_line_separates_have_no_bound(name: str):
    x, classes = POINT_SETS[name](200, np.random.default_rng(0))
    assert find_separation(x, classes) is None


def test_equal_points_of_different_classes_have_no_bound():
    assert find_separation(np.array([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]]), np.array([0, 1, 0])) is None


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_the_scale_of_the_inputs_does_not_hide_a_separating_line(scale: float):
    x = np.array([[-1.0], [1.0]]) * scale
    assert find_separation(x, np.array([0, 1])) is not None
