"""Search for hyperparameters, then select and refit the best trials."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosenblatt.data.schema.columns import Schema
from rosenblatt.models.prepared import Prepared, ScoreOf
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.checkpoints import Keeper
from rosenblatt.tuning.coordinator import Progress, Search
from rosenblatt.tuning.refit import refit
from rosenblatt.tuning.selection import CANDIDATES, Outcome, outcome
from rosenblatt.workflows.problems.problem import Say
from rosenblatt.workflows.recorder import Recorder

ENDING = 3.0  # seconds kept for what comes after a search, besides predictions: writing the model, reading it again
JOINED = 6  # trials that an ensemble has, about


@dataclass(frozen=True)
class Searching:
    """What a search is given besides its spec."""

    started: float = field(default_factory=time.monotonic)  # when its minutes began
    watch: Callable[[Progress], None] | None = None  # told how far it has come
    records: Callable[[list[dict[str, Any]]], None] | None = None  # given what is known of each trial, whatever comes
    checkpoint: Path | None = None  # the folder where its state is kept, and gone on from
    recorder: Recorder | None = None  # writes its trials to a store
    rows: int = 0  # that are predicted after it, in its time


def search(
    spec: Spec,
    schema: Schema,
    prepared: Prepared,
    score: ScoreOf | None = None,
    how: Searching | None = None,
    say: Say = print,
    threads: int | None = None,
) -> Outcome:
    """Try many sets of hyperparameters, stop those that do not earn more time, and join the best.

    Raises:
        SpecError: for a space that does not fit the task or the rows.
        DivergedError, StoppedEarlyError: where no trial left anything to keep.
    """
    how = how or Searching()
    running = Search(spec, prepared, score, threads)
    folder = how.checkpoint or (how.recorder.state if how.recorder else None)
    keeper = Keeper(running, folder, say) if folder else None
    if keeper and keeper.restored:
        say(f"going on from {folder}: {len(running.trials)} trials")
    minutes = spec.search.minutes

    def keep() -> None:
        if how.recorder:
            how.recorder.trials(running)
        if keeper:
            keeper.keep()
        running.changed.clear()

    said = JOINED * len(running.folds) * how.rows + CANDIDATES * running.folds[0].spared.size
    spent = running.wall if how.recorder and how.recorder.resumed else 0.0
    deadline = None if minutes is None else how.started + 60 * minutes - ENDING - spent
    try:
        running.run(deadline, how.watch, keep, said)
    finally:
        if how.recorder:
            how.recorder.trials(running, at_end=True)
        if keeper and running.interrupted:
            keeper.close()
        if how.records:
            how.records([trial.record() for trial in running.trials])
    found = outcome(running, schema)
    if running.refits and not running.interrupted:
        found = refit(running, found, how.watch)
    if minutes is not None and not any(trial.state == "finished" for trial in running.trials):
        epochs = max(trial.epochs for trial in running.trials)
        say(f"{minutes:g} minutes were too short for one trial: what it learnt in {epochs} epochs is kept")
    return found
