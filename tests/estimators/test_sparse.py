"""Sparse matrices give the results of the dense ones."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from rosenblatt.errors import TableError
from rosenblatt.estimators.mlp import MLPClassifier, MLPRegressor
from rosenblatt.estimators.perceptron import Perceptron
from rosenblatt.estimators.search import PopulationSearchCV
from rosenblatt.models import prepared

RNG = np.random.default_rng(0)
DENSE = np.where(RNG.random((80, 9)) < 0.3, RNG.normal(size=(80, 9)), 0.0)
DENSE[:, 7] = 0.0
Y = (DENSE[:, 0] > DENSE[:, 1]).astype(int)
SMALL = {"members": 2, "epochs": 3, "hidden_sizes": (6,)}
FORMATS = ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"]


def equal_models(sparse_estimator, dense_estimator):
    assert sparse_estimator.model_.schema == dense_estimator.model_.schema
    assert sparse_estimator.model_.encoder == dense_estimator.model_.encoder
    for a, b in zip(sparse_estimator.model_.networks, dense_estimator.model_.networks, strict=True):
        np.testing.assert_array_equal(a.theta, b.theta)


@pytest.mark.parametrize("array_type", ["array", "matrix"])
@pytest.mark.parametrize("storage", FORMATS)
def test_every_format_of_scipy_gives_the_dense_result(storage, array_type):
    X = getattr(sparse, f"{storage}_{array_type}")(DENSE)
    dense = MLPClassifier(**SMALL).fit(DENSE, Y)
    estimator = MLPClassifier(**SMALL).fit(X, Y)
    equal_models(estimator, dense)
    np.testing.assert_array_equal(estimator.predict_proba(X), dense.predict_proba(DENSE))
    np.testing.assert_array_equal(estimator.predict(DENSE), dense.predict(X))
    assert estimator.score(X, Y) == dense.score(DENSE, Y)


@pytest.mark.parametrize("estimator", [
    *(MLPRegressor(**SMALL, numeric_encoding=name) for name in ("none", "standard", "robust", "quantile", "piecewise")),
    Perceptron(perceptron_rule="kernel"),
], ids=str)  # fmt: skip
def test_sparse_rows_are_encoded_like_dense_ones(estimator, monkeypatch):
    monkeypatch.setattr("rosenblatt.data.encoding.encoder.MAX_BLOCK_VALUES", 160)  # blocks of 2 or 3 columns
    monkeypatch.setattr(prepared, "MAX_BLOCK_VALUES", 63)  # and of 8 rows
    with_missing = DENSE.copy()
    with_missing[3, 2] = np.nan
    for X in (DENSE, with_missing):
        dense = estimator.fit(X, Y).model_
        encoded = estimator.fit(sparse.csr_array(X), Y).model_
        assert encoded.encoder == dense.encoder
        for a, b in zip(encoded.networks, dense.networks, strict=True):
            np.testing.assert_array_equal(a.theta, b.theta)
        np.testing.assert_array_equal(encoded.predict_raw(sparse.csr_array(X)), dense.predict_raw(X))


def test_weights_batches_and_searches_take_sparse_rows():
    X, weight = sparse.csr_array(DENSE), np.arange(80) % 3
    equal_models(*(MLPClassifier(**SMALL).fit(x, Y, weight, validation=(x, Y)) for x in (X, DENSE)))
    batches = [MLPRegressor(**SMALL).partial_fit(x[:40], Y[:40]).partial_fit(x[40:], Y[40:]) for x in (X, DENSE)]
    equal_models(*batches)
    searches = [
        PopulationSearchCV(MLPClassifier(epochs=2), {"hidden_sizes": [(4,), (5,)]}, trials=2, cv=2).fit(x, Y)
        for x in (X, DENSE)
    ]
    equal_models(*(search.best_estimator_ for search in searches))
    assert searches[0].score(X, Y) == searches[1].score(DENSE, Y)


def test_entries_that_occur_twice_are_added_and_the_matrix_is_not_changed():
    X = sparse.csr_array((np.ones(4), [1, 0, 0, 1], [0, 3, 4]), shape=(2, 2))
    MLPClassifier(**SMALL).fit(X, [0, 1])
    np.testing.assert_array_equal(X.indices, [1, 0, 0, 1])
    models = [MLPRegressor(**SMALL).fit(x, [0.0, 1.0]) for x in (X, X.toarray())]
    equal_models(*models)


def test_a_model_of_sparse_rows_is_saved_and_loaded(tmp_path):
    X = sparse.csr_array(DENSE)
    estimator = MLPClassifier(**SMALL).fit(X, Y)
    estimator.save(tmp_path / "m")
    np.testing.assert_array_equal(MLPClassifier.load(tmp_path / "m").predict_proba(X), estimator.predict_proba(X))


def test_a_dense_copy_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr(prepared, "free_memory", lambda: 100)
    X = sparse.csr_array(DENSE)
    with pytest.raises(TableError, match=r"80 x 9, which takes 0.0 GiB .* 0.0 GiB of memory are free. Use fewer"):
        MLPClassifier(**SMALL).fit(X, Y)
    assert Perceptron(numeric_encoding="none").fit(X, Y).predict(X).shape == (80,)


def test_words_are_classified_in_a_pipeline():
    texts = ["red apple", "green apple", "red car", "green car", "blue car", "old apple"] * 10
    labels = ["fruit" if "apple" in text else "vehicle" for text in texts]
    pipeline = make_pipeline(TfidfVectorizer(), MLPClassifier(members=2, epochs=30, batch_size=8)).fit(texts, labels)
    assert pipeline.predict(["an apple", "my car"]).tolist() == ["fruit", "vehicle"]
