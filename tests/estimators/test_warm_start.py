"""Fits that continue from the previous fit."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris

from rosenblatt.errors import SpecError, TableError
from rosenblatt.estimators.mlp import MLPClassifier, MLPRegressor
from rosenblatt.estimators.perceptron import Perceptron
from rosenblatt.estimators.rnn import RNNTagger

X, Y = load_iris(return_X_y=True)
FAST = {"members": 2, "hidden_sizes": (16,), "bins": 8, "epochs": 5}


def test_repeated_fits_continue_where_the_previous_one_ended():
    warm, cold = (MLPClassifier(**FAST, warm_start=warm_start).fit(X, Y) for warm_start in (True, False))
    first_loss = warm.model_.networks[0].losses[-1]
    np.testing.assert_array_equal(warm.predict_proba(X), cold.predict_proba(X))
    for _ in range(3):
        warm.fit(X, Y)
        cold.fit(X, Y)
    assert warm.n_iter_ == cold.n_iter_ == 5
    assert warm.model_.networks[0].losses[0] < first_loss
    assert cold.model_.networks[0].losses[-1] == first_loss


def test_the_learning_rate_and_the_number_of_members_may_change():
    model = MLPClassifier(**FAST, warm_start=True).fit(X, Y)
    before = model.predict_proba(X)
    model.set_params(learning_rate=1e-9, members=3, epochs=1).fit(X[:100], Y[:100])
    assert len(model.model_.networks) == 3
    assert np.abs(model.predict_proba(X) - before).max() < 0.2


def test_other_networks_of_a_warm_start_are_rejected():
    model = MLPClassifier(**FAST, warm_start=True).fit(X, Y)
    with pytest.raises(
        SpecError, match="warm_start continues the networks of the previous fit, but network of the spec"
    ):
        model.set_params(hidden_sizes=(8,)).fit(X, Y)
    with pytest.raises(SpecError, match=r"but data and training\.loss of the spec changed"):
        model.set_params(hidden_sizes=(16,), bins=4, loss="focal").fit(X, Y)
    with pytest.raises(TableError, match="is not one of the classes"):
        model.set_params(bins=8, loss="auto").fit(X, Y + 1)
    with pytest.raises(ValueError, match="expecting 4 features"):
        model.fit(X[:, :2], Y)


def test_regressors_perceptrons_and_loaded_models_continue(tmp_path):
    rows, y = load_diabetes(return_X_y=True)
    regressor = MLPRegressor(**FAST, warm_start=True).fit(rows, y)
    score = regressor.score(rows, y)
    regressor.save(tmp_path / "m")
    loaded = MLPRegressor.load(tmp_path / "m").set_params(warm_start=True)
    assert loaded.fit(rows, y).score(rows, y) > score
    np.testing.assert_array_equal(loaded.predict(rows), regressor.fit(rows, y).predict(rows))
    for rule in ("rosenblatt", "averaged", "kernel"):
        perceptron = Perceptron(perceptron_rule=rule, epochs=3, warm_start=True).fit(X, Y)
        assert perceptron.fit(X, Y).score(X, Y) > 0.7


@pytest.mark.torch
def test_taggers_continue():
    rows, tags = [[1.0, -1.0], [2.0]] * 10, [["up", "down"], ["up"]] * 10
    tagger = RNNTagger(members=1, epochs=5, recurrent_width=4, warm_start=True).fit(rows, tags)
    loss = tagger.model_.networks[0].losses[-1]
    assert tagger.fit(rows, tags).model_.networks[0].losses[0] < loss + 0.05
