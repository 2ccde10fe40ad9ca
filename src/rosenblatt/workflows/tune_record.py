"""Record of a search over a training function: its run, the runs of its trials, and finished trials to reuse."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rosenblatt.errors import RunError, StoreUnavailableError, format_count, format_list
from rosenblatt.runs.capture.own_inputs import unwatched_inputs, watch_inputs
from rosenblatt.runs.capture.reuse import find_obstacle
from rosenblatt.runs.capture.snapshot import RunSnapshot, default_experiment, fingerprint_data, main_script
from rosenblatt.runs.capture.source import source_hash
from rosenblatt.runs.compare import list_source_changes
from rosenblatt.runs.redaction import redact_value
from rosenblatt.runs.store.details import RunDetails, RunRecord
from rosenblatt.runs.store.locations import store_url
from rosenblatt.runs.store.queries import find_runs, load_curves, load_params, load_summaries, run_details
from rosenblatt.runs.store.records import format_param
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.launched import may_reuse
from rosenblatt.runs.tracking.program_end import SIGNAL_REASON, end_on_signals
from rosenblatt.runs.tracking.run import Run
from rosenblatt.runs.tracking.start import RESUME, RESUME_PLACE, RunStart, new_id
from rosenblatt.runs.tracking.stoppable_run import StoppableRun
from rosenblatt.spec.dimensions import Choice, Dimension, Integer
from rosenblatt.spec.scoring import Direction

INTERRUPTED, TIME_LIMIT = "interrupted", "time limit"  # reasons to stop a trial; if resumed, it is trained again


class TrialRun(StoppableRun):
    """The run of one trial, passed to the training function, which logs to it."""

    deadline: float | None = None  # end of the search, a `time.monotonic`

    @property
    def should_stop(self) -> bool:
        """Whether the training function should return: other trials are better, or the time of the search is over."""
        self.stop_at_deadline()
        return super().should_stop

    def stop_at_deadline(self) -> None:
        """Ask the training function to return if the time of the search is over."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.stop(TIME_LIMIT)


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

    A search is resumed only if its experiment, space and metric are the same. `experiment` is empty for the name of the
    script; `store` is as for `track`.
    """

    def __init__(
        self, space: Mapping[str, Dimension], metric: str, direction: Direction, experiment: str, store: str | None
    ) -> None:
        self._space, self._metric, self._direction = space, metric, direction
        self._description = {
            "space": {name: str(dimension) for name, dimension in space.items()},
            "metric": metric,
            "direction": direction.value,
        }
        self._script, self._url = main_script(), store_url(store)
        self.experiment = experiment or default_experiment(self._script)
        self._resumed = self._find_resumed_search()
        self.place = os.environ.pop(RESUME_PLACE, "") if self._resumed else ""  # where `runs resume --on` trains
        self.run = Run(self._url, self._resumed.id if self._resumed else new_id(), self.experiment, {})
        self._finished_trials: dict[str, TuneTrial] = {}  # by identity
        self._obstacles: dict[str, str] = {}  # by identity: why a finished trial is not reused
        self._printed_obstacles, self._reused_runs = set[str](), set[str]()
        self._resumed_trials: dict[int, TuneTrial] = {}  # of this search, by number
        self._used_numbers = set[int]()  # of trials in the store, whose runs must stay as they are

    def begin(self, data: Sequence[str | Path], reuse: bool, constants: Mapping[str, str]) -> None:
        """Record the start or the resumption of the search, and load the finished trials that need no training.

        `constants` are values that the training function uses.
        """
        self._constants = constants
        if self._url is None:
            return
        self._snapshot = RunSnapshot(self._script, self.run.store_source, self._url)
        self.run.data = [fingerprint_data(path) for path in data]
        self._source_hash = source_hash(self._snapshot.source)  # modules imported later are checked as inputs
        changes = self._list_changes(self._resumed) if self._resumed else []
        start = RunStart("search", metadata=self._description)
        try:
            self.run.begin(start, self._snapshot, resumed=self._resumed is not None, capture_output=True)
        except RunError as error:  # `runs resume` has started this program only for the search
            sys.exit(f"rosenblatt: {error}")
        if self._resumed:
            self._load_resumed_trials(self._url, self._resumed.id, changes)
        self.run.read_inputs = unwatched_inputs
        if reuse:
            if may_reuse():
                self._load_finished_trials(self._url)
            self.run.read_inputs = watch_inputs(self._url, self._snapshot.source.root, self.run.id, self.run.data)

    def resumed_trial(self, number: int) -> TuneTrial | None:
        """The trial of this number that had ended before the search was resumed, with unchanged source and data."""
        return self._resumed_trials.get(number)

    def new_run_id(self, number: int) -> str:
        """The id of the run of a new trial; its number is another one if the store has a trial of this number."""
        free_number = number if number not in self._used_numbers else max(self._used_numbers) + 1
        self._used_numbers.add(free_number)
        return f"{self.run.id}-{free_number}"

    def begin_trial(self, trial: TuneTrial, *, is_here: bool = True) -> TrialRun:
        """Start the run of a trial; `is_here` says whether this process trains it."""
        run = TrialRun(self._url, trial.run, self.experiment, trial.params)
        if self._url:
            number = int(trial.run.rpartition("-")[2])
            start = RunStart("trial", f"trial {number}", self._identity(trial.params), self.run.id, number)
            run.begin(start, monitor=is_here)
            if not is_here:
                end_on_signals(run)
        return run

    def remove_trial(self, run: TrialRun) -> None:
        """Remove the run of a trial, which is trained again from its beginning. Raises StoreError."""
        run.finish("failed", "it is trained again")
        if self._url:
            with closing(Store(self._url)) as store:
                store.delete([run.id])

    def finished_trial(self, params: Mapping[str, Any]) -> TuneTrial | None:
        """The finished trial with the same hyperparameters, source, data and environment, if there is one."""
        if self._url is None:
            return None
        identity = self._identity(params)
        trial, obstacle = self._finished_trials.get(identity), self._obstacles.get(identity, "")
        if trial is not None:
            self._reused_runs.add(trial.run)
        elif obstacle and obstacle not in self._printed_obstacles:
            self._printed_obstacles.add(obstacle)
            print(f"not reused: {obstacle}", file=sys.stderr)
        return trial

    def end(self, best: TuneTrial | None, state: str, reason: str | None) -> None:
        """Record the best trial and the end of the search."""
        if best is not None:
            self.run.set_metadata(
                "best", {"number": best.number, "run": best.run, "params": best.params, "score": best.score}
            )
            self.run.log({self._metric: best.score}, step=0)
        if self._reused_runs:
            reused = f"{format_count(len(self._reused_runs), 'trial')} of earlier searches"
            self.run.note("reused", reused)
            self.run.set_metadata("reused_trials", sorted(self._reused_runs))
            print(f"reused: {reused}", file=sys.stderr)
        self.run.finish(state, reason)

    def record_inputs(self) -> None:
        """Record what the trials have read so far; a trial is reused only if that is unchanged."""
        for name, value in self.run.read_inputs().items():
            self.run.set_metadata(name, value)

    def _identity(self, params: Mapping[str, Any]) -> str:
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in params.items()}
        spec = {"params": values, "arguments": sys.argv[1:], "constants": self._constants}
        return self._snapshot.identify("trial", spec, self.run.data, self._source_hash)

    def _find_resumed_search(self) -> RunDetails | None:
        """The search that `rosenblatt runs resume` resumes, if it is this one."""
        search_id = os.environ.get(RESUME)
        if not search_id or self._url is None:
            return None
        with closing(Store(self._url)) as store:
            details = run_details(store, search_id)
        is_same = details.space == self._description["space"] and details.metric in ("", self._metric)
        if details.experiment != self.experiment or not is_same:
            return None
        del os.environ[RESUME]
        return details

    def _list_changes(self, resumed: RunDetails) -> list[str]:
        """The files of source and data that have changed since a search was interrupted."""
        changes = (
            list_source_changes(resumed.source, self._snapshot.source, resumed.heartbeat) if resumed.source else []
        )
        recorded = {(file.name, file.hash) for file in resumed.data}  # paths change if the project is moved
        return changes + [file.name for file in self.run.data if (file.name, file.hash) not in recorded]

    def _load_resumed_trials(self, url: str, search_id: str, changes: Sequence[str]) -> None:
        """Load the trials that had ended; those of another source or other data are only kept in the store."""
        with closing(Store(url)) as store:
            records = find_runs(store, parent=search_id)
            ended = [run for run in records if run.state in ("finished", "stopped") and not _is_interrupted(run)]
            store.delete([run.id for run in records if run not in ended])
            trials = self._load_trials(store, ended)
        self._used_numbers = {run.number or 0 for run in ended}
        if changes:
            offset = max(self._used_numbers, default=-1) + 1
            n_trials = format_count(len(ended), "trial")
            print(
                f"changed since the search {search_id} was interrupted: {format_list(changes)}. Its {n_trials} stay in "
                f"the store, but do not count; new trials begin at number {offset}",
                file=sys.stderr,
            )
            self._used_numbers |= set(range(offset))
            return
        self._resumed_trials = {trial.number: trial for _, trial in trials if trial.params}

    def _load_finished_trials(self, url: str) -> None:
        """Load the finished trials of all searches in the store."""
        try:
            store = Store(url)
        except StoreUnavailableError:
            return
        with closing(store):
            runs = [run for run in find_runs(store, "state = finished and kind = trial") if run.identity and run.parent]
            obstacles = {parent: find_obstacle(store, parent) for parent in {run.parent or "" for run in runs}}
            self._obstacles = {run.identity or "": obstacles[run.parent or ""] for run in runs}
            runs = [run for run in runs if not obstacles[run.parent or ""]]
            for run, trial in self._load_trials(store, runs):
                self._finished_trials.setdefault(run.identity or "", trial)

    def _load_trials(self, store: Store, runs: Sequence[RunRecord]) -> Iterator[tuple[RunRecord, TuneTrial]]:
        """Load the trials of runs that have logged the metric; `params` are empty if one of them was masked."""
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
                values = _parse_params(self._space, params[run.id])
                reason = run.reason or ""
                yield run, TuneTrial(run.number or 0, values, run.id, run.state, best, reason, curve=curve)


def _is_interrupted(run: RunRecord) -> bool:
    """Whether a trial was stopped before its end for no reason of its own."""
    return (run.reason or "").startswith((INTERRUPTED, TIME_LIMIT, SIGNAL_REASON))


def _parse_params(space: Mapping[str, Dimension], texts: Mapping[str, str]) -> dict[str, Any]:
    """The values of the dimensions of a space from their texts in the store; empty if one of them is not known."""
    params: dict[str, Any] = {}
    for name, dimension in space.items():
        text = texts.get(name)
        if text is None:
            continue  # its conditions did not hold
        if isinstance(dimension, Choice):
            values = [value for value in dimension.values if format_param(redact_value(value, name))[0] == text]
        else:
            values = _parse_number(text, int if isinstance(dimension, Integer) else float)
        if len(values) != 1:
            return {}
        params[name] = values[0]
    return params


def _parse_number(text: str, number_type: type[int | float]) -> list[int | float]:
    try:
        return [number_type(text)]
    except ValueError:
        return []
