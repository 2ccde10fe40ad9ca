"""Estimators of images, and frames with media columns."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

from rosenblatt.data.media.columns import to_media_column
from rosenblatt.errors import SpecError, TableError
from rosenblatt.estimators.cnn import CNNClassifier, CNNRegressor
from rosenblatt.estimators.forecaster import RNNForecaster
from rosenblatt.estimators.rnn import RNNClassifier, RNNTagger
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


@pytest.mark.parametrize(
    ("network", "X", "y", "message"),
    [
        (CNNClassifier(**TINY), np.zeros((4, 5)), [0, 1, 0, 1], "images .* but its shape is"),
        (CNNClassifier(**TINY), np.zeros((4, 5, 5)), [0, 0, 0, 0], "only one class"),
        (CNNClassifier(**TINY), ["gone.png", "lost.png"], [0, 1], "'?gone.png'? cannot be read"),
        (CNNClassifier(**TINY), [np.zeros((3, 3)), "a.png"], [0, 1], "both paths and arrays"),
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
    with pytest.raises(SpecError, match=r"rotate is for images, but the rows hold texts\. Remove it"):
        CNNClassifier(rotate=10).fit(frame, targets)
    with pytest.raises(SpecError, match="Device 'cuda:9' is not available"):
        CNNClassifier(device="cuda:9", **TINY).fit(X, y)
