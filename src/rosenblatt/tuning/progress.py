"""Live progress of a search on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rosenblatt.errors import format_count

if TYPE_CHECKING:
    from rosenblatt.tuning.workers import NodeStatus

MAX_NODE_LINES = 8  # of machines in the live view


@dataclass(frozen=True)
class SearchProgress:
    """Progress of a search."""

    proposed: int  # trials proposed so far, of which so many are in each of the following states
    running: int
    paused: int
    stopped: int
    finished: int
    failed: int
    total_trials: int | None  # number of trials in the end, or None if only time limits the search
    best: float | None  # best score so far
    steps: int  # training steps of all networks
    seconds: float
    seconds_left: float | None  # None without a deadline
    refit_progress: tuple[int, int] | None = None  # number of refitted networks, and of those to refit
    nodes: Sequence[NodeStatus] = ()  # machines of a cluster


@contextmanager
def search_progress(enabled: bool, scoring: str) -> Iterator[Callable[[SearchProgress], None] | None]:
    """Show the progress of a search while the context is open; gives the `on_progress` of `SearchCoordinator.run`."""
    if not enabled:
        yield None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    with Live(console=Console(stderr=True), transient=True, refresh_per_second=8) as live:

        def update(progress: SearchProgress) -> None:
            total, completed = 1.0, 0.0
            if progress.seconds_left is not None:
                total, completed = progress.seconds + progress.seconds_left, progress.seconds
            elif progress.total_trials is not None:
                total, completed = progress.total_trials, progress.proposed - progress.running
            view, lines = Table.grid(), format_progress(progress, scoring)
            view.add_row(lines[0])
            view.add_row(ProgressBar(total=max(total, 1e-9), completed=completed, width=60))
            view.add_row(lines[1])
            for line in format_nodes(progress.nodes):
                view.add_row(Text(line))
            live.update(view)

        yield update


@contextmanager
def function_progress(enabled: bool) -> Iterator[Callable[[int, int, float | None], None]]:
    """Show the progress of `tune`; gives a function of the completed trials, all trials and the best score."""
    if not enabled:
        yield lambda _completed, _total, _best: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("trials"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, note="")

        def update(completed: int, total: int, best: float | None) -> None:
            note = f"{completed} of {total}" + ("" if best is None else f", best {best:.4g}")
            progress.update(task, total=total, completed=completed, note=note)

        yield update


def format_progress(progress: SearchProgress, scoring: str) -> tuple[str, str]:
    """Two lines of text: the trials by state; best score, speed and remaining time."""
    states = {
        "running": progress.running,
        "paused": progress.paused,
        "stopped": progress.stopped,
        "finished": progress.finished,
        "diverged": progress.failed,
    }
    state_counts = ", ".join(f"{count} {state}" for state, count in states.items() if count)
    total = "" if progress.total_trials is None else f" of {progress.total_trials}"
    trials = (
        f"{progress.proposed}{total} trials: {state_counts}"
        if progress.proposed
        else "compiling the training loop (once per installation)"
    )
    best = "" if progress.best is None else f"best {scoring} {progress.best:.4g}, "
    time_left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
    if progress.refit_progress:
        n_done, n_networks = progress.refit_progress
        return trials, f"{best}refitting on all rows: {n_done} of {n_networks} networks{time_left}"
    return trials, f"{best}{progress.steps / max(progress.seconds, 1e-9):,.0f} network-steps/s{time_left}"


def format_nodes(nodes: Sequence[NodeStatus]) -> list[str]:
    """A line of text for each machine of a cluster; for many machines, a few lines and the number of the others."""
    nodes = sorted(nodes, key=lambda node: node.is_lost)
    names = [node.name if node.name.isprintable() else repr(node.name) for node in nodes]  # machines name themselves
    width = max(map(len, names), default=0)
    lines = [f"{name:<{width}}  {_describe_work(node)}" for name, node in zip(names, nodes, strict=True)]
    if len(lines) <= MAX_NODE_LINES:
        return lines
    n_lost = sum(node.is_lost for node in nodes)
    n_threads = sum(node.threads for node in nodes if not node.is_lost)
    rest = f"{len(nodes)} machines with {n_threads:,} threads" + (f", and {n_lost} lost" if n_lost else "")
    return [*lines[: MAX_NODE_LINES - 1], f"... of {rest}"]


def _describe_work(node: NodeStatus) -> str:
    if node.is_lost:
        return "lost; its work was moved"
    threads = format_count(node.threads, "thread")
    if not node.running:
        return f"{threads}, idle"
    trials = f" of trials {', '.join(map(str, node.trials))}" if node.trials else ""
    return f"{threads}, {format_count(node.running, 'work item')}{trials}"
