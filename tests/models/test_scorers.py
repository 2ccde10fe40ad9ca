"""Scorers of epochs equal those of scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin

from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError
from rosenblatt.models.scorers import make_epoch_scorer

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("scoring", ["accuracy", "balanced_accuracy", "roc_auc", "neg_log_loss"])
def test_scorers_of_two_classes(scoring):
    target, y = Target(names=("y",), task="binary", labels=("a", "b")), RNG.integers(2, size=60).astype(float)
    outputs, rows = RNG.random((30, 1)).astype(np.float32), np.arange(10, 40)
    probabilities = outputs[:, 0].astype(float)
    expected = {
        "accuracy": metrics.accuracy_score(y[rows], probabilities > 0.5),
        "balanced_accuracy": metrics.balanced_accuracy_score(y[rows], probabilities > 0.5),
        "roc_auc": metrics.roc_auc_score(y[rows], probabilities),
        "neg_log_loss": -metrics.log_loss(y[rows], probabilities),
    }[scoring]
    assert make_epoch_scorer(scoring)(target, y, None)(outputs, rows) == pytest.approx(expected)


@pytest.mark.parametrize(
    "scoring", ["r2", "neg_mean_squared_error", "neg_root_mean_squared_error", "neg_mean_absolute_error"]
)
def test_scorers_of_values(scoring):
    y = RNG.normal(size=(60, 1))
    target = Target.fit_regression(("y",), y, "none")
    outputs, rows = RNG.normal(size=(30, 1)).astype(np.float32), np.arange(10, 40)
    y_pred = target.decode(outputs)[:, 0]
    expected = {
        "r2": metrics.r2_score(y[rows], y_pred),
        "neg_mean_squared_error": -metrics.mean_squared_error(y[rows], y_pred),
        "neg_root_mean_squared_error": -metrics.root_mean_squared_error(y[rows], y_pred),
        "neg_mean_absolute_error": -metrics.mean_absolute_error(y[rows], y_pred),
    }[scoring]
    assert make_epoch_scorer(scoring)(target, y, None)(outputs, rows) == pytest.approx(expected)


def test_the_area_of_a_single_class_is_nan():
    target = Target(names=("y",), task="binary", labels=("a", "b"))
    score = make_epoch_scorer("roc_auc")(target, np.array([0.0, 1.0, 1.0]), None)
    assert np.isnan(score(np.array([[0.1], [0.4]], np.float32), np.array([1, 2])))


@pytest.mark.parametrize(
    "scoring", ["accuracy", "balanced_accuracy", "roc_auc", "neg_log_loss", "f1", "average_precision"]
)
def test_named_scorers_weight_rows(scoring):
    target, y = Target(names=("y",), task="binary", labels=("a", "b")), RNG.integers(2, size=60).astype(float)
    outputs, rows = RNG.random((60, 1)).astype(np.float32), np.arange(60)
    times = RNG.integers(1, 4, 60)
    score = make_epoch_scorer(scoring)(target, y, times / 9)(outputs, rows)
    repeated = np.repeat(rows, times)
    expected = make_epoch_scorer(scoring)(target, y[repeated], None)(outputs[repeated], np.arange(len(repeated)))
    assert score == pytest.approx(expected)


def test_scorers_that_do_not_weight_rows_are_rejected():
    target = Target.fit_regression(("y",), np.arange(4.0)[:, None], "none")
    with pytest.raises(SpecError, match="neg_max_error does not use weights"):
        make_epoch_scorer("neg_max_error")(target, np.arange(4.0)[:, None], np.ones(4))
    make_epoch_scorer("neg_max_error")(target, np.arange(4.0)[:, None], None)


@pytest.mark.parametrize(("scoring", "is_known"), [
    ("balanced_accuracy", False), ("roc_auc", False), ("f1", False), ("average_precision", False), ("accuracy", True),
    ("neg_log_loss", True), ("neg_brier_score", True),
])  # fmt: skip
def test_scores_that_need_both_classes_are_unknown_for_rows_of_one(scoring, is_known):
    target, y = Target(names=("y",), task="binary", labels=("no", "yes")), np.array([0, 0, 0, 1, 1.0])
    scorer = make_epoch_scorer(scoring)(target, y, None)
    outputs = np.array([[0.1], [0.6], [0.2]], np.float32)
    assert np.isfinite(scorer(outputs, np.arange(3))) == is_known
    assert np.isfinite(scorer(outputs, np.arange(2, 5)))


class _Labels(ClassifierMixin, BaseEstimator):
    """A classifier of several labels in the form of scikit-learn's, with given probabilities."""

    def __init__(self, probabilities=None):
        self.probabilities = probabilities
        self.classes_ = [np.array([0, 1])] * probabilities.shape[1]

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, rows):
        return (self.probabilities[rows[:, 0]] > 0.5).astype(int)

    def predict_proba(self, rows):
        return self.probabilities[rows[:, 0]]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("scoring", metrics.get_scorer_names())
@pytest.mark.parametrize("n_labels", [2, 3])
def test_scorers_of_several_labels_equal_scikit_learns_or_are_refused(scoring, n_labels):
    rng = np.random.default_rng(n_labels)
    target = Target(names=tuple("abc"[:n_labels]), task="multilabel")
    y, outputs = rng.integers(2, size=(60, n_labels)).astype(float), rng.random((60, n_labels)).astype(np.float32)
    rows = np.arange(10, 40)
    try:
        expected = metrics.get_scorer(scoring)(_Labels(outputs.astype(float)), rows[:, None], y[rows])
    except (ValueError, UserWarning):  # the task, or that the probabilities of labels do not add up to 1
        with pytest.raises(SpecError, match=rf"scoring {scoring} .* multilabel"):
            make_epoch_scorer(scoring)(target, y, None)
        return
    assert make_epoch_scorer(scoring)(target, y, None)(outputs[rows], rows) == pytest.approx(expected)


def test_scorer_functions_weight_rows_if_they_take_weights():
    target, y = Target(names=("y",), task="binary", labels=("a", "b")), np.array([0.0, 0, 1, 1])
    outputs, rows, weight = np.array([[0.1], [0.9], [0.9], [0.9]], np.float32), np.arange(4), np.array([1, 5, 1, 1])

    def weighted(estimator, X, y, sample_weight=None):
        return metrics.accuracy_score(y, estimator.predict(X), sample_weight=sample_weight)

    def unweighted(estimator, X, y):
        return metrics.accuracy_score(y, estimator.predict(X))

    for scorer in (weighted, metrics.make_scorer(metrics.accuracy_score)):
        assert make_epoch_scorer(scorer)(target, y, weight)(outputs, rows) == pytest.approx(3 / 8)
    with pytest.warns(UserWarning, match="scoring unweighted does not support sample_weight"):
        assert make_epoch_scorer(unweighted)(target, y, weight)(outputs, rows) == pytest.approx(3 / 4)


def test_a_metric_is_no_scoring_function():
    with pytest.raises(SpecError, match=r"'accuracy_score' takes other arguments. Wrap a metric.*make_scorer"):
        make_epoch_scorer(metrics.accuracy_score)


def test_rows_that_allow_no_score_have_an_unknown_one():
    target, y = Target(names=("y",), task="multiclass", labels=("a", "b", "c")), np.array([0.0, 0, 1, 1, 2])
    score, outputs = make_epoch_scorer("roc_auc_ovr")(target, y, None), RNG.dirichlet(np.ones(3), 5).astype(np.float32)
    assert np.isfinite(score(outputs, np.arange(5)))
    assert np.isnan(score(outputs[:4], np.arange(4)))
