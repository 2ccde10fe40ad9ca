"""`PopulationSearchCV` over a Pipeline: its steps are fitted on the training rows of each fold."""

import pickle
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from scipy.stats import uniform
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from rosenblatt.errors import SpecError
from rosenblatt.estimators.cnn import CNNClassifier
from rosenblatt.estimators.mlp import MLPClassifier, MLPRegressor
from rosenblatt.estimators.perceptron import Perceptron
from rosenblatt.estimators.search import PopulationSearchCV
from rosenblatt.spec.dimensions import log_uniform

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4)) * [1, 10, 0.1, 5] + 3
Y = (X[:, 0] - 3 > (X[:, 1] - 3) / 10).astype(int)
SMALL = MLPClassifier(epochs=6, hidden_sizes=(8,), members=2, numeric_encoding="none")
OPTIONS = {"trials": 2, "cv": 3, "stopping": "none"}


class Recorder(TransformerMixin, BaseEstimator):
    """Records the rows that it is fitted on and that it transforms."""

    fits: ClassVar[list] = []  # shared by clones

    def fit(self, X, y):
        assert len(X) == len(y)
        self.fitted_ = True
        self.fits.append((X[:, 0], []))
        return self

    def transform(self, X):
        self.fits[-1][1].append(X[:, 0])
        return X


def search(steps, space, y=Y, network=SMALL, x=X, **options):
    return PopulationSearchCV(make_pipeline(*steps, network), space, **OPTIONS | options).fit(x, y)


def test_steps_are_fitted_on_the_training_rows_of_each_fold():
    Recorder.fits.clear()
    splits = list(KFold(3).split(X))
    search([Recorder()], {"mlpclassifier__dropout": [0.1, 0.2]}, cv=splits, refit=False)
    assert len(Recorder.fits) == 3
    for (train, validation), (fitted, transformed) in zip(splits, Recorder.fits, strict=True):
        np.testing.assert_array_equal(fitted, X[train, 0])
        np.testing.assert_array_equal(transformed[1], X[validation, 0])


def test_without_a_change_of_the_rows_scores_are_those_of_the_network_alone():
    space = {"learning_rate": [0.01, 0.05]}
    alone = PopulationSearchCV(clone(SMALL).set_params(members="auto"), space, **OPTIONS | {"refit": False}).fit(X, Y)
    piped = search(["passthrough"], {f"mlpclassifier__{name}": v for name, v in space.items()})
    for key in ("mean_test_score", "std_test_score", "rank_test_score"):
        np.testing.assert_array_equal(piped.cv_results_[key], alone.cv_results_[key])
    assert piped.cv_results_["params"] == [
        {f"mlpclassifier__{name}": value for name, value in params.items()} for params in alone.cv_results_["params"]
    ]


def test_the_best_pipeline_is_fitted_to_all_rows():
    fitted = search([StandardScaler()], {"mlpclassifier__learning_rate": log_uniform(1e-3, 1e-1)})
    best = fitted.best_estimator_
    expected = clone(fitted.estimator).set_params(**fitted.best_params_).fit(X, Y)
    np.testing.assert_array_equal(fitted.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_allclose(best[0].mean_, X.mean(axis=0))
    assert clone(best).get_params().keys() == best.get_params().keys()
    restored = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(restored.predict(X), fitted.predict(X))
    assert fitted.score(X, Y) == (fitted.predict(X) == Y).mean()
    assert fitted.classes_.tolist() == [0, 1]
    assert fitted.n_features_in_ == 4
    assert fitted.refit_time_ > 0


def test_parameters_of_other_steps_are_searched_too():
    fitted = search(
        [StandardScaler()],
        {"standardscaler__with_mean": [True, False], "mlpclassifier__hidden_sizes": [(4,), (8,)]},
        trials=4,
    )
    means = fitted.cv_results_["param_standardscaler__with_mean"]
    assert sorted(means.tolist()) == [False, False, True, True]
    assert fitted.best_estimator_[0].with_mean == fitted.best_params_["standardscaler__with_mean"]


def test_a_step_may_be_replaced():
    steps = [StandardScaler(), MinMaxScaler(), "passthrough"]
    fitted = search([StandardScaler()], {"standardscaler": steps}, trials=3)
    assert fitted.cv_results_["param_standardscaler"].tolist() == steps
    assert {tuple(params) for params in fitted.cv_results_["params"]} == {
        ("mlpclassifier__batch_order", "standardscaler")  # the network is not searched
    }
    assert not hasattr(steps[0], "mean_")  # choices are cloned


@pytest.mark.parametrize("network", [SMALL, Perceptron(numeric_encoding="none", epochs=3)], ids=str)
def test_folds_may_have_different_columns(network):
    words = [" ".join(RNG.choice(list("abcdefghijklmnopqrstuvwxyz"), 3)) + f" word{i}" for i in range(90)]
    labels = ["a" in text.split() for text in words]
    vectorizer = TfidfVectorizer(token_pattern=r"\w+")
    fitted = search([vectorizer], {f"{type(network).__name__.lower()}__epochs": [2, 3]}, labels, network, words)
    assert fitted.predict(words).shape == (90,)
    assert len(fitted.best_estimator_[0].vocabulary_) > 90


def test_frames_weights_groups_and_several_targets_are_taken():
    frame = pd.DataFrame({"size": X[:, 0], "color": RNG.choice(list("rgb"), 90)})
    weight, groups = np.arange(90) % 3, np.arange(90) % 5
    columns = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["color"]), remainder="passthrough")
    fitted = PopulationSearchCV(
        make_pipeline(columns, MLPRegressor(epochs=3, members=2)), {"mlpregressor__hidden_sizes": [(4,), (5,)]},
        trials=2, cv=2,
    ).fit(frame, X[:, :2], sample_weight=weight, groups=groups)  # fmt: skip
    assert fitted.predict(frame).shape == (90, 2)
    assert fitted.feature_names_in_.tolist() == ["size", "color"]


def test_sparse_rows_stay_sparse_for_a_perceptron():
    network = Perceptron(numeric_encoding="none", epochs=3)
    fitted = search(["passthrough"], {"perceptron__epochs": [2, 3]}, Y, network, csr_array(X))
    assert fitted.best_estimator_[-1].model_.encoder.n_sparse_columns == 4


class SparseIfFew(TransformerMixin, BaseEstimator):
    """Returns sparse rows below some number of rows, as ColumnTransformer does below some density."""

    def __init__(self, n_rows=0):
        self.n_rows = n_rows

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def transform(self, X):
        return csr_array(X) if len(X) < self.n_rows else X


@pytest.mark.parametrize("network", [SMALL, Perceptron(numeric_encoding="none", epochs=3)], ids=str)
@pytest.mark.parametrize("sizes", [(20, 70), (70, 20)], ids=str)
def test_rows_may_be_sparse_in_some_folds(network, sizes):
    first, second = np.arange(90) < sizes[0], np.arange(90) >= sizes[0]
    splits = [(np.flatnonzero(first), np.flatnonzero(second)), (np.flatnonzero(second), np.flatnonzero(first))]
    space = {f"{type(network).__name__.lower()}__epochs": [2, 3]}
    columns = ["split0_test_score", "split1_test_score"]
    scores = [
        search([SparseIfFew(n_rows)], space, Y, network, cv=splits).cv_results_[column]
        for n_rows in (0, 50, 1000)
        for column in columns
    ]
    for of_mixed, of_dense, of_sparse in zip(scores[2:4], scores[:2], scores[4:], strict=True):
        np.testing.assert_array_equal(of_mixed, of_dense)
        np.testing.assert_array_equal(of_mixed, of_sparse)


@pytest.mark.parametrize(("space", "message"), [
    ({"standardscaler__with_mean": uniform()}, "needs a list of choices"),
    ({"standardscaler__with_mean": log_uniform(1, 2)}, "needs a list of choices"),
    ({"learning_rate": [0.1]}, "no parameter 'learning_rate' to search. Did you mean 'mlpclassifier__learning_rate'"),
    ({"mlpclassifier": [MLPClassifier()]}, "no parameter 'mlpclassifier'"),
    ({"steps": [[]]}, "no parameter 'steps'"), ({"memory": [None]}, "no parameter 'memory'"),
    ({"standardscaler__with_mean": [False, True], "standardscaler__with_std": [False, True]}, "trials to at least 4"),
    ({"mlpclassifier__n_jobs": [1]}, "no parameter 'n_jobs'"),
])  # fmt: skip
def test_spaces_that_cannot_be_searched_are_refused(space, message):
    with pytest.raises(SpecError, match=message):
        search([StandardScaler()], space)


def test_pipelines_that_cannot_be_searched_are_refused():
    with pytest.raises(SpecError, match="Set ensemble to False"):
        search([StandardScaler()], {}, ensemble=True)
    for last in (StandardScaler(), CNNClassifier()):
        with pytest.raises(TypeError, match=r"last step .* must be MLPClassifier"):
            PopulationSearchCV(make_pipeline(StandardScaler(), last)).fit(X, Y)
