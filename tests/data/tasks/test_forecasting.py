"""Windows of series: what is past, what is known ahead, and what comes out."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.media.columns import steps_of
from rosenblatt.data.tasks.forecasting import Windows
from rosenblatt.errors import TableError
from rosenblatt.spec.data import DataSpec


def table(months=20, shops="ab"):
    rows = [
        {
            "month": (dt.date(2020, 1, 1) + dt.timedelta(days=31 * k)).replace(day=1).isoformat(),
            "shop": shop,
            "sales": str(100.0 * (shop == "b") + k),
            "promo": str(k % 2),
            "rain": str(k / 7 + 0.5),
        }
        for shop in shops
        for k in range(months)
    ]
    return pl.DataFrame(rows).sample(fraction=1.0, shuffle=True, seed=0)


SPEC = DataSpec(time="month", series="shop", known=("promo",), horizon=3, window=5)


def test_windows_hold_the_past_and_ask_for_what_follows():
    frame = table()
    windows = Windows.of(frame, "sales", SPEC, ())
    rows = windows.rows(frame, print)
    assert rows.height == 2 * (20 - 3 - 2 + 1)
    row = rows.filter((pl.col("name") == "b") & (pl.col("end") == 10))
    (history,) = steps_of(row["history"])
    np.testing.assert_allclose(history[:, 0], [-4, -3, -2, -1, 0])  # from the last value, in steps of 1
    np.testing.assert_allclose(history[:, 1] * 7 - 3.5, [5, 6, 7, 8, 9], atol=1e-5)  # rain
    assert row.select("sales +1", "sales +3").row(0) == (1.0, 3.0)
    assert row.select("promo +1", "promo +2").row(0) == (0.0, 1.0)
    np.testing.assert_allclose(windows.in_units(row, np.array([[1.0, 2.0, 3.0]])), [[110, 111, 112]])
    assert Windows.model_validate(windows.model_dump(mode="json")) == windows


def test_the_end_of_each_series_is_what_is_forecast():
    frame = table()
    ahead = [
        {"month": f"2021-{k + 9:02d}-01", "shop": shop, "sales": None, "promo": "1", "rain": None}
        for shop in "ab"
        for k in range(3)
    ]
    windows = Windows.of(frame, "sales", SPEC, ())
    with pytest.raises(
        TableError, match=r"'promo' is known in advance, but series .* has only 0 of 3 rows after its end"
    ):
        windows.last(frame, print)
    last = windows.last(pl.concat([frame, pl.DataFrame(ahead, schema=frame.schema)]), print)
    assert sorted(last["name"]) == ["a", "b"]
    assert last["promo +3"].to_list() == [1.0, 1.0]
    assert sorted(last["level"]) == [19.0, 119.0]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"time": "when"}, "time names 'when', but the table has no such column"),
        ({"known": ("shop",)}, "'shop' holds"),
        ({"horizon": 50}, "No series is longer"),
        ({"time": "shop"}, "time must name a column of dates or numbers, but 'shop' holds categories"),
        ({"known": ("sales",)}, "'sales' is to be forecast; it cannot be known in advance too"),
    ],
)
def test_what_cannot_be_forecast_is_told(changed, why):
    frame = table()
    with pytest.raises(TableError, match=why):
        Windows.of(frame, "sales", SPEC.model_copy(update=changed), ()).rows(frame, print)


def test_of_a_gap_only_what_came_before_it_is_told_and_nothing_is_asked():
    sales = [None if k in (7, 8) else str(float(k)) for k in range(20)]
    frame = table(shops="a").sort("month").with_columns(pl.Series("sales", sales))
    rows = Windows.of(frame, "sales", SPEC, ()).rows(frame, print)
    assert rows.filter(pl.col("end") == 9)["level"][0] == 6.0  # not 9, which comes after
    assert rows["end"].to_list() == [2, 3, 4, 9, 10, 11, 12, 13, 14, 15, 16, 17]  # whose next three steps are known


def test_months_may_be_written_without_days():
    frame = pl.DataFrame({"month": [f"{2010 + k // 12}-{k % 12 + 1:02d}" for k in range(40)], "sales": range(40)})
    windows = Windows.of(frame, "sales", DataSpec(time="month", horizon=2), ())
    assert windows.time.kind == "date"
    assert windows.last(frame, print)["level"].to_list() == [39.0]


def test_what_is_not_used_and_which_series_are_too_short_is_said():
    frame = pl.concat([table().with_columns(pl.lit("Oslo").alias("city")),
                       table(months=1, shops="c").with_columns(pl.lit("Oslo").alias("city"))])  # fmt: skip
    windows, said = Windows.of(frame, "sales", SPEC, ()), []
    assert windows.unused(frame) == ["city"]
    windows.rows(frame, said.append)
    assert said == ["1 series have fewer than 2 values, and are left out: 'c'"]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda frame: frame.with_columns(pl.lit("a").alias("shop")), "Several rows of series 'a' have the 'month'"),
        (lambda frame: frame.with_columns(pl.when(pl.col("sales") != "5.0").then("month").alias("month")),
         "Row .* has no 'month'"),
    ],
    ids=["repeated", "missing"],
)  # fmt: skip
def test_times_that_are_missing_or_repeated_are_refused(changed, why):
    windows = Windows.of(table(), "sales", SPEC, ())
    with pytest.raises(TableError, match=why):
        windows.rows(changed(table()), print)


def test_several_series_without_a_name_are_told_apart_by_their_times():
    spec = SPEC.model_copy(update={"series": ""})
    with pytest.raises(TableError, match="name the column that tells these apart with --series"):
        Windows.of(table(), "sales", spec, ()).rows(table(), print)
