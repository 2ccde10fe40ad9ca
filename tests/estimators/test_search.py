"""PopulationSearchCV follows scikit-learn's conventions."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    TimeSeriesSplit,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted

from rosenblatt.errors import SpecError, TableError
from rosenblatt.estimators.mlp import MLPClassifier, MLPRegressor
from rosenblatt.estimators.perceptron import Perceptron
from rosenblatt.estimators.search import PopulationSearchCV
from rosenblatt.models.model_file import load_model
from rosenblatt.spec.dimensions import choice, integer, log_uniform

X, Y = load_iris(return_X_y=True)
FAST = MLPClassifier(epochs=12, numeric_encoding="standard")
SPACE = {"hidden_sizes": [(8,), (16, 8)], "learning_rate": log_uniform(1e-3, 1e-1)}


@pytest.fixture(scope="module")
def search():
    return PopulationSearchCV(FAST, SPACE, trials=9, cv=3).fit(X, Y)


def test_cv_results_have_the_form_of_scikit_learns(search):
    results = search.cv_results_
    assert len(results["params"]) == 9
    assert {"split0_test_score", "split2_test_score", "std_test_score", "mean_fit_time"} <= set(results)
    assert results["param_hidden_sizes"][0] in ((8,), (16, 8))
    frame = pd.DataFrame(results)
    assert frame.shape[0] == 9
    assert results["rank_test_score"][search.best_index_] == 1
    assert results["state"][search.best_index_] == "finished"
    assert search.best_score_ == results["mean_test_score"][search.best_index_]
    folds = [results[f"split{k}_test_score"][search.best_index_] for k in range(3)]
    assert search.best_score_ == pytest.approx(np.mean(folds))
    assert search.best_params_ == results["params"][search.best_index_]
    assert search.n_splits_ == 3


def test_the_best_estimator_predicts(search):
    check_is_fitted(search)
    assert search.score(X, Y) > 0.9
    assert search.predict_proba(X).shape == (150, 3)
    np.testing.assert_array_equal(search.predict(X), search.best_estimator_.predict(X))
    assert search.best_estimator_.learning_rate == search.best_params_["learning_rate"]
    assert list(search.classes_) == [0, 1, 2]
    assert len(search.best_estimator_.model_.networks) == 3
    np.testing.assert_array_equal(search.decision_function(X), search.best_estimator_.decision_function(X))
    assert not hasattr(PopulationSearchCV(MLPClassifier(loss="hinge")), "predict_proba")


def test_equal_seeds_give_equal_searches_and_other_seeds_do_not(search):
    same_seed, other_seed = (PopulationSearchCV(FAST, SPACE, trials=9, cv=3, random_state=s).fit(X, Y) for s in (0, 1))
    np.testing.assert_array_equal(same_seed.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(same_seed.predict_proba(X), search.predict_proba(X))
    assert other_seed.best_params_ != search.best_params_


def test_the_ensemble_predicts_on_request(search):
    ensemble_search = PopulationSearchCV(FAST, SPACE, trials=9, cv=3, ensemble=True).fit(X, Y)
    np.testing.assert_array_equal(ensemble_search.predict_proba(X), search.ensemble_.predict_proba(X))


def test_it_is_saved_as_one_model(search, tmp_path):
    search.save(tmp_path / "iris.rosenblatt")
    np.testing.assert_array_equal(load_model(tmp_path / "iris.rosenblatt").predict_proba(X), search.predict_proba(X))


def test_it_can_be_cloned_piped_and_cross_validated():
    small = PopulationSearchCV(FAST, SPACE, trials=2, cv=2, scoring="accuracy")
    assert clone(small).get_params()["trials"] == 2
    assert clone(small).set_params(estimator__epochs=3).estimator.epochs == 3
    scores = cross_val_score(make_pipeline(StandardScaler(), small), X, Y, cv=2)
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


def test_scipy_distributions_are_accepted():
    space = {
        "learning_rate": stats.loguniform(1e-3, 1e-1),
        "dropout": stats.uniform(0.0, 0.5),
        "batch_size": stats.randint(8, 64),
    }
    params = PopulationSearchCV(FAST, space, trials=4, cv=2).fit(X, Y).cv_results_["params"]
    assert all(8 <= trial_params["batch_size"] < 64 and 0 <= trial_params["dropout"] <= 0.5 for trial_params in params)


@pytest.mark.parametrize(("name", "distribution", "check"), [
    ("learning_rate", stats.expon(scale=0.01), lambda values: (values > 0).all()),
    ("batch_size", stats.poisson(20), lambda values: values.dtype.kind == "i"),
])  # fmt: skip
def test_other_scipy_distributions_are_searched_by_their_quantiles(name, distribution, check):
    with pytest.warns(UserWarning, match=f"{name} is the SciPy distribution .* by 100 equally probable values"):
        search = PopulationSearchCV(FAST, {name: distribution}, trials=4, cv=2).fit(X, Y)
    assert check(np.array(search.cv_results_[f"param_{name}"].tolist()))


def test_repeated_choices_are_searched_once_with_a_warning():
    space = {"dropout": [0.1, np.float64(0.1), 0.2]}
    with pytest.warns(UserWarning, match="lists 1 value of dropout more than once"):
        search = PopulationSearchCV(FAST, space, trials=2, cv=2).fit(X, Y)
    assert sorted(search.cv_results_["param_dropout"].tolist()) == [0.1, 0.2]


def test_numpy_numbers_are_accepted(tmp_path):
    space = {
        "batch_size": np.array([16, 32]),
        "epochs": range(5, 7),
        "learning_rate": log_uniform(np.float64(1e-3), np.float64(1e-2)),
    }
    fitted = PopulationSearchCV(FAST, space, trials=2, cv=np.int64(2)).fit(X, Y)
    fitted.save(tmp_path / "m.rosenblatt")
    assert fitted.n_splits_ == 2


def test_the_scoring_is_maximized():
    X2, y2 = X[Y > 0], Y[Y > 0]
    fitted = PopulationSearchCV(FAST, SPACE, trials=3, cv=2, scoring="roc_auc").fit(X2, y2)
    assert 0.5 < fitted.best_score_ <= 1
    by_loss = PopulationSearchCV(FAST, SPACE, trials=3, cv=2, scoring="loss").fit(X2, y2)
    assert by_loss.best_score_ < 0  # negative, as scikit-learn maximizes scores


def test_splitters_pairs_and_groups_are_used():
    groups = np.arange(150) % 10
    grouped = PopulationSearchCV(FAST, SPACE, trials=2, cv=GroupKFold(5)).fit(X, Y, groups=groups)
    assert grouped.n_splits_ == 5
    pairs = [(np.arange(0, 150, 2), np.arange(1, 150, 2))]
    assert PopulationSearchCV(FAST, SPACE, trials=2, cv=pairs).fit(X, Y).n_splits_ == 1
    order = np.random.default_rng(0).permutation(150)
    time_series = PopulationSearchCV(FAST, SPACE, trials=2, cv=TimeSeriesSplit(3)).fit(X[order], Y[order])
    assert time_series.n_splits_ == 3
    grouped_folds = PopulationSearchCV(FAST, SPACE, trials=2, cv=5).fit(X, Y, groups=groups)
    assert grouped_folds.n_splits_ == 5


def test_rows_of_zero_weight_are_removed_from_given_splits():
    weight = np.ones(150)
    weight[:20] = 0
    pairs = [(np.arange(0, 150, 2), np.arange(1, 150, 2))]
    fitted = PopulationSearchCV(FAST, SPACE, trials=2, cv=pairs).fit(X, Y, sample_weight=weight)
    assert fitted.best_estimator_.model_.metadata.rows == 130
    with pytest.raises(TableError, match="without training or validation rows"):
        PopulationSearchCV(FAST, SPACE, trials=2, cv=[(np.arange(20), np.arange(20, 40))]).fit(X, Y, weight)


def test_regressors_and_perceptrons_are_searched():
    Xd, yd = load_diabetes(return_X_y=True)
    Xtrain, Xtest, ytrain, ytest = train_test_split(Xd, yd, random_state=0)
    space = {"hidden_sizes": [(16,), (32,)], "learning_rate": log_uniform(1e-3, 1e-1)}
    fitted = PopulationSearchCV(MLPRegressor(epochs=30), space, trials=6, cv=3).fit(Xtrain, ytrain)
    assert fitted.score(Xtest, ytest) > 0.2
    assert fitted.best_score_ > 0.2
    perceptrons = PopulationSearchCV(
        Perceptron(epochs=5), {"perceptron_rule": ["rosenblatt", "averaged"]}, trials=2, cv=3
    )
    assert perceptrons.fit(X, Y).decision_function(X).shape == (150, 3)


def test_the_default_space_and_minutes():
    fitted = PopulationSearchCV(MLPClassifier(epochs=5), trials=None, minutes=0.02, cv=2).fit(X, Y)
    assert len(fitted.cv_results_["params"]) >= 1
    assert fitted.predict(X).shape == (150,)


def test_the_study_is_an_optuna_study(search):
    assert len(search.study_.trials) == 9
    assert search.study_.best_value == pytest.approx(min(t.value for t in search.study_.trials if t.value is not None))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: PopulationSearchCV(StandardScaler(), SPACE), TypeError, "but it is a StandardScaler"),
        (lambda: PopulationSearchCV(FAST, {"alpha": [1]}), SpecError, "no parameter 'alpha'"),
        (lambda: PopulationSearchCV(FAST, {"seed": [0, 1]}), SpecError, "no parameter 'seed'"),
        (lambda: PopulationSearchCV(FAST, SPACE, trials=None), SpecError, "trials and minutes are both None"),
        (lambda: PopulationSearchCV(FAST, SPACE, cv=60), SpecError, "rarest class has only 50 rows"),
        (lambda: PopulationSearchCV(FAST, SPACE, sampler="tpee"), SpecError, "Did you mean 'tpe'"),
        (lambda: PopulationSearchCV(FAST, SPACE, scoring="roc_aoc"), SpecError, "Did you mean 'roc_auc'"),
        (lambda: PopulationSearchCV(FAST, {"batch_size": integer(1, 0)}), SpecError, "1 is above 0"),
        (lambda: PopulationSearchCV(FAST, {"dropout": choice(2.0)}), SpecError, "dropout must be"),
    ],
)
def test_invalid_settings_are_rejected(make, error, message):
    with pytest.raises(error, match=message):
        make().fit(X, Y)


def test_a_class_with_one_row_is_searched_with_two_folds():
    x, y = X[:51], Y[:51]
    with pytest.raises(SpecError, match=r"folds is 3, but the rarest class has only 1 row\. Set folds to 2 or auto"):
        PopulationSearchCV(FAST, SPACE, trials=2, cv=3).fit(x, y)
    for cv in (None, 2):
        assert PopulationSearchCV(FAST, SPACE, trials=2, cv=cv).fit(x, y).n_splits_ == (2 if cv else 4)


@pytest.mark.parametrize(("cv", "message"), [
    ([], "holds no fold"), (iter(()), "holds no fold"), (PredefinedSplit(np.full(150, -1)), "holds no fold"),
    (2.5, "but it is 2.5"), ("kfold", "but it is 'kfold'"), (KFold, "but it is <class"),
    ([5], "rows 0 to 149, but it holds 5"), ([([0, 1], [999])], "rows 0 to 149"), ([([0.5], [1])], "rows 0 to 149"),
    ([([1], [2], [3])], "but it holds"), ([([0, 1], [])], "without training or validation rows"),
])  # fmt: skip
def test_an_unusable_cv_is_rejected_in_one_sentence(cv, message):
    with pytest.raises(ValueError, match=message):
        PopulationSearchCV(FAST, SPACE, trials=1, cv=cv).fit(X, Y)
