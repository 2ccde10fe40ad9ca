"""In: the records of a training, or how far a search has come. Out: a live view of it on the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rosenblatt.tuning.coordinator import Progress


@contextmanager
def search_progress(shown: bool, scoring: str) -> Iterator[Callable[[Progress], None] | None]:
    """What `Search.run` takes as `watch`; None where nothing is to be shown."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    with Live(console=Console(stderr=True), transient=True, refresh_per_second=8) as live:

        def told(now: Progress) -> None:
            total, done = 1.0, 0.0
            if now.left is not None:
                total, done = now.seconds + now.left, now.seconds
            elif now.asked is not None:
                total, done = now.asked, now.proposed - now.running
            view, lines = Table.grid(), in_lines(now, scoring)
            view.add_row(lines[0])
            view.add_row(ProgressBar(total=max(total, 1e-9), completed=done, width=60))
            view.add_row(lines[1])
            live.update(view)

        yield told


@contextmanager
def function_progress(shown: bool) -> Iterator[Callable[[int, int, float | None], None]]:
    """Told how many trials of how many are done, and the best score so far."""
    if not shown:
        yield lambda _done, _asked, _best: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("trials"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None, note="")

        def told(done: int, asked: int, best: float | None) -> None:
            note = f"{done} of {asked}" + ("" if best is None else f", best {best:.4g}")
            progress.update(task, total=asked, completed=done, note=note)

        yield told


def in_lines(now: Progress, scoring: str) -> tuple[str, str]:
    """How far a search has come: its trials, and how well and fast it goes."""
    states = {
        "running": now.running,
        "paused": now.paused,
        "stopped": now.stopped,
        "finished": now.finished,
        "diverged": now.failed,
    }
    counted = ", ".join(f"{number} {state}" for state, number in states.items() if number)
    of = "" if now.asked is None else f" of {now.asked}"
    trials = f"{now.proposed}{of} trials: {counted}" if now.proposed else "compiling the engine, once an installation"
    best = "" if math.isinf(now.best) else f"best {scoring} {-now.best if scoring == 'loss' else now.best:.4g}, "
    left = "" if now.left is None else f", {now.left:.0f} s left"
    if now.again:
        return trials, f"{best}these learn again, from all rows: {now.again[0]} of {now.again[1]} networks done{left}"
    return trials, f"{best}{now.steps / max(now.seconds, 1e-9):,.0f} network-steps/s{left}"
