"""Predictions by compiled code equal those of `Schema.read`, `Encoder.encode` and one network at a time."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest

from rosenblatt import MLPClassifier, MLPRegressor, Perceptron
from rosenblatt.data.readers.frames import as_frame
from rosenblatt.errors import TableError
from rosenblatt.models.model import Model
from rosenblatt.training.backend import predict
from rosenblatt.training.rows import DenseRows

RNG = np.random.default_rng(0)
N = 300
NAMES = ["wide", "skewed", "count", "flag", "constant"]
X = np.column_stack(
    [RNG.normal(size=N) * 1e3, RNG.exponential(size=N) ** 3, RNG.integers(0, 9, N), RNG.integers(0, 2, N), np.ones(N)]
)
Y = (X[:, 0] + 200 * X[:, 2] > 800).astype(int)
MISSING = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
OUTSIDE = np.concatenate([X * 3 - 1, MISSING, -X])  # beyond the range of the training rows, too
SMALL = {"members": 3, "epochs": 2, "hidden_sizes": (8, 8)}


def reference(model, table, names):
    """The predictions of a model by the path for tables of any kind, for columns in its order."""
    typed, total = model.schema.read(as_frame(table, names)), 0.0
    for trial in model.trials:
        x, empty = trial.encoder.encode(typed), np.empty((0, 1), np.float32)
        rows, index = DenseRows(x, empty, empty[:, 0], trial.encoder.spans), np.arange(len(x))
        outputs = [predict(net.architecture, trial.target.loss, net.theta, rows, index) for net in trial.networks]
        total += trial.weight * np.mean([trial.target.decode(output) for output in outputs], axis=0)
    return total


@pytest.fixture(scope="module")
def model():
    return MLPClassifier(**SMALL).fit(MISSING, Y).model_


@pytest.mark.parametrize("encoding", ["piecewise", "robust", "quantile", "standard", "none"])
@pytest.mark.parametrize("train", [X, MISSING], ids=["complete", "missing"])
def test_every_encoding_of_an_array_predicts_as_a_frame(encoding, train):
    fitted = MLPClassifier(numeric_encoding=encoding, **SMALL).fit(train, Y).model_
    expected = reference(fitted, OUTSIDE, ["x0", "x1", "x2", "x3", "x4"])
    np.testing.assert_array_equal(fitted.predict_raw(OUTSIDE), expected)
    np.testing.assert_array_equal(fitted.predict_raw(as_frame(OUTSIDE)), expected)


@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier(normalization="batch", activation=("tanh", "gelu"), **SMALL),
        MLPClassifier(normalization="layer", residual=True, parametric_activation=True, scaling_layer=True, **SMALL),
        MLPClassifier(loss="focal", logit_adjustment=0.5, **SMALL),
        MLPRegressor(**SMALL),
        MLPRegressor(loss="poisson", **SMALL),
        Perceptron(),
        Perceptron(perceptron_rule="voted", epochs=2),
        Perceptron(perceptron_rule="kernel", epochs=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_every_network_predicts_as_alone(estimator):
    fitted = estimator.fit(X, Y).model_
    np.testing.assert_array_equal(fitted.predict_raw(OUTSIDE), reference(fitted, OUTSIDE, None))


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.float32),
        np.asfortranarray,
        lambda x: np.repeat(np.repeat(x, 2, axis=0), 2, axis=1)[::2, ::2],
        lambda x: x.astype(object),
        lambda x: x.astype(str),
        lambda x: x.astype(">f8"),
        lambda x: np.round(x).astype(np.int32),
        lambda x: np.round(x).astype(np.uint8),
        lambda x: x > 0,
        lambda x: x[:0],
    ],
    ids=["float32", "columns", "strided", "objects", "text", "big-endian", "int32", "uint8", "bool", "no rows"],
)
def test_every_kind_of_array_predicts_as_its_numbers(model, convert):
    array = convert(np.abs(X))
    array.flags.writeable = False
    np.testing.assert_array_equal(model.predict_proba(array), reference(model, np.asarray(array, np.float64), None))


@pytest.mark.parametrize("make", [pd.DataFrame, lambda x, columns: pl.DataFrame(x, schema=columns)], ids=["pd", "pl"])
def test_frames_of_numbers_are_predicted_by_the_names_of_their_columns(make):
    frame = make(MISSING, columns=NAMES)
    estimator = MLPClassifier(**SMALL).fit(frame, Y)
    expected = reference(estimator.model_, MISSING, NAMES)
    np.testing.assert_array_equal(estimator.predict_proba(frame), expected)
    reordered = make(np.column_stack([MISSING[:, ::-1], Y]), columns=[*NAMES[::-1], "target"])
    np.testing.assert_array_equal(estimator.model_.predict_proba(reordered), expected)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.predict(reordered)


def test_pandas_types_with_missing_values_are_numbers():
    frame = pd.DataFrame({"a": pd.array([1, None, 3] * 20, "Int64"), "b": pd.array([0.5, 1, None] * 20, "Float32")})
    estimator = MLPClassifier(**SMALL).fit(frame, [0, 1, 0] * 20)
    expected = reference(estimator.model_, frame.to_numpy(np.float64, na_value=np.nan), ["a", "b"])
    np.testing.assert_array_equal(estimator.predict_proba(frame), expected)


def test_a_row_is_predicted_alike_whatever_the_others_are(model):
    for members in (1, 9):
        regressor = MLPRegressor(**SMALL | {"members": members}).fit(X, X[:, 0])
        together = regressor.predict(X)
        np.testing.assert_array_equal([regressor.predict(row)[0] for row in X[:40].reshape(40, 1, -1)], together[:40])
    together = model.predict_raw(np.tile(X, (40, 1)), threads=2)
    for n in (1, 2, 3, 5, 13):
        np.testing.assert_array_equal(model.predict_raw(X[:n]), together[:n])


def test_trials_with_other_encodings_are_averaged_by_weight():
    trials = [MLPClassifier(numeric_encoding=e, **SMALL).fit(X, Y).model_.trials[0] for e in ("standard", "quantile")]
    first = MLPClassifier(**SMALL).fit(X, Y).model_
    weighted = tuple(
        replace(trial, weight=w) for trial, w in zip((*first.trials, *trials), (0.5, 0.2, 0.3), strict=True)
    )
    ensemble = Model(first.spec, first.schema, weighted)
    np.testing.assert_array_equal(ensemble.predict_raw(OUTSIDE), reference(ensemble, OUTSIDE, None))


def test_arrays_that_do_not_fit_the_model_are_refused(model):
    infinite = X.copy()
    infinite[3, 1] = -np.inf
    with pytest.raises(TableError, match="Column 'x1' holds an infinite number in row 4"):
        model.predict(infinite)
    with pytest.raises(TableError, match="trained on 5 columns, but the array has 4"):
        model.predict(X[:, :4])
    estimator = MLPClassifier(**SMALL).fit(X, Y)
    with pytest.raises(ValueError, match="infinity"):
        estimator.predict(infinite)
    with pytest.raises(ValueError, match="X has 4 features, but MLPClassifier is expecting 5 features"):
        estimator.predict(X[:, :4])
    with pytest.warns(UserWarning, match="X has feature names"):
        estimator.predict(pd.DataFrame(X, columns=["x0", "x1", "x2", "x3", "x4"]))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        MLPClassifier(**SMALL).fit(pd.DataFrame(X, columns=NAMES), Y).predict(X)


def test_what_a_model_prepares_to_predict_is_not_saved_with_it(model):
    before = len(pickle.dumps(replace(model)))
    model.predict(X)
    assert len(pickle.dumps(model)) == before
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_raw(X), model.predict_raw(X))
