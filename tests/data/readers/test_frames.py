import numpy as np
import pandas as pd
import polars as pl
import pytest

from rosenblatt.data.readers.frames import as_frame
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
    assert frame.dtypes[:3] == [pl.Boolean, pl.Int64, pl.Categorical]
    assert frame["spans"].dtype == pl.Duration("us")
    assert frame["zoned"][0].hour == 0  # local time, as in Polars frames


def test_repeated_names_are_rejected():
    with pytest.raises(TableError, match="Several columns are named 'a'"):
        as_frame(pd.DataFrame([[1, 2]], columns=["a", "a"]))
