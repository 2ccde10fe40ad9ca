"""Search for hyperparameters, then select and refit the best trials."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosenblatt.data.schema.columns import Schema
from rosenblatt.errors import Notify
from rosenblatt.models.prepared import PreparedData, ScorerFactory
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.checkpoints import SearchCheckpoint
from rosenblatt.tuning.coordinator import SearchCoordinator, SearchProgress
from rosenblatt.tuning.refit import refit
from rosenblatt.tuning.selection import ENSEMBLE_CANDIDATES, SearchResult, select_model
from rosenblatt.workflows.recorder import Recorder

FINISH_SECONDS = (
    3.0  # seconds kept for what comes after a search, besides predictions: writing the model, reading it again
)
TYPICAL_ENSEMBLE_SIZE = 6  # trials that an ensemble has, about


@dataclass(frozen=True)
class SearchOptions:
    """What a search is given besides its spec."""

    started: float = field(default_factory=time.monotonic)  # when its minutes began
    on_progress: Callable[[SearchProgress], None] | None = None  # told how far it has come
    on_records: Callable[[list[dict[str, Any]]], None] | None = (
        None  # given what is known of each trial, whatever comes
    )
    checkpoint: Path | None = None  # the folder where its state is kept, and gone on from
    recorder: Recorder | None = None  # writes its trials to a store
    test_rows: int = 0  # that are predicted after it, in its time


def search(
    spec: Spec,
    schema: Schema,
    prepared: PreparedData,
    scorer_factory: ScorerFactory | None = None,
    options: SearchOptions | None = None,
    notify: Notify = print,
    threads: int | None = None,
) -> SearchResult:
    """Try many sets of hyperparameters, stop those that do not earn more time, and join the best.

    Raises:
        SpecError: for a space that does not fit the task or the rows.
        DivergedError, TrainingInterruptedError: where no trial left anything to keep.
    """
    options = options or SearchOptions()
    coordinator = SearchCoordinator(spec, prepared, scorer_factory, threads)
    folder = options.checkpoint or (options.recorder.checkpoint_folder if options.recorder else None)
    checkpoint = SearchCheckpoint(coordinator, folder, notify) if folder else None
    if checkpoint and checkpoint.restored:
        notify(f"going on from {folder}: {len(coordinator.trials)} trials")
    minutes = spec.search.minutes

    def save_progress() -> None:
        if options.recorder:
            options.recorder.write_trials(coordinator)
        if checkpoint:
            checkpoint.save()
        coordinator.unsaved_trials.clear()

    prediction_rows = (
        TYPICAL_ENSEMBLE_SIZE * len(coordinator.folds) * options.test_rows
        + ENSEMBLE_CANDIDATES * coordinator.folds[0].validation.size
    )
    spent_seconds = coordinator.wall_seconds if options.recorder and options.recorder.resumed else 0.0
    deadline = None if minutes is None else options.started + 60 * minutes - FINISH_SECONDS - spent_seconds
    try:
        coordinator.run(deadline, options.on_progress, save_progress, prediction_rows)
    finally:
        if options.recorder:
            options.recorder.write_trials(coordinator, at_end=True)
        if checkpoint and coordinator.interrupted:
            checkpoint.close()
        if options.on_records:
            options.on_records([trial.record() for trial in coordinator.trials])
    result = select_model(coordinator, schema)
    if coordinator.refits_at_end and not coordinator.interrupted:
        result = refit(coordinator, result, options.on_progress)
    if minutes is not None and not any(trial.state == "finished" for trial in coordinator.trials):
        epochs = max(trial.epochs for trial in coordinator.trials)
        notify(f"{minutes:g} minutes were too short for one trial: what it learnt in {epochs} epochs is kept")
    return result
