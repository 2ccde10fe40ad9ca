import numpy as np
import pytest

from rosenblatt.data.tasks.target import Target

RNG = np.random.default_rng(0)


def test_values_are_standardized_and_restored():
    y = RNG.normal(50, 7, (500, 2))
    target = Target.fit_regression(("a", "b"), y, "auto")
    t = target.encode(y)
    np.testing.assert_allclose(t.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(t.std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(target.decode(t), y, rtol=1e-5)


def test_a_strongly_skewed_target_is_log_transformed_and_inverted():
    y = np.exp(RNG.normal(5, 1.5, (500, 1)))
    target = Target.fit_regression(("price",), y, "auto")
    assert target.log == (True,)
    np.testing.assert_allclose(target.decode(target.encode(y)), y, rtol=1e-4)


@pytest.mark.parametrize("y", [RNG.normal(5, 1, 500), -np.exp(RNG.normal(5, 1.5, 500)), RNG.uniform(0, 1, 500)])
def test_other_targets_are_not(y):
    assert Target.fit_regression(("y",), y.reshape(-1, 1), "auto").log == (False,)


def test_predictions_stay_near_the_training_range():
    target = Target.fit_regression(("y",), np.array([[0.0], [10.0]]), "none")
    np.testing.assert_array_equal(target.decode(np.array([[100.0], [-100.0]], np.float32)), [[11.0], [-1.0]])


def test_a_constant_target_is_not_divided_by_0():
    target = Target.fit_regression(("y",), np.full((5, 1), 3.0), "auto")
    np.testing.assert_array_equal(target.decode(target.encode(np.full((5, 1), 3.0))), np.full((5, 1), 3.0))


@pytest.mark.parametrize(
    ("target", "outputs", "expected"),
    [
        (Target(names=("y",), task="binary", labels=("a", "b")), [[0.2], [0.7]], [0, 1]),
        (Target(names=("y",), task="binary", labels=("a", "b"), output_type="sums"), [[-3.0], [0.1]], [0, 1]),
        (Target(names=("y",), task="multiclass", labels=(1, 2, 3)), [[0.2, 0.5, 0.3]], [1]),
        (Target(names=("a", "b"), task="multilabel"), [[0.2, 0.7]], [[0, 1]]),
        (Target(names=("a", "b"), task="multilabel", output_type="sums"), [[-2.0, 0.3]], [[0, 1]]),
    ],
)
def test_outputs_are_turned_into_predictions(target, outputs, expected):
    np.testing.assert_array_equal(target.to_predictions(target.decode(np.array(outputs, np.float32))), expected)


def test_probabilities_of_classes_add_up_to_1():
    target = Target(names=("y",), task="multiclass", labels=(1, 2, 3))
    outputs = RNG.dirichlet([1, 1, 1], 1000).astype(np.float32)
    np.testing.assert_allclose(target.decode(outputs).sum(axis=1), 1, rtol=1e-15)
