"""Measure whether `rosenblatt fit --minutes` keeps its time budget, and how fast it stops after Ctrl-C.

    python benchmarks/budgets.py [--runs 100] [--json]

Each run fits a table of random size with a random budget of 4 to 12 seconds. One in five runs has a long budget and is
interrupted at a random time instead. The overrun is the time that the process, including the start of Python, runs
beyond its budget or after the signal. At most 2 % plus one second is allowed. Each run must leave a usable model.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from common import make_parser

from rosenblatt.models.model_file import load_model


def run_fit(folder: Path, rng: np.random.Generator, index: int) -> dict[str, Any]:
    """Run one fit; returns the size of its table, its budget and its overrun, in seconds."""
    n, columns = int(10 ** rng.uniform(2, 4.3)), int(rng.integers(2, 20))
    x = rng.normal(size=(n, columns))
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(columns)})
    frame = frame.with_columns(pl.Series("y", np.where(x[:, 0] * x[:, 1] + rng.normal(size=n) > 0, "yes", "no")))
    frame.write_csv(folder / "table.csv")
    seconds, interrupted = float(rng.uniform(4, 12)), index % 5 == 4
    minutes = 5 if interrupted else seconds / 60
    command = f"-m rosenblatt fit table.csv --target y --minutes {minutes:.5f} --out m.rosenblatt".split()
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if interrupted:
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    elapsed = time.monotonic() - started
    if process.returncode not in ((130,) if interrupted else (0,)):
        raise SystemExit(f"run {index} exited with status {process.returncode}: {error[-500:]}")
    predictions = load_model(folder / "m.rosenblatt").predict_raw(frame)
    if not np.isfinite(predictions).all():
        raise SystemExit(f"the model of run {index} predicts NaN or infinity")
    return {"rows": n, "columns": columns, "seconds": seconds, "interrupted": interrupted, "overrun": elapsed - seconds}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=100, help="number of fits")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        run_fit(Path(folder), rng, 0)  # compiles, so that compilation is not measured
        runs = [run_fit(Path(folder), rng, index) for index in range(options.runs)]
    if options.json:
        print(json.dumps(runs, indent=2))
        return
    for name, group in (
        ("time budget", [run for run in runs if not run["interrupted"]]),
        ("Ctrl-C", [run for run in runs if run["interrupted"]]),
    ):
        over = np.array([run["overrun"] for run in group])
        within_fraction = np.mean([run["overrun"] <= 0.02 * run["seconds"] + 1 for run in group]) if group else np.nan
        print(
            f"{name:15} {len(group):4} runs, overrun in seconds: "
            f"median {np.median(over):.2f}, maximum {over.max():.2f}; within 2 % + 1 s: {within_fraction:.0%}"
        )


if __name__ == "__main__":
    main()
