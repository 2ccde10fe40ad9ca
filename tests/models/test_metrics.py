import numpy as np
import pytest
from sklearn import metrics

from rosenblatt.data.tasks.target import Target
from rosenblatt.models.bootstrap import Totals
from rosenblatt.models.evaluation import score_predictions, scores_to_dict
from rosenblatt.models.metrics import auc, compute_baseline, f1, log_loss, r2

RNG = np.random.default_rng(0)


TASKS = {
    "binary": Target(names=("y",), task="binary", labels=("no", "yes")),
    "multiclass": Target(names=("y",), task="multiclass", labels=("a", "b", "c")),
    "multilabel": Target(names=("a", "b"), task="multilabel"),
    "regression": Target.fit_regression(("v", "w"), RNG.normal(size=(9, 2)), "none"),
    "tagging": Target(names=("y",), task="tagging", labels=("a", "b", "c")),
}


def random_predictions(target, n):
    if target.task == "regression":
        return RNG.normal(size=(n, 2)), RNG.normal(size=(n, 2)).round(1)
    if target.task == "multilabel":
        return RNG.integers(0, 2, (n, 2)).astype(float), RNG.random((n, 2)).round(1)
    k = len(target.labels)
    if target.task == "tagging":
        return RNG.integers(-1, k, (n, 4)).astype(float), RNG.dirichlet(np.ones(k), (n, 4))
    return RNG.integers(0, k, n).astype(float), RNG.dirichlet(np.ones(k), n).round(1)


@pytest.mark.parametrize("target", TASKS.values(), ids=TASKS)
def test_a_weight_of_two_gives_the_scores_of_the_row_twice(target):
    y, predictions = random_predictions(target, 60)
    times = RNG.integers(1, 4, 60)
    weighted = score_predictions(target, y, predictions, compute_baseline(target, y, times), None, times / 8)
    y, predictions = np.repeat(y, times, axis=0), np.repeat(predictions, times, axis=0)
    repeated = score_predictions(target, y, predictions, compute_baseline(target, y))
    assert [score.name for score in weighted] == [score.name for score in repeated]
    for score, expected in zip(weighted, repeated, strict=True):
        assert score.model == pytest.approx(expected.model), score.name
        assert score.baseline == pytest.approx(expected.baseline, abs=1e-12), score.name


def test_weighted_metrics_equal_those_of_scikit_learn():
    y, y_score, weight = RNG.integers(0, 2, 200), RNG.integers(0, 10, 200) / 10, RNG.random(200) / 100
    totals = Totals(weight)
    assert auc(y == 1, y_score, totals) == pytest.approx(metrics.roc_auc_score(y, y_score, sample_weight=weight))
    assert f1(y, y_score > 0.4, totals) == pytest.approx(metrics.f1_score(y, y_score > 0.4, sample_weight=weight))
    y_true, y_pred = RNG.normal(size=200), RNG.normal(size=200)
    assert r2(y_true, y_pred, totals) == pytest.approx(metrics.r2_score(y_true, y_pred, sample_weight=weight))


def scores_by_name(target, y, raw_predictions):
    return {score.name: score for score in score_predictions(target, y, raw_predictions, compute_baseline(target, y))}


def test_scores_of_two_classes():
    target = Target(names=("y",), task="binary", labels=("no", "yes"))
    y = np.array([0, 0, 0, 1, 1.0])
    p = np.array([0.1, 0.2, 0.6, 0.7, 0.9])
    by_name = scores_by_name(target, y, np.column_stack([1 - p, p]))
    assert by_name["accuracy"].model == 0.8
    assert by_name["accuracy"].baseline == 0.6
    assert by_name["AUC"].model == 1.0
    assert by_name["AUC"].baseline == 0.5
    assert by_name["balanced accuracy"].model == pytest.approx((2 / 3 + 1) / 2)
    assert by_name["F1 of yes"].model == metrics.f1_score(y, p > 0.5)
    assert by_name["log loss"].model == pytest.approx(metrics.log_loss(y, p))
    assert not by_name["log loss"].higher_is_better
    assert scores_to_dict(list(by_name.values()))["AUC"] == {"model": 1.0, "baseline": 0.5, "interval": None}


def test_scores_that_need_each_class_are_left_out_if_a_class_has_no_test_rows():
    target = Target(names=("y",), task="multiclass", labels=("a", "b", "c"))
    by_name = scores_by_name(target, np.array([0.0, 0, 1]), RNG.dirichlet([1, 1, 1], 3))
    assert list(by_name) == ["accuracy", "log loss"]
    assert all(np.isfinite([score.model, score.baseline]).all() for score in by_name.values())


@pytest.mark.parametrize(("present", "scores"), [
    (0, ["accuracy", "log loss"]),
    (1, ["accuracy", "F1 of yes", "log loss"]),
])  # fmt: skip
def test_test_rows_of_one_class_leave_only_scores_that_need_no_other(present, scores):
    target = Target(names=("y",), task="binary", labels=("no", "yes"))
    p = RNG.random(20)
    assert list(scores_by_name(target, np.full(20, float(present)), np.column_stack([1 - p, p]))) == scores


def test_labels_that_no_row_has_are_left_out_of_the_means():
    target = Target(names=("a", "b"), task="multilabel")
    by_name = scores_by_name(
        target, np.array([[1, 0], [0, 0], [1, 0.0]]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    )
    assert by_name["F1 (mean of labels)"].model == 1.0
    assert by_name["AUC (mean of labels)"].model == 1.0


def test_classes_that_only_rows_of_weight_zero_are_of_count_as_absent():
    target = Target(names=("y",), task="binary", labels=("no", "yes"))
    p, y = np.array([0.1, 0.4, 0.2, 0.9]), np.array([0, 0, 0, 1.0])
    scores = score_predictions(target, y, np.column_stack([1 - p, p]), [0.5, 0.5], weight=np.array([1, 1, 2, 0.0]))
    assert [score.name for score in scores] == ["accuracy", "log loss"]


def test_a_log_loss_of_zero_has_no_sign():
    assert np.copysign(1, log_loss(np.zeros(2), np.array([[1.0, 0.0], [1.0, 0.0]]))) == 1


def test_test_rows_of_a_single_class_have_no_auc():
    target = Target(names=("y",), task="binary", labels=("a", "b"))
    model_scores = score_predictions(target, np.array([0.0, 0]), np.array([[0.9, 0.1], [0.8, 0.2]]), [0.5, 0.5])
    assert "AUC" not in [score.name for score in model_scores]


def test_scores_of_labels_and_values():
    labels = Target(names=("a", "b"), task="multilabel")
    by_name = scores_by_name(
        labels, np.array([[1, 0], [0, 1], [1, 1.0]]), np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    )
    assert by_name["all labels right"].model == pytest.approx(2 / 3)
    assert by_name["labels right"].model == pytest.approx(5 / 6)
    y = RNG.normal(size=(50, 1))
    values = Target.fit_regression(("v",), y, "none")
    by_name = scores_by_name(values, y, y + 0.5)
    assert by_name["mean absolute error"].model == pytest.approx(0.5)
    assert by_name["R2"].baseline == pytest.approx(0)


def test_metrics_equal_those_of_scikit_learn():
    y, y_score = RNG.integers(0, 2, 200), RNG.integers(0, 10, 200) / 10
    assert auc(y == 1, y_score) == pytest.approx(metrics.roc_auc_score(y, y_score))
    assert f1(y, y_score > 0.4) == pytest.approx(metrics.f1_score(y, y_score > 0.4))
    assert np.isnan(f1(np.zeros(3), np.zeros(3)))  # nothing is known about a class without rows
    y_true, y_pred = RNG.normal(size=50), RNG.normal(size=50)
    assert r2(y_true, y_pred) == pytest.approx(metrics.r2_score(y_true, y_pred))
    classes = RNG.integers(0, 3, 200).astype(float)
    p = RNG.dirichlet([1, 1, 1], 200)
    by_name = scores_by_name(Target(names=("y",), task="multiclass", labels=("a", "b", "c")), classes, p)
    expected = {
        "accuracy": metrics.accuracy_score(classes, p.argmax(axis=1)),
        "balanced accuracy": metrics.balanced_accuracy_score(classes, p.argmax(axis=1)),
        "AUC (one against rest)": metrics.roc_auc_score(classes, p, multi_class="ovr"),
        "F1 (mean of classes)": metrics.f1_score(classes, p.argmax(axis=1), average="macro"),
        "log loss": metrics.log_loss(classes, p),
    }
    assert {name: score.model for name, score in by_name.items()} == pytest.approx(expected)
