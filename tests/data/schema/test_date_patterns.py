# ruff: noqa: DTZ001 - tables hold local times
import datetime as dt

import polars as pl
import pytest

from rosenblatt.data.schema.date_patterns import NUMBERS, TIME, split_dates
from rosenblatt.data.schema.dates import DateFormat, to_dates


def read(cell: str, **written) -> dt.datetime | None:
    parts = split_dates(pl.Series([cell]))
    layouts = tuple(parts["layout"].drop_nulls())
    return to_dates(parts, DateFormat(layouts=layouts, order="day/month/year", **written))[0]


@pytest.mark.parametrize(
    "cell",
    [
        "2019-10-03", "2019/10/3", "2019.10.03", "20191003", "2019 10 03", "3/10/2019", "03-10-2019", "3.10.2019",
        "03 10 2019", "03/10/19", "3-Oct-2019", "03-OCT-19", "3 October 2019", "3rd of October 2019", "Oct 3, 2019",
        "October 3 2019", "Thu, 3 Oct 2019", "Thursday, October 3rd, 2019", "2019-Oct-03", "03OCT2019", "Oct. 3, 2019",
        "3. Oktober 2019", "3 de octubre de 2019", "le 3 octobre 2019", "3 ottobre 2019", "3 outubro 2019",
        "3 okt. 2019", "2019年10月3日", "2019-W40-4", "3–10–2019", "2019_10_03", "3\u00a0Oct\u00a02019",
        "03/10/2019 (Thu)",
    ],
)  # fmt: skip
def test_dates_are_read_in_all_layouts(cell):
    assert read(cell) == dt.datetime(2019, 10, 3)


@pytest.mark.parametrize(
    "cell",
    [
        "2019-10-03T13:05", "2019-10-03 13:05:00", "2019-10-03 13:05:00.000", "20191003T130500", "20191003T1305Z",
        "03/10/2019 1:05 PM", "03/10/2019 1:05pm", "03/10/2019 01:05:00 p.m.", "3 Oct 2019 1:05 P.M.",
        "13:05 03/10/2019", "03OCT2019:13:05:00", "Thu Oct  3 13:05:00 2019", "Thu Oct  3 13:05:00 UTC 2019",
        "Thu, 03 Oct 2019 13:05:00 GMT", "Thursday, October 3, 2019 at 1:05 PM", "2019-10-03 13h05",
        "03/Oct/2019:13:05:00 +0000", "2019-10-03 13:05:00,000",
        "[03/Oct/2019:13:05:00 +0000]", "03.10.2019 13.05", "20191003 1305", "20191003_130500",
    ],
)  # fmt: skip
def test_times_of_day_are_read_in_all_layouts(cell):
    assert read(cell) == dt.datetime(2019, 10, 3, 13, 5)


@pytest.mark.parametrize(
    ("cell", "date"),
    [
        ("2019-10", (2019, 10, 1)), ("10/2019", (2019, 10, 1)), ("2019M10", (2019, 10, 1)), ("Oct-19", (2019, 10, 1)),
        ("Oct '19", (2019, 10, 1)), ("October 2019", (2019, 10, 1)), ("2019 Oct", (2019, 10, 1)),
        ("2019Q3", (2019, 7, 1)), ("Q3 2019", (2019, 7, 1)), ("2019-Q3", (2019, 7, 1)), ("3Q19", (2019, 7, 1)),
        ("Q3'19", (2019, 7, 1)), ("FY19 Q3", (2019, 7, 1)), ("H2 2019", (2019, 7, 1)), ("2019H2", (2019, 7, 1)),
        ("2019-W05", (2019, 1, 28)), ("2019W05", (2019, 1, 28)), ("W05 2019", (2019, 1, 28)),
        ("week 5, 2019", (2019, 1, 28)), ("2020-W53", (2020, 12, 28)), ("FY2019", (2019, 1, 1)),
    ],
)  # fmt: skip
def test_months_quarters_and_weeks_are_their_first_day(cell, date):
    assert read(cell) == dt.datetime(*date)


@pytest.mark.parametrize(
    "cell",
    [
        "", "foo", "may", "Monday", "W5", "3-Oct", "03-Oct", "3 Oct", "03/10", "1.2.3", "123-45-6789", "192.168.0.1",
        "31/02/2021", "2021-13-01",
        "0000-00-00", "9999-12-31", "2019-W60", "2021-W53", "2021-01-01 25:00", "2021-01-01 23:59:60", "13:60",
        "2021-01-01 13:05 AM", "2021-01-01 10:00 - 11:00", "10-12-1", "5/4", "Q5 2019", "12 kg",
    ],
)  # fmt: skip
def test_other_cells_are_no_dates(cell):
    assert read(cell) is None


def test_hour_24_is_the_end_of_the_day():
    assert read("2021-12-31 24:00") == dt.datetime(2022, 1, 1)


@pytest.mark.parametrize(
    ("cell", "hour"), [("12:00 AM", 0), ("12:00 PM", 12), ("1 am", 1), ("11pm", 23), ("23:00", 23)]
)
def test_times_of_day_without_a_date_are_on_the_first_day(cell, hour):
    assert split_dates(pl.Series([cell]))["layout"][0] == TIME
    assert read(cell) == dt.datetime(1970, 1, 1, hour)


@pytest.mark.parametrize(
    ("cell", "hour"),
    [
        ("10:00:00+02:00", 8), ("10:00:00 +0200", 8), ("10:00 -05", 15), ("10:00:00Z", 10), ("10:00 UTC", 10),
        ("10:00 EST", 15), ("10:00 CEST", 8), ("10:00 GMT+2", 8), ("10:00:00+02:00[Europe/Berlin]", 8),
        ("10:00:00 GMT+0200 (Central European Summer Time)", 8), ("10:00+05:30", 4.5), ("10:00", 10),
    ],
)  # fmt: skip
def test_times_with_a_zone_are_converted_to_the_offset_of_the_format(cell, hour):
    assert read(f"2021-06-01 {cell}", offset=0) == dt.datetime(2021, 6, 1) + dt.timedelta(hours=hour)


def test_the_order_of_three_numbers_is_left_open():
    parts = split_dates(pl.Series(["03/10/19"]))
    assert parts.select("layout", "first", "second", "third", "year_digits").row(0) == (NUMBERS, 3, 10, 19, 2)
