"""How long a new user waits: the first fit after an installation, the next one, `predict` and `runs`, as typed.

    python benchmarks/first_fit.py [--rounds 3] [--json]

Each is a whole process on 150 rows by 20 columns, from its start to its end. The first fit finds an empty cache of
machine code and so compiles; the medians of the rounds are printed beside what they should be at most.
"""

from __future__ import annotations

import argparse
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
from rich.console import Console
from rich.table import Table

COMMANDS = {  # name: the words after `rosenblatt`, and the seconds it should take at most
    "first fit": ("fit table.csv --target y --out model.rosenblatt", 10.0),
    "next fit": ("fit table.csv --target y --out model.rosenblatt", 2.0),
    "predict": ("predict model.rosenblatt table.csv --out predictions.csv", 1.0),
    "runs": ("runs", 0.4),
}


def measure(folder: Path) -> dict[str, float]:
    """Seconds of each command in an empty folder."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rounds = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(measure(Path(folder)))
    medians = {name: statistics.median(seconds[name] for seconds in rounds) for name in COMMANDS}
    if arguments.json:
        print(json.dumps(medians))
        return
    table = Table(title=f"Seconds on {os.cpu_count()} cores, median of {arguments.rounds}")
    for name in ("command", "seconds", "goal"):
        table.add_column(name)
    for name, (_, goal) in COMMANDS.items():
        table.add_row(name, f"{medians[name]:.2f}", f"{goal:g}")
    Console().print(table)


if __name__ == "__main__":
    main()
