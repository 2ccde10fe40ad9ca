"""Measure the dashboard on a store of 10,000 runs with 100 hyperparameters and 95 metrics each.

    python benchmarks/dashboard.py
    python benchmarks/dashboard.py --only start,filter --runs 3000

The store is written by direct inserts, in less than a minute, and kept with --folder. Times of the parts start, filter,
sort, column and curves are those of the page in Chromium, from the action until it shows the result.

start    from the start of `rosenblatt ui` until the grid shows cells of the columns that differ
filter   from a new filter in the address until the grid shows the matching rows
sort     the same for another order
column   the same for one more column
curves   from the address of 50 runs, with a curve of 10,000 points each, until the page of comparisons shows them
memory   of the server after all of it, beyond an idle `rosenblatt` that has opened the store
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import quote

import numpy as np
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.common import make_parser, make_table
from rosenblatt.runs.store.curves import encode, make_points
from rosenblatt.runs.store.store import Store
from tests.serving.browser import Page, open_page

PARAMS, METRICS, CURVES, POINTS = 100, 95, 50, 10_000
DIFFERING_PARAMS = 30  # the others have the same value in all runs, as most have in a search
ROUNDS = 5
GOALS = {"start": 1500, "filter": 100, "sort": 100, "column": 150, "curves": 600, "memory": 60}
GRID = "document.querySelector('.grid')"
HAS_CELLS = f"{GRID}?.querySelector('.row:not(.head)') && !{GRID}.innerText.includes('…')"
IDLE = """
import sys, time
import rosenblatt.cli.runs
from rosenblatt.runs.store import queries
from rosenblatt.runs.store.store import Store
store = Store(sys.argv[1])
queries.find_runs(store, limit=20)
print("ready", flush=True)
time.sleep(600)
"""


def build_store(folder: Path, n_runs: int) -> str:
    """Write a store of `n_runs` finished runs, the first ones with a curve each; returns its address."""
    path = folder / "runs.db"
    url = f"sqlite:///{path}"
    if path.exists():
        return url
    Store(url).close()
    rng = random.Random(0)
    ids = [f"{rng.getrandbits(40):010x}" for _ in range(n_runs)]
    started = time.time() - 60.0 * n_runs
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executemany(
            "INSERT INTO runs (id, experiment, name, kind, state, started, ended, heartbeat) "
            "VALUES (?, ?, ?, 'fit', 'finished', ?, ?, ?)",
            [
                (run, f"experiment {i % 5}", f"run {i}", started + 60 * i, started + 60 * i + 50, started + 60 * i + 50)
                for i, run in enumerate(ids)
            ],
        )
        connection.executemany("INSERT INTO params VALUES (?, ?, ?, ?, ?)", _make_params(ids, rng))
        connection.executemany(
            "INSERT INTO metrics VALUES (?, ?, 100, ?, ?, 1, ?, 100, 'max')",
            (
                (run, f"metric{i:02}", rng.random(), rng.random(), 1 + rng.random())
                for run in ids
                for i in range(METRICS)
            ),
        )
        connection.executemany("INSERT INTO curve_chunks VALUES (?, 'metric00', 'w', 0, ?)", _make_chunks(ids[:CURVES]))
        connection.commit()
    return url


def _make_params(ids: list[str], rng: random.Random) -> Iterator[tuple[str, str, str, float | None, bool]]:
    for run in ids:
        for i in range(PARAMS):
            number = float(f"{rng.random():.6f}") if i < DIFFERING_PARAMS else 0.5
            is_text = i % 3 == 0
            text = ("relu", "tanh", "gelu")[int(number * 3)] if is_text else repr(number)
            yield run, f"param{i:02}", text, None if is_text else number, i < DIFFERING_PARAMS


def _make_chunks(ids: list[str]) -> Iterator[tuple[str, bytes]]:
    rng = np.random.default_rng(0)
    for run in ids:
        steps = np.arange(POINTS)
        values = np.exp(-steps / 3000) + rng.normal(0, 0.05, POINTS)
        yield run, encode(make_points(steps, 1e9 + steps * 0.1, values))


def read_curve_runs(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "runs.db")) as connection:
        return [run for (run,) in connection.execute("SELECT run FROM curve_chunks")]


@contextmanager
def serve(url: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command `rosenblatt ui`: its process and its address."""
    command = [sys.executable, "-m", "rosenblatt", "ui", "--store", url, "--port", "0", "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().split()[2] + "/"
    finally:
        process.terminate()
        process.wait()


def measure_start(url: str, page: Page) -> float:
    """Milliseconds from the start of the command to cells of columns that differ."""
    page.open("about:blank")
    started = time.perf_counter()
    with serve(url) as (_, address):
        page.open(f"{address}#/runs")
        page.wait_for(f"{GRID}.getAttribute('aria-colcount') > 10 && {HAS_CELLS}")
        return 1000 * (time.perf_counter() - started)


def measure(page: Page, action: str, condition: str) -> float:
    """Milliseconds from an action to the first frame in which a condition holds, by the clock of the page."""
    return page.evaluate(f"""new Promise((resolve) => {{
        const started = performance.now();
        {action};
        const look = () => ({condition}) ? resolve(performance.now() - started) : requestAnimationFrame(look);
        requestAnimationFrame(look);
    }})""")


def measure_grid(page: Page, address: str, round_number: int) -> dict[str, float]:
    """Milliseconds of a filter, an order and one more column."""
    page.open("about:blank")
    page.open(f"{address}#/runs?columns=name,params.param01")
    page.wait_for(HAS_CELLS)
    metric = f"metrics.metric{10 + round_number}"
    where = quote(f"{metric} > 0.5")
    first = f"{GRID}.querySelector('[aria-rowindex=\"2\"]')?.innerText"
    n_rows = page.evaluate(f"{GRID}.getAttribute('aria-rowcount')")
    columns = "columns=name,params.param01"
    steps = {
        "filter": (
            f"where={where}&{columns}",
            f"{GRID}.getAttribute('aria-rowcount') !== '{n_rows}'",
        ),
        "sort": (f"where={where}&{columns}&sort={metric}", f"{first} !== window.before"),
        "column": (
            f"where={where}&{columns},{metric}&sort={metric}",
            f"{GRID}.getAttribute('aria-colcount') === '3'",
        ),
    }
    times = {}
    for name, (query, condition) in steps.items():
        page.evaluate(f"window.before = {first}")
        times[name] = measure(page, f"location.hash = '#/runs?{query}'", f"{condition} && {HAS_CELLS}")
    return times


def measure_curves(page: Page, address: str, ids: list[str]) -> float:
    """Milliseconds from the address of a comparison until its curves are drawn."""
    page.open("about:blank")
    page.open(f"{address}#/compare")
    page.wait_for("document.querySelector('h1')")
    action = f"location.hash = '#/compare?metrics=metric00&runs={','.join(ids)}'"
    return measure(
        page, action, "document.querySelectorAll('.legend li').length > 24 && document.querySelector('.u-over')"
    )


def measure_memory(url: str, pid: int) -> float:
    """MB of memory of the server beyond an idle process that has opened the store, without pages of mapped files."""
    with subprocess.Popen([sys.executable, "-c", IDLE, url], stdout=subprocess.PIPE, text=True) as idle:
        idle.stdout.readline()
        difference = read_memory(pid) - read_memory(idle.pid)
        idle.kill()
    return difference


def read_memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Anonymous: *(\d+) kB", text)[1]) / 1024


def run(parts: list[str], folder: Path, n_runs: int) -> dict[str, float]:
    """The median of each part."""
    url = build_store(folder, n_runs)
    results = dict[str, list[float]]()
    with tempfile.TemporaryDirectory() as profile, open_page(Path(profile)) as page:
        for _ in range(ROUNDS if "start" in parts else 0):
            results.setdefault("start", []).append(measure_start(url, page))
        with serve(url) as (process, address):
            for round_number in range(ROUNDS):
                for name, value in measure_grid(page, address, round_number).items():
                    results.setdefault(name, []).append(value)
                results.setdefault("curves", []).append(measure_curves(page, address, read_curve_runs(folder)))
            results["memory"] = [measure_memory(url, process.pid)]
    return {name: median(values) for name, values in results.items() if name in parts}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=10_000, help="number of runs")
    parser.add_argument("--only", default=",".join(GOALS), help="parts, separated by commas")
    parser.add_argument("--folder", type=Path, help="where the store is kept  [default: a temporary folder]")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(exist_ok=True, parents=True)
        results = run(parts, folder, arguments.runs)
    if arguments.json:
        print(json.dumps(results))
        return
    table = make_table(f"dashboard of {arguments.runs:,} runs", "part", "median", "goal")
    for name, value in results.items():
        unit = "MB" if name == "memory" else "ms"
        table.add_row(name, f"{value:,.0f} {unit}", f"{GOALS[name]:,} {unit}")
    Console().print(table)


if __name__ == "__main__":
    main()
