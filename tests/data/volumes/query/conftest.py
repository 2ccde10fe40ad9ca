"""A table with every type of column that queries compare, and random conditions on it."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal

import polars as pl

WORDS = ["cat", "Cat", "dog", "ca", "", "c_t", "100%", "it's", "é", "e\u0301", "日本", "\U0001f600", "cat\n", "z" * 40]
SCHEMA = {
    "id": pl.String, "n": pl.Int64, "m": pl.Int32, "small": pl.Int8, "x": pl.Float64, "y": pl.Float32,
    "price": pl.Decimal(12, 2), "label": pl.String, "word": pl.String, "ok": pl.Boolean, "day": pl.Date,
    "taken": pl.Datetime("us"), "seen": pl.Datetime("us", "UTC"), "tags": pl.List(pl.String),
}  # fmt: skip
NUMBERS = ("n", "m", "small", "x", "y", "price")
DAYS = ("'2024-01-31'", "'2024-02-01'", "'1969-12-31 23:59:59.5'", "'2024-01-31 12:00'", "'1500-01-01'")


def random_frame(rng: random.Random, n_rows: int, nan: bool) -> pl.DataFrame:
    """Random rows, with nulls, large numbers, and repeated values."""
    big = [2**53 + 1, 2**53, -(2**63), 2**63 - 1]
    start = dt.datetime.fromisoformat("2024-01-31")
    floats = [-1.5, 0.0, -0.0, 0.1, 2.0, 3.5, float(2**53), 1e300, *([float("nan")] if nan else [])]
    makers = {
        "id": lambda: f"s{rng.randrange(10**6)}",
        "n": lambda: rng.choice([*range(-3, 4), *big]),
        "m": lambda: rng.randrange(-3, 4),
        "small": lambda: rng.choice([-128, 127, 0, 1]),
        "x": lambda: rng.choice(floats),
        "y": lambda: rng.choice([0.1, 2.0, -1.5]),
        "price": lambda: Decimal(rng.randrange(-300, 300)) / 100,
        "label": lambda: rng.choice(WORDS),
        "word": lambda: rng.choice(WORDS),
        "ok": lambda: rng.random() < 0.5,
        "day": lambda: start.date() + dt.timedelta(days=rng.randrange(-1, 3)),
        "taken": lambda: start + dt.timedelta(hours=12 * rng.randrange(-1, 4), microseconds=rng.randrange(2)),
        "seen": lambda: start + dt.timedelta(hours=12 * rng.randrange(-1, 4)),
        "tags": lambda: [rng.choice([*WORDS[:5], None]) for _ in range(rng.randrange(3))],
    }  # fmt: skip
    columns = {
        name: [None if name != "id" and rng.random() < 0.15 else make() for _ in range(n_rows)]
        for name, make in makers.items()
    }
    return pl.DataFrame(columns, schema=SCHEMA)


def random_condition(rng: random.Random, depth: int = 3) -> str:
    """A random condition that is a query and a WHERE clause of DuckDB as well."""
    if depth and rng.random() < 0.6:
        left, right = random_condition(rng, depth - 1), random_condition(rng, depth - 1)
        return rng.choice([f"{left} and {right}", f"({left} or {right})", f"not ({left})"])
    operator = rng.choice(["=", "==", "!=", "<>", "<", "<=", ">", ">="])
    column = rng.choice(NUMBERS)
    number = rng.choice(["0", "2", "-1.5", "1e3", "9007199254740993", "3.0", "0.29", "127", "-128"])
    text, other_text = (f"'{rng.choice(WORDS)}'".replace("it's", "it''s") for _ in range(2))
    negation = rng.choice(["", "not "])
    return rng.choice(
        [
            f"{column} {operator} {number}" if column != "y" else f"y {operator} 2",
            f"{number} {operator} n",
            f"n {operator} m",
            f"price {operator} m",
            f"label {operator} {text}",
            f"label {operator} word",
            f"label {negation}in ({text}, {other_text})",
            f"m {negation}in (1, 2, -3)",
            f"label {negation}like '{rng.choice(['c%', '%a_', '_', '%', 'ca%t', '100%', 'cat'])}'",
            f"label {negation}ilike 'CA%'",
            f"{rng.choice(list(SCHEMA))} is {negation}null",
            f"{negation}ok",
            f"ok {rng.choice(['=', '!='])} false",
            f"day {operator} {rng.choice(DAYS[:2])}",
            f"taken {operator} {rng.choice(DAYS)}",
            f"{negation}{text} in tags",
        ]
    )
