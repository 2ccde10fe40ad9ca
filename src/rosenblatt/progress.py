"""In: the records of a training. Out: a progress bar with the epochs done and the best validation score so far."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rosenblatt.spec import Spec
from rosenblatt.training.population import Record


@contextmanager
def training_progress(shown: bool) -> Iterator[Callable[[Spec, int], Callable[[Record], None]] | None]:
    """What `learn` takes as `watch`; None where nothing is to be shown."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs at most · {task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def watch(spec: Spec, members: int) -> Callable[[Record], None]:
            epochs = int(spec.training.epochs)
            task = progress.add_task("", total=epochs * members, note="compiling on the first use")
            best: dict[int, float] = {}
            what = "loss" if spec.training.scoring == "loss" else spec.training.scoring
            sign = -1 if what == "loss" else 1

            def told(record: Record) -> None:
                best[record.member] = max(best.get(record.member, record.score), record.score)
                mean = sign * sum(best.values()) / len(best)
                note = f"training loss {record.loss:.4g}" if math.isnan(mean) else f"best validation {what} {mean:.4g}"
                progress.update(task, advance=1, note=f"{len(best)} of {members} networks, {note}")

            return told

        yield watch
