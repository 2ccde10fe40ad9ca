"""Small frames, encoded cell by cell, are encoded as large ones: to the last bit, and with the same errors."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest

from rosenblatt import MLPClassifier
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.readers.frames import as_frame
from rosenblatt.data.schema.columns import schema_from_dtypes
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.table import TableFormat
from rosenblatt.errors import TableError
from rosenblatt.models import cell_encoder
from rosenblatt.models.cell_encoder import CellEncoder
from rosenblatt.spec.data import DataSpec
from tests.models.export.fitted_models import (
    DENSE,
    ENCODINGS,
    N_ROWS,
    make_deep_model,
    make_dense_model,
    make_ensemble,
    typed_rows,
)

N = 60
CITIES = ["Oslo", "Rome", " Rome ", "Lima", "NA", "n/a", "unknown", "Bern", None, ""]
TYPED = pl.DataFrame(
    {
        "city": [CITIES[i % 10] for i in range(N)],
        "size": [float(i) if i % 7 else None for i in range(N)],
        "open": [i % 3 == 0 if i % 11 else None for i in range(N)],
        "count": list(range(N)),
        "rare": ["often" if i % 9 else f"rare {i}" for i in range(N)],
    }
)
TEXT = TYPED.with_columns(  # as a delimited file is read
    pl.col("open").replace_strict({True: "yes", False: "No"}, default="?"),
    pl.col("size").cast(pl.String),
    pl.col("count").cast(pl.String),
)
DATA = DataSpec(numeric_encoding="piecewise", bins=8, min_category_rows=2)


def encoders(schema, frame):
    encoder = Encoder.fit(schema.read(frame), DATA)
    return schema, encoder, CellEncoder(schema, encoder)


@pytest.fixture(scope="module")
def typed():
    return encoders(schema_from_dtypes(TYPED), TYPED)


@pytest.fixture(scope="module")
def text():
    return encoders(infer_schema(TEXT, 50), TEXT)


@pytest.fixture(scope="module", params=[None, ("Lima", "unknown", "-1")], ids=["usual markers", "own markers"])
def words(request):
    frame = TEXT.select("city", "open", "rare")
    return encoders(infer_schema(frame, 50, TableFormat(missing=request.param)), frame)


def check(schema_encoders, frame, is_quick=None):
    schema, encoder, cells = schema_encoders
    encoded = cells.encode(frame)
    assert is_quick is None or (encoded is not None) == is_quick
    if encoded is not None:
        expected = encoder.matrix(schema.read(frame))
        np.testing.assert_array_equal(encoded, expected)
        assert encoded.dtype == expected.dtype
        np.testing.assert_array_equal(cells.encode(frame), expected)  # of words that were read before


def with_column(frame, name, cells, dtype=None):
    return frame[: len(cells)].with_columns(pl.Series(name, cells, dtype))


WORDS = [
    ["Oslo"],
    [" Oslo\t"],
    ["oslo"],
    ["elsewhere"],
    [None],
    [""],
    ["NA"],
    ["?"],
    ["unknown"],
    ["-1"],
    ["Lima", "x"],
]


@pytest.mark.parametrize("cells", WORDS, ids=str)
@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical])
def test_words_known_and_unknown_and_missing_ones(typed, cells, dtype):
    check(typed, with_column(TYPED, "city", cells, dtype), is_quick=True)


@pytest.mark.parametrize("cells", WORDS, ids=str)
def test_words_of_a_table_that_was_text(words, cells):
    frame = TEXT[: len(cells)].with_columns(open=pl.Series(["yes", "no"][: len(cells)]))
    check(words, with_column(frame, "city", cells), is_quick=True)


@pytest.mark.parametrize("size", [[1.5, 2.5], [None, float("nan")], [3, -7]], ids=str)
def test_numbers_of_a_table_that_was_text(text, size):
    frame = TEXT[:2].with_columns(count=pl.Series([1, 2]), open=pl.Series(["yes", "no"]))
    check(text, with_column(frame, "size", size), is_quick=True)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("city", [1.0]),
        ("city", [1.5, 2.0]),
        ("city", [True]),
        ("city", [dt.date(2026, 1, 1)]),
        ("city", [b"Oslo"]),
        ("city", [["Oslo"]]),
        ("size", ["1.5"]),
        ("size", [True]),
        ("size", [dt.timedelta(1)]),
        ("size", [float("inf")]),
        ("open", ["true"]),
        ("open", ["yes", "no"]),
        ("open", ["sometimes"]),
        ("open", [None]),
        ("open", [0, 1]),
        ("count", [2**60, None]),
    ],
    ids=str,
)
def test_cells_of_any_kind(typed, text, name, cells):
    for schema_encoders, frame in ((typed, TYPED), (text, TEXT)):
        check(schema_encoders, with_column(frame, name, cells))


def test_all_rows_of_a_table_of_numbers_words_and_booleans(typed):
    check(typed, TYPED, is_quick=True)
    check(typed, TYPED.select(reversed(TYPED.columns)), is_quick=True)
    check(typed, TYPED.clear(), is_quick=True)
    check(typed, TYPED.drop("city"), is_quick=False)


def test_words_beyond_those_that_are_stored(typed, monkeypatch):
    monkeypatch.setattr(cell_encoder, "MAX_WORDS", 0)
    schema, encoder, _ = typed
    check((schema, encoder, CellEncoder(schema, encoder)), TYPED, is_quick=True)


def test_columns_of_dates_are_read_as_a_whole():
    frame = TYPED.with_columns(day=pl.date_range(dt.date(2026, 1, 1), dt.date(2026, 3, 1), eager=True))
    check(encoders(schema_from_dtypes(frame), frame), frame, is_quick=False)


@pytest.fixture(scope="module")
def estimator():
    frame = TYPED.to_pandas()
    return MLPClassifier(members=2, epochs=2, hidden_sizes=4).fit(frame, np.arange(N) % 2)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("city", ["Oslo", None, "elsewhere"]),
        ("city", pd.Categorical(["Oslo", None, "Rome"])),
        ("city", pd.array(["Oslo", pd.NA, "Rome"], "string")),
        ("city", np.array(["Oslo", np.nan, 3], object)),
        ("city", np.array([None, np.nan, pd.NaT], object)),
        ("open", np.array([True, None, False], object)),
        ("size", pd.array([1, pd.NA, 3], "Int64")),
        ("count", np.array([1, 2.5, None], object)),
    ],
)
def test_predictions_of_a_small_pandas_frame_are_those_of_a_large_one(estimator, name, cells):
    frame = TYPED.to_pandas()[:3].assign(**{name: cells})
    model = estimator.model_
    expected = model.predict_typed(model.schema.read(as_frame(frame)))
    np.testing.assert_array_equal(estimator.predict_proba(frame), expected)
    np.testing.assert_array_equal(estimator.predict_proba(frame[1:2]), expected[1:2])
    np.testing.assert_array_equal(model.predict_proba(frame), expected)


def test_small_frames_are_rejected_as_large_ones(estimator):
    for name, cells in (("size", [float("inf")]), ("open", ["sometimes"] * 3), ("city", [b"Oslo"])):
        frame = with_column(TYPED, name, cells)
        with pytest.raises(TableError) as error:
            estimator.model_.schema.read(frame)
        with pytest.raises(TableError) as error_of_prediction:
            estimator.model_.predict_proba(frame)
        assert str(error_of_prediction.value) == str(error.value)


def check_cells(model):
    for n in (1, 3, N_ROWS):
        frame = typed_rows(5, n).select(column.name for column in model.schema.input_columns)
        cells = {s.name: s.to_numpy() if s.dtype.is_numeric() else s.to_list() for s in frame}
        expected = model.predict_typed(model.schema.read(frame))
        np.testing.assert_array_equal(model.predict_cells(cells, n), expected)
        assert model.predict_cells(cells | {"age": np.full(n, np.inf)}, n) is None


@pytest.mark.parametrize(
    ("name", "numeric_encoding"),
    [*((name, "robust") for name in DENSE), *(("relu", encoding) for encoding in ENCODINGS)],
)
def test_cells_are_predicted_without_a_frame_to_the_last_bit(name, numeric_encoding):
    check_cells(make_dense_model(name, numeric_encoding))


def test_cells_are_predicted_by_ensembles():
    check_cells(make_ensemble())


def test_models_with_media_need_a_frame():
    assert make_deep_model("cnn with table").predict_cells({}, 1) is None
