"""Whether `--minutes` is kept: whole commands with random budgets, some of them stopped by Ctrl-C; printed as a table.

    python benchmarks/budgets.py [--runs 100] [--json]

Each run is `rosenblatt fit` on a table of random size with a random budget of 4 to 12 seconds; one in five gets SIGINT
at a random time instead. The overrun is what the process took beyond its budget (or after the signal), from its start
to its end, the interpreter's own start included; allowed are 2 % and a second. Each must leave a model that predicts.
"""

from __future__ import annotations

import argparse
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

from rosenblatt.models.model_file import load_model


def run_fit(folder: Path, rng: np.random.Generator, index: int) -> dict[str, Any]:
    """A run: its rows, its seconds, and what it took beyond them."""
    n, columns = int(10 ** rng.uniform(2, 4.3)), int(rng.integers(2, 20))
    x = rng.normal(size=(n, columns))
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(columns)})
    frame = frame.with_columns(pl.Series("y", np.where(x[:, 0] * x[:, 1] + rng.normal(size=n) > 0, "yes", "no")))
    frame.write_csv(folder / "table.csv")
    seconds, interrupted = float(rng.uniform(4, 12)), index % 5 == 4
    minutes = seconds / 60 if not interrupted else 5
    command = [
        "-m",
        "rosenblatt",
        "fit",
        "table.csv",
        "-t",
        "y",
        "--minutes",
        f"{minutes:.5f}",
        "--out",
        "m.rosenblatt",
    ]
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
        raise SystemExit(f"run {index} ended with {process.returncode}: {error[-500:]}")
    predictions = load_model(folder / "m.rosenblatt").predict_raw(frame)
    if not np.isfinite(predictions).all():
        raise SystemExit(f"run {index} left a model that predicts what is no number")
    return {"rows": n, "columns": columns, "seconds": seconds, "interrupted": interrupted, "overrun": elapsed - seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        run_fit(Path(folder), rng, 0)  # compiled before it is measured
        runs = [run_fit(Path(folder), rng, index) for index in range(options.runs)]
    if options.json:
        print(json.dumps(runs, indent=2))
        return
    for name, group in (
        ("budget of time", [run for run in runs if not run["interrupted"]]),
        ("Ctrl-C", [run for run in runs if run["interrupted"]]),
    ):
        over = np.array([run["overrun"] for run in group])
        within_fraction = np.mean([run["overrun"] <= 0.02 * run["seconds"] + 1 for run in group]) if group else np.nan
        print(
            f"{name:15} {len(group):4} runs, seconds beyond it: median {np.median(over):.2f}, most {over.max():.2f}; "
            f"kept within 2 % + 1 s: {within_fraction:.0%}"
        )


if __name__ == "__main__":
    main()
