"""Record of a search over a training function: its run, the runs of its trials, and finished trials to reuse."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosenblatt.errors import StoreUnavailableError
from rosenblatt.runs.capture.snapshot import RunSnapshot, default_experiment, fingerprint_data, main_script
from rosenblatt.runs.store.locations import store_url
from rosenblatt.runs.store.queries import find_runs, load_curves, load_params, load_summaries, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.program_end import SIGNAL_REASON
from rosenblatt.runs.tracking.run import Run, RunStart, new_id
from rosenblatt.spec.scoring import Direction
from rosenblatt.workflows.request import RESUME

INTERRUPTED, TIME_LIMIT = "interrupted", "time limit"  # reasons to stop a trial; if resumed, it is trained again


class TrialRun(Run):
    """The run of one trial, passed to the training function, which logs to it."""

    deadline: float | None = None  # end of the search, a `time.monotonic`
    stop_reason = ""  # why the training function should return; empty: it may go on
    was_stopped = False  # whether the training function has read a true `should_stop`

    @property
    def should_stop(self) -> bool:
        """Whether the training function should return: other trials are better, or the time of the search is over."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.stop(TIME_LIMIT)
        self.was_stopped |= bool(self.stop_reason)
        return self.was_stopped

    def stop(self, reason: str) -> None:
        """Ask the training function to return; the first reason is kept."""
        self.stop_reason = self.stop_reason or reason


@dataclass
class TuneTrial:
    """One trial of a search over a training function."""

    number: int
    params: dict[str, Any]
    run: str  # id of its run
    state: str = "running"  # later finished, stopped or failed
    score: float | None = None  # best value of the metric
    reason: str = ""  # why it stopped or failed
    reused: bool = False  # whether it was taken from an earlier search instead of trained
    curve: dict[int, float] = field(default_factory=dict)  # values of the metric by step


class TuneRecord:
    """The search in the store, or nothing if there is no store.

    `space` is the text of each dimension by name; a search is resumed only if it is the same. `experiment` is empty for
    the name of the script; `store` is as for `track`.
    """

    def __init__(
        self, space: Mapping[str, str], metric: str, direction: Direction, experiment: str, store: str | None
    ) -> None:
        self._space, self._metric, self._direction = space, metric, direction
        self._script, self._url = main_script(), store_url(store)
        self.experiment = experiment or default_experiment(self._script)
        self._resumed_id = self._find_resumed_search()
        self.run = Run(self._url, self._resumed_id or new_id(), self.experiment, {})
        self._finished_trials: dict[str, TuneTrial] = {}  # by identity

    def begin(self, data: Sequence[str | Path], reuse: bool) -> None:
        """Record the start or the resumption of the search, and load the finished trials that need no training."""
        if self._url is None:
            return
        self._snapshot = RunSnapshot(self._script, self.run.store_source)
        self.run.data = [fingerprint_data(path) for path in data]
        start, resumed = RunStart("search", metadata={"space": self._space}), self._resumed_id is not None
        self.run.begin(start, self._snapshot, resumed=resumed, capture_output=True)
        if self._resumed_id:
            self._load_finished_trials(self._url, self._resumed_id)
            self._delete_unfinished_trials(self._url, self._resumed_id)
        if reuse:
            self._load_finished_trials(self._url)

    def begin_trial(self, trial: TuneTrial) -> TrialRun:
        """Start the run of a trial."""
        run = TrialRun(self._url, trial.run, self.experiment, trial.params)
        if self._url:
            identity = self._identity(trial.params)
            run.begin(RunStart("trial", f"trial {trial.number}", identity, self.run.id, trial.number))
        return run

    def finished_trial(self, params: Mapping[str, Any]) -> TuneTrial | None:
        """The finished trial with the same hyperparameters, source, data and environment, if there is one."""
        return self._finished_trials.get(self._identity(params)) if self._url else None

    def end(self, best: TuneTrial | None, state: str, reason: str | None) -> None:
        """Record the best trial and the end of the search."""
        if best is not None:
            self.run.set_metadata("best", {"number": best.number, "params": best.params, "score": best.score})
            self.run.log({self._metric: best.score}, step=0)
        self.run.finish(state, reason)

    def _identity(self, params: Mapping[str, Any]) -> str:
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in params.items()}
        return self._snapshot.identify("trial", values, self.run.data)

    def _find_resumed_search(self) -> str | None:
        """The id of the search that `rosenblatt runs resume` resumes, if it is this one."""
        search_id = os.environ.get(RESUME)
        if not search_id or self._url is None:
            return None
        with closing(Store(self._url)) as store:
            details = run_details(store, search_id)
        if details.experiment != self.experiment or details.space != self._space:
            return None
        del os.environ[RESUME]
        return search_id

    def _delete_unfinished_trials(self, url: str, search_id: str) -> None:
        """Delete the runs of trials that will be trained again."""
        finished_ids = {trial.run for trial in self._finished_trials.values()}
        with closing(Store(url)) as store:
            store.delete([run.id for run in find_runs(store, parent=search_id) if run.id not in finished_ids])

    def _load_finished_trials(self, url: str, search_id: str | None = None) -> None:
        """Load the finished trials of one search, or of all searches in the store."""
        try:
            store = Store(url)
        except StoreUnavailableError:
            return
        where = "state in (finished, stopped) and kind = trial" if search_id else "state = finished and kind = trial"
        with closing(store):
            runs = [
                r
                for r in find_runs(store, where, parent=search_id)
                if r.identity and not (r.reason or "").startswith((INTERRUPTED, TIME_LIMIT, SIGNAL_REASON))
            ]
            ids = [run.id for run in runs]
            metrics, params = load_summaries(store, ids), load_params(store, ids)
            curves = load_curves(store, ids, self._metric, None)
        for run in runs:
            metric = metrics[run.id].get(self._metric)
            best = None if metric is None else metric.max if self._direction is Direction.MAXIMIZE else metric.min
            if best is not None:
                points = curves[run.id]
                steps_and_values = zip(points.steps.tolist(), points.values.tolist(), strict=True)
                curve = {step: value for step, value in steps_and_values if math.isfinite(value)}
                trial = TuneTrial(run.number or 0, dict(params[run.id]), run.id, run.state, best, curve=curve)
                self._finished_trials.setdefault(run.identity or "", trial)
