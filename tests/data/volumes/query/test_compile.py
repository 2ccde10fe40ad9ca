from __future__ import annotations

import datetime as dt
import random

import polars as pl
import pytest

from rosenblatt.data.volumes.query.compile import compile_condition
from rosenblatt.data.volumes.query.language import parse_query
from rosenblatt.errors import QueryError
from tests.data.volumes.query.conftest import random_condition, random_frame

NAN = float("nan")


def select_rows(frame: pl.DataFrame, condition: str) -> list[int]:
    expression = compile_condition(parse_query(condition).condition, frame.schema)
    return frame.with_row_index("row number").filter(expression)["row number"].to_list()


def test_conditions_select_the_rows_that_duckdb_selects(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    rng = random.Random(5)
    frame = random_frame(rng, 300, nan=False)
    connection = duckdb.connect()
    frame.with_row_index("row_number").write_parquet(tmp_path / "samples.parquet")
    connection.execute(f"create table samples as from '{tmp_path}/samples.parquet'")
    for _ in range(200):
        condition = random_condition(rng)
        rows = connection.execute(f"select row_number from samples where {condition} order by 1").fetchall()
        assert select_rows(frame, condition) == [row for (row,) in rows], condition


INSTANTS = ["2024-01-31", "2024-01-31 00:00:00.000001", None, "0001-01-01", "1969-12-31 23:59:59.999999"]
TABLE = pl.DataFrame(
    {
        "x": [1.0, NAN, None, float("inf"), 0.1],
        "f": [0.5, NAN, None, -1.0, 0.1],
        "y": pl.Series([1.0, NAN, None, float("inf"), 0.1], dtype=pl.Float32),
        "n": [2**53 + 1, 2**53, None, 2**63 - 1, -1],
        "u": pl.Series([2**64 - 1, 0, None, 2**63, 1], dtype=pl.UInt64),
        "big": [float(2**53), float(2**53), 1.0, float(2**63), NAN],
        "p": pl.Series(["0.30", "12345678901234567.89", None, "-0.01", "1"]).cast(pl.Decimal(20, 2)),
        "q": pl.Series(["0.3000", "0.0001", None, "-0.0099", "1"]).cast(pl.Decimal(20, 4)),
        "label": ["cat", "Cat", None, "a.b\nc_d", "é"],
        "kind": pl.Series(["cat", "dog", None, "dog", "cat"], dtype=pl.Categorical),
        "ok": [True, False, None, True, False],
        "day": [dt.date(2024, 1, 31), dt.date(1969, 12, 31), None, dt.date(2024, 2, 1), dt.date(9999, 12, 31)],
        "taken": [dt.datetime.fromisoformat(text) if text else None for text in INSTANTS],
        "at": [dt.time(14, 30), dt.time(0), None, dt.time(23, 59, 59, 999_999), dt.time(14, 30, 1)],
        "tags": [["cat", None], ["dog"], None, [], [None]],
        "sizes": pl.Series([[1, 2], [3, 4], None, [5, 6], [1, 1]], dtype=pl.Array(pl.Int16, 2)),
        "scores": [[NAN, 0.1], [1.0], None, [], [0.1]],
        "void": [None] * 5,
        "struct": [{"a": i, "b": {"c": "xyz"[i % 3]}} if i != 2 else None for i in range(5)],
    }
).with_columns(
    seen=pl.col("taken").dt.replace_time_zone("UTC"),
    local=pl.col("taken").dt.replace_time_zone("Europe/Berlin"),
    nanos=pl.col("taken").clip(dt.datetime.fromisoformat("1900-01-01")).cast(pl.Datetime("ns")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        # a missing value leaves a comparison undecided
        ("ok", "03"),
        ("not ok", "14"),
        ("label != 'cat'", "134"),
        ("not label = 'cat'", "134"),
        ("label not in ('cat', 'é')", "13"),
        ("label is null or ok", "023"),
        ("n = 1 and ok is null", ""),
        ("void = 3", ""),
        ("not void = 3", ""),
        ("void like 'a' or void in (1, 'a') or void > n", ""),
        ("void is null", "01234"),
        # floats
        ("x > 0.5", "03"),
        ("not x > 0.5", "14"),
        ("x <= 1", "04"),
        ("x != 1", "134"),
        ("x = nan", "1"),
        ("x != nan", "034"),
        ("x in (1, nan)", "01"),
        ("x not in (1, nan)", "34"),
        ("x = inf", "3"),
        ("x < inf", "04"),
        ("y = 0.1", "4"),
        ("y < 1e300", "04"),
        ("y > 1e300", "3"),
        ("y <= inf", "034"),
        ("x > f", "03"),
        ("x = f", "4"),
        ("x != f", "013"),
        ("not x != f", "4"),
        ("x = y", "03"),
        # whole numbers beyond what a float can hold
        ("n = 9007199254740993", "0"),
        ("n > 9007199254740992.5", "03"),
        ("n <= 9007199254740992.5", "14"),
        ("n = 9007199254740992.5", ""),
        ("n != 9007199254740992.5", "0134"),
        ("n < 1e300", "0134"),
        ("n > -inf", "0134"),
        ("n = nan", ""),
        ("n != nan", "0134"),
        ("n in (-1, 9007199254740992, 1e30, nan, 0.5)", "14"),
        ("not n in (0.5, nan)", "0134"),
        ("y in (0.1, 1e300, inf)", "34"),
        ("not y in (nan, 1e300)", "034"),
        ("x in (0.1, 7)", "4"),
        ("u = 18446744073709551615", "0"),
        ("u > -1", "0134"),
        ("n < u", "034"),
        ("n > big", "0"),
        ("n = big", "1"),
        ("big > n", "3"),
        ("n != big", "034"),
        ("n < f", "4"),
        # decimals
        ("p = 0.3", "0"),
        ("p = 12345678901234567.89", "1"),
        ("p > 12345678901234567.885", "1"),
        ("p < -0.0099", "3"),
        ("p in (1, 0.3)", "04"),
        ("p = q", "04"),
        ("p < q", "3"),
        ("p > n", "14"),
        ("p > x", "4"),
        # texts
        ("label = 'Cat'", "1"),
        ("label > 'a'", "034"),
        ("label like 'c%'", "0"),
        ("label ilike 'C%'", "01"),
        ("label like '_'", "4"),
        ("label like 'a.b%'", "3"),
        ("label like 'a_b%d'", "3"),
        (r"label like '%c\_d'", "3"),
        (r"label like '%\%%'", ""),
        ("label like ''", ""),
        ("label ilike 'É'", "4"),
        ("kind = 'dog'", "13"),
        ("kind > 'cat'", "13"),
        ("kind in ('cat', 'cow')", "04"),
        ("kind like 'd%'", "13"),
        ("label = kind", "0"),
        # dates and times
        ("day = '2024-01-31'", "0"),
        ("day = 2024-01-31", "0"),
        ("day < '1970'", "1"),
        ("day >= 2024-02", "34"),
        ("day > 2023", "034"),
        ("day in (2024-01-31, '1969-12-31')", "01"),
        ("day < '2024-01-31 12:00'", "01"),
        ("taken = '2024-01-31'", "0"),
        ("taken > '2024-01-31'", "1"),
        ("taken = '2024-01-31T00:00:00.000001'", "1"),
        ("taken < '1970-01-01'", "34"),
        ("taken = '1969-12-31 23:59:59.999999'", "4"),
        ("seen = '2024-01-31 01:00+01:00'", "0"),
        ("seen = '2024-01-31T00:00:00Z'", "0"),
        ("seen = 2024-01-31", "0"),
        ("local = '2024-01-31'", "0"),
        ("local = '2024-01-30 23:00Z'", "0"),
        ("nanos > '0001-01-01'", "0134"),
        ("nanos < '2024-01-31 00:00:00.000000001'", "034"),
        ("day = taken", "0"),
        ("taken = nanos", "014"),
        ("local < seen", "0134"),
        ("at >= '14:30:00.5'", "34"),
        ("at = '14:30'", "0"),
        # lists
        ("'cat' in tags", "0"),
        ("'cat' not in tags", "134"),
        ("label in tags", "0"),
        ("not label in tags", "134"),
        ("1 in sizes", "04"),
        ("7.5 in sizes", ""),
        ("nan in scores", "0"),
        ("0.1 in scores", "04"),
        ("x in scores", "4"),
        ("tags is null", "2"),
        # fields of structs
        ("struct is not null", "0134"),
        ("struct.a > 1", "34"),
        ("not struct.a > 1", "01"),
        ("struct.b.c = 'x'", "03"),
        ("struct.b.c in ('y', 'z') and struct.a < n", "1"),
        ("struct.b.c is null", "2"),
    ],
)
def test_a_condition_selects_rows(condition, expected):
    assert select_rows(TABLE, condition) == [int(row) for row in expected]


@pytest.mark.parametrize(
    ("condition", "message", "position"),
    [
        ("lable = 'cat'", r"Expected a column, one of .*Did you mean 'label'\?\), but got 'lable'", 0),
        ("label = cat", r"Expected a value \(texts in quotes\) or a column, one of .*, but got 'cat'", 8),
        ("Label = 'cat'", "Did you mean 'label'", 0),
        ("label = 3", r"a text in quotes to compare with column 'label' \(String\), but got 3; write it as '3'", 8),
        ("label in ('a', 4)", "write it as '4'", 15),
        ("label >= 2024-01-31", "Expected a text in quotes .*, but got 2024-01-31; write it as '2024-01-31'", 9),
        ("label = true", r"but got true", 8),
        ("n = '3'", r"Expected a number to compare with column 'n' \(Int64\), but got '3'", 4),
        ("n", r"Expected an operator such as = or < after column 'n' \(Int64\), which is not true or false", 0),
        ("x and ok", "which is not true or false", 0),
        ("ok = 1", "Expected true or false", 5),
        ("ok > false", "Expected = or != to compare with column 'ok'", 5),
        ("x > nan", "Expected = or != to compare with nan", 4),
        ("day = 'soon'", "Expected a date such as '2024-01-31'", 6),
        ("day = '2024-02-30'", "Expected a date", 6),
        ("day = '2024-01-31 24:00'", "Expected a date", 6),
        ("day = 3.5", "Expected a date", 6),
        ("day = 123456", "Expected a date", 6),
        ("taken = '2024-01-31 10:00Z'", "without an offset to compare with column 'taken'", 8),
        ("at = '25:00'", "Expected a time such as '14:30'", 5),
        ("tags = 'cat'", "cannot be compared; to search its lists, write 'cat' in tags", 7),
        ("struct = 3", "cannot be compared; it has the fields 'struct.a', 'struct.b' and", 9),
        ("struct.b.d = 'x'", r"Did you mean 'struct.b.c'\?", 0),
        ("label.a = 'x'", "Expected a column, one of", 0),
        ("'cat' in label", "Expected a column of lists, or values in parentheses, but got column 'label'", 9),
        ("1 in tags", "write it as '1'", 0),
        ("n in tags", "Expected a column of type String", 0),
        ("n like '3'", "Expected a column of texts before 'like'", 0),
        ("label > n", r"Expected a column that > can compare with column 'label' \(String\), but got column 'n'", 8),
        ("ok < ok", "Expected a column that < can compare", 5),
        ("taken < seen", "Expected a column that < can compare", 8),
        ("day < at", "Expected a column that < can compare", 6),
        ("tags = tags", "Expected a column that = can compare", 7),
    ],
)  # fmt: skip
def test_an_unsuitable_column_or_value_is_refused_with_its_position(condition, message, position):
    with pytest.raises(QueryError, match=message) as error:
        select_rows(TABLE, condition)
    assert str(error.value).splitlines()[-1].index("^") == position + 2


def test_decimals_that_do_not_fit_into_128_bits_together_are_refused():
    frame = pl.DataFrame(schema={"a": pl.Decimal(38, 0), "b": pl.Decimal(38, 10)})
    with pytest.raises(QueryError, match="can compare"):
        select_rows(frame, "a < b")


def test_unicode_is_compared_exactly():
    frame = pl.DataFrame({"label": ["é", "e\u0301", "\U0001f600", "ı", "I"]})
    assert select_rows(frame, "label = 'é'") == [0]
    assert select_rows(frame, "label like '__'") == [1]
    assert select_rows(frame, "label > 'é'") == [2, 3]


def test_long_conditions_are_compiled():
    frame = pl.DataFrame({"n": range(10), "label": [str(i) for i in range(10)]})
    assert select_rows(frame, " or ".join(f"n = {i}" for i in range(5, 1000))) == [5, 6, 7, 8, 9]
    assert select_rows(frame, f"label in ({', '.join(repr(str(i)) for i in range(5, 10_000))})") == [5, 6, 7, 8, 9]
    assert select_rows(frame, f"{'(not ' * 50}n = 3{')' * 50}") == [3]
