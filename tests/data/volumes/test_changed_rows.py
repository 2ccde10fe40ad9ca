from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.volumes import changed_rows
from rosenblatt.data.volumes.changed_rows import ChangedRows

SCHEMA = pl.Schema({"x": pl.String(), "row": pl.Int64()})


def rows_at(positions: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"x": [f"{k}" for k in positions], "row": positions}, schema=SCHEMA)


@pytest.mark.parametrize(("run_rows", "block_rows"), [(1, 1), (10, 3), (7, 100), (1000, 1000)])
@pytest.mark.parametrize("is_shuffled", [False, True])
def test_rows_are_taken_in_order_whatever_order_they_were_added_in(monkeypatch, run_rows, block_rows, is_shuffled):
    monkeypatch.setattr(changed_rows, "RUN_ROWS", run_rows)
    monkeypatch.setattr(changed_rows, "BLOCK_ROWS", block_rows)
    rng, rows = np.random.default_rng(0), ChangedRows("row", SCHEMA)
    positions = np.sort(rng.choice(200, 90, replace=False))
    for part in np.array_split(rng.permutation(positions) if is_shuffled else positions, 13):
        rows.add(rows_at(part))
    assert rows.n_rows == 90
    start = 0
    for stop in (0, 50, 51, 120, 200):
        taken = rows.take(stop)
        assert taken.equals(rows_at(positions[(positions >= start) & (positions < stop)]))
        start = stop


def test_where_nothing_changed_nothing_is_taken():
    assert ChangedRows("row", SCHEMA).take(10).equals(pl.DataFrame(schema=SCHEMA))
