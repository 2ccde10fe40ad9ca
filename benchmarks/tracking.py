"""Measure the cost of tracking and compare it with MLflow, TensorBoard and W&B.

    python benchmarks/tracking.py                       all but kills and searches
    python benchmarks/tracking.py --kills 1000 --searches 3 --table german.csv
    python benchmarks/tracking.py --only writes --postgresql postgresql://USER@HOST/DATABASE

The parts are `run.log` as the caller sees it, bulk logging, a large store, capture of source and environment, the begin
of a run, bytes written to disk, lost points after `kill -9` and at the end of pools, and the slowdown of searches.

Write amplification is what the database writes in the life of a run, from its begin until the store is closed, divided
by 24 bytes a point (step, time, value). There is one transaction for each step of all metrics, as if a step took a
second. For SQLite, `write_bytes` in /proc/self/io counts what goes to the disk: log, database, checkpoints. For
PostgreSQL, it is the growth of its log (pg_current_wal_lsn) and of its tables and indexes; no other process may write.
 MLflow with SQLite, TensorBoard's writer and W&B offline log one
scalar per step, if they are installed. MLflow also logs batches of 1,000, its fastest way.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from rosenblatt.runs.capture.snapshot import RunSnapshot
from rosenblatt.runs.store.curves import make_points, summarize
from rosenblatt.runs.store.queries import find_runs, load_all_curves, load_curves
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track

RUNS, POINTS, METRICS = 10_000, 200, 5
N_SEARCH_TRIALS = 30
POINT_BYTES = 24  # of step, time and value
POOL_SCRIPT = """
import multiprocessing, sys
from rosenblatt.runs.tracking.run import track
run = track("pool")

def work(task):
    for step in range(100):
        run.log({f"task{task}": step / 7}, step=step)
    return task

with multiprocessing.get_context("fork").Pool(2) as pool:
    for task in pool.imap_unordered(work, range(int(sys.argv[1]))):
        pass
run.finish()
"""
KILLED_SCRIPT = """
import time
from rosenblatt.runs.tracking.run import track
run = track("killed")
step = 0
while True:
    for _ in range(100):
        run.log({"loss": step / 7}, step=step)
        step += 1
    if step % 20000 == 0:
        run.flush()
        print("flushed", step, flush=True)
    print("logged", step, time.time(), flush=True)
"""


def time_calls(function: Callable[[int], None], n: int) -> np.ndarray:
    """Time n calls; returns microseconds of each."""
    durations = np.empty(n)
    for step in range(n):
        started = time.perf_counter()
        function(step)
        durations[step] = time.perf_counter() - started
    return durations * 1e6


def benchmark_logging(folder: Path) -> Table:
    """Time the logging of one scalar per call."""
    table = Table("one scalar", "median us", "99 % us", "per second", "times slower", title="run.log of one scalar")
    rates: dict[str, float] = {}

    def add(name: str, durations: np.ndarray, seconds: float) -> None:
        rates[name] = len(durations) / seconds
        own_rate = rates["rosenblatt"]
        row = (f"{np.median(durations):.2f}", f"{np.percentile(durations, 99):.1f}", f"{rates[name]:,.0f}")
        table.add_row(name, *row, f"{own_rate / rates[name]:.1f}")

    with track("log", store=str(folder / "ours")) as run:
        started = time.perf_counter()
        durations = time_calls(lambda step: run.log({"loss": step / 7}, step=step), 300_000)
        run.flush()
        add("rosenblatt", durations, time.perf_counter() - started)
    try:
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        with mlflow.start_run():
            started = time.perf_counter()
            durations = time_calls(lambda step: mlflow.log_metric("loss", step / 7, step=step), 500)
            add("MLflow (SQLite)", durations, time.perf_counter() - started)
            from mlflow.entities import Metric

            client, run_id = mlflow.MlflowClient(), mlflow.active_run().info.run_id

            def batch(start: int) -> None:
                points = [Metric("batched", i / 7, 0, start * 1000 + i) for i in range(1000)]
                client.log_batch(run_id, metrics=points)

            started = time.perf_counter()
            durations = np.repeat(time_calls(batch, 10) / 1000, 1000)
            add("MLflow, batches of 1,000", durations, time.perf_counter() - started)
    except ModuleNotFoundError:
        table.add_row("MLflow", "not installed")
    try:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(folder / "tensorboard"))
        started = time.perf_counter()
        durations = time_calls(lambda step: writer.add_scalar("loss", step / 7, step), 20_000)
        writer.flush()
        add("TensorBoard's writer", durations, time.perf_counter() - started)
        writer.close()
    except ModuleNotFoundError:
        table.add_row("TensorBoard's writer", "not installed")
    try:
        os.environ |= {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
        import wandb

        peer = wandb.init(project="log")
        started = time.perf_counter()
        durations = time_calls(lambda step: peer.log({"loss": step / 7}, step=step), 5_000)
        peer.finish()
        add("W&B, offline", durations, time.perf_counter() - started)
    except ModuleNotFoundError:
        table.add_row("W&B", "not installed")
    return table


def benchmark_bulk(folder: Path) -> Table:
    """Time the writing of arrays of points, as the engines log them: many runs per batch."""
    store, rng = Store(f"sqlite:///{folder / 'bulk.db'}"), np.random.default_rng(0)
    values = rng.normal(size=(5000, POINTS))
    started = time.perf_counter()
    for start in range(0, 5000, 100):
        batch = RecordBatch()
        for run in range(start, start + 100):
            batch.add_run(f"r{run}", "bulk", "", "trial")
            points = make_points(np.arange(POINTS), np.zeros(POINTS), values[run])
            batch.add_curve(f"r{run}", "loss", "w", 0, points, summarize(points))
        store.write(batch)
    seconds = time.perf_counter() - started
    table = Table("bulk", "points per second", "goal", title="bulk logging")
    table.add_row("5,000 trials of 200 points", f"{values.size / seconds:,.0f}", "1,000,000")
    with track("bulk", store=str(folder / "bulk")) as run:
        started = time.perf_counter()
        run.log_curve("loss", rng.normal(size=5_000_000))
        run.flush()
        table.add_row("one curve", f"{5_000_000 / (time.perf_counter() - started):,.0f}", "1,000,000")
    return table


def benchmark_large_store(folder: Path) -> Table:
    """Time queries on a store of 10,000 runs with 5 metrics of 200 points each."""
    store, rng = Store(f"sqlite:///{folder / 'large' / 'runs.db'}"), np.random.default_rng(0)
    for start in range(0, RUNS, 500):
        batch = RecordBatch()
        for run in range(start, start + 500):
            name = f"r{run:05}"
            batch.add_run(name, f"e{run % 7}", "", "track", state="finished", ended=time.time())
            batch.add_params(
                name, {"activation": ("relu", "gelu", "tanh")[run % 3], "lr": rng.random(), "layers": run % 5}
            )
            now = time.time() + np.cumsum(rng.random(POINTS))
            for metric in range(METRICS):
                points = make_points(np.arange(POINTS), now, rng.random(POINTS))
                batch.add_curve(name, f"metric{metric}", "w", 0, points, summarize(points))
        store.write(batch)
    store.close()
    store = Store(f"sqlite:///{folder / 'large' / 'runs.db'}")

    def median_ms(function: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            function()
            times.append(1000 * (time.perf_counter() - started))
        return float(np.median(times))

    table = Table("10,000 runs x 200 points x 5 metrics", "ms", "goal", title="a large store")
    simple_filter = "params.activation = 'relu' and metrics.metric1 > 0.5"
    duration = median_ms(lambda: find_runs(store, simple_filter, "-metrics.metric2", 20))
    table.add_row("list with filter and sort", f"{duration:.0f}", "100")
    complex_filter = (
        "params.activation = 'relu' and metrics.metric1.best > 0.5 and (params.lr < 0.9 or experiment = 'e3')"
    )
    table.add_row(
        "a longer filter, all rows",
        f"{median_ms(lambda: find_runs(store, complex_filter, '-metrics.metric2')):.0f}",
        "100",
    )
    ids = [f"r{run:05}" for run in range(0, RUNS, RUNS // 50)]
    table.add_row("one comparison of 50 curves", f"{median_ms(lambda: load_curves(store, ids, 'metric3')):.0f}", "200")
    size = sum(path.stat().st_size for path in (folder / "large").rglob("*"))
    table.add_row("on disk", f"{size / 2**20:,.0f} MiB", "")
    table.add_row("bytes per point", f"{size / (RUNS * POINTS * METRICS):.1f}", "")
    for name, bytes_per_point in measure_peers_on_disk(folder).items():
        table.add_row(f"bytes per point, {name}", f"{bytes_per_point:.1f}", "")
    return table


def measure_peers_on_disk(folder: Path) -> dict[str, float]:
    """Bytes per point that the peers need for 50 equal runs."""
    bytes_per_point: dict[str, float] = {}
    runs, rng = 50, np.random.default_rng(0)
    points = runs * POINTS * METRICS
    try:
        import mlflow
        from mlflow.entities import Metric

        client = mlflow.MlflowClient(f"sqlite:///{folder / 'disk.db'}")
        experiment = client.create_experiment("disk")
        before = (folder / "disk.db").stat().st_size
        for _ in range(runs):
            run = client.create_run(experiment).info.run_id
            for metric in range(METRICS):
                values = [Metric(f"metric{metric}", rng.random(), int(time.time() * 1000), i) for i in range(POINTS)]
                client.log_batch(run, metrics=values)
        bytes_per_point["MLflow"] = ((folder / "disk.db").stat().st_size - before) / points
    except ModuleNotFoundError:
        pass
    try:
        from torch.utils.tensorboard import SummaryWriter

        for run in range(runs):
            with SummaryWriter(str(folder / "disk" / str(run))) as writer:
                for metric in range(METRICS):
                    for step in range(POINTS):
                        writer.add_scalar(f"metric{metric}", rng.random(), step)
        bytes_per_point["TensorBoard"] = (
            sum(p.stat().st_size for p in (folder / "disk").rglob("*") if p.is_file()) / points
        )
    except ModuleNotFoundError:
        pass
    return bytes_per_point


def benchmark_capture(folder: Path) -> Table:
    """Time the capture of a repository of 5,000 files, some of them changed or untracked."""
    root = folder / "repository"
    for index in range(5000):
        path = root / f"part{index % 50}" / f"module{index}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"value = {index}\n" * 20)
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *arguments], check=True)
    for index in range(20):
        (root / f"part{index}" / f"module{index}.py").write_text("changed = 1\n")
        (root / f"new{index}.py").write_text("new = 1\n")
    with track("capture", store=str(folder / "captured")) as run:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            snapshot = RunSnapshot(root, run.store_source, run.url)
            times.append(1000 * (time.perf_counter() - started))
    assert len(snapshot.source.files) == 40
    table = Table("source and environment of 5,000 files", "ms", "goal", title="capture")
    table.add_row("the first time", f"{times[0]:.0f}", "300")
    table.add_row("again", f"{np.median(times[1:]):.0f}", "300")
    return table


def benchmark_start(folder: Path) -> Table:
    """Time the begin of a run, and what `rosenblatt run` adds to an empty script."""
    (folder / "empty.py").write_text("")
    begin = "import sys, time; from rosenblatt.runs.tracking.run import track; track('a', store=sys.argv[1]).finish()"
    timed = f"{begin}; t = time.perf_counter(); run = track('b', store=sys.argv[1]); print(time.perf_counter() - t)"

    # of installed modules, whose bytecode is on the disk: the first of the five writes it
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def shortest(*arguments: str) -> float:
        durations = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=folder, check=True, capture_output=True, env=environment)
            durations.append(time.perf_counter() - started)
        return 1000 * min(durations)

    command = [sys.executable, "-c", timed, str(folder / "start")]
    outputs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(5)]
    overhead = shortest("-m", "rosenblatt", "run", "--store", str(folder / "start"), "empty.py") - shortest("empty.py")
    table = Table("shortest of five", "ms", "goal", title="start")
    table.add_row("begin of a run, modules imported", f"{1000 * min(map(float, outputs)):.0f}", "150")
    table.add_row("rosenblatt run of an empty script", f"{overhead:.0f}", "300")
    return table


def benchmark_writes(folder: Path, postgresql: str | None) -> Table:
    """Measure the write amplification of runs with one transaction for each step."""
    table = Table("one step a transaction", "MB of points", "MB written", "amplification", "goal", title="writes")
    for url in [str(folder / "writes"), *([postgresql] if postgresql else [])]:
        for n_metrics, n_steps in ((500, 6000), (100, 6000), (5000, 600)):
            written = measure_writes(url, n_metrics, n_steps)
            size = POINT_BYTES * n_metrics * n_steps
            name = f"{'PostgreSQL' if '://' in url else 'SQLite'}, {n_metrics:,} metrics, {n_steps:,} steps"
            table.add_row(name, f"{size / 1e6:.0f}", f"{written / 1e6:.0f}", f"{written / size:.2f}", "3")
    return table


def measure_writes(url: str, n_metrics: int, n_steps: int) -> int:
    """Bytes that the database writes for a run."""
    names, rng = [f"layer{k}/gradient norm" for k in range(n_metrics)], random.Random(0)
    store = Store(url if "://" in url else f"sqlite:///{url}/runs.db")

    def written() -> int:
        if store.engine.dialect.name == "sqlite":
            return int(re.findall(r"^write_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)[0])
        with store.reading() as connection:
            query = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn + pg_database_size(current_database())"
            return int(connection.exec_driver_sql(query).scalar())

    before = written()
    run = track("writes", store=url)
    for step in range(n_steps):
        run.log({name: rng.random() for name in names}, step=step)
        run.flush()
    run.finish()
    run._writer.close()  # with a checkpoint
    return written() - before


def benchmark_pools(folder: Path, n: int) -> Table:
    """End pools right after their last results, and count tasks whose points were lost."""
    n_lost = 0
    for index in range(n):
        store_folder = folder / "pools" / str(index // 50)
        environment = {**os.environ, "ROSENBLATT_STORE": str(store_folder)}
        subprocess.run([sys.executable, "-W", "ignore", "-c", POOL_SCRIPT, "4"], env=environment, check=True)
        store = Store(f"sqlite:///{store_folder / 'runs.db'}")
        curves = load_all_curves(store, find_runs(store, limit=1)[0].id)
        n_lost += any(len(curves[f"task{k}"].values) < 100 for k in range(4) if f"task{k}" in curves) or len(curves) < 4
        store.close()
    table = Table("pools of two workers", "pools", "that lost points", "goal", title="ends of pools")
    table.add_row("four tasks of 100 points", str(n), str(n_lost), "0")
    return table


def benchmark_kills(folder: Path, n: int) -> Table:
    """Kill processes that log as fast as they can, and count lost points."""

    def kill_one(index: int) -> tuple[int, int, bool]:
        store_folder = folder / "kills" / str(index % 20)  # several processes write to each store
        rng = random.Random(index)
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED_SCRIPT],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ROSENBLATT_STORE": str(store_folder)},
        )
        process.stdout.readline()
        time.sleep(rng.random())
        process.send_signal(signal.SIGKILL)
        killed, out = time.time(), process.communicate()[0]
        flushed = max(map(int, re.findall(r"^flushed (\d+)\n", out, re.MULTILINE)), default=0)
        logged = re.findall(r"^logged (\d+) ([\d.]+)\n", out, re.MULTILINE)
        expected = max((int(step) for step, seen in logged if float(seen) < killed - 0.5), default=0)
        store = Store(f"sqlite:///{store_folder / 'runs.db'}")
        loss_curves = [load_all_curves(store, run.id).get("loss") for run in find_runs(store, "state = running")]
        with store.writing() as connection:
            connection.exec_driver_sql("UPDATE runs SET state = 'failed' WHERE state = 'running'")
        store.close()
        points = loss_curves[0] if loss_curves else None
        n = 0 if points is None else len(points.values)
        is_intact = n == 0 or np.array_equal(points.values, np.arange(n) / 7)
        return max(flushed - n, 0), max(expected - n, 0), is_intact

    with ThreadPoolExecutor(2) as pool:
        results = []
        for start in range(0, n, 2):  # two at a time, each in a different store
            results += list(pool.map(kill_one, range(start, min(start + 2, n))))
    table = Table("kill -9 under load", "kills", "runs that lost points", "goal", title="kills")
    table.add_row("flushed", str(n), str(sum(n_lost > 0 for n_lost, _, _ in results)), "0")
    table.add_row("older than 0.5 s", str(n), str(sum(n_lost > 0 for _, n_lost, _ in results)), "0")
    table.add_row("with wrong points", str(n), str(sum(not is_intact for _, _, is_intact in results)), "0")
    return table


def benchmark_searches(folder: Path, path: str, repeats: int) -> Table:
    """Compare the training steps per second of searches with and without tracking."""
    rates: dict[str, list[float]] = {"none": [], str(folder / "search"): []}
    for seed in range(repeats):
        for store, store_rates in rates.items():
            command = [
                "fit",
                path,
                "-t",
                "-1",
                "--trials",
                str(N_SEARCH_TRIALS),
                "--seed",
                str(seed),
                "--deterministic",
            ]
            options = ["--json", "--store", store, "-o", str(folder / "m.rosenblatt")]
            program = [sys.executable, "-m", "rosenblatt", *command, *options]
            process = subprocess.run(program, capture_output=True, text=True, check=True)
            store_rates.append(json.loads(process.stdout)["search"]["steps_per_second"])
    untracked, tracked = (np.array(store_rates) for store_rates in rates.values())
    title = "searches with and without tracking"
    table = Table(f"search of {N_SEARCH_TRIALS} trials", "steps/s", "slower", "goal", title=title)
    table.add_row("without", f"{np.median(untracked):,.0f}", "", "")
    table.add_row("tracked", f"{np.median(tracked):,.0f}", f"{100 * np.median(1 - tracked / untracked):.1f} %", "2 %")
    return table


BENCHMARKS: dict[str, Callable[[Path], Table]] = {
    "logging": benchmark_logging,
    "bulk": benchmark_bulk,
    "large": benchmark_large_store,
    "capturing": benchmark_capture,
    "start": benchmark_start,
    "writes": partial(benchmark_writes, postgresql=None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0, help="number of processes to kill")
    parser.add_argument("--searches", type=int, default=0, help="number of searches with and without tracking")
    parser.add_argument("--table", default="german.csv", help="table to search on")
    parser.add_argument("--only", choices=BENCHMARKS, help="run only one part")
    parser.add_argument("--postgresql", help="address of an empty database, to measure what it writes")
    arguments = parser.parse_args()
    console, folder = Console(width=110), Path(tempfile.mkdtemp(prefix="rosenblatt-"))
    benchmarks = BENCHMARKS | {"writes": partial(benchmark_writes, postgresql=arguments.postgresql)}
    try:
        for name, benchmark in benchmarks.items():
            if arguments.only in (None, name) and not (
                (arguments.kills or arguments.searches) and arguments.only is None
            ):
                console.print(benchmark(folder))
        if arguments.kills:
            console.print(benchmark_kills(folder, arguments.kills))
            console.print(benchmark_pools(folder, arguments.kills))
        if arguments.searches:
            console.print(benchmark_searches(folder, arguments.table, arguments.searches))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
