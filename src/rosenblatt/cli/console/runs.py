"""In: runs as plain data. Out: tables and small curves on the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rosenblatt.runs.store.curves import Points

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 32  # characters of a small curve
WIDE = 160  # characters of a line where it goes into a file
FEW = 2  # metrics that a list shows
MAIN = ("auc", "accuracy", "r2", "rmse", "validation_loss", "val_loss", "loss")  # shown first where a run has them
_COLORS = {"finished": "green", "running": "cyan", "failed": "red", "lost": "red", "stopped": "yellow"}


def show_runs(found: Sequence[Mapping[str, Any]], trials: Mapping[str, int], metrics: Mapping[str, Any]) -> None:
    """A line for each run."""
    console = Console()
    console = console if console.is_terminal else Console(width=WIDE)
    if not found:
        console.print("no runs")
        return
    asked = list(dict.fromkeys(key for one in found for key in one if "." in key))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (
        "run",
        "experiment",
        "name",
        "state",
        "started",
        "took",
        *map(escape, asked),
        *([] if asked else ["results"]),
    ):
        table.add_column(name, no_wrap=True)
    for one in found:
        count = trials.get(one["id"])
        name = one["name"] or one["kind"]
        state = f"[{_COLORS.get(one['state'], 'white')}]{one['state']}[/]"
        table.add_row(
            one["id"],
            escape(one["experiment"]),
            escape(f"{name}, {counted(count, 'trial')}" if count else name),
            state,
            when(one["started"])[5:16],
            duration((one["ended"] or one["beat"]) - one["started"]),
            *(escape(short(one.get(key))) for key in asked),
            *([] if asked else [escape(_results(metrics.get(one["id"], {})))]),
        )
    console.print(table)


def show_run(known: Mapping[str, Any], curves: Mapping[str, Points]) -> None:
    """All of a run."""
    console = Console()
    lines = {
        "run": known["id"],
        "experiment": known["experiment"],
        "name": known["name"],
        "kind": f"{known['kind']}, {counted(known['trials'], 'trial')}" if known["trials"] else known["kind"],
        "state": known["state"] + (f": {known['reason']}" if known["reason"] else ""),
        "started": f"{when(known['started'])}, took {duration((known['ended'] or known['beat']) - known['started'])}",
        "command": " ".join(known.get("command", ())),
        "folder": known.get("folder"),
        "machine": known.get("machine"),
        "source": _source(known.get("source") or {}),
        "environment": _environment(known.get("environment") or {}),
        "data": ", ".join(
            f"{d['name']} {d['hash'][:12]}" for d in (*known.get("data", ()), *known.get("data_read", ()))
        ),
        "peak memory": f"{known['peak_memory'] / 2**20:,.0f} MiB" if known.get("peak_memory") else None,
        "notes": "; ".join(f"{name}: {short(value)}" for name, value in known["notes"].items()),
        "tags": ", ".join(f"{name}={word}" for name, word in known["tags"].items()),
    }
    grid = Table(box=None, show_header=False, pad_edge=False)
    for name, words in lines.items():
        if words:
            grid.add_row(f"[bold]{name}[/]", escape(str(words)))
    console.print(grid)
    chosen = {name: one["value"] for name, one in known["params"].items() if one["chosen"]}
    if known["params"]:
        others = len(known["params"]) - len(chosen)
        words = ", ".join(f"{name} {value}" for name, value in chosen.items()) or "all are defaults"
        console.print(f"[bold]hyperparameters[/] {escape(words)}" + (f" ({others} defaults)" if others else ""))
    _show_metrics(console, known["metrics"], curves)
    if known.get("classes"):
        _show_classes(console, known["classes"])
    if known["artifacts"]:
        files = ", ".join(f"{name} ({one['bytes']:,} bytes)" for name, one in known["artifacts"].items())
        console.print(f"[bold]files[/] {escape(files)}")
    if known.get("model"):
        console.print(escape(str(known["model"])))


def show_comparison(found: Mapping[str, Any], curves: Mapping[str, Mapping[str, Points]]) -> None:
    """What differs between two runs."""
    console, ids = Console(), found["runs"]
    for what in ("params", "data", "environment"):
        if found[what]:
            table = Table("", *ids, title=what, title_justify="left", box=None, header_style="bold", pad_edge=False)
            for name, pair in found[what].items():
                table.add_row(escape(name), *(escape(short(value)) for value in pair))
            console.print(table)
        else:
            console.print(f"{what}: the same")
    table = Table("", *ids, "curves", title="metrics, the best of each", title_justify="left", box=None, pad_edge=False)
    for name, pair in found["metrics"].items():
        drawn = "  ".join(spark(curves.get(name, {}).get(run), WIDTH // 2) for run in ids)
        table.add_row(escape(name), *(short(value) for value in pair), drawn)
    if found["metrics"]:
        console.print(table)
    console.print("source: the same" if not found["source"] else "source:")
    if found["source"]:
        from rich.syntax import Syntax

        console.print(Syntax(found["source"], "diff", background_color="default"))


def show_verdict(found: Mapping[str, Any]) -> None:
    """Whether a run came out the same again, and what may be the cause where it did not."""
    console, word = Console(), found["verdict"]
    color = {"identical": "green", "within tolerance": "green", "differs": "red"}.get(word, "yellow")
    far = found["furthest"]
    how = "" if not far else f", at most {far:.3g} of the value apart" if math.isfinite(far) else ""
    console.print(f"[bold {color}]{word}[/]{how} ({counted(found['compared'], 'result')} compared; run {found['run']})")
    if found["first"]:
        step = found["first"]["step"]
        console.print(f"first: {escape(found['first']['what'])}" + (f", at step {step}" if step is not None else ""))
    for what, changed in found["causes"].items():
        words = ", ".join(f"{name} {short(a)} -> {short(b)}" for name, (a, b) in list(changed.items())[:6])
        console.print(f"{what} differs: {escape(words)}")
    if word == "differs" and not found["causes"]:
        console.print(
            "source, data, packages, seeds and hardware are the same: the program itself is not deterministic"
        )


def spark(points: Points | None, width: int = WIDTH) -> str:
    """A curve in one line of characters; a gap stands for what is no finite number."""
    if points is None or not len(points.values):
        return ""
    places = np.unique(np.linspace(0, len(points.values) - 1, min(width, len(points.values))).astype(int))
    values = points.values[places]
    finite = values[np.isfinite(values)]
    if not finite.size:
        return " " * len(values)
    low, high = float(finite.min()), float(finite.max())
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] if math.isfinite(value) else " " for value in values.tolist())


def short(value: Any) -> str:
    """A value in few characters."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.5g}"
    words = str(value)
    return words if len(words) <= 60 else f"{words[:57]}..."


def counted(number: int, what: str) -> str:
    """3 runs, 1 run."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def when(seconds: float) -> str:
    """A time of the clock on the wall."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def duration(seconds: float) -> str:
    """How long something took."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.1f} min" if minutes < 60 else f"{hours:.1f} h"


def _results(metrics: Mapping[str, Any]) -> str:
    names = [name for name in metrics if not name.startswith("system/")]
    names.sort(key=lambda name: (MAIN.index(name) if name in MAIN else len(MAIN), name))
    return ", ".join(f"{name} {metrics[name]['last']:.4g}" for name in names[:FEW] if metrics[name]["last"] is not None)


def _show_metrics(console: Console, metrics: Mapping[str, Any], curves: Mapping[str, Points]) -> None:
    if not metrics:
        return
    table = Table("metric", "last", "best", "at step", "curve", box=None, header_style="bold", pad_edge=False)
    for name, one in metrics.items():
        last = "nan" if one["last"] is None else short(one["last"])
        points = curves.get(name)
        drawn = spark(points) if points is not None and len(points.values) > 1 else ""
        table.add_row(escape(name), last, short(one["best"]), short(one["best_step"]), drawn)
    console.print(table)


def _show_classes(console: Console, classes: Mapping[str, Mapping[str, float]]) -> None:
    table = Table("class", "precision", "recall", "F1", "rows", box=None, header_style="bold", pad_edge=False)
    for label, one in classes.items():
        scores = (f"{one[name]:.4f}" for name in ("precision", "recall", "f1"))
        table.add_row(escape(label), *scores, str(one["rows"]))
    console.print(table)


def _source(source: Mapping[str, Any]) -> str:
    if not source:
        return ""
    files, left = len(source["files"]), len(source["left_out"])
    more = f"; {left} left out: {', '.join(list(source['left_out'])[:3])}" if left else ""
    if source.get("commit"):
        branch = f" on {source['branch']}" if source["branch"] else ""
        return (
            f"{source['root']} at {source['commit'][:12]}{branch}"
            + (f" and {counted(files, 'file')} that differ" if files else "")
            + more
        )
    return f"{counted(files, 'file')} of {source['root']}{more}"


def _environment(known: Mapping[str, Any]) -> str:
    if not known:
        return ""
    gpus = ", ".join(gpu["name"] for gpu in known["gpus"])
    return (
        f"Python {known['python']}, {len(known['packages'])} packages, {known['processor']}, {known['cores']} cores"
        + (f", {gpus}" if gpus else "")
    )
