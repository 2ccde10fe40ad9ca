import datetime as dt
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from rosenblatt.data.readers.frames import as_frame, column_names
from rosenblatt.errors import TableError


def test_pandas_and_polars_frames_of_the_same_rows_are_the_same():
    pandas_frame = pd.DataFrame(
        {
            "i": [1, 2],
            "f": [1.5, None],
            "s": ["a", None],
            "c": pd.Categorical(["x", "y"]),
            "b": [True, False],
            "nullable": pd.array([1, None], dtype="Int64"),
            "day": pd.to_datetime(["2020-01-01", None]),
        }
    )
    frame = as_frame(pandas_frame)
    assert frame["f"].to_list()[0] == 1.5
    assert np.isnan(frame["f"][1])
    assert frame["s"].to_list() == ["a", None]
    assert frame["c"].to_list() == ["x", "y"]
    assert frame["b"].dtype == pl.Boolean
    assert frame["nullable"][0] == 1
    assert frame["day"].dtype == pl.Datetime("us")
    assert frame["day"][1] is None


def test_an_array_of_objects_has_columns_of_numbers_and_of_strings():
    frame = as_frame(np.array([[1, "a"], [2.5, None]], dtype=object))
    assert frame.dtypes == [pl.Float64, pl.String]
    assert frame["x1"].to_list() == ["a", None]


def test_cells_that_are_neither_numbers_nor_strings_are_an_error():
    with pytest.raises(TypeError, match="must be a string or a number"):
        as_frame(np.array([[{"a": 1}]], dtype=object))


def test_the_kind_of_a_pandas_column_of_objects_follows_from_its_cells():
    pandas_frame = pd.DataFrame(
        {
            "bools": pd.Series([True, None], dtype=object),
            "ints": pd.Series([1, None], dtype=object),
            "codes": pd.Categorical([1, 2]),
            "spans": pd.to_timedelta(["1 day", None]),
            "zoned": pd.to_datetime(["2024-01-01 00:30", "2024-01-02 00:30"]).tz_localize("Europe/Oslo"),
        }
    )
    frame = as_frame(pandas_frame)
    assert frame.dtypes[:3] == [pl.Boolean, pl.Float64, pl.Categorical]
    assert frame["spans"].dtype == pl.Duration("us")
    assert frame["zoned"][0].hour == 0  # local time, as in Polars frames


@pytest.mark.parametrize(("cells", "dtype"), [
    ([1, 2.5], pl.Float64), ([1, True, None], pl.Float64), ([Decimal("1.5"), np.int64(2), Fraction(1, 2)], pl.Float64),
    ([1, pd.NA], pl.Float64), ([2**70, 1], pl.Float64), ([True, np.False_], pl.Boolean), ([1, "a"], pl.String),
    ([1, "2"], pl.String), ([dt.date(2024, 1, 2), dt.datetime(2024, 1, 2, 5, tzinfo=dt.UTC)], pl.Datetime("us")),
    ([dt.date(2024, 1, 2), pd.NaT], pl.Datetime("us")), ([dt.date(2024, 1, 2), "soon"], pl.String),
    ([dt.timedelta(hours=1), pd.Timedelta("1s"), np.timedelta64(1, "h")], pl.Duration("us")),
    ([dt.time(1), None], pl.Time), ([b"ab", None], pl.Binary), ([Path("a.png"), "b.png"], pl.String),
], ids=str)  # fmt: skip
def test_the_kind_of_a_column_of_objects_follows_from_all_its_cells(cells, dtype):
    column = np.empty((len(cells), 1), object)
    column[:, 0] = cells
    pandas_frame = pd.DataFrame({"x0": pd.Series(cells, dtype=object)})
    assert as_frame(pandas_frame)["x0"].dtype == dtype
    if not any(isinstance(cell, bool | np.bool_) for cell in cells) and "2" not in map(str, cells[:2]):
        assert as_frame(column)["x0"].dtype == dtype  # scikit-learn's arrays: booleans and digits are numbers
    assert as_frame(pandas_frame)["x0"].null_count() == sum(map(pd.isna, cells))


def test_periods_are_dates_and_arrays_of_dates_and_durations_keep_their_unit():
    periods = as_frame(pd.DataFrame({"month": pd.period_range("2024-01", periods=2, freq="M")}))["month"]
    assert periods.to_list() == [dt.datetime(2024, month, 1) for month in (1, 2)]  # noqa: DTZ001 - local time
    hours, seconds = np.array([1, 2], "timedelta64[h]"), np.array([3600, 7200], "timedelta64[s]")
    assert (
        as_frame(hours)["x0"].to_list() == as_frame(seconds)["x0"].to_list() == [dt.timedelta(hours=k) for k in (1, 2)]
    )
    assert as_frame(np.array(["2024-01-02"], "datetime64[D]"))["x0"].to_list() == [dt.datetime(2024, 1, 2)]  # noqa: DTZ001


@pytest.mark.parametrize(
    "cell", [{"a": 1}, {1}, 1j, np.complex64(1j), object(), b"x"], ids=lambda cell: type(cell).__name__
)
def test_cells_that_are_no_values_are_an_error(cell):
    for rows in (pd.DataFrame({"x0": pd.Series([cell, "a"], dtype=object)}), np.array([[cell], ["a"]], object)):
        with pytest.raises(TypeError, match="must be a string or a number, but column x0 holds"):
            as_frame(rows)
    if isinstance(cell, complex):
        with pytest.raises(TypeError, match="but column z holds"):
            as_frame(pd.DataFrame({"z": [cell]}))


@pytest.mark.parametrize("cells", [[[1, [2]], [3]], [[[1, 2], [3]]], [[1], "x"]], ids=str)
def test_nested_lists_are_an_error_that_names_the_row(cells):
    with pytest.raises(TypeError, match=r"Column 'c' must hold sequences of numbers, .* but row \d holds"):
        as_frame(pd.DataFrame({"c": cells}))


def test_repeated_names_are_rejected():
    with pytest.raises(TableError, match="Several columns are named 'a'"):
        as_frame(pd.DataFrame([[1, 2]], columns=["a", "a"]))


@pytest.mark.parametrize("frame_type", [pl.DataFrame, pd.DataFrame])
@pytest.mark.parametrize("name", ["^k$", "*"])
def test_a_frame_with_a_column_whose_name_is_a_pattern_of_names_is_refused(frame_type, name):
    frame = frame_type({name: [1.0, 2.0], "k": ["a", "b"]})
    for convert in (as_frame, column_names):
        with pytest.raises(TableError, match=re.escape(f"Column {name!r} has a name that would be read as a pattern")):
            convert(frame)
