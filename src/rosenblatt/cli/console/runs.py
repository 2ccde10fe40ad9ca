"""Print runs on the terminal: tables, comparisons and small curves."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rosenblatt.errors import format_count
from rosenblatt.runs.store.curves import CurvePoints

BARS = "▁▂▃▄▅▆▇█"
SPARKLINE_WIDTH = 32  # characters of a small curve
FILE_WIDTH = 160  # characters of a line where it goes into a file
MAX_LISTED_METRICS = 2  # metrics that a list shows
MAIN_METRICS = (
    "auc",
    "accuracy",
    "r2",
    "rmse",
    "validation_loss",
    "val_loss",
    "loss",
)  # shown first where a run has them
_COLORS = {"finished": "green", "running": "cyan", "failed": "red", "lost": "red", "stopped": "yellow"}


def print_runs(runs: Sequence[Mapping[str, Any]], trials: Mapping[str, int], metrics: Mapping[str, Any]) -> None:
    """A line for each run."""
    console = Console()
    console = console if console.is_terminal else Console(width=FILE_WIDTH)
    if not runs:
        console.print("no runs")
        return
    fields = list(dict.fromkeys(key for run in runs for key in run if "." in key))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (
        "run",
        "experiment",
        "name",
        "state",
        "started",
        "took",
        *map(escape, fields),
        *([] if fields else ["results"]),
    ):
        table.add_column(name, no_wrap=True)
    for run in runs:
        count = trials.get(run["id"])
        name = run["name"] or run["kind"]
        state = f"[{_COLORS.get(run['state'], 'white')}]{run['state']}[/]"
        table.add_row(
            run["id"],
            escape(run["experiment"]),
            escape(f"{name}, {format_count(count, 'trial')}" if count else name),
            state,
            format_time(run["started"])[5:16],
            format_duration((run["ended"] or run["heartbeat"]) - run["started"]),
            *(escape(truncate(run.get(key))) for key in fields),
            *([] if fields else [escape(_main_results(metrics.get(run["id"], {})))]),
        )
    console.print(table)


def print_run(run: Mapping[str, Any], curves: Mapping[str, CurvePoints]) -> None:
    """All of a run."""
    console = Console()
    lines = {
        "run": run["id"],
        "experiment": run["experiment"],
        "name": run["name"],
        "kind": f"{run['kind']}, {format_count(run['trials'], 'trial')}" if run["trials"] else run["kind"],
        "state": run["state"] + (f": {run['reason']}" if run["reason"] else ""),
        "started": f"{format_time(run['started'])}, took "
        f"{format_duration((run['ended'] or run['beat']) - run['started'])}",
        "command": " ".join(run.get("command", ())),
        "folder": run.get("folder"),
        "machine": run.get("machine"),
        "source": _format_source(run.get("source") or {}),
        "environment": _format_environment(run.get("environment") or {}),
        "data": ", ".join(f"{d['name']} {d['hash'][:12]}" for d in (*run.get("data", ()), *run.get("data_read", ()))),
        "peak memory": f"{run['peak_memory'] / 2**20:,.0f} MiB" if run.get("peak_memory") else None,
        "notes": "; ".join(f"{name}: {truncate(value)}" for name, value in run["notes"].items()),
        "tags": ", ".join(f"{name}={word}" for name, word in run["tags"].items()),
    }
    grid = Table(box=None, show_header=False, pad_edge=False)
    for name, text in lines.items():
        if text:
            grid.add_row(f"[bold]{name}[/]", escape(str(text)))
    console.print(grid)
    explicit_params = {name: param["value"] for name, param in run["params"].items() if param["explicit"]}
    if run["params"]:
        n_defaults = len(run["params"]) - len(explicit_params)
        text = ", ".join(f"{name} {value}" for name, value in explicit_params.items()) or "all are defaults"
        console.print(f"[bold]hyperparameters[/] {escape(text)}" + (f" ({n_defaults} defaults)" if n_defaults else ""))
    _print_metrics(console, run["metrics"], curves)
    if run.get("classes"):
        _print_classes(console, run["classes"])
    if run["artifacts"]:
        files = ", ".join(f"{name} ({file['bytes']:,} bytes)" for name, file in run["artifacts"].items())
        console.print(f"[bold]files[/] {escape(files)}")
    if run.get("model"):
        console.print(escape(str(run["model"])))


def print_comparison(comparison: Mapping[str, Any], curves: Mapping[str, Mapping[str, CurvePoints]]) -> None:
    """What differs between two runs."""
    console, ids = Console(), comparison["runs"]
    for section in ("params", "data", "environment"):
        if comparison[section]:
            table = Table("", *ids, title=section, title_justify="left", box=None, header_style="bold", pad_edge=False)
            for name, pair in comparison[section].items():
                table.add_row(escape(name), *(escape(truncate(value)) for value in pair))
            console.print(table)
        else:
            console.print(f"{section}: the same")
    table = Table("", *ids, "curves", title="metrics, the best of each", title_justify="left", box=None, pad_edge=False)
    for name, pair in comparison["metrics"].items():
        sparklines = "  ".join(sparkline(curves.get(name, {}).get(run), SPARKLINE_WIDTH // 2) for run in ids)
        table.add_row(escape(name), *(truncate(value) for value in pair), sparklines)
    if comparison["metrics"]:
        console.print(table)
    console.print("source: the same" if not comparison["source"] else "source:")
    if comparison["source"]:
        from rich.syntax import Syntax

        console.print(Syntax(comparison["source"], "diff", background_color="default"))


def print_verdict(result: Mapping[str, Any]) -> None:
    """Whether a run came out the same again, and what may be the cause where it did not."""
    console, verdict = Console(), result["verdict"]
    color = {"identical": "green", "within tolerance": "green", "differs": "red"}.get(verdict, "yellow")
    max_difference = result["max_difference"]
    difference_text = (
        ""
        if not max_difference
        else f", at most {max_difference:.3g} of the value apart"
        if math.isfinite(max_difference)
        else ""
    )
    console.print(
        f"[bold {color}]{verdict}[/]{difference_text} "
        f"({format_count(result['n_compared'], 'result')} compared; run {result['run']})"
    )
    if result["first_difference"]:
        step = result["first_difference"]["step"]
        console.print(
            f"first: {escape(result['first_difference']['description'])}"
            + (f", at step {step}" if step is not None else "")
        )
    for cause, changes in result["causes"].items():
        text = ", ".join(f"{name} {truncate(a)} -> {truncate(b)}" for name, (a, b) in list(changes.items())[:6])
        console.print(f"{cause} differs: {escape(text)}")
    if verdict == "differs" and not result["causes"]:
        console.print(
            "source, data, packages, seeds and hardware are the same: the program itself is not deterministic"
        )


def sparkline(points: CurvePoints | None, width: int = SPARKLINE_WIDTH) -> str:
    """A curve in one line of characters; a gap stands for what is no finite number."""
    if points is None or not len(points.values):
        return ""
    indices = np.unique(np.linspace(0, len(points.values) - 1, min(width, len(points.values))).astype(int))
    values = points.values[indices]
    finite = values[np.isfinite(values)]
    if not finite.size:
        return " " * len(values)
    low, high = float(finite.min()), float(finite.max())
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] if math.isfinite(value) else " " for value in values.tolist())


def truncate(value: Any) -> str:
    """A value in few characters."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.5g}"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def format_time(seconds: float) -> str:
    """A time of the clock on the wall."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def format_duration(seconds: float) -> str:
    """How long something took."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.1f} min" if minutes < 60 else f"{hours:.1f} h"


def _main_results(metrics: Mapping[str, Any]) -> str:
    names = [name for name in metrics if not name.startswith("system/")]
    names.sort(key=lambda name: (MAIN_METRICS.index(name) if name in MAIN_METRICS else len(MAIN_METRICS), name))
    return ", ".join(
        f"{name} {metrics[name]['last']:.4g}"
        for name in names[:MAX_LISTED_METRICS]
        if metrics[name]["last"] is not None
    )


def _print_metrics(console: Console, metrics: Mapping[str, Any], curves: Mapping[str, CurvePoints]) -> None:
    if not metrics:
        return
    table = Table("metric", "last", "best", "at step", "curve", box=None, header_style="bold", pad_edge=False)
    for name, summary in metrics.items():
        last = "nan" if summary["last"] is None else truncate(summary["last"])
        points = curves.get(name)
        curve = sparkline(points) if points is not None and len(points.values) > 1 else ""
        table.add_row(escape(name), last, truncate(summary["best"]), truncate(summary["best_step"]), curve)
    console.print(table)


def _print_classes(console: Console, classes: Mapping[str, Mapping[str, float]]) -> None:
    table = Table("class", "precision", "recall", "F1", "rows", box=None, header_style="bold", pad_edge=False)
    for label, class_scores in classes.items():
        scores = (f"{class_scores[name]:.4f}" for name in ("precision", "recall", "f1"))
        table.add_row(escape(label), *scores, str(class_scores["rows"]))
    console.print(table)


def _format_source(source: Mapping[str, Any]) -> str:
    if not source:
        return ""
    files, n_skipped = len(source["files"]), len(source["skipped"])
    more = f"; {n_skipped} left out: {', '.join(list(source['skipped'])[:3])}" if n_skipped else ""
    if source.get("commit"):
        branch = f" on {source['branch']}" if source["branch"] else ""
        return (
            f"{source['root']} at {source['commit'][:12]}{branch}"
            + (f" and {format_count(files, 'file')} that differ" if files else "")
            + more
        )
    return f"{format_count(files, 'file')} of {source['root']}{more}"


def _format_environment(environment: Mapping[str, Any]) -> str:
    if not environment:
        return ""
    gpus = ", ".join(gpu["name"] for gpu in environment["gpus"])
    return (
        f"Python {environment['python']}, {len(environment['packages'])} packages, "
        f"{environment['processor']}, {environment['cores']} cores" + (f", {gpus}" if gpus else "")
    )
