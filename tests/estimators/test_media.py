"""Convolutional and recurrent estimators: forms of input, tasks, and scikit-learn's conventions."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image
from sklearn.base import clone

from rosenblatt.data.media.columns import to_media_column
from rosenblatt.errors import SpecError, TableError
from rosenblatt.estimators.cnn import CNNClassifier, CNNRegressor
from rosenblatt.estimators.forecaster import RNNForecaster
from rosenblatt.estimators.rnn import RNNClassifier, RNNRegressor, RNNTagger
from rosenblatt.inspection.report import Report

pytestmark = pytest.mark.torch

FAST = {"members": 1, "folds": 1, "n_jobs": 1}
TINY = {"channels": (4,), "block_layers": 1, "residual": False, **FAST}
RNG = np.random.default_rng(0)


def bright_images(n=60, size=(6, 5, 3)):
    """Images whose upper or lower half is brighter."""
    X = RNG.integers(0, 100, (n, *size)).astype(np.uint8)
    top = RNG.random(n) < 0.5
    X[top, :3] += 120
    X[~top, 3:] += 120
    return X, np.where(top, "top", "bottom")


def test_images_may_be_arrays_or_lists_of_arrays_of_any_size():
    X, y = bright_images(200)
    network = CNNClassifier(epochs=15, global_pooling="flatten", cutout=0.0, crop=0.0, **TINY).fit(X, y)
    assert network.score(X, y) > 0.9
    assert network.classes_.tolist() == ["bottom", "top"]
    np.testing.assert_allclose(network.predict_proba(X[:4]).sum(axis=1), 1)
    np.testing.assert_allclose(network.predict_proba(list(X[:4])), network.predict_proba(X[:4]), atol=1e-6)
    assert network.predict([X[0], np.repeat(np.repeat(X[1], 2, 0), 2, 1)]).shape == (2,)


def test_a_batch_may_hold_all_rows():
    rows = [np.ones((3, 1)), np.zeros((2, 1))] * 10
    network = RNNClassifier(batch_size="full", epochs=2, recurrent_width=4, members=1, folds=1).fit(rows, [0, 1] * 10)
    assert network.model_.resolved_spec["cores"] == 1


def test_cores_are_divided_among_networks_and_recorded(monkeypatch):
    X, y = bright_images(40)
    monkeypatch.setattr("rosenblatt.models.fit.cores", lambda: 2)
    wide = TINY | {"n_jobs": None, "channels": (16,), "epochs": 2}
    all_cores = CNNClassifier(**wide).fit(X, y)
    assert all_cores.model_.resolved_spec["cores"] == 2
    for changes in ({"members": 2}, {"channels": (4,)}):
        assert CNNClassifier(**wide | changes).fit(X, y).model_.resolved_spec["cores"] == 1
    single_core = CNNClassifier(**wide, cores=1).fit(X, y)
    np.testing.assert_array_equal(
        single_core.predict_proba(X), CNNClassifier(**wide | {"n_jobs": 1}).fit(X, y).predict_proba(X)
    )
    np.testing.assert_allclose(single_core.predict_proba(X), all_cores.predict_proba(X), atol=1e-3)


def test_images_may_have_one_or_many_channels():
    X, y = bright_images(40, (6, 5))
    assert set(CNNClassifier(epochs=1, **TINY).fit(X, y).predict(X)) <= {"top", "bottom"}
    multichannel = RNG.normal(size=(40, 6, 5, 7)).astype(np.float32)
    assert CNNRegressor(epochs=1, **TINY).fit(multichannel, multichannel.mean(axis=(1, 2, 3))).predict(
        multichannel
    ).shape == (40,)


def test_images_may_be_paths_of_files(tmp_path):
    X, y = bright_images(12)
    paths = [tmp_path / f"{k}.png" for k in range(12)]
    for path, image in zip(paths, X, strict=True):
        Image.fromarray(image).save(path)
    network = CNNClassifier(epochs=2, **TINY).fit(paths, y)
    np.testing.assert_allclose(network.predict_proba(paths), network.predict_proba(X), atol=1e-6)


def sequences(n=80):
    X = [RNG.normal(size=(RNG.integers(1, 12), 2)) for _ in range(n)]
    return X, np.array([int(row[:, 0].sum() > 0) for row in X])


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_sequences_of_unequal_length_are_classified(cell):
    X, y = sequences()
    network = RNNClassifier(rnn_cell=cell, epochs=40, recurrent_width=8, learning_rate=0.02, **FAST).fit(X, y)
    assert network.score(X, y) > 0.85
    assert network.predict_proba([np.empty((0, 2)), np.ones((3000, 2))]).shape == (2, 2)


def test_a_frame_may_hold_texts_numbers_and_categories():
    texts = ["good film", "bad film", "so bad", "good good"] * 15
    frame = pl.DataFrame(
        {"text": texts, "n": RNG.normal(size=60), "label": pl.Series(["a", "b"] * 30, dtype=pl.Categorical)}
    )
    y = ["good" in text for text in texts]
    network = RNNClassifier(epochs=15, recurrent_width=8, learning_rate=0.02, **FAST).fit(frame, y)
    assert network.score(frame, y) == 1.0
    assert network.model_.encoder.feature_names == ["n", "label = a", "label = b"]
    assert RNNClassifier(epochs=1, recurrent_width=4, **FAST).fit(texts, y).predict(["unseen words ☃", ""]).shape == (
        2,
    )


def test_pandas_and_polars_frames_may_hold_sequences_texts_and_categories():
    steps = [RNG.normal(size=(k % 5 + 1, 2)) for k in range(40)]
    city, n = pd.Categorical(["Oslo", "Rome"] * 20), RNG.normal(size=40)
    frame = pd.DataFrame({"steps": steps, "words": ["some words"] * 40, "city": city, "n": n})
    network = RNNClassifier(epochs=1, recurrent_width=4, **FAST).fit(frame, ["a", "b"] * 20)
    kinds = {encoding.column: encoding.kind for encoding in network.model_.encoder.encodings}
    assert kinds == {"steps": "sequence", "words": "text", "city": "category", "n": "number"}
    assert network.predict(frame[:3]).shape == (3,)
    polars = pl.DataFrame({"steps": [[1.0, 2.0], [3.0]] * 20, "words": ["x y", "z"] * 20})
    network.fit(polars, ["a", "b"] * 20)
    assert [encoding.kind for encoding in network.model_.encoder.encodings] == ["sequence", "text"]
    with pytest.raises(TypeError, match="Column 's' must hold sequences of numbers"):
        network.fit(pd.DataFrame({"s": [[1.0], "x"] * 20}), ["a", "b"] * 20)


def test_frames_may_hold_images_as_paths_or_bytes(tmp_path):
    X, y = bright_images(12)
    paths = [str(tmp_path / f"{k}.png") for k in range(12)]
    for path, image in zip(paths, X, strict=True):
        Image.fromarray(image).save(path)
    contents = [Path(path).read_bytes() for path in paths]
    by_path, by_content = (pl.DataFrame({"photo": cells, "n": range(12)}) for cells in (paths, contents))
    network = CNNClassifier(epochs=1, **TINY).fit(by_path, y)
    assert [encoding.kind for encoding in network.model_.encoder.encodings] == ["image", "number"]
    np.testing.assert_allclose(network.predict_proba(by_content), network.predict_proba(by_path), atol=1e-6)


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


def test_a_tagger_chooses_the_token_unit_that_matches_the_tags():
    texts, tags = ["the cat sat", "a dog"] * 20, [["D", "N", "V"], ["D", "N"]] * 20
    network = RNNTagger(epochs=1, recurrent_width=4, **FAST).fit(texts, tags)
    assert network.model_.resolved_spec["tokens"] == "words"
    assert [len(row) for row in network.predict(["the cat", "dog"])] == [2, 1]
    with pytest.raises(TableError, match=r"Row 2 has 2 tags, but 3 words \('a dog!'\)\. Give each step its tag"):
        network.fit(["the cat sat", "a dog!"] * 20, tags)
    with pytest.raises(TableError, match="Row 1 has 2 tags, but 3 steps"):
        network.score(["the cat sat"], [["D", "N"]])
    other = texts[:1], [["D", "N", "V"]]  # their longest row has another length
    RNNTagger(epochs=1, recurrent_width=4, **FAST).fit(texts, tags, validation=other)
    with pytest.raises(TableError, match="'X', which is not among the classes"):
        network.fit(texts, tags, validation=(texts[:2], [["D", "N", "X"], ["D", "N"]]))
    with pytest.raises(SpecError, match="max_length cuts rows, but each of their steps has its tag"):
        RNNTagger(max_length=2, **FAST).fit(texts, tags)
    with pytest.raises(SpecError, match="Subwords have no tags of their own"):
        RNNTagger(tokens="subwords", **FAST).fit(texts, tags)
    letters = ["abc", "ca"] * 10, [["A", "B", "C"], ["C", "A"]] * 10
    with pytest.raises(TableError, match="Row 1 has 1 tags, but 3 characters"):
        RNNTagger(epochs=1, **FAST).fit(*letters, validation=(["abc"], [["A"]]))


def test_series_are_forecast():
    series = [abs(step % 8 - 4) for step in range(160)]
    network = RNNForecaster(horizon=4, epochs=40, recurrent_width=16, learning_rate=0.01, **FAST).fit(series)
    assert abs(network.predict() - [4, 3, 2, 1]).max() < 0.7
    several = network.predict([series[:50], series[:53]])
    assert several.shape == (2, 4)
    assert network.score([series[:50], series[:51]], [series[50:54], series[51:55]]) > 0.5


def test_series_may_be_frames_with_or_without_times(tmp_path):
    config = {"horizon": 2, "epochs": 2, "recurrent_width": 4, "random_state": 1, **FAST}
    first_series, second_series = [float(step % 5) for step in range(40)], [float(step % 3) for step in range(30)]
    column_forecaster = RNNForecaster(**config).fit(pd.DataFrame({"a": first_series, "b": first_series}))
    np.testing.assert_array_equal(
        RNNForecaster(**config).fit([first_series, first_series]).predict(), column_forecaster.predict()
    )
    series_forecaster = RNNForecaster(**config).fit(pd.Series(first_series))
    np.testing.assert_array_equal(
        series_forecaster.predict(), RNNForecaster(**config).fit(np.array(first_series)).predict()
    )
    series_forecaster.save(tmp_path / "s.rosenblatt")
    loaded = clone(RNNForecaster.load(tmp_path / "s.rosenblatt")).fit(first_series)
    np.testing.assert_array_equal(loaded.predict(), series_forecaster.predict())
    days = pd.date_range("2024-01-01", periods=40).to_list()
    table = pd.DataFrame(
        {
            "day": days + days[:32],
            "shop": ["x"] * 40 + ["y"] * 32,
            "sold": [*first_series, *second_series, None, None],
            "open": [True, False] * 36,
        }
    )
    forecaster = RNNForecaster(time="day", series="shop", known_covariates=("open",), **config).fit(table[:-2], "sold")
    with pytest.raises(TableError, match="'open' is known in advance, but series 'x' has only 0 of 2 rows"):
        forecaster.predict()
    future_rows = table[40:]
    assert forecaster.predict(future_rows).shape == (1, 2)
    forecaster.save(tmp_path / "m.rosenblatt")
    restored = RNNForecaster.load(tmp_path / "m.rosenblatt")
    assert restored.known_covariates == ("open",)
    np.testing.assert_array_equal(restored.predict(future_rows), forecaster.predict(future_rows))
    assert restored.score(table) == forecaster.score(table)
    with pytest.raises(TableError, match="not saved in the model file"):
        restored.predict()
    with pytest.raises(TableError, match="X must be a frame and y the name of the column"):
        forecaster.fit(table)


def test_forecasts_are_scored_by_r2_and_epochs_are_chosen_by_the_given_scorer():
    series = [float(step % 4) for step in range(60)]
    config = {"horizon": 2, "epochs": 3, "recurrent_width": 4, **FAST}
    network = RNNForecaster(scoring="neg_mean_absolute_error", **config).fit(series)
    assert network.model_.resolved_spec.training.scoring == "neg_mean_absolute_error"
    assert network.n_iter_ == 3
    predictions = network.predict([series[:50]])
    assert network.score([series[:50]], predictions) == 1
    assert -10 < network.score(series[:50], series[50:52]) < 1
    with pytest.raises(TableError, match="holds one value only"):
        RNNForecaster(**config).fit([7.0] * 40)
    with pytest.raises(TableError, match=r"too short to forecast: '1'\. Remove them"):
        network.predict([series, [1.0]])


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
        (CNNClassifier(**TINY), np.zeros((4, 5)), [0, 1, 0, 1], "images .* but its shape is"),
        (CNNClassifier(**TINY), np.zeros((4, 5, 5)), [0, 0, 0, 0], "only one class"),
        (CNNClassifier(**TINY), ["gone.png", "lost.png"], [0, 1], "'?gone.png'? cannot be read"),
        (CNNClassifier(**TINY), [np.zeros((3, 3)), "a.png"], [0, 1], "both paths and arrays"),
        (RNNClassifier(**FAST), [np.zeros((3, 2)), np.zeros((3, 1))], [0, 1], "have .1, 2. channels"),
        (RNNClassifier(**FAST), [[1.0, 2.0], "words"], [0, 1], "row 1 is 'words'"),
        (RNNClassifier(**FAST), [[1.0, np.inf], [1.0]], [0, 1], "infinite"),
        (RNNTagger(**FAST), [[1.0], [2.0]], [["a"], ["a"]], "only one tag"),
        (RNNTagger(**FAST), [[1.0], [2.0]], [["a"]], "each of the 2 rows of X, but it holds 1"),
        (RNNTagger(**FAST), [[1.0], [2.0]], [["a"], ["a", "b"]], "Row 2 has 2 tags, but 1 steps"),
        (RNNForecaster(horizon=9, **FAST), [1.0, 2.0, 3.0], None, "No series is longer"),
        (RNNForecaster(**FAST), [], None, "X holds no series"),
        (RNNForecaster(**FAST), ["a", "b"], None, "X must be a series of numbers"),
        (RNNForecaster(**FAST), np.zeros((9, 4, 2)), None, "X must be a series of numbers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_unusable_input_is_rejected_with_the_reason(network, X, y, message):
    with pytest.raises(TableError, match=message):
        network.fit(X, y)


def test_training_and_validation_images_must_be_stored_alike(tmp_path):
    X, y = bright_images(10)
    Image.fromarray(X[0]).save(tmp_path / "a.png")
    with pytest.raises(
        TableError, match="holds images in the training rows, but paths of images in the validation rows"
    ):
        CNNClassifier(**TINY).fit(X, y, validation=([str(tmp_path / "a.png")], y[:1]))


def test_predictions_for_no_rows_are_empty():
    X, y = bright_images(20)
    network = CNNClassifier(epochs=1, **TINY).fit(X, y)
    assert network.model_.predict(network._frame(X, reset=False)[:0]).shape == (0,)
    for rows in (["ab", "b"] * 10, [np.ones((3, 2)), np.zeros((2, 2))] * 10):
        sequence_network = RNNClassifier(epochs=1, recurrent_width=4, **FAST).fit(rows, [0, 1] * 10)
        assert sequence_network.model_.predict(sequence_network._frame(rows, reset=False)[:0]).shape == (0,)


def test_reports_are_made_for_images_and_tags():
    X, y = bright_images(20)
    report = Report.from_estimator(CNNClassifier(epochs=1, **TINY).fit(X, y), X, y)
    assert report["Confusion matrix"]
    assert report.rows == 20
    rows, tags = [[1.0, -1.0], [2.0]] * 10, [["up", "down"], ["up"]] * 10
    tagged = Report.from_estimator(RNNTagger(epochs=1, recurrent_width=4, **FAST).fit(rows, tags), rows, tags)
    assert tagged.rows == 30
    with pytest.raises(TableError, match="rosenblatt evaluate MODEL TABLE --report"):
        Report.from_estimator(
            RNNForecaster(horizon=2, epochs=1, recurrent_width=4, **FAST).fit([1.0, 2.0] * 20), [], []
        )


def test_hyperparameters_out_of_range_or_of_other_kinds_are_rejected():
    X, y = bright_images(10)
    with pytest.raises(SpecError, match="kernel_size must be"):
        CNNClassifier(kernel_size=0).fit(X, y)
    with pytest.raises(TypeError, match="no argument 'rnn_cell'"):
        CNNClassifier(rnn_cell="gru")
    with pytest.raises(TypeError, match="no argument 'on_damaged_images'"):  # estimators never drop rows
        CNNClassifier(on_damaged_images="skip")
    texts, targets = ["some words", "other words"] * 5, [0, 1] * 5
    frame = pl.DataFrame([to_media_column(pl.Series("text", texts), "text")])
    with pytest.raises(SpecError, match=r"rotate is for images, but the rows hold texts\. Leave it out"):
        CNNClassifier(rotate=10).fit(frame, targets)
    with pytest.raises(SpecError, match="There is no device 'cuda:9'"):
        CNNClassifier(device="cuda:9", **TINY).fit(X, y)
