import datetime as dt

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.schema.inference import infer_schema
from rosenblatt.data.schema.order import read_order
from rosenblatt.errors import TableError


def ranks(cells):
    """The ranks of the cells, read after they are shuffled."""
    shuffled = np.random.default_rng(0).permutation(len(cells))
    series = pl.Series("t", [cells[i] for i in shuffled])
    keys = read_order(series, infer_schema(series.to_frame(), 64).columns[0], "order")
    return (keys.rank("dense") - 1).to_numpy()[np.argsort(shuffled)].tolist()


DAYS = [dt.date(1995, 1, 1) + dt.timedelta(days=20 * i) for i in range(200)]


@pytest.mark.parametrize(
    "cells",
    [
        [str(i + 1) for i in range(200)],
        list(range(200)),
        [f"{i:03}" for i in range(200)],
        [f"{i / 4}" for i in range(-20, 20)],
        [f"W{i + 1}" for i in range(200)],
        [("week {}", "Week {}")[i % 2].format(i) for i in range(60)],
        [f"v1.{i}" for i in range(30)],
        [*(f"1.{i}.0" for i in range(12)), "1.12", "2.0.1"],
        [f"{i}th" for i in range(30)],
        [f"S{i // 12}E{i % 12}" for i in range(60)],
        [f"Term {i % 3} {2015 + i // 3}" for i in range(30)],
        [f"{i // 60}:{i % 60:02}:00" for i in range(0, 3000, 7)],
        [f"Q{i % 4 + 1} {1998 + i // 4}" for i in range(40)],
        [f"{1998 + i // 4}-Q{i % 4 + 1}" for i in range(40)],
        [f"{i % 12 + 1}/{1998 + i // 12}" for i in range(60)],
        [f"W{i % 52 + 1:02}-{17 + i // 52}" for i in range(150)],
        [f"{day:%m/%d/%y}" for day in DAYS],
        [f"{day:%d/%m/%Y} {('9:30 AM', '1:05 PM')[i % 2]}" for i, day in enumerate(DAYS)],
        [f"{('AM', 'PM')[i // 12]}".join([f"{i % 12 or 12}:00 ", ""]) for i in range(24)],
        [f"{day:%A, %B %d, %Y}" for day in DAYS],
        [f"{1998 + i // 12}M{i % 12 + 1}" for i in range(60)],
        [f"{dt.datetime(2021, 1, 1) + dt.timedelta(hours=i):%b %d %Y %I%p}" for i in range(200)],  # noqa: DTZ001
        DAYS,
    ],
    ids=lambda cells: str(cells[-1]),
)
def test_rows_are_in_the_order_of_numbers_times_and_words_with_a_number(cells):
    assert ranks(cells) == list(range(len(cells)))


def test_equal_values_have_one_rank():
    assert ranks(["w2", "W2", "w 10", "W1"]) == [1, 1, 2, 0]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["low", "high", "medium"], "holds 'low', 'high' and 'medium'"),
        (["Monday", "Tuesday", "Monday"], "'Monday' and 'Tuesday', which repeat"),
        (["Jan", "Feb", "Jan"], "'Jan' and 'Feb', which repeat"),
        (["W1", "W2", "V3"], "holds 'V3', unlike 'W1'"),
        ([*"123456789", "later"] * 5, "holds 'later'"),
        (["1-1", "1-2", "2-1"], "in which several numbers vary"),
        (["step 1.9", "step 1.10"], "decimals or versions"),
        ([True, False], "holds yes and no"),
        (["yes", "no", "yes"], "holds yes and no"),
        ([[1], [2]], "holds sequences"),
        (["", None, "1"], "no value in 2 rows.*row 1, 2"),
        (["W1", "n/a", "W2"], "no value in 1 row .'n/a'.: row 2"),
        ([*(str(i) for i in range(50)), "n/a"], "no value in 1 row .'n/a'.: row 51"),
        ([*(f"{day}" for day in DAYS), "2021-02-31"], "no value in 1 row .'2021-02-31'.: row 201"),
        ([1.0, float("nan"), 3.0], "no value in 1 row.*row 2"),
    ],
    ids=str,
)
def test_cells_without_an_order_are_an_error(cells, message):
    series = pl.Series("t", cells)
    with pytest.raises(TableError, match=message):
        read_order(series, infer_schema(series.to_frame(), 64).columns[0], "order")


def test_missing_cells_are_named_by_the_row_number_in_the_table():
    series = pl.Series("t", ["1", None, "3"])
    with pytest.raises(TableError, match=r"row 7\b"):
        read_order(series, infer_schema(series.to_frame(), 64).columns[0], "order", np.array([5, 7, 9]))
