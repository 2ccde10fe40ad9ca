"""Measure how long a new user waits: the first fit after an installation, the next fit, `predict` and `runs`.

    python benchmarks/first_fit.py [--rounds 3] [--json]

Each command is a process on a table of 150 rows and 20 columns, timed from its start to its end. The first fit compiles
the engine, because the cache of machine code is empty. Printed are the medians of the rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from common import make_parser, make_table
from rich.console import Console

COMMANDS = {  # name: the arguments of `rosenblatt`, and the goal in seconds
    "first fit": ("fit table.csv --target y --out model.rosenblatt", 10.0),
    "next fit": ("fit table.csv --target y --out model.rosenblatt", 2.0),
    "predict": ("predict model.rosenblatt table.csv --out predictions.csv", 1.0),
    "runs": ("runs", 0.4),
}


def measure(folder: Path) -> dict[str, float]:
    """Time each command in an empty folder, in seconds."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(150, 20))
    frame = pl.DataFrame({f"x{j}": x[:, j] for j in range(20)})
    frame.with_columns(y=pl.Series(np.where(x[:, 0] + rng.normal(size=150) > 0, "yes", "no"))).write_csv(
        folder / "table.csv"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "compiled"), "ROSENBLATT_STORE": str(folder / "store")}
    seconds = {}
    for name, (arguments, _) in COMMANDS.items():
        started = time.perf_counter()
        command = [sys.executable, "-m", "rosenblatt", *arguments.split()]
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
        seconds[name] = time.perf_counter() - started
    return seconds


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds")
    arguments = parser.parse_args()
    rounds = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(measure(Path(folder)))
    medians = {name: statistics.median(seconds[name] for seconds in rounds) for name in COMMANDS}
    if arguments.json:
        print(json.dumps(medians))
        return
    title = f"Seconds on {os.cpu_count()} cores, median of {arguments.rounds}"
    table = make_table(title, "command", "seconds", "goal")
    for name, (_, goal) in COMMANDS.items():
        table.add_row(name, f"{medians[name]:.2f}", f"{goal:g}")
    Console().print(table)


if __name__ == "__main__":
    main()
