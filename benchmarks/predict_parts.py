"""Measure the memory and the rate of `rosenblatt predict` on a table larger than memory, in parts and at once.

    python benchmarks/predict_parts.py [--gb 2] [--columns 20] [--csv] [--json]
    python benchmarks/predict_parts.py --gb 10 --limit-gb 2

A Parquet (or CSV) file of random numbers, and a column of categories, is predicted by one network with 32 hidden units,
with --stream and with --no-stream, each in a new process. Printed are the peak memory of the process, without pages of
the file that are mapped (RssAnon), the rows a second, and whether both files of predictions are equal. With --limit-gb,
the system refuses the process with --stream more memory of its own (RLIMIT_DATA), and --no-stream predicts a table of
1 GB, which fits into memory, so that only the rates are compared.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from common import make_parser, make_table
from rich.console import Console

BATCH_ROWS = 1 << 18
GOAL_RATE = 0.8  # of the rows a second at once


def make_file(path: Path, n_bytes: float, n_columns: int) -> int:
    """Write a table of about this size, and return its number of rows."""
    n_rows = int(n_bytes / (8 * n_columns)) // BATCH_ROWS * BATCH_ROWS or BATCH_ROWS
    numbers = {f"x{i}": pl.Float64 for i in range(n_columns)}

    def batches(*_):
        rng = np.random.default_rng(0)
        for _ in range(n_rows // BATCH_ROWS):
            frame = pl.DataFrame(rng.normal(size=(BATCH_ROWS, n_columns)), schema=numbers)
            yield frame.with_columns(city=pl.Series(rng.choice(["Rome", "Oslo", "Lima"], BATCH_ROWS)))

    table = pl.io.plugins.register_io_source(batches, schema=numbers | {"city": pl.String})
    if path.suffix == ".csv":
        table.sink_csv(path)
    else:
        table.sink_parquet(path, compression="uncompressed", row_group_size=BATCH_ROWS)
    return n_rows


def run(folder: Path, table: Path, option: str, limit: int = resource.RLIM_INFINITY) -> tuple[float, float]:
    """Peak memory in MB and seconds of a prediction in a new process, with a limit of its memory in bytes."""
    command = [sys.executable, "-m", "rosenblatt", "predict", "model.rosenblatt", table.name, option]
    started, peak = time.perf_counter(), 0
    process = subprocess.Popen(
        [*command, "--out", f"{option}.parquet"],
        cwd=folder,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),  # noqa: PLW1509 - no threads wait
    )
    while process.poll() is None:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with status {process.returncode}")
    return peak / 1024, time.perf_counter() - started


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--gb", type=float, default=2, help="size of the numbers  [default: 2]")
    parser.add_argument("--columns", type=int, default=20, help="columns of numbers  [default: 20]")
    parser.add_argument("--csv", action="store_true", help="write the table as CSV")
    parser.add_argument("--limit-gb", type=float, help="memory of the process that predicts in parts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_file(folder / "train.parquet", 1, options.columns)
        training = pl.read_parquet(folder / "train.parquet").head(5000)
        training.with_columns(
            y=pl.when(pl.col("x0") > pl.col("x1")).then(pl.lit("a")).otherwise(pl.lit("b"))
        ).write_csv(folder / "train.csv")
        fit = [
            "fit", "train.csv", "--target", "y", "--epochs", "3", "--members", "1", "--hidden-sizes", "32",
            "--out", "model.rosenblatt", "--json",
        ]  # fmt: skip
        subprocess.run([sys.executable, "-m", "rosenblatt", *fit], cwd=folder, check=True, capture_output=True)
        table = folder / f"huge.{'csv' if options.csv else 'parquet'}"
        n_rows = dict.fromkeys(("--stream", "--no-stream"), make_file(table, options.gb * 1e9, options.columns))
        size = table.stat().st_size / 1e9
        small = make_file(folder / "small.parquet", 1, options.columns)
        base, _ = run(folder, folder / "small.parquet", "--no-stream")
        limit = int(options.limit_gb * 1e9) if options.limit_gb else resource.RLIM_INFINITY
        results = {"--stream": run(folder, table, "--stream", limit)}
        if options.limit_gb:
            n_rows["--no-stream"] = make_file(table, 1e9, options.columns)
        results["--no-stream"] = run(folder, table, "--no-stream")
        predictions = [pl.read_parquet(folder / f"{option}.parquet") for option in results]
        equal = predictions[0].head(n_rows["--no-stream"]).equals(predictions[1])
    rates = {option: n_rows[option] / seconds for option, (_, seconds) in results.items()}
    ratio = rates["--stream"] / rates["--no-stream"]
    if options.json:
        peaks = {option: mb for option, (mb, _) in results.items()}
        print(
            json.dumps(
                {"gb": size, "rows": n_rows["--stream"], "peak_mb": peaks, "rows_per_second": rates, "equal": equal}
            )
        )
        return
    title = f"{size:.1f} GB, {n_rows['--stream']:,} rows ({base:.0f} MB of memory for {small:,} rows)"
    rows = make_table(title, "", "peak MB", "rows/s")
    for option, (mb, _) in results.items():
        rows.add_row(option, f"{mb:,.0f}", f"{rates[option]:,.0f}")
    Console().print(rows)
    print(f"rate in parts: {ratio:.2f} of that at once (goal {GOAL_RATE}); equal predictions: {equal}")


if __name__ == "__main__":
    main()
