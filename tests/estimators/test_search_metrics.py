"""Several metrics, training scores and the choice of the best trial, as scikit-learn's searches have them."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import accuracy_score, get_scorer, log_loss, make_scorer

from rosenblatt.errors import SpecError
from rosenblatt.estimators.mlp import MLPClassifier
from rosenblatt.estimators.perceptron import Perceptron
from rosenblatt.estimators.search import PopulationSearchCV
from rosenblatt.estimators.search_metrics import Metrics

X, Y = (part[:120] for part in load_breast_cancer(return_X_y=True))
FAST = MLPClassifier(epochs=6, numeric_encoding="standard")
SPACE = {"hidden_sizes": [(4,), (8,), (16,)]}
NAMES = ["accuracy", "roc_auc", "neg_log_loss"]


def by_name(estimator, x, y):
    return {name: get_scorer(name)(estimator, x, y) for name in NAMES}


def fit(**options):
    return PopulationSearchCV(FAST, SPACE, **{"trials": 3, "cv": 2, "sampler": "grid"} | options).fit(X, Y)


@pytest.fixture(scope="module")
def search():
    return fit(scoring=NAMES, refit="roc_auc", return_train_score=True)


def test_each_metric_has_scores_and_ranks(search):
    assert search.multimetric_
    assert list(search.scorer_) == NAMES
    for name in NAMES:
        test, train = (search.cv_results_[f"mean_{part}_{name}"] for part in ("test", "train"))
        assert np.isfinite(test).all()
        assert np.isfinite(train).all()
        folds = [search.cv_results_[f"split{k}_test_{name}"] for k in range(2)]
        np.testing.assert_allclose(test, np.mean(folds, axis=0))
        finished = search.cv_results_["state"] == "finished"
        assert test[search.cv_results_[f"rank_test_{name}"] == 1] == pytest.approx(test[finished].max())
    assert "mean_test_score" not in search.cv_results_


def test_the_search_optimizes_the_metric_that_refit_names(search):
    assert search.cv_results_["rank_test_roc_auc"][search.best_index_] == 1
    assert search.best_score_ == search.cv_results_["mean_test_roc_auc"][search.best_index_]
    assert search.score(X, Y) == pytest.approx(get_scorer("roc_auc")(search.best_estimator_, X, Y))
    single = fit(scoring="roc_auc")
    np.testing.assert_array_equal(single.cv_results_["mean_test_score"], search.cv_results_["mean_test_roc_auc"])


def test_by_default_classifiers_are_compared_by_the_loss_and_scored_by_accuracy():
    search, by_loss = fit(), fit(scoring="loss")
    assert not search.multimetric_
    assert search.best_params_ == by_loss.best_params_
    results = search.cv_results_
    np.testing.assert_array_equal(results["mean_test_loss"], by_loss.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(results["rank_test_score"], by_loss.cv_results_["rank_test_score"])
    assert search.best_score_ == results["mean_test_score"][search.best_index_]
    folds = [search.cv_results_[f"split{k}_test_score"][search.best_index_] for k in range(2)]
    assert all(score * 60 == pytest.approx(round(score * 60)) for score in folds)
    assert search.score(X, Y) == pytest.approx(accuracy_score(Y, search.predict(X)))


@pytest.mark.parametrize(
    ("estimator", "space"),
    [
        (FAST, {"class_weight": [None, "balanced"]}),
        (MLPClassifier(epochs=6, numeric_encoding="standard", loss="hinge"), SPACE),
        (Perceptron(epochs=6, numeric_encoding="standard"), {"margin": [0.1, 1.0], "perceptron_rule": ["margin"]}),
    ],
)
def test_without_comparable_log_losses_accuracy_decides(estimator, space):
    search = PopulationSearchCV(estimator, space, trials=2, cv=2, sampler="grid").fit(X, Y)
    assert "mean_test_loss" not in search.cv_results_
    assert search.cv_results_["mean_test_score"][search.best_index_] == max(search.cv_results_["mean_test_score"])


def test_the_scores_are_those_of_the_folds_networks(search):
    folds = search.best_estimator_.model_.networks
    assert len(folds) == 2
    losses = search.cv_results_["mean_test_neg_log_loss"], search.cv_results_["mean_train_neg_log_loss"]
    assert (losses[0] < 0).all()
    ensemble_loss = -log_loss(Y, search.predict_proba(X))
    assert ensemble_loss > min(part[search.best_index_] for part in losses)


@pytest.mark.parametrize("scoring", [
    by_name, {name: name for name in NAMES}, tuple(NAMES),
    {"accuracy": make_scorer(accuracy_score), "roc_auc": "roc_auc", "neg_log_loss": "neg_log_loss"},
], ids=["function", "dict", "tuple", "scorer"])  # fmt: skip
def test_all_forms_of_scoring_give_the_same_scores(search, scoring):
    other = fit(scoring=scoring, refit="roc_auc", return_train_score=True)
    for name in NAMES:
        np.testing.assert_allclose(
            other.cv_results_[f"mean_test_{name}"], search.cv_results_[f"mean_test_{name}"], rtol=1e-5
        )


def test_the_loss_is_a_metric():
    by_loss = fit(scoring=["loss", "accuracy"], refit="loss", return_train_score=True)
    np.testing.assert_allclose(
        by_loss.cv_results_["split0_test_loss"], fit(scoring="loss").cv_results_["split0_test_score"], rtol=1e-5
    )
    assert (by_loss.cv_results_["mean_train_loss"] < 0).all()
    as_second = fit(scoring=["accuracy", "loss"], refit="accuracy")
    assert (as_second.cv_results_["mean_test_loss"] < 0).all()


def test_without_refit_there_are_only_results():
    search = fit(refit=False)
    assert search.best_params_ == search.cv_results_["params"][search.best_index_]
    for name in ("predict", "predict_proba", "score", "save"):
        with pytest.raises(AttributeError) as raised:
            getattr(search, name)
        assert "refit is False" in str(raised.value.__cause__)
    several = fit(refit=False, scoring=NAMES)
    assert not hasattr(several, "best_index_")
    assert not hasattr(several, "best_estimator_")


@pytest.mark.parametrize("stopping", ["none", "asha"])
def test_a_function_chooses_the_trial(stopping):
    def smallest(results):
        return int(np.argmin([sizes[0] for sizes in results["param_hidden_sizes"]]))

    search = fit(refit=smallest, stopping=stopping, scoring=NAMES)
    assert search.best_params_ == {"hidden_sizes": (4,)}
    assert search.best_estimator_.model_.networks[0].architecture.sizes[1] == 4
    assert len(search.best_estimator_.model_.networks) == 2
    assert not hasattr(search, "best_score_")
    assert search.score(X, Y) == pytest.approx(search.best_estimator_.score(X, Y))  # by the first metric


def test_a_stopped_trial_that_a_function_chooses_is_trained_to_the_end():
    def last_stopped(results):
        return int(np.flatnonzero(results["state"] == "stopped")[-1])

    space = {"learning_rate": [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1]}
    estimator = MLPClassifier(epochs=20, hidden_sizes=(8,), numeric_encoding="standard")
    options = {"trials": 6, "cv": 3, "sampler": "grid", "min_epochs": 1, "reduction_factor": 2}
    search = PopulationSearchCV(estimator, space, refit=last_stopped, **options).fit(X, Y)
    assert search.cv_results_["state"][search.best_index_] == "stopped"
    assert search.best_estimator_.learning_rate == search.best_params_["learning_rate"]
    assert search.best_estimator_.n_iter_ > search.cv_results_["epochs"][search.best_index_]


@pytest.mark.parametrize(("index", "error"), [(-1, IndexError), (3, IndexError), (0.5, TypeError), ("a", TypeError)])
def test_an_index_that_is_none_of_a_trial_is_rejected(index, error):
    with pytest.raises(error, match="must return the index of a trial"):
        fit(refit=lambda _: index)


@pytest.mark.parametrize(("scoring", "refit", "message"), [
    (NAMES, True, "refit must be the one to choose"), (NAMES, "f1", "but it is 'f1'"), (by_name, True, "With several"),
    ([], "a", "but it is"), ({}, "a", "but it is"), (["accuracy", "accuracy"], "accuracy", "twice"),
    ([accuracy_score], "a", "but it is"), ({"a": 3}, "a", "but it is"), (3, True, "but it is 3"),
    ("accuracy", 3, "refit must be"),
])  # fmt: skip
def test_unclear_metrics_are_rejected(scoring, refit, message):
    with pytest.raises(SpecError, match=message):
        fit(scoring=scoring, refit=refit)


def test_refit_may_name_another_metric_than_the_only_one():
    with pytest.warns(UserWarning, match="chosen by the only metric, accuracy"):
        assert fit(scoring="accuracy", refit="f1").best_index_ == fit(scoring="accuracy").best_index_


def test_a_score_that_is_never_finite_is_reported_once():
    with pytest.warns(UserWarning, match="One or more of the test scores are non-finite") as warned:
        fit(scoring=lambda estimator, X, y: np.nan)
    assert len(warned) == 1


def test_weights_count_in_every_metric():
    weight = np.where(np.arange(120) < 60, 1.0, 3.0)
    search = PopulationSearchCV(FAST, SPACE, trials=1, cv=2, scoring=["accuracy", "roc_auc"], refit="accuracy")
    weighted = search.fit(X, Y, sample_weight=weight).cv_results_
    assert np.isfinite(weighted["mean_test_roc_auc"]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search.set_params(scoring=by_name).fit(X, Y, sample_weight=weight)


def test_a_name_among_one_metric_is_its_own():
    assert Metrics.from_scoring("f1", "f1", "accuracy").primary == "score"
    assert Metrics.from_scoring(["f1"], "f1", "accuracy").primary == "f1"
    assert not Metrics.from_scoring(None, False, "r2").is_multimetric


@pytest.mark.parametrize("scoring", [{"score": "accuracy"}, {"score": "accuracy", "loss": "loss"}])
def test_metrics_of_a_dict_are_several_whatever_their_names(scoring):
    metrics = Metrics.from_scoring(scoring, list(scoring)[-1], "accuracy")
    assert metrics.is_multimetric
    assert list(metrics.scorers()) == list(scoring)
