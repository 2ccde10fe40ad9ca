"""Print the queue of experiments on the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from rosenblatt.cli.console.runs import format_duration, format_time
from rosenblatt.cli.console.tables import Cell, make_console, print_table

if TYPE_CHECKING:
    from rosenblatt.cluster.queue import Experiment

MAX_ENDED = 10  # experiments that have ended, unless --all is given
_COLORS = {"finished": "green", "running": "cyan", "failed": "red", "lost": "red", "cancelled": "yellow"}


def print_experiments(experiments: Sequence[Experiment], show_all: bool = False) -> None:
    """Print a table with a row for each experiment; of those that have ended only the last ones, unless `show_all`."""
    console = make_console()
    if not experiments:
        console.print("no experiments")
        return
    unfinished = [experiment for experiment in experiments if experiment.state in ("waiting", "running")]
    ended = [experiment for experiment in experiments if experiment.state not in ("waiting", "running")]
    listed = unfinished + (ended if show_all else ended[:MAX_ENDED])
    has_priority = any(experiment.priority for experiment in listed)
    rows: list[list[Cell]] = []
    for experiment in listed:
        state = "lost" if experiment.is_lost else experiment.state
        rows.append([
            str(experiment.number),
            Text(state, _COLORS.get(state, "")),
            shlex.join(experiment.arguments),
            experiment.priority if has_priority else None,
            experiment.run,
            format_time(experiment.added)[5:16],
            None if experiment.seconds is None else format_duration(experiment.seconds),
            experiment.reason,
        ])  # fmt: skip
    titles = ["number", "state", "command", "priority", "run", "added", "took", "reason"]
    print_table(console, titles, rows, right=["number", "took"], optional=() if show_all else ("added", "took", "run"))
    if len(listed) < len(experiments):
        console.print(Text(f"and {len(experiments) - len(listed):,} more that have ended (--all)", "dim"))
