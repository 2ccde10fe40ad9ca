"""Progress bar of a fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rosenblatt.data.media.progress import ReadCallback, watch_reading
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.spec.scoring import scoring_direction
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import EpochRecord

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@contextmanager
def training_progress(enabled: bool) -> Iterator[Callable[[Spec, int], Callable[[EpochRecord], None]] | None]:
    """Show a progress bar; yield the callback `watch` of `fit_model`, or None if not enabled."""
    if not enabled:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with (
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
        watch_reading(_reading_task(progress)),
    ):

        def watch(spec: Spec, members: int) -> Callable[[EpochRecord], None]:
            epochs = spec["epochs"]
            is_compiled = spec.network.kind not in DEEP_KINDS
            note = "compiling, once per installation" if is_compiled else "first epoch"
            task = progress.add_task("training", total=epochs * members, note=note)
            scoring, best, n_finished = spec.training.scoring, dict[int, float](), 0
            direction = scoring_direction(scoring)

            def update(record: EpochRecord) -> None:
                nonlocal n_finished
                n_finished += record.last
                previous = best.get(record.member, math.nan)
                if math.isnan(previous) or direction.is_better(record.score, previous):
                    best[record.member] = record.score
                mean = sum(best.values()) / len(best)
                score = f"training loss {record.loss:.4g}" if math.isnan(mean) else f"validation {scoring} {mean:.4g}"
                advance = epochs - record.epoch + 1 if record.last else 1
                progress.update(task, advance=advance, note=f"{n_finished} of {members} networks done, {score}")

            return update

        yield watch


def _reading_task(progress: Progress) -> ReadCallback:
    """Shows images that are read before training; gives what `watch_reading` needs."""
    task: TaskID | None = None

    def update(n_images: int, n_all: int) -> None:
        nonlocal task
        if task is None:
            task = progress.add_task("reading images", total=n_all, note=f"{n_all:,}")
        progress.advance(task, n_images)
        if progress.tasks[progress.task_ids.index(task)].finished:
            progress.remove_task(task)
            task = None

    return update
