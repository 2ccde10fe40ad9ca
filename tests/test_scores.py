import numpy as np
import pytest
from sklearn import metrics

from rosenblatt.data.targets import Target
from rosenblatt.scores import baseline, scores, to_json

RNG = np.random.default_rng(0)


def by_name(target, y, decoded):
    return {score.name: score for score in scores(target, y, decoded, baseline(target, y))}


def test_two_classes():
    target = Target(names=("y",), task="binary", labels=("no", "yes"))
    y = np.array([0, 0, 0, 1, 1.0])
    p = np.array([0.1, 0.2, 0.6, 0.7, 0.9])
    found = by_name(target, y, np.column_stack([1 - p, p]))
    assert found["accuracy"].model == 0.8
    assert found["accuracy"].baseline == 0.6
    assert found["AUC"].model == 1.0
    assert found["AUC"].baseline == 0.5
    assert found["balanced accuracy"].model == pytest.approx((2 / 3 + 1) / 2)
    assert found["F1 of yes"].model == metrics.f1_score(y, p > 0.5)
    assert found["log loss"].model == pytest.approx(metrics.log_loss(y, p))
    assert not found["log loss"].higher_is_better
    assert to_json(list(found.values()))["AUC"] == {"model": 1.0, "baseline": 0.5}


def test_classes_of_which_the_test_has_not_all():
    target = Target(names=("y",), task="multiclass", labels=("a", "b", "c"))
    found = by_name(target, np.array([0.0, 0, 1]), RNG.dirichlet([1, 1, 1], 3))
    assert all(np.isfinite([score.model, score.baseline]).all() for score in found.values())


def test_one_class_only_has_no_auc():
    target = Target(names=("y",), task="binary", labels=("a", "b"))
    found = scores(target, np.array([0.0, 0]), np.array([[0.9, 0.1], [0.8, 0.2]]), [0.5, 0.5])
    assert "AUC" not in [score.name for score in found]


def test_labels_and_values():
    labels = Target(names=("a", "b"), task="multilabel")
    found = by_name(labels, np.array([[1, 0], [0, 1], [1, 1.0]]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]))
    assert found["all labels right"].model == pytest.approx(2 / 3)
    assert found["labels right"].model == pytest.approx(5 / 6)
    y = RNG.normal(size=(50, 1))
    values = Target.of_values(("v",), y, "none")
    found = by_name(values, y, y + 0.5)
    assert found["mean absolute error"].model == pytest.approx(0.5)
    assert found["R2"].baseline == pytest.approx(0)
