"""Measure time and peak memory of a fit and a prediction on a table of a million rows and 30 columns.

    python benchmarks/million_rows.py [--rows 1000000] [--json]

The generated CSV table has 20 columns of real numbers, 5 of categories, 3 of integers, one of dates and a target of two
classes. `rosenblatt fit`, for one epoch, and `rosenblatt predict` each run in a separate process.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from common import make_parser


def write_table(path: Path, rows: int) -> None:
    """Write the generated table as CSV."""
    rng = np.random.default_rng(0)
    numbers = {f"n{i}": rng.normal(size=rows).round(4) for i in range(20)}
    categories = {f"c{i}": rng.choice([f"level {k}" for k in range(4 + i)], rows) for i in range(5)}
    counts = {f"k{i}": rng.poisson(3 + i, rows) for i in range(3)}
    day = np.datetime64("2020-01-01") + rng.integers(0, 1500, rows).astype("timedelta64[D]")
    signal = (
        numbers["n0"] * numbers["n1"] + np.abs(numbers["n2"]) + (categories["c0"] == "level 1") + rng.normal(size=rows)
    )
    target = {"y": np.where(signal > 1, "yes", "no")}
    pl.DataFrame(numbers | categories | counts | {"day": day} | target).write_csv(path)


def run(*arguments: str) -> tuple[float, float]:
    """Run a command; returns its time in seconds and its peak memory in GiB."""
    started = time.perf_counter()
    process = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-m", "rosenblatt", *arguments])
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"rosenblatt {' '.join(arguments)} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 2**20


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="number of rows")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table, model, out = (str(Path(folder) / name) for name in ("t.csv", "t.rosenblatt", "p.csv"))
        write_table(Path(table), arguments.rows)
        fit_seconds, fit_memory = run("fit", table, "--target", "y", "--epochs", "1", "--out", model, "--json")
        predict_seconds, predict_memory = run("predict", model, table, "--out", out)
        from rosenblatt.models.model_file import load_model

        trained = load_model(model)
        encoded = arguments.rows * len(trained.encoder.feature_names) * 4 / 2**30
        members = sum(network.theta.nbytes for network in trained.networks) / 2**30
        result = {
            "rows": arguments.rows,
            "networks": len(trained.networks),
            "inputs": len(trained.encoder.feature_names),
            "csv_gib": Path(table).stat().st_size / 2**30,
            "encoded_gib": encoded,
            "fit_seconds": fit_seconds,
            "predict_seconds": predict_seconds,
            "fit_peak_gib": fit_memory,
            "fit_peak_over_encoded": (fit_memory - members) / encoded,
            "predict_peak_gib": predict_memory,
        }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for name, value in result.items():
        print(f"{name:22} {value:,.2f}" if isinstance(value, float) else f"{name:22} {value:,}")
    print(f"{'seconds in total':22} {fit_seconds + predict_seconds:,.2f}   (goal: under 60)")


if __name__ == "__main__":
    main()
