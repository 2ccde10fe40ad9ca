from __future__ import annotations

import datetime as dt
import random

import polars as pl
import pytest

from rosenblatt.data.volumes.query.compile import compile_condition
from rosenblatt.data.volumes.query.language import parse_query
from rosenblatt.data.volumes.query.pruning import prune
from rosenblatt.errors import QueryError
from tests.data.volumes.query.conftest import random_condition, random_frame


def describe_file(frame: pl.DataFrame, rng: random.Random) -> dict:
    """Statistics as logs of Delta Lake hold them: shortened texts, milliseconds, no NaN, and not of all columns."""
    row = {"rows": frame.height}
    for name, dtype in frame.schema.items():
        if dtype == pl.List or rng.random() < 0.1:
            continue
        row[f"null_count.{name}"] = None if rng.random() < 0.1 else frame[name].null_count()
        column = frame[name].fill_nan(None) if dtype.is_float() else frame[name]
        low, high = column.min(), column.max()
        if dtype == pl.String and low is not None:
            low, high = low[:2], high[:2]
        if dtype == pl.Datetime and low is not None:
            low, high = (time.replace(microsecond=time.microsecond // 1000 * 1000) for time in (low, high))
        row |= {f"min.{name}": low, f"max.{name}": high} if rng.random() < 0.9 else {}
    return row


def statistics_frame(rows: list[dict], schema: pl.Schema) -> pl.DataFrame:
    types = {"rows": pl.Int64} | {
        f"{statistic}.{name}": pl.Int64 if statistic == "null_count" else dtype
        for name, dtype in schema.items()
        for statistic in ("min", "max", "null_count")
    }
    return pl.DataFrame([{name: row.get(name) for name in types} for row in rows], schema=types)


def test_no_file_with_a_selected_sample_is_left_out():
    rng = random.Random(3)
    frames = [random_frame(rng, rng.choice([0, 1, 1, 2, 3]), nan=True) for _ in range(150)]
    files = statistics_frame([describe_file(frame, rng) for frame in frames], frames[0].schema)
    samples = pl.concat([frame.with_columns(file=pl.lit(number)) for number, frame in enumerate(frames)])
    n_pruned = 0
    for _ in range(300):
        query = parse_query(random_condition(rng))
        is_chosen = prune(query.condition, frames[0].schema, files)
        needed = samples.filter(compile_condition(query.condition, samples.schema))["file"].unique().to_list()
        assert is_chosen[needed].all(), query.text
        n_pruned += (~is_chosen).sum()
    assert n_pruned > 300 * len(frames) / 5


SCHEMA = pl.Schema(
    {"n": pl.Int64, "m": pl.Int64, "x": pl.Float64, "label": pl.String, "day": pl.Date, "taken": pl.Datetime("us"),
     "tags": pl.List(pl.String), "p": pl.Decimal(10, 2), "void": pl.String}
)  # fmt: skip
FILES = statistics_frame(
    [
        {"rows": 10, "min.n": 1, "max.n": 5, "min.m": 6, "max.m": 9, "min.x": 0.5, "max.x": 1.5, "min.label": "cat",
         "max.label": "dog", "null_count.label": 0, "min.day": dt.date(2024, 1, 1), "max.day": dt.date(2024, 1, 31),
         "min.taken": dt.datetime.fromisoformat("2024-01-01"), "max.taken": dt.datetime.fromisoformat("2024-01-02"),
         "null_count.tags": 10, "null_count.void": 10},
        {"rows": 10, "min.n": 7, "max.n": 7, "min.m": 6, "max.m": 7, "min.x": 3.0, "max.x": 4.0, "min.label": "frog",
         "max.label": "frog", "null_count.label": 4, "min.day": dt.date(2024, 2, 1), "max.day": dt.date(2024, 2, 2),
         "min.taken": dt.datetime.fromisoformat("2025-01-01"), "max.taken": dt.datetime.fromisoformat("2025-01-02"),
         "null_count.tags": 0, "null_count.void": 3},
        {"rows": 10},
        {"rows": 0},
    ],
    SCHEMA,
)  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("", "0123"),
        ("n = 5", "02"),
        ("n = 6", "2"),
        ("n != 7", "02"),
        ("not n = 7", "02"),
        ("n != 5", "012"),
        ("n < 7", "02"),
        ("n <= 7", "012"),
        ("not n <= 6", "12"),
        ("n > 5.5", "12"),
        ("n in (6, 7, 8)", "12"),
        ("n not in (6, 7)", "02"),
        (f"n in ({', '.join(map(str, range(6, 300)))})", "12"),
        (f"n not in ({', '.join(map(str, range(6, 300)))})", "012"),
        (f"x in (nan, {', '.join(map(str, range(6, 300)))})", "012"),
        (f"label in ({', '.join(repr(f'e{i}') for i in range(300))})", "2"),
        ("n = 3 and n = 7", "2"),
        ("n = 3 or n = 7", "012"),
        ("not (n = 7 or m > 5)", "2"),
        ("n > m", "12"),
        ("n = m", "12"),
        ("n >= x", "012"),
        ("x > n", "02"),
        ("x > 2", "12"),
        ("not x > 2", "012"),  # NaN, which bounds do not show
        ("x != 3", "012"),
        ("x = nan", "012"),
        ("label = 'cow'", "02"),
        ("label = 'frogs'", "12"),  # the bound may have been shortened
        ("label = 'fro'", "2"),
        ("label != 'frog'", "012"),
        ("label > 'dog'", "012"),
        ("label > 'e'", "12"),
        ("label < 'cat'", "2"),
        ("label like 'd%'", "02"),
        ("label like 'frog\\_s%'", "12"),
        ("label like '%x'", "012"),
        ("label ilike 'F%'", "012"),
        ("label is null", "12"),
        ("label is not null", "012"),
        ("tags is not null", "12"),
        ("'a' in tags", "12"),
        ("void = 'a'", "12"),
        ("day = 2024-02-01", "12"),
        ("taken > '2024-01-02'", "012"),  # bounds are rounded to milliseconds
        ("taken > '2024-01-02 00:00:01'", "12"),
        ("p > 3", "012"),
    ],
)
def test_statistics_choose_files(condition, expected):
    chosen = prune(parse_query(condition).condition, SCHEMA, FILES)
    assert "".join(map(str, chosen.nonzero()[0])) == expected


def test_statistics_of_another_type_are_not_used():
    files = pl.DataFrame({"rows": [1], "min.n": ["5"], "max.n": ["10"]})
    assert prune(parse_query("n = 7").condition, SCHEMA, files).all()


def test_long_lists_exclude_no_file_by_columns_without_bounds():
    schema = pl.Schema({"void": pl.Null(), "ok": pl.Boolean()})
    files = pl.DataFrame({"rows": [1]})
    values = ", ".join(["true"] * 300)
    assert prune(parse_query(f"void in ({values}) or ok in ({values})").condition, schema, files).all()


def test_an_unsuitable_condition_is_refused_before_any_file_is_read():
    with pytest.raises(QueryError, match="Expected a number"):
        prune(parse_query("n = 'a'").condition, SCHEMA, FILES)
