# ruff: noqa: DTZ001 - tables hold local times
import datetime as dt

import polars as pl
import pytest

from rosenblatt.data.schema.numeric_dates import infer_numeric_dates, read_numeric_dates

TIMES = [dt.datetime(2019, 1, 1, i % 24) + dt.timedelta(days=37 * i % 900) for i in range(300)]


def seconds(time):
    return time.replace(tzinfo=dt.UTC).timestamp()


def excel(time):
    return (time - dt.datetime(1899, 12, 30)).total_seconds() / 86_400


@pytest.mark.parametrize(
    ("name", "unit", "to_number", "layout"),
    [
        ("date", "yyyymmdd", lambda time: f"{time:%Y%m%d}", "%Y%m%d"),
        ("orderDate", "ddmmyyyy", lambda time: f"{time:%d%m%Y}", "%Y%m%d"),
        ("month", "yyyymm", lambda time: f"{time:%Y%m}", "%Y%m"),
        ("date", "yymmdd", lambda time: f"{time:%y%m%d}", "%Y%m%d"),
        ("datetime", "yyyymmddhhmmss", lambda time: f"{time:%Y%m%d%H%M%S}", "%Y%m%d%H"),
        ("datetime", "yyyymmddhhmm", lambda time: f"{time:%Y%m%d%H%M}", "%Y%m%d%H"),
        ("Date", "days of Excel", excel, "%Y%m%d%H"),
        ("timestamp", "Unix seconds", seconds, "%Y%m%d%H"),
        ("created_at", "Unix milliseconds", lambda time: 1e3 * seconds(time), "%Y%m%d%H"),
        ("eventTime", "Unix microseconds", lambda time: 1e6 * seconds(time), "%Y%m%d%H"),
        ("ts", "Unix nanoseconds", lambda time: 1e9 * seconds(time), "%Y%m%d%H"),
    ],
)
def test_numbers_are_dates_if_the_name_says_so(name, unit, to_number, layout):
    numbers = pl.Series(name, [float(to_number(time)) for time in TIMES])
    inferred = infer_numeric_dates(numbers, name)
    assert inferred.format.unit == unit
    assert [f"{time:{layout}}" for time in inferred.dates] == [f"{time:{layout}}" for time in TIMES]
    assert inferred.notes[0].text.endswith(f": {unit}")
    assert read_numeric_dates(numbers.cast(pl.String), inferred.format, []).to_list() == inferred.dates.to_list()
    assert infer_numeric_dates(numbers, "amount") is None


@pytest.mark.parametrize("name", ["date", "day", "time", "candidate", "lifetime"])
def test_other_numbers_are_no_dates(name):
    for values in (range(300), range(1900, 2200), [i / 7 for i in range(300)]):
        assert infer_numeric_dates(pl.Series(name, values, dtype=pl.Float64), name) is None


def test_zeros_among_dates_are_missing():
    numbers = pl.Series("date", [float(f"{time:%Y%m%d}") if i % 4 else 0.0 for i, time in enumerate(TIMES)])
    inferred = infer_numeric_dates(numbers, "date")
    assert inferred.dates.null_count() == 75
    assert "'0' in 75 cells" in str(inferred.notes[1])
