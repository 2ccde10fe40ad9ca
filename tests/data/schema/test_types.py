"""Types of columns as plain data, and text columns in the types of what they hold."""

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.schema.types import CellType, make_values, to_typed_columns
from rosenblatt.data.table import TableFormat

BERLIN = ZoneInfo("Europe/Berlin")
LARGE = 2**63 + 5


@pytest.mark.parametrize(
    ("labels", "values", "dtype"),
    [
        ((False, True), [True, False], pl.Boolean()),
        ((-1, 7), [7, -1], pl.Int8()),
        ((1, LARGE), [LARGE, 1], pl.UInt64()),
        ((0.5, 1.5), [1.5, 0.5], pl.Float32()),
        (("2024-01-31", "2025-02-01"), [dt.date(2025, 2, 1), dt.date(2024, 1, 31)], pl.Date()),
        (("2024-01-31 10:00:00.000000", "2025-02-01 00:00:00.000000"),
         [dt.datetime(2025, 2, 1), dt.datetime(2024, 1, 31, 10)], pl.Datetime("us")),  # noqa: DTZ001
        (("2024-01-31 10:00:00.000000+01:00", "2024-07-01 10:00:00.000000+02:00"),
         [dt.datetime(2024, 7, 1, 10, tzinfo=BERLIN), dt.datetime(2024, 1, 31, 10, tzinfo=BERLIN)],
         pl.Datetime("us", "Europe/Berlin")),
        (("10:00:00", "11:30:00"), [dt.time(11, 30), dt.time(10)], pl.Time()),
        (("1.50", "2.25"), [Decimal("2.25"), Decimal("1.50")], pl.Decimal(10, 2)),
        (("a", "b"), ["b", "a"], pl.Enum(["c", "b", "a"])),
        (("a", "b"), ["b", "a"], pl.Categorical()),
        (("007", "7"), ["7", "007"], pl.String()),
    ],
    ids=lambda value: str(value) if isinstance(value, pl.DataType) else "",
)  # fmt: skip
def test_classes_come_back_in_the_type_of_their_column(labels, values, dtype):
    saved = CellType.model_validate_json(CellType.from_dtype(dtype).model_dump_json())
    column = make_values("y", labels, saved).gather([1, 0])
    assert column.dtype == dtype
    assert column.to_list() == values
    assert make_values("y", labels, saved)[:0].dtype == dtype


@pytest.mark.parametrize("dtype", [pl.List(pl.Int8), pl.Binary(), pl.Struct({"a": pl.Int8}), pl.Object()])
def test_other_types_are_not_kept(dtype):
    assert CellType.from_dtype(dtype) is None


def test_classes_that_their_type_cannot_hold_stay_as_they_are():
    assert make_values("y", ("low", "high"), CellType(name="Int8")).to_list() == ["low", "high"]
    assert make_values("y", (1, 300), CellType(name="Int8")).to_list() == [1, 300]
    assert make_values("y", ("a", 1), None).to_list() == ["a", "1"]


def test_text_becomes_what_it_holds():
    text = pl.DataFrame(
        {
            "whole": ["1", " 2", None, "4"], "number": ["1.5", "2", "?", "0"],
            "point": ["1.0", "2.0", "3.0", "1.0"], "day": ["2024-01-31", "2024-02-01"] * 2,
            "time": ["2024-01-31 10:00", "2024-02-01 00:00"] * 2, "clock": ["10:00", "11:30 PM"] * 2,
            "flag": ["yes", "no", "yes", ""], "word": ["a", "b", "b", "a"],
            "code": ["007", "008", "009", "010"], "same": ["5"] * 4,
        }
    )  # fmt: skip
    schema = infer_schema(text.drop("whole"), 9, TableFormat())
    typed = to_typed_columns(text, schema, TableFormat())
    assert dict(typed.schema) | {"code": None} == {
        "whole": pl.Int64, "number": pl.Float64, "point": pl.Float64, "day": pl.Date,
        "time": pl.Datetime("us"), "clock": pl.Time, "flag": pl.Boolean,
        "word": pl.String, "code": None, "same": pl.Int64,
    }  # fmt: skip
    assert typed["number"].to_list() == [1.5, 2.0, None, 0.0]
    assert typed["flag"].to_list() == [True, False, True, None]


def test_identifiers_keep_their_leading_zeros_and_typed_columns_their_types():
    numbers = pl.Series("id", [f"{k:05}" for k in range(40)])
    assert to_typed_columns(numbers.to_frame(), Schema(columns=()), TableFormat())["id"].to_list() == numbers.to_list()
    typed = pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.UInt8), "b": [[1], [2]]})
    assert to_typed_columns(typed, Schema(columns=()), TableFormat(is_typed=True)).schema == typed.schema
