"""Differences between the rows of a table and the training rows."""

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.table import Table
from rosenblatt.inspection.drift import describe_drift
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.fit import fit
from rosenblatt.workflows.predict import evaluate

RNG = np.random.default_rng(0)
N = 200
FRAME = pl.DataFrame(
    {
        "x": RNG.normal(size=N),
        "day": [f"2024-0{1 + k % 9}-1{k % 7}" for k in range(N)],
        "city": ["Oslo", "Rome"] * (N // 2),
        "gaps": [None if k % 2 else float(k) for k in range(N)],
        "y": ["a", "b", "a", "a"] * (N // 4),
    }
)


@pytest.fixture(scope="module")
def model():
    spec = Spec.from_hyperparameters(members=2, epochs=2, hidden_sizes=(4,), bins=8)
    return fit(Table(FRAME, "t.csv"), ["y"], spec, notify=lambda _: None).model


def drift(model, frame):
    return describe_drift(model, model.schema.read(frame))


def test_rows_like_those_of_the_training_have_no_drift(model):
    assert drift(model, FRAME) == drift(model, FRAME[:1]) == drift(model, FRAME[:0]) == []
    assert drift(model, FRAME[1:2]) == []  # gaps is missing in half of the training rows


def test_columns_that_lost_their_values_are_reported_in_one_line(model):
    empty = FRAME[:50].with_columns(
        pl.lit(None, FRAME.schema[name]).alias(name) for name in ("x", "day", "city", "gaps")
    )
    [line] = drift(model, empty)
    assert line.startswith("far more missing values than in training: x (all 50 rows, none in training), day (")
    assert "city" in line
    assert "gaps (all 50 rows, 50% in training)" in line
    [line] = drift(model, FRAME[:10].with_columns(x=pl.Series([None] * 4 + [0.1] * 6)))
    assert "x (40%, none in training)" in line


def test_unseen_categories_are_counted_once_per_column(model):
    frame = FRAME[:6].with_columns(city=pl.Series(["Oslo", "Bern", "Bern", "Ulm", "Rome", None]))
    assert drift(model, frame)[-1] == "categories not seen in training: city (2, such as 'Bern', 3 rows)"


def test_numbers_far_outside_the_range_of_the_training_are_counted(model):
    low, high = FRAME["x"].min(), FRAME["x"].max()
    near = high + 0.3 * (high - low)
    assert drift(model, FRAME[:2].with_columns(x=pl.Series([near, low]))) == []
    [line] = drift(model, FRAME[:3].with_columns(x=pl.Series([719125.0, 0.0, -1e6])))
    assert line.startswith("numbers far outside the range in training: x (2 rows, such as 719125; ")


def test_drift_is_a_caution_of_an_evaluation_and_of_a_test_table(model):
    test = Table(FRAME.with_columns(x=pl.lit(None, pl.Float64)), "test.csv")
    lines = []
    _, evaluation = evaluate(model, test, lines.append)
    assert evaluation.cautions[-1].startswith("far more missing values than in training: x (all 200 rows")
    assert f"caution: {evaluation.cautions[-1]}" in lines
    result = fit(Table(FRAME, "t.csv"), ["y"], model.spec, test=test, notify=lines.append)
    assert any(line.startswith("far more missing") for line in result.cautions)
