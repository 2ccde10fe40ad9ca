"""Hyperparameter search: run it with checkpoints and records, then select and refit the best trials."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rosenblatt.data.schema.columns import Schema
from rosenblatt.errors import Notify
from rosenblatt.models.metadata import TrialRecord
from rosenblatt.models.prepared import PreparedData, ScorerFactory
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.checkpoints import SearchCheckpoint
from rosenblatt.tuning.coordinator import SearchCoordinator
from rosenblatt.tuning.progress import SearchProgress
from rosenblatt.tuning.refit import refit
from rosenblatt.tuning.selection import ENSEMBLE_CANDIDATES, SearchResult, select_model
from rosenblatt.tuning.workers import MakeWorkers
from rosenblatt.workflows.recorder import Recorder

FINISH_SECONDS = 3.0  # reserved for the end of a search, besides predictions: writing and checking the model
TYPICAL_ENSEMBLE_SIZE = 6  # trials in an ensemble, to estimate the time of its predictions


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search that are not part of its spec."""

    started: float = field(default_factory=time.monotonic)  # start of the search time, a `time.monotonic`
    on_progress: Callable[[SearchProgress], None] | None = None
    on_records: Callable[[list[TrialRecord]], None] | None = None  # called at the end, also after an error
    checkpoint: Path | None = None  # folder in which the search is saved, and from which it is resumed
    recorder: Recorder | None = None  # writes the trials to the store
    make_workers: MakeWorkers | None = None  # starts the workers, such as those of a cluster
    test_rows: int = 0  # number of rows predicted after the search, within its time


def search(
    spec: Spec,
    schema: Schema,
    prepared: PreparedData,
    scorer_factory: ScorerFactory | None = None,
    options: SearchOptions | None = None,
    notify: Notify = print,
    threads: int | None = None,
) -> SearchResult:
    """Search hyperparameters, then select the best trials and refit them if rows were held out.

    Raises SpecError if the space does not fit the task or the data, and DivergedError or TrainingInterruptedError if
    there is no trained network.
    """
    options = options or SearchOptions()
    coordinator = SearchCoordinator(spec, prepared, scorer_factory, threads, make_workers=options.make_workers)
    _run(coordinator, options, notify)
    result = select_model(coordinator, schema)
    if coordinator.plan.refits and not coordinator.interrupted:
        result = refit(coordinator, result, options.on_progress)
    if coordinator.early_end:
        notify(coordinator.early_end)
    minutes, trials = spec.search.minutes, coordinator.history.trials
    if minutes is not None and not any(trial.state == "finished" for trial in trials):
        epochs = max(trial.statistics.epochs for trial in trials)
        notify(
            f"no trial finished within the {minutes:g}-minute limit; the model was trained for {epochs} "
            f"{'epoch' if epochs == 1 else 'epochs'} at most"
        )
    return result


def _run(coordinator: SearchCoordinator, options: SearchOptions, notify: Notify) -> None:
    """Run the search, with its checkpoints and records."""
    recorder = options.recorder
    folder = options.checkpoint or (recorder.checkpoint_folder if recorder else None)
    checkpoint = SearchCheckpoint(coordinator, folder, notify) if folder else None
    if checkpoint and checkpoint.restored:
        notify(f"resuming the search in {folder} (trials so far: {len(coordinator.history.trials)})")

    def save() -> None:
        if recorder and recorder.run:
            recorder.run.check_owner()
        if checkpoint:
            checkpoint.save()
        if recorder:  # after the checkpoint, so that a resumed search has all recorded trials
            recorder.copy_state()
            recorder.write_trials(coordinator)

    folds = coordinator.plan.folds
    prediction_rows = (
        TYPICAL_ENSEMBLE_SIZE * len(folds) * options.test_rows + ENSEMBLE_CANDIDATES * folds[0].validation.size
    )
    try:
        coordinator.run(_deadline(coordinator, options), options.on_progress, save, prediction_rows)
    finally:
        if recorder:
            recorder.write_trials(coordinator, at_end=True)
        if checkpoint and coordinator.interrupted:
            checkpoint.close()
        if options.on_records:
            options.on_records([trial.record() for trial in coordinator.history.trials])


def _deadline(coordinator: SearchCoordinator, options: SearchOptions) -> float | None:
    """End of the search, a `time.monotonic`; a resumed run has only the rest of its minutes."""
    minutes = coordinator.plan.spec.search.minutes
    if minutes is None:
        return None
    is_resumed = options.recorder is not None and options.recorder.resumed
    spent_seconds = coordinator.history.wall_seconds if is_resumed else 0.0
    return options.started + 60 * minutes - FINISH_SECONDS - spent_seconds
