from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest

from rosenblatt.data.volumes.query.columns import TypedColumn, convert_value, find_column
from rosenblatt.data.volumes.query.conditions import ColumnName, QueryPlace, Value
from rosenblatt.errors import QueryError

PLACE, OTHER_PLACE = QueryPlace("n = 1", 0), QueryPlace("n = 1", 4)


def column_of(dtype: pl.DataType) -> TypedColumn:
    return find_column(ColumnName("n", PLACE), pl.Schema({"n": dtype}))


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        (pl.String(), "text"),
        (pl.Categorical(), "text"),
        (pl.Enum(["a"]), "text"),
        (pl.Boolean(), "boolean"),
        (pl.UInt8(), "number"),
        (pl.Decimal(10, 2), "number"),
        (pl.Float32(), "float"),
        (pl.Date(), "date"),
        (pl.Datetime("us", "UTC"), "date"),
        (pl.Time(), "time"),
        (pl.Null(), "null"),
        (pl.Duration(), "other"),
        (pl.Binary(), "other"),
        (pl.List(pl.Int64), "other"),
    ],
)
def test_the_kind_of_a_type(dtype, kind):
    assert column_of(dtype).kind == kind


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (pl.Int64(), Decimal("1.5"), Fraction(3, 2)),
        (pl.Decimal(10, 2), Decimal("0.015"), Fraction(3, 2)),
        (pl.Float64(), Decimal("0.1"), 0.1),
        (pl.Date(), "1970-01-02 12:00", Fraction(3, 2)),
        (pl.Date(), Decimal(1971), 365),
        (pl.Datetime("ms"), "1970-01-01 00:00:00.0015", Fraction(3, 2)),
        (pl.Datetime("us", "Asia/Tokyo"), "1970-01-01 09:00", 0),
        (pl.Datetime("us", "Asia/Tokyo"), "1970-01-01T00:00-01:00", 3_600_000_000),
        (pl.Time(), "00:00:01", 10**9),
        (pl.String(), "a", "a"),
        (pl.Boolean(), True, True),
    ],
)
def test_values_become_exact_numbers_of_a_column_s_unit(dtype, value, expected):
    assert convert_value(column_of(dtype), Value(value, OTHER_PLACE)) == expected


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (pl.Int64(), "1"),
        (pl.String(), Decimal(1)),
        (pl.Float64(), True),
        (pl.Boolean(), Decimal(1)),
        (pl.Date(), "2024-13-01"),
        (pl.Date(), "2024-1-1"),
        (pl.Date(), "0000-01-01"),
        (pl.Datetime("us"), "2024-01-01T00:00Z"),
        (pl.Datetime("us", "UTC"), "9999-12-31T23:00-02:00"),
        (pl.Datetime("us"), "2024-01-01 00:00:00.0000000001"),
        (pl.Time(), "24:00"),
        (pl.Duration(), Decimal(1)),
        (pl.Binary(), "a"),
    ],
)
def test_values_of_another_type_are_refused(dtype, value):
    with pytest.raises(QueryError, match=r"n = 1\n      \^"):
        convert_value(column_of(dtype), Value(value, OTHER_PLACE))
