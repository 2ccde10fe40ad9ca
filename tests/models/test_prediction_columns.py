"""Columns of predictions have the types of the target, for few rows and for many."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from rosenblatt.data.schema.types import CellType
from rosenblatt.data.tasks.target import Target
from rosenblatt.models import prediction_columns
from rosenblatt.models.prediction_columns import make_prediction_columns
from tests.serving.people_model import make_model

DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
LABELS = {
    pl.Datetime("ns", "Europe/Oslo"): tuple(f"{day} 08:30:00.000000001+0100" for day in DAYS),
    pl.Int8(): ("1", "2", "3"),
    pl.Date(): DAYS,
    pl.String(): ("a", "b", "c"), pl.Enum(["c", "b", "a"]): ("a", "b", "c"),
    pl.Decimal(5, 2): ("1.25", "2.50", "3.00"),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [*LABELS], ids=str)
def test_few_rows_have_the_columns_of_many(dtype, monkeypatch):
    labels = LABELS[dtype]
    model = make_model(Target(names=("y",), task="multiclass", labels=labels))
    model = model.with_metadata(target_types={"y": CellType.from_dtype(dtype)})
    raw = np.random.default_rng(0).dirichlet([1, 1, 1], 40)
    few = make_prediction_columns(model, None, raw)
    monkeypatch.setattr(prediction_columns, "MAX_LISTED_ROWS", 0)
    assert_frame_equal(few, make_prediction_columns(model, None, raw))
    assert few.dtypes == [dtype, pl.Float64, pl.Float64, pl.Float64]
    assert few.columns == ["y", *(f"probability of {label}" for label in labels)]
