"""Print runs on the terminal: lists, details, comparisons, and curves drawn in characters."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rosenblatt.cli.console.tables import Cell, make_console, print_table, printable, printable_lines
from rosenblatt.errors import format_count
from rosenblatt.runs.store.records import SYSTEM_METRICS

if TYPE_CHECKING:  # loading these would delay `rosenblatt runs`
    from rosenblatt.runs.capture.environment import Environment
    from rosenblatt.runs.capture.source import Source
    from rosenblatt.runs.compare import Comparison
    from rosenblatt.runs.recorded import InputFile
    from rosenblatt.runs.store.curves import CurvePoints
    from rosenblatt.runs.store.details import ClassScores, MetricSummary, Param, RunDetails, RunRecord
    from rosenblatt.runs.verdict import ResultComparison

NOT_DETERMINISTIC = (
    "Source, data, arguments, packages, environment variables, seeds and hardware are the same: the program is not "
    "deterministic."
)
UNKNOWN_CAUSE = "No recorded input differs: one of these is the cause, or the program is not deterministic."
BARS = "▁▂▃▄▅▆▇█"
SPARKLINE_WIDTH = 24  # characters of a curve
MAX_LISTED_FILES = 3  # of the files of a source that are not captured
MAX_ROWS = 12  # rows of a table unless --all is given
MAX_LISTED_METRICS = 3  # metrics in a list of runs unless --all is given
MAX_GAPS = 6  # parts of a run that could not be made again, of each kind
MAX_TEXT = 60  # characters of a value in a table
MAIN_METRICS = ("auc", "accuracy", "r2", "rmse", "validation_loss", "val_loss", "loss")  # listed first
_CLEANUP = {  # for counts of `CleanupCounts`: the text before it, what is counted, its plural, the text after it
    "delivered_batches": ("delivered", "batch", "batches", "of waiting records"),
    "delivered_files": ("delivered", "waiting file", "", ""),
    "rejected_files": ("kept in the spool:", "file", "", "of records that the database rejected"),
    "killed_runs": ("ended", "run", "", "without a living process"),
    "removed_files": ("removed", "file", "", "that no run refers to"),
    "removed_documents": ("removed", "record", "", "of source or environment that no run refers to"),
    "removed_states": ("removed", "checkpoint", "", "of searches that were deleted or not resumed"),
}
_HASH = re.compile("[0-9a-f]{64}")
_COLORS = {"finished": "green", "running": "cyan", "failed": "red", "lost": "red", "stopped": "yellow"}


def print_runs(
    runs: Sequence[RunRecord],
    trials: Mapping[str, int],
    metrics: Mapping[str, Mapping[str, MetricSummary]],
    show_all: bool = False,
    child_runs: Mapping[str, int] | None = None,
) -> None:
    """Print a table with a row for each run; numbers of trials and child runs, and metrics, are by the id of a run."""
    console = make_console()
    if not runs:
        console.print("no runs")
        return
    fields = list(dict.fromkeys(name for run in runs for name in run.extra_fields))
    names = [] if fields else _main_metrics([metrics.get(run.id, {}) for run in runs])
    listed = names if show_all else names[:MAX_LISTED_METRICS]
    rows = []
    for run in runs:
        counts = ((trials.get(run.id, 0), "trial"), ((child_runs or {}).get(run.id, 0), "child run"))
        family = [format_count(n, noun) for n, noun in counts if n]
        summaries = metrics.get(run.id, {})
        rows.append([
            run.id,
            run.experiment,
            ", ".join([run.name or run.kind, *family]),
            None if run.kind == "trial" else run.parent,
            _format_state(run.state),
            format_time(run.started)[5:16],
            format_duration(run.duration),
            *(_to_number(run.extra_fields.get(field)) for field in fields),
            *(summaries[metric].last if metric in summaries else None for metric in listed),
        ])  # fmt: skip
    titles = ["run", "experiment", "name", "child of", "state", "started", "took", *fields, *listed]
    optional = () if show_all else ("started", "took", *reversed(listed[1:]), "child of", "name")
    print_table(console, titles, rows, right=["took"], optional=optional)
    if len(names) > len(listed):
        console.print(Text(f"and {format_count(len(names) - len(listed), 'more metric')} (--all)", "dim"))


def print_run(run: RunDetails, curves: Mapping[str, CurvePoints], show_all: bool = False) -> None:
    """Print a run: its state and scores, then its hyperparameters, then data, source and files."""
    from rosenblatt.runs.store.filters import LOST_REASON

    console = make_console()
    duration = format_duration(run.duration)
    if run.state == "lost" or run.reason == LOST_REASON:  # it ends with its last sign of life
        duration = f"at least {duration}"
    console.print(
        Text.assemble("run ", (run.id, "bold"), ": ", _format_state(run.state), f" after {duration}")
        + Text(f", {printable(run.reason)}" if run.reason else "")
    )
    kind = f"{run.kind} with {format_count(run.trials, 'trial')}" if run.trials else run.kind
    name = f" {run.name!r}" if run.name else ""
    console.print(Text(f"{kind}{name} of experiment {run.experiment!r}, started {format_time(run.started)}"))
    max_rows = None if show_all else MAX_ROWS
    _print_metrics(console, run, curves, max_rows)
    _print_classes(console, run.classes, max_rows)
    _print_params(console, run.params, show_all)
    _print_facts(console, run)
    if run.model:
        console.print(Text(str(run.model)))


def _print_facts(console: Console, run: RunDetails) -> None:
    """Print data, source, environment and files of a run, a line for each."""
    lines = {
        "data": ", ".join(map(_describe_input, (*run.data, *run.data_read))),
        "unseen inputs": truncate("; ".join(run.unseen), 3 * MAX_TEXT) if run.kind == "script" else "",
        "source": _format_source(run.source) if run.source else "",
        "command": " ".join(run.command),
        "folder": run.folder,
        "machine": f"{run.machine} ({run.host})" if run.host else run.machine,
        "environment": _format_environment(run.environment) if run.environment else "",
        "peak memory": f"{run.peak_memory / 2**20:,.0f} MiB" if run.peak_memory else "",
        "child runs": f"{run.child_runs:,} (rosenblatt runs --of {run.id})" if run.child_runs else "",
        "child of": run.parent or "",
        **_next_commands(run),
        "tags": ", ".join(f"{name}={word}" for name, word in run.tags.items()),
        "notes": "; ".join(f"{name}: {truncate(value)}" for name, value in run.notes.items()),
        "files": ", ".join(f"{name} ({file.bytes:,} bytes)" for name, file in run.artifacts.items()),
        "not shown": f"{', '.join(run.unreadable)}: in an unknown form" if run.unreadable else "",
    }
    console.print()
    grid = Table.grid(padding=(0, 2))
    for title, text in lines.items():
        if text:
            grid.add_row(Text(title, "bold"), printable(text))
    console.print(grid)


def _describe_input(file: InputFile) -> str:
    """The name and hash of an input; of a volume also its version, with its root as the hash."""
    version = file.path.rpartition("/")[2]
    return f"{file.name} {version} {file.hash[:12]}" if "@" in version else f"{file.name} {file.hash[:12]}"


def _next_commands(run: RunDetails) -> dict[str, str]:
    """Commands for a run that did not finish."""
    if run.kind == "script" and run.state == "failed":
        return {"output": f"rosenblatt runs show {run.id} --output"}
    if run.kind == "search" and run.state in ("failed", "stopped", "lost"):
        return {"to resume": f"rosenblatt runs resume {run.id}"}
    return {}


def print_cleanup(counts: Mapping[str, int]) -> None:
    """Print what was cleaned up in a store, a line for each kind; see `maintenance.CleanupCounts`."""
    lines = [
        f"{before} {format_count(counts[name], noun, plural)} {after}".rstrip()
        for name, (before, noun, plural, after) in _CLEANUP.items()
        if counts[name]
    ]
    make_console().print(Text("\n".join(lines) or "nothing to tidy up"))


def print_comparison(
    comparison: Comparison, curves: Mapping[str, Mapping[str, CurvePoints]], show_all: bool = False
) -> None:
    """Print the metrics of two runs, then everything that differs; `curves` are by metric and run."""
    console, ids = make_console(), comparison.runs
    max_rows = None if show_all else MAX_ROWS
    if comparison.metrics:
        rows: list[list[Cell]] = []
        for name, pair in comparison.metrics.items():
            sparklines = [sparkline(curves.get(name, {}).get(run), SPARKLINE_WIDTH // 2) for run in ids]
            rows.append([name, *pair, *sparklines])
        titles = ["metric (best value)", *ids, *(f"curve of {run}" for run in ids)]
        print_table(console, titles, rows, max_rows=max_rows, noun="metrics", optional=titles[:2:-1])
        console.print()
    sections = {"params": "hyperparameter", "data": "data", "environment": "environment"}
    for section, title in sections.items():
        differences = getattr(comparison, section)
        if not differences:
            console.print(f"{section}: the same")
            continue
        rows = [[name, *map(_to_number, pair)] for name, pair in differences.items()]
        print_table(console, [title, *ids], rows, max_rows=max_rows, noun="differences")
        console.print()
    console.print("source:" if comparison.source else "source: the same")
    if comparison.source:
        from rich.syntax import Syntax

        console.print(Syntax(printable_lines(comparison.source), "diff", background_color="default", word_wrap=True))


def print_verdict(run: str | None, result: ResultComparison) -> None:
    """Print whether a repeated run has the same results, what was compared, and what is known of the causes."""
    console = make_console()
    color = {"identical": "green", "within tolerance": "green", "differs": "red"}.get(result.verdict, "yellow")
    repetition = f"run {run}" if run else "no new run"
    reason = result.reason or ("" if result.n_compared else "the runs recorded no results")
    if reason:
        console.print(Text.assemble((result.verdict, f"bold {color}"), f": {printable(reason)} ({repetition})"))
    else:
        largest = result.max_difference
        difference = f", the largest relative difference is {largest:.3g}" if largest and math.isfinite(largest) else ""
        counts = f"{_format_compared(result)} compared; {repetition}"
        console.print(Text.assemble((result.verdict, f"bold {color}"), f"{difference} ({counts})"))
    if result.first_difference:
        step = result.first_difference.step
        at_step = "" if step is None else f", at step {step}"
        console.print(Text(f"first difference: {printable(result.first_difference.description)}{at_step}"))
    for note in result.notes:
        console.print(Text(printable(note)))
    for cause, changes in result.causes.items():
        pairs = list(changes.items())[:6]
        text = ", ".join(f"{name} {truncate(a)} -> {truncate(b)}" for name, (a, b) in pairs)
        more = f" and {len(changes) - len(pairs)} more" if len(changes) > len(pairs) else ""
        console.print(Text(f"{cause} differs: {printable(text)}{more}"))
    _print_gaps(console, result)


def _format_compared(result: ResultComparison) -> str:
    """What was compared: 4 metrics, 2 files and weights."""
    counts = {kind: kind if kind in ("weights", "exit status") else "" for kind in result.compared}
    parts = [
        counts[kind] or format_count(n, kind, "classes" if kind == "class" else "")
        for kind, n in result.compared.items()
    ]
    return ", ".join(parts) or format_count(result.n_compared, "result")


def _print_gaps(console: Console, result: ResultComparison) -> None:
    """Print what was not the same, or is not known to be, if the results differ or the run could not be run again."""
    if result.verdict in ("identical", "within tolerance"):
        return
    for kind in dict.fromkeys(gap.kind for gap in result.gaps):
        descriptions = [gap.description for gap in result.gaps if gap.kind == kind]
        more = f"; and {len(descriptions) - MAX_GAPS} more" if len(descriptions) > MAX_GAPS else ""
        text = printable("; ".join(descriptions[:MAX_GAPS]))
        console.print(Text(f"not captured or not restored ({kind}): {text}{more}"))
    if result.verdict == "differs" and not result.causes:
        console.print(UNKNOWN_CAUSE if result.gaps else NOT_DETERMINISTIC)


def sparkline(points: CurvePoints | None, width: int = SPARKLINE_WIDTH) -> str:
    """Draw a curve of two or more points in one line of characters; values that are not finite leave a gap."""
    if points is None or len(points.values) < 2:
        return ""
    import numpy as np

    indices = np.unique(np.linspace(0, len(points.values) - 1, min(width, len(points.values))).astype(int))
    values = points.values[indices]
    finite = values[np.isfinite(values)]
    if not finite.size:
        return " " * len(values)
    low, high = float(finite.min()), float(finite.max())
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] if math.isfinite(value) else " " for value in values.tolist())


def truncate(value: Any, max_length: int = MAX_TEXT) -> str:
    """Format a value in a few characters; of a hash, the first twelve."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.5g}"
    text = str(value)
    if _HASH.fullmatch(text):
        return text[:12]
    return text if len(text) <= max_length else f"{text[: max_length - 3]}..."


def format_time(seconds: float) -> str:
    """Format seconds since 1970 as a local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def format_duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours."""
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.1f} min" if minutes < 60 else f"{hours:.1f} h"


def _format_state(state: str) -> Text:
    return Text(state, _COLORS.get(state, ""))


def _main_metrics(summaries: Sequence[Mapping[str, MetricSummary]]) -> list[str]:
    """The metrics of runs, the main ones first, then those that most runs have; without metrics of the machine."""
    counts = Counter(name for run in summaries for name in run if not name.startswith(SYSTEM_METRICS))
    main = {name: k for k, name in enumerate(MAIN_METRICS)}
    return sorted(counts, key=lambda name: (main.get(name, len(main)), -counts[name], name))


def _to_number(value: Any) -> Cell:
    """A cell for a value: a number, also one that is stored as text, or shortened text."""
    if value is None or isinstance(value, int | float):
        return value
    try:
        return int(value) if str(value).lstrip("-").isdigit() else float(value)
    except (TypeError, ValueError):
        return truncate(value)


def _format_value(text: str) -> str:
    """Shorten a hyperparameter, which is stored as text; of floats to four significant digits."""
    value = _to_number(text)
    return f"{value:.4g}" if isinstance(value, float) else truncate(text)


def _print_metrics(console: Console, run: RunDetails, curves: Mapping[str, CurvePoints], max_rows: int | None) -> None:
    """Print test scores beside their baselines, then the metrics with a curve."""
    scores: list[list[Cell]] = [
        [name, run.metrics[name].last, baseline] for name, baseline in run.baseline.items() if name in run.metrics
    ]
    if scores:
        console.print()
        print_table(console, ["test score", "model", "baseline"], scores, max_rows=max_rows, noun="scores")
    names = _main_metrics([{name: run.metrics[name] for name in run.metrics if name not in run.baseline}])
    names += [name for name in run.metrics if name.startswith(SYSTEM_METRICS)]
    rows: list[list[Cell]] = []
    for name in names:
        summary = run.metrics[name]
        last = math.nan if summary.last is None else summary.last
        is_result = not name.startswith(SYSTEM_METRICS)  # of the machine, no value is better than another
        best = (summary.best, summary.best_step) if is_result else (None, None)
        rows.append([name, last, *best, sparkline(curves.get(name))])
    if rows:
        console.print()
        titles = ["metric", "last", "best", "at step", "curve"]
        print_table(console, titles, rows, max_rows=max_rows, noun="metrics", optional=["curve"])


def _print_classes(console: Console, classes: Mapping[str, ClassScores], max_rows: int | None) -> None:
    if classes:
        console.print()
        rows: list[list[Cell]] = [
            [label, scores.precision, scores.recall, scores.f1, scores.rows] for label, scores in classes.items()
        ]
        titles = ["class", "precision", "recall", "F1", "rows"]
        print_table(console, titles, rows, max_rows=max_rows, noun="classes")


def _print_params(console: Console, params: Mapping[str, Param], show_all: bool) -> None:
    """Print the hyperparameters that a user or a search chose, or all of them."""
    chosen = {name: param for name, param in params.items() if param.explicit}
    if not params:
        return
    console.print()
    rows: list[list[Cell]] = [
        [name, _format_value(param.value), "" if param.explicit else "default"]
        for name, param in (params if show_all else chosen).items()
    ]
    n_defaults = len(params) - len(chosen)
    if rows and show_all and n_defaults:
        print_table(console, ["hyperparameter", "value", ""], rows)
    elif rows:
        print_table(console, ["hyperparameter", "value"], [row[:2] for row in rows])
    if n_defaults and not show_all:
        more = format_count(n_defaults, "hyperparameter")
        console.print(Text(f"{'and ' if rows else ''}{more} with default values (--all)", "dim"))


def _format_source(source: Source) -> str:
    n_files = len(source.files) + len(source.outside)
    parts = [f"repository {name}: {_format_source(nested)}" for name, nested in source.nested.items()]
    for title, names in (("skipped", source.skipped), ("not part of it", source.not_source)):
        if names:
            more = ", ..." if len(names) > MAX_LISTED_FILES else ""
            parts.append(f"{len(names):,} {title}: {', '.join(list(names)[:MAX_LISTED_FILES])}{more}")
    branch = f" on {source.branch}" if source.branch else ""
    if source.commit:
        changes = f", with changes to {format_count(n_files, 'file')}" if n_files else ""
        parts.insert(0, f"{source.root} at commit {source.commit[:12]}{branch}{changes}")
    else:
        parts.insert(0, f"{source.root}, {format_count(n_files, 'file')}" if n_files else f"{source.root}, no files")
    return "; ".join(parts)


def _format_environment(environment: Environment) -> str:
    gpus = "".join(f", {gpu.name}" for gpu in environment.gpus)
    packages = format_count(len(environment.packages), "package")
    return f"Python {environment.python}, {packages}, {environment.processor}, {environment.cores} cores{gpus}"
