"""Attributions of images, sequences and texts: they add up, and find what the target depends on."""

import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")


from rosenblatt import CNNClassifier, RNNRegressor
from rosenblatt.data.media.columns import sequence_column
from rosenblatt.data.media.images import encode_image
from rosenblatt.errors import TableError
from rosenblatt.inspection.torch_attribution import _patch_slices, explain_row

pytestmark = pytest.mark.torch

RNG = np.random.default_rng(0)
SMALL = {"members": 2, "folds": 1, "n_jobs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def steps():
    """A model of two targets, the third and the last step of a sequence, and its rows."""
    X = RNG.normal(size=(120, 6)).astype(np.float32)
    y = np.column_stack([X[:, 2], 10 * X[:, 5]])
    network = RNNRegressor(epochs=30, recurrent_width=12, dropout=0.0, learning_rate=0.02, **SMALL).fit(X, y)
    return network.model_, network._frame(X, reset=False)


@pytest.mark.parametrize("method", ["gradients", "occlusion"])
@pytest.mark.parametrize(("answer", "step"), [(None, 2), ("y0", 2), ("y1", 5)])
def test_attributions_find_the_step_that_a_target_depends_on(steps, method, answer, step):
    importances = np.array(
        [abs(explain_row(*steps, row, method, answer).attributions[0].values) for row in range(1, 9)]
    )
    assert importances.mean(axis=0).argmax() == step
    assert explain_row(*steps, 1, method, answer).answer == (answer or "y0")


def test_integrated_gradients_add_up_to_the_change_of_the_prediction(steps):
    model, frame = steps
    mean = np.full((6, 1), model.encoder.media_encodings[0].center[0])
    empty = pl.DataFrame([sequence_column(frame.columns[0], [mean], 1)])
    for row in (1, 2, 3):
        expected = (model.predict_raw(frame[row - 1 : row]) - model.predict_raw(empty))[0, 0]
        expected /= model.target.scale[0]
        assert explain_row(model, frame, row).attributions[0].values.sum() == pytest.approx(
            expected, rel=0.05, abs=0.02
        )


@pytest.fixture(scope="module")
def photos():
    """A model of images that are bright in their last columns or nowhere, with uninformative texts, and its rows."""
    X = RNG.integers(0, 60, (60, 26, 26, 3)).astype(np.uint8)
    bright = RNG.random(60) < 0.5
    X[bright, :, -6:] += 180
    frame = pl.DataFrame([pl.Series("photo", [encode_image(x) for x in X]), pl.Series("words", ["a b", "b"] * 30)])
    config = {"channels": (4,), "block_layers": 1, "image_size": 26, "flip": False, "crop": 0.0, "cutout": 0.0, **SMALL}
    network = CNNClassifier(epochs=6, learning_rate=0.02, **config).fit(frame, np.where(bright, "bright", "dark"))
    return network.model_, network._frame(frame, reset=False), int(bright.argmax()) + 1


@pytest.mark.parametrize("method", ["gradients", "grad_cam", "occlusion"])
def test_the_bright_part_of_an_image_is_found(photos, method):
    model, frame, row = photos
    explanation = explain_row(model, frame, row, method)
    assert explanation.answer == "bright"
    photo = explanation.attributions[0]
    assert (photo.column, photo.kind, photo.values.shape) == ("photo", "image", (26, 26))
    assert photo.values[:, -6:].mean() > 2 * abs(photo.values[:, :-6].mean())
    assert [attribution.column for attribution in explanation.attributions[1:]] == (
        [] if method == "grad_cam" else ["words"]
    )


def test_patches_cover_the_whole_side():
    for side in (1, 5, 24, 26, 31, 32, 97):
        covered = np.zeros(side, bool)
        for part in _patch_slices(side):
            covered[part] = True
        assert covered.all()
        assert {part.stop - part.start for part in _patch_slices(side)} == {_patch_slices(side)[0].stop}


def test_unknown_rows_answers_and_methods_are_rejected(steps, photos):
    with pytest.raises(TableError, match="There is no row 0; the table has 120"):
        explain_row(*steps, 0)
    with pytest.raises(TableError, match=r"There is no answer 'brigth'; there are 'bright' and 'dark'\. Did you mean"):
        explain_row(*photos[:2], 1, answer="brigth")
    with pytest.raises(TableError, match="Grad-CAM needs a convolutional network"):
        explain_row(*steps, 1, "grad_cam")
