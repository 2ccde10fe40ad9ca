"""`cv_results_`: failures, missing scores, ties, times, types of columns and lists of spaces."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import FitFailedWarning

from rosenblatt.errors import DivergedError, SpecError
from rosenblatt.estimators.mlp import MLPClassifier
from rosenblatt.estimators.search import PopulationSearchCV
from rosenblatt.spec.dimensions import choice, log_uniform

X, Y = load_iris(return_X_y=True)
FAST = MLPClassifier(epochs=5, hidden_sizes=(8,), numeric_encoding="standard", clip_norm=0)
DIVERGING = {"optimizer": ["sgd"], "hidden_sizes": [(16, 16)], "epochs": [30], "learning_rate": [1e-2, 1000.0]}


def fit(space, **options):
    return PopulationSearchCV(FAST, space, **{"trials": 2, "cv": 2, "sampler": "grid"} | options).fit(X, Y)


@pytest.mark.parametrize("error_score", [np.nan, 0.0, -5])
def test_trials_that_fail_get_the_error_score(error_score):
    with pytest.warns(FitFailedWarning, match="1 of 2 trials failed, and their scores are set to"):
        results = fit(DIVERGING, error_score=error_score, stopping="none").cv_results_
    failed = results["state"] == "failed"
    np.testing.assert_array_equal(results["mean_test_score"][failed], [error_score])
    np.testing.assert_array_equal(results["split1_test_score"][failed], [error_score])
    assert results["rank_test_score"][failed] == [2]


def test_a_failure_is_raised_on_request():
    with pytest.raises(DivergedError, match=r"Trial \d failed"):
        fit(DIVERGING, error_score="raise", stopping="none")
    with pytest.raises(SpecError, match='error_score must be a number or "raise"'):
        fit(DIVERGING, error_score="nan")


def test_a_space_whose_trials_all_fail_leaves_the_others():
    with pytest.warns(FitFailedWarning, match="1 of 2 trials failed"):
        search = fit([{name: values[-1:] for name, values in DIVERGING.items()}, {"dropout": [0.0]}])
    assert search.best_index_ == 1
    assert search.predict(X).shape == (150,)


def test_scores_that_are_not_finite_are_reported_once():
    def often_undefined(estimator, x, y):
        return np.nan if estimator.predict(x).shape[0] == 75 else 1.0

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = fit({"dropout": [0.0, 0.1]}, scoring=often_undefined, stopping="none").cv_results_
    messages = [str(warning.message) for warning in caught]
    assert messages.count("One or more of the test scores are non-finite: score of 2 trials.") == 1
    assert results["rank_test_score"].tolist() == [1, 1]


def test_ties_share_the_best_rank():
    results = fit({"dropout": [0.0, 0.1, 0.2]}, trials=3, scoring=lambda *_: 1.0, stopping="none").cv_results_
    assert results["rank_test_score"].tolist() == [1, 1, 1]
    assert results["rank_test_score"].dtype == np.int32


def test_times_are_those_of_one_fold():
    search = fit({"dropout": [0.0, 0.1]}, stopping="none")
    for name in ("mean_fit_time", "mean_score_time"):
        assert (search.cv_results_[name] > 0).all()
        assert (search.cv_results_[name.replace("mean", "std")] >= 0).all()
    assert isinstance(search.refit_time_, float)


def test_columns_of_parameters_have_the_type_of_their_values():
    space = [{"dropout": [0.1], "optimizer": ["adam"]}, {"batch_size": [8], "hidden_sizes": [(4,)]}]
    results = fit(space).cv_results_
    kinds = {name: column.dtype.kind for name, column in results.items() if name.startswith("param_")}
    assert kinds == {"param_dropout": "f", "param_optimizer": "O", "param_batch_size": "i", "param_hidden_sizes": "O"}
    assert results["param_dropout"].mask.tolist() == [False, True]
    assert results["param_hidden_sizes"][1] == (4,)


def test_a_list_of_spaces_is_searched_with_all_trials():
    space = [{"optimizer": ["adam"], "learning_rate": log_uniform(1e-3, 1e-1)}, {"optimizer": choice("momentum")}]
    search = fit(space, trials=7, sampler="random")  # the second space has one combination
    optimizers = search.cv_results_["param_optimizer"].tolist()
    assert optimizers == ["adam"] * 6 + ["momentum"]
    assert search.best_score_ == search.cv_results_["mean_test_score"][search.best_index_]
    assert search.best_estimator_.optimizer == search.best_params_["optimizer"]
    assert len(search.study_.trials) in (6, 1)


def test_a_small_space_leaves_its_share_to_others():
    spaces = [{"dropout": [0.1, 0.2, 0.3], "learning_rate": [0.01]}, {"dropout": [0.5]}]
    dropouts = fit(spaces, trials=4).cv_results_["param_dropout"]
    assert sorted(dropouts.tolist()) == [0.1, 0.2, 0.3, 0.5]


@pytest.mark.parametrize(("space", "message"), [
    ([], "space must be a dict"), ("dropout", "space must be a dict"), ([{"dropout": [0.1]}, 3], "must be a dict"),
    ([{"dropout": [0.1]}, {"alpha": [1]}], "no parameter 'alpha'"),
    ([{"dropout": [0.1]}] * 3, "are 3 spaces to search"),
])  # fmt: skip
def test_unusable_spaces_are_rejected(space, message):
    with pytest.raises(SpecError, match=message):
        fit(space)


def test_only_a_fitted_search_has_features_and_classes():
    search = PopulationSearchCV(FAST, {"dropout": [0.1]}, trials=1, cv=2, refit=False).fit(X, Y)
    assert not hasattr(search, "classes_")
    search = clone(search).set_params(refit=True)
    assert not hasattr(search, "n_features_in_")
    assert search.fit(X, Y).n_features_in_ == 4
    assert search.classes_.tolist() == [0, 1, 2]
