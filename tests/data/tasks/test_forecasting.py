"""Windows of series: past values, values known in advance, and forecasts."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.media.columns import sequences_from_column
from rosenblatt.data.tasks.forecasting import WindowTransform
from rosenblatt.errors import TableError
from rosenblatt.spec.data import DataSpec


def make_table(months=20, shops="ab"):
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


SPEC = DataSpec(time="month", series="shop", known_covariates=("promo",), horizon=3, window=5)


def test_windows_hold_past_steps_and_the_next_steps_as_targets():
    frame = make_table()
    transform = WindowTransform.fit(frame, "sales", SPEC, ())
    rows = transform.training_rows(frame)
    assert rows.height == 2 * (20 - 3 - 2 + 1)
    row = rows.filter((pl.col("name") == "b") & (pl.col("end") == 10))
    (history,) = sequences_from_column(row["history"])
    np.testing.assert_allclose(
        history[:, 0], [-4, -3, -2, -1, 0]
    )  # differences from the last value, divided by a mean change of 1
    np.testing.assert_allclose(history[:, 1] * 7 - 3.5, [5, 6, 7, 8, 9], atol=1e-5)  # rain
    assert row.select("sales +1", "sales +3").row(0) == (1.0, 3.0)
    assert row.select("promo +1", "promo +2").row(0) == (0.0, 1.0)
    np.testing.assert_allclose(transform.inverse_transform(row, np.array([[1.0, 2.0, 3.0]])), [[110, 111, 112]])
    assert WindowTransform.model_validate(transform.model_dump(mode="json")) == transform


def test_forecasts_start_at_the_end_of_each_series():
    frame = make_table()
    ahead = [
        {"month": f"2021-{k + 9:02d}-01", "shop": shop, "sales": None, "promo": "1", "rain": None}
        for shop in "ab"
        for k in range(3)
    ]
    transform = WindowTransform.fit(frame, "sales", SPEC, ())
    with pytest.raises(
        TableError, match=r"'promo' is known in advance, but series .* has only 0 of 3 rows after its end"
    ):
        transform.forecast_rows(frame)
    rows = transform.forecast_rows(pl.concat([frame, pl.DataFrame(ahead, schema=frame.schema)]))
    assert sorted(rows["name"]) == ["a", "b"]
    assert rows["promo +3"].to_list() == [1.0, 1.0]
    assert sorted(rows["offset"]) == [19.0, 119.0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"time": "when"}, "time names 'when', but the table has no such column"),
        ({"known_covariates": ("shop",)}, "'shop' holds"),
        ({"horizon": 50}, "No series is longer"),
        ({"time": "shop"}, "time must name a column of numbers, times.*'shop' holds"),
        ({"known_covariates": ("sales",)}, "'sales' is the target of the forecast and cannot be known"),
    ],
)
def test_unusable_forecast_options_are_rejected(changed, message):
    frame = make_table()
    with pytest.raises(TableError, match=message):
        WindowTransform.fit(frame, "sales", SPEC.model_copy(update=changed), ()).training_rows(frame)


def test_gaps_are_filled_with_the_value_before_and_never_targets():
    sales = [None if k in (7, 8) else str(float(k)) for k in range(20)]
    frame = make_table(shops="a").sort("month").with_columns(pl.Series("sales", sales))
    rows = WindowTransform.fit(frame, "sales", SPEC, ()).training_rows(frame)
    assert rows.filter(pl.col("end") == 9)["offset"][0] == 6.0  # not 9, which comes after
    assert rows["end"].to_list() == [
        2,
        3,
        4,
        9,
        10,
        11,
        12,
        13,
        14,
        15,
        16,
        17,
    ]  # windows whose next three steps are known


def test_months_may_be_written_without_days():
    frame = pl.DataFrame({"month": [f"{2010 + k // 12}-{k % 12 + 1:02d}" for k in range(40)], "sales": range(40)})
    transform = WindowTransform.fit(frame, "sales", DataSpec(time="month", horizon=2), ())
    assert transform.time.kind == "date"
    assert transform.forecast_rows(frame)["offset"].to_list() == [39.0]


def test_unused_columns_and_too_short_series_are_reported():
    frame = pl.concat([make_table().with_columns(pl.lit("Oslo").alias("city")),
                       make_table(months=1, shops="c").with_columns(pl.lit("Oslo").alias("city"))])  # fmt: skip
    transform, messages = WindowTransform.fit(frame, "sales", SPEC, ()), []
    assert transform.unused_columns(frame) == ["city"]
    transform.training_rows(frame, messages)
    assert messages == ["1 series with fewer than 2 values left out: 'c'"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda frame: frame.with_columns(pl.lit("a").alias("shop")), "Several rows of series 'a' have the 'month'"),
        (lambda frame: frame.with_columns(pl.when(pl.col("sales") != "5.0").then("month").alias("month")),
         "The time column 'month' has no value in 1 row: row 3"),
    ],
    ids=["repeated", "missing"],
)  # fmt: skip
def test_times_that_are_missing_or_repeated_are_rejected(changed, message):
    transform = WindowTransform.fit(make_table(), "sales", SPEC, ())
    with pytest.raises(TableError, match=message):
        transform.training_rows(changed(make_table()))


def test_repeated_times_without_a_series_column_are_rejected():
    spec = SPEC.model_copy(update={"series": ""})
    with pytest.raises(TableError, match="name the column that identifies the series with --series"):
        WindowTransform.fit(make_table(), "sales", spec, ()).training_rows(make_table())
