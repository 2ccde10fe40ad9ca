"""Recurrent estimators for sequences, texts and tags."""

import numpy as np
import pytest
from sklearn.base import clone

from rosenblatt.errors import SpecError, TableError
from rosenblatt.estimators.cnn import CNNClassifier
from rosenblatt.estimators.rnn import RNNClassifier, RNNRegressor, RNNTagger
from rosenblatt.estimators.search import PopulationSearchCV

pytestmark = pytest.mark.torch

FAST = {"members": 1, "folds": 1, "n_jobs": 1}
RNG = np.random.default_rng(0)


def sequences(n=80):
    X = [RNG.normal(size=(RNG.integers(1, 12), 2)) for _ in range(n)]
    return X, np.array([int(row[:, 0].sum() > 0) for row in X])


def test_a_batch_may_hold_all_rows():
    rows = [np.ones((3, 1)), np.zeros((2, 1))] * 10
    network = RNNClassifier(batch_size="full", epochs=2, recurrent_width=4, members=1, folds=1).fit(rows, [0, 1] * 10)
    assert network.model_.resolved_spec["cores"] == 1


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_sequences_of_unequal_length_are_classified(cell):
    X, y = sequences()
    network = RNNClassifier(rnn_cell=cell, epochs=40, recurrent_width=8, learning_rate=0.02, **FAST).fit(X, y)
    assert network.score(X, y) > 0.85
    assert network.predict_proba([np.empty((0, 2)), np.ones((3000, 2))]).shape == (2, 2)


def test_numbers_are_predicted_from_sequences():
    X, _ = sequences(120)
    y = np.array([row[:, 1].mean() for row in X])
    network = RNNRegressor(epochs=40, recurrent_width=8, global_pooling="mean", learning_rate=0.02, **FAST).fit(X, y)
    assert network.score(X, y) > 0.7


def test_a_tagger_predicts_a_tag_for_each_step():
    X, _ = sequences(100)
    y = [["up" if value > 0 else "down" for value in row[:, 0]] for row in X]
    network = RNNTagger(epochs=20, recurrent_width=8, learning_rate=0.02, **FAST).fit(X, y)
    assert network.score(X, y) > 0.9
    assert [len(row) for row in network.predict(X[:5])] == [len(row) for row in X[:5]]
    assert network.predict_proba(X[:1])[0].shape == (len(X[0]), 2)
    words = RNNTagger(epochs=2, recurrent_width=4, **FAST).fit(["abab", "ba", "b"] * 8, ["uvuv", "vu", "v"] * 8)
    assert [len(row) for row in words.predict(["ab", "bab", "", "babababa"])] == [2, 3, 0, 8]
    assert 0 <= words.score(["ab", "bab"], ["uv", "vuv"]) <= 1


def test_a_tagger_never_truncates_long_rows(tmp_path):
    X = [RNG.normal(size=(20, 1)) for _ in range(198)] + [RNG.normal(size=(60, 1)) for _ in range(2)]
    y = [(row[:, 0] > 0).astype(int) for row in X]
    network = RNNTagger(epochs=8, recurrent_width=6, learning_rate=0.03, **FAST).fit(X, y)
    assert network.score(X[-2:], y[-2:]) > 0.95
    assert network.predict([np.zeros((150, 1))])[0].shape == (150,)
    network.save(tmp_path / "tags.rosenblatt")
    loaded = RNNTagger.load(tmp_path / "tags.rosenblatt")
    np.testing.assert_array_equal(loaded.predict(X[-1:])[0], network.predict(X[-1:])[0])
    for estimator in (RNNClassifier, RNNRegressor):
        with pytest.raises(TableError, match=f"of kind rnn for tagging, which {estimator.__name__} cannot load"):
            estimator.load(tmp_path / "tags.rosenblatt")


def test_a_search_of_taggers_compares_losses_and_chooses_the_token_unit_that_matches_the_tags():
    texts, tags = ["the cat sat", "a dog"] * 20, [["D", "N", "V"], ["D", "N"]] * 20
    space = {"learning_rate": [0.001, 0.01]}
    search = PopulationSearchCV(RNNTagger(epochs=1, recurrent_width=4), space, trials=2, cv=2).fit(texts, tags)
    assert search.best_score_ == search.cv_results_["mean_test_score"].max() < 0
    assert search.score(texts, tags) == search.best_estimator_.score(texts, tags) >= 0
    assert [len(row) for row in search.predict(["the cat", "dog"])] == [2, 1]


def test_a_tagger_chooses_the_token_unit_that_matches_the_tags():
    texts, tags = ["the cat sat", "a dog"] * 20, [["D", "N", "V"], ["D", "N"]] * 20
    network = RNNTagger(epochs=1, recurrent_width=4, **FAST).fit(texts, tags)
    assert network.model_.resolved_spec["tokens"] == "words"
    assert [len(row) for row in network.predict(["the cat", "dog"])] == [2, 1]
    with pytest.raises(TableError, match=r"Row 2 has 2 tags, but 3 words \('a dog!'\)\. Give each step one tag"):
        network.fit(["the cat sat", "a dog!"] * 20, tags)
    with pytest.raises(TableError, match="Row 1 has 2 tags, but 3 steps"):
        network.score(["the cat sat"], [["D", "N"]])
    other = texts[:1], [["D", "N", "V"]]  # their longest row has another length
    RNNTagger(epochs=1, recurrent_width=4, **FAST).fit(texts, tags, validation=other)
    with pytest.raises(TableError, match="'X', which is not one of the classes"):
        network.fit(texts, tags, validation=(texts[:2], [["D", "N", "X"], ["D", "N"]]))
    with pytest.raises(SpecError, match="max_length would cut tagged steps"):
        RNNTagger(max_length=2, **FAST).fit(texts, tags)
    with pytest.raises(SpecError, match="tokens subwords cannot be tagged"):
        RNNTagger(tokens="subwords", **FAST).fit(texts, tags)
    letters = ["abc", "ca"] * 10, [["A", "B", "C"], ["C", "A"]] * 10
    with pytest.raises(TableError, match="Row 1 has 1 tag, but 3 characters"):
        RNNTagger(epochs=1, **FAST).fit(*letters, validation=(["abc"], [["A"]]))


def test_equal_seeds_give_equal_networks_and_clones_are_unfitted(tmp_path):
    X, y = sequences(40)
    network = RNNClassifier(epochs=2, recurrent_width=4, members=2, random_state=3)
    model, single_core = clone(network).fit(X, y), clone(network).set_params(n_jobs=1).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X), single_core.predict_proba(X))
    model.save(tmp_path / "m.rosenblatt")
    np.testing.assert_array_equal(
        RNNClassifier.load(tmp_path / "m.rosenblatt").predict_proba(X), model.predict_proba(X)
    )
    with pytest.raises(TableError, match="which CNNClassifier cannot load"):
        CNNClassifier.load(tmp_path / "m.rosenblatt")


@pytest.mark.parametrize(
    ("network", "X", "y", "message"),
    [
        (RNNClassifier(**FAST), [np.zeros((3, 2)), np.zeros((3, 1))], [0, 1], "have .1, 2. channels"),
        (RNNClassifier(**FAST), [[1.0, 2.0], "words"], [0, 1], "row 1 is 'words'"),
        (RNNClassifier(**FAST), [[1.0, np.inf], [1.0]], [0, 1], "infinite"),
        (RNNTagger(**FAST), [[1.0], [2.0]], [["a"], ["a"]], "only one tag"),
        (RNNTagger(**FAST), [[1.0], [2.0]], [["a"]], "each of the 2 rows of X, but it holds 1"),
        (RNNTagger(**FAST), [[1.0], [2.0]], [["a"], ["a", "b"]], "Row 2 has 2 tags, but 1 step"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_unusable_input_is_rejected_with_the_reason(network, X, y, message):
    with pytest.raises(TableError, match=message):
        network.fit(X, y)
