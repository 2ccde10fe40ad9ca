# ruff: noqa: DTZ001 - tables hold local times
import datetime as dt
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from rosenblatt.data.schema.dates import DateFormat, as_dates, date_features, infer_dates, read_dates, typed_date_format
from rosenblatt.errors import TableError

DAYS = [dt.datetime(2019, 1, 1) + dt.timedelta(days=37 * i % 900) for i in range(300)]
EARLY_DAYS = [day for day in DAYS if day.day <= 12]  # day and month can be swapped
THIS_YEAR = dt.datetime.now(tz=dt.UTC).year


def infer(days, layout, name="when", **options):
    return infer_dates(pl.Series(name, [f"{day:{layout}}" for day in days]), name, **options)


def texts(inferred):
    return [note.text for note in inferred.notes]


@pytest.mark.parametrize(
    "layout",
    ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y", "%m/%d/%y", "%d-%m-%Y", "%Y/%m/%d", "%y-%m-%d", "%y/%m/%d", "%d-%b-%y"],
)
def test_the_order_is_decided_over_the_whole_column(layout):
    inferred = infer(DAYS, layout)
    assert inferred.dates.to_list() == DAYS
    assert inferred.format.is_ambiguous == (layout in ("%y-%m-%d", "%y/%m/%d"))


@pytest.mark.parametrize(("layout", "order"), [("%m/%d/%Y", "month"), ("%d.%m.%Y", "day"), ("%d-%m-%Y", "day")])
def test_an_order_that_is_not_certain_is_noted_and_can_be_given(layout, order):
    inferred = infer(EARLY_DAYS, layout)
    assert inferred.dates.to_list() == EARLY_DAYS
    assert f"ambiguous order of day and month, read as {order}" in texts(inferred)[0]
    given = infer(EARLY_DAYS, layout, day_first=order != "day")
    assert given.dates.to_list() == [day.replace(month=day.day, day=day.month) for day in EARLY_DAYS]
    assert not given.notes


def test_a_given_order_that_a_column_does_not_allow_has_no_effect():
    assert infer(DAYS, "%m/%d/%Y", day_first=True).dates.to_list() == DAYS


@pytest.mark.parametrize("layout", ["%Y/%m/%d", "%Y-%m-%d", "%B %d, %Y"])
def test_an_order_that_is_certain_is_not_noted(layout):
    assert not infer(EARLY_DAYS, layout).notes


def test_dates_that_are_equal_in_both_orders_are_certain():
    assert not infer([dt.datetime(2021, i % 12 + 1, i % 12 + 1) for i in range(60)], "%d/%m/%Y").notes


def test_a_number_that_is_always_one_is_the_day():
    months = [dt.datetime(2000 + i // 12, i % 12 + 1, 1) for i in range(100)]
    assert infer(months, "%d/%m/%Y").dates.to_list() == months
    assert infer(months, "%m/%d/%y").dates.to_list() == months


def test_two_digits_are_years_up_to_twenty_years_ahead():
    days = [dt.datetime(THIS_YEAR + 20 - 99 + i % 100, i % 12 + 1, i % 28 + 1) for i in range(300)]
    inferred = infer(days, "%d/%m/%y")
    assert inferred.dates.to_list() == days
    assert texts(inferred) == [f"two-digit years read as {THIS_YEAR - 79} to {THIS_YEAR + 20}"]


@pytest.mark.parametrize("name", ["birthDate", "date_of_birth", "DOB", "Geburtstag"])
def test_two_digits_are_no_later_years_than_this_one_in_dates_of_birth(name):
    days = [dt.datetime(THIS_YEAR - 99 + i % 100, i % 12 + 1, i % 28 + 1) for i in range(300)]
    assert infer(days, "%d/%m/%y", name).dates.to_list() == days


def test_several_layouts_in_one_column_share_the_order():
    layouts = ["%d/%m/%Y", "%d/%m/%Y %H:%M", "%Y-%m-%d", "%d %B %Y"]
    cells = [f"{day:{layouts[i % 4]}}" for i, day in enumerate(DAYS)]
    assert infer_dates(pl.Series(cells), "when").dates.to_list() == DAYS


@pytest.mark.parametrize(
    ("stray", "every", "n_missing"),
    [("31/02/2021", 300, 1), ("2021/31/31", 60, 5), ("unknown", 5, 60), ("00/00/0000", 3, 100)],
)
def test_cells_that_are_no_dates_are_missing_and_noted(stray, every, n_missing):
    cells = [stray if i % every == 0 else f"{day:%d/%m/%Y}" for i, day in enumerate(DAYS)]
    inferred = infer_dates(pl.Series(cells), "when")
    assert inferred.dates.null_count() == n_missing
    assert [str(note) for note in inferred.notes] == [
        f"cells that are not valid dates read as missing ({stray!r} in {n_missing} cell{'s' * (n_missing > 1)})"
    ]


@pytest.mark.parametrize(
    "cells",
    [
        [f"{day:%d/%m/%Y}" if i % 2 else "n" for i, day in enumerate(DAYS)],
        [f"{day:%d/%m/%Y}" if i % 10 else f"word {i}" for i, day in enumerate(DAYS)],
        [f"{year}-{(year + 1) % 100:02}" for year in range(2000, 2012)],
        [f"{day:%b-%d}" for day in DAYS],
        [f"{day:%A}" for day in DAYS],
        [f"1.{i}.{i:02}" for i in range(100)],
        [f"{i}/2" for i in range(100)],
    ],
    ids=["half words", "many words", "seasons", "days", "weekdays", "versions", "fractions"],
)
def test_other_columns_are_no_dates(cells):
    assert infer_dates(pl.Series(cells), "when") is None


def test_an_impossible_date_in_another_layout_is_missing():
    inferred = infer_dates(pl.Series("when", [f"{day:%Y-%m-%d}" for day in DAYS] + ["31/02/2019"]), "when")
    assert inferred.dates.to_list() == [*DAYS, None]
    assert texts(inferred) == ["cells that are not valid dates read as missing"]


def test_local_time_is_kept_in_one_zone():
    for zone in ("+02:00", "Z", " EST", " Europe/Berlin"):
        inferred = infer(DAYS, f"%Y-%m-%dT%H:%M:%S{zone}")
        assert inferred.dates.to_list() == DAYS
        assert not inferred.notes


def test_times_of_several_zones_are_converted_to_utc():
    cells = [f"{day:%Y-%m-%d} 12:00{'+01:00' if day.month < 4 else '+02:00'}" for day in DAYS]
    inferred = infer_dates(pl.Series(cells), "when")
    assert inferred.dates.to_list() == [day.replace(hour=11 if day.month < 4 else 10) for day in DAYS]
    assert texts(inferred) == ["times in several time zones converted to UTC"]


def test_new_dates_in_another_layout_are_converted_and_noted():
    for trained, new in (
        ("%d/%m/%Y", "%Y-%m-%d"),
        ("%Y-%m-%d", "%d/%m/%Y"),
        ("%m/%d/%Y", "%d/%m/%Y"),
        ("%b %d, %Y", "%m/%d/%Y"),
    ):
        notes = []
        cells = pl.Series([f"{day:{new}}" for day in DAYS])
        assert read_dates(cells, infer(DAYS, trained).format, notes).to_list() == DAYS
        assert "converted" in notes[0].text


def test_new_dates_in_the_layout_of_training_are_not_noted():
    notes = []
    assert read_dates(pl.Series(["03/04/2021", None]), infer(DAYS, "%d/%m/%Y").format, notes)[0] == dt.datetime(
        2021, 4, 3
    )
    assert not notes


def test_new_dates_of_unknown_order_are_an_error():
    with pytest.raises(TableError, match=r"'when' holds dates such as '03/04/2021'.*--day-first"):
        read_dates(pl.Series("when", ["03/04/2021"]), infer(DAYS, "%Y-%m-%d").format, [])


def test_new_times_are_converted_to_the_offset_of_training():
    written = infer(DAYS, "%Y-%m-%dT%H:%M:%S+02:00").format
    new = pl.Series(["2021-01-01T10:00:00Z", "2021-01-01T10:00:00"])
    assert read_dates(new, written, []).dt.hour().to_list() == [12, 10]


@pytest.mark.parametrize(
    ("trained", "new", "note"),
    [
        ("%d/%m/%Y", "%d/%m/%y", "two-digit years"),
        ("%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M+02:00", "converted to the time zone of training"),
        ("%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M", "without a time zone"),
        ("%Y-%m-%d %H:%M IST", "%Y-%m-%d %H:%M", "without a time zone"),
        ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%MZ", "zones are ignored"),
        ("%d/%m/%y", "%d/%m/%Y", ""),
        ("%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%MZ", ""),
    ],
)
def test_new_centuries_and_time_zones_are_noted(trained, new, note):
    notes = []
    read_dates(pl.Series([f"{day:{new}}" for day in DAYS]), infer(DAYS, trained).format, notes)
    assert [note in found.text for found in notes] == [True] * bool(note)


def test_times_in_another_zone_than_an_unknown_one_of_training_are_no_dates():
    written = infer(DAYS, "%Y-%m-%d %H:%M IST").format
    assert read_dates(pl.Series(["2021-01-01 10:00 Z"]), written, []).to_list() == [None]


@pytest.mark.parametrize(
    ("written", "hour", "note"),
    [
        (DateFormat(), 8, ["time zones are ignored, as training had none"]),
        (DateFormat(zone="+02:00", offset=120), 1, ["times are converted to the time zone of training"]),
        (DateFormat(zone="america/new_york"), 18, ["times are converted to the time zone of training"]),
        (DateFormat(zone="asia/tokyo"), 8, []),
        (DateFormat(zone="jst", offset=540), 8, []),
    ],
)
def test_typed_times_are_converted_to_the_time_zone_of_training(written, hour, note):
    moments, notes = pl.Series("when", [dt.datetime(2024, 2, 29, 8, 30, tzinfo=ZoneInfo("Asia/Tokyo")), None]), []
    assert as_dates(moments, written, notes).dt.hour().to_list() == [hour, None]
    assert [str(found.text) for found in notes] == note
    assert as_dates(moments).dt.hour().to_list() == [8, None]


def test_typed_times_beside_a_zone_without_offset_are_refused():
    moments = pl.Series("when", [dt.datetime(2024, 2, 29, tzinfo=ZoneInfo("Asia/Tokyo"))])
    with pytest.raises(TableError, match="'when' holds times with a time zone, but those of training were in IST"):
        as_dates(moments, DateFormat(zone="ist"))


@pytest.mark.parametrize(("zone", "offset"), [("UTC", 0), ("Europe/Berlin", None), (None, None)])
def test_the_time_zone_of_a_typed_column_is_part_of_its_format(zone, offset):
    written = typed_date_format(pl.Datetime("us", zone))
    assert (written.zone, written.offset) == ((zone or "").lower(), offset)


def test_the_end_of_the_day_is_later_than_any_other_time():
    inferred = infer_dates(pl.Series([f"{hour:02}:00" for hour in range(1, 25)]), "time")
    assert inferred.dates.is_sorted()
    assert date_features(inferred.dates) == ("hour",)
