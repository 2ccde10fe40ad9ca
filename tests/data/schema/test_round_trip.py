# ruff: noqa: DTZ001 - tables hold local times
"""Tables of known values, written in random styles, are read as these values."""

import csv
import datetime as dt
import io
import random

import polars as pl
import pytest

from rosenblatt.data.readers.read import read_table
from rosenblatt.data.schema.inference import infer_schema

N_ROWS = 40
LAYOUTS = (
    "%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%y", "%m/%d/%y", "%d-%b-%Y", "%d %B %Y", "%b %d %Y",
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%m/%d/%Y %I:%M %p",
)  # fmt: skip
WORDS = ("red", "green", "Oslo", "café", "Ärger", "a b", "x-y", "M", "m", "007", "7")
UNITS = ("{}", "${}", "€{}", "USD {}", "{} EUR", "{} kg", "{}cm", "{} km/h")


def write_number(value, places, decimal, thousands):
    whole, point, fraction = f"{abs(value):,.{places}f}".partition(".")
    return "-" * (value < 0) + whole.replace(",", thousands) + point.replace(".", decimal) + fraction


def make_column(rng, kind, decimal, thousands):
    """Random values, and the cells that hold them."""
    if kind == "word":
        values = [rng.choice(WORDS) for _ in range(N_ROWS)]
        return values, values
    if kind == "date":
        layout, start = rng.choice(LAYOUTS), dt.datetime(rng.choice([1975, 1999, 2015]), 1, 1)
        minutes = [rng.randrange(1440) if "%M" in layout else 0 for _ in range(N_ROWS)]
        values = [start + dt.timedelta(days=rng.randrange(3000), minutes=minute) for minute in minutes]
        return values, [f"{value:{layout}}" for value in values]
    if kind == "percent":
        values = [rng.randrange(1500) / 10 for _ in range(N_ROWS)]
        return [value / 100 for value in values], [f"{write_number(value, 1, decimal, '')}%" for value in values]
    unit = rng.choice(UNITS)
    values = [rng.randrange(0 if "$" in unit else -9_999_999, 9_999_999) / 100 for _ in range(N_ROWS)]
    return values, [unit.format(write_number(value, 2, decimal, thousands)) for value in values]


def write_table(rng, path):
    """Write a random table in a random style. Returns its columns by name."""
    separator, decimal = rng.choice([",", ";", "\t", "|"]), rng.choice([".", ","])
    thousands = rng.choice(["", "", " ", "'", "," if decimal == "." else "."])
    kinds = [rng.choice(["word", "date", "percent", "number", "number"]) for _ in range(rng.randint(3, 6))]
    columns = [make_column(rng, kind, decimal, thousands) for kind in kinds]
    for values, cells in columns[1:]:
        marker = "" if cells is values else rng.choice(["", "NA", "n/a", "-"])
        for row in rng.sample(range(N_ROWS), rng.choice([0, 0, 5])):
            cells[row], values[row] = marker, None
    text = io.StringIO()
    quoting, end = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), rng.choice(["\n", "\r\n", "\r"])
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end)
    names = [f"{kind} {i}, new" if rng.random() < 0.1 else f"{kind}_{i}" for i, kind in enumerate(kinds)]
    writer.writerows([["Report", *[""] * (len(names) - 1)]] * (rng.random() < 0.2))
    writer.writerow(names)
    writer.writerows(zip(*(cells for _, cells in columns), strict=True))
    path.write_bytes(text.getvalue().encode(rng.choice(["utf-8", "utf-8-sig", "cp1252", "utf-16"])))
    return dict(zip(names, (values for values, _ in columns), strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_values_do_not_depend_on_how_they_are_written(tmp_path, seed):
    path = tmp_path / "t.csv"
    columns = write_table(random.Random(seed), path)
    table = read_table(path)
    schema = infer_schema(table.frame, 100, table.format)
    assert table.frame.columns == list(columns)
    for column, values in zip(schema.columns, columns.values(), strict=True):
        series = table.frame[column.name]
        if column.kind == "date":
            assert column.sort_key(series).cast(pl.Datetime("us")).to_list() == values
        elif column.kind == "category":
            assert column.read(series)[0].to_list() == values
        else:
            assert column.kind == "number"
            assert column.read(series)[0].to_list() == pytest.approx(values)
