"""Search over a training function: proposes trials, stops them, and records all; trainers call the function."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from rosenblatt.errors import SpecError, StoreError
from rosenblatt.spec.dimensions import Choice, Dimension, Integer, LogUniform, Uniform
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.function_stopping import FunctionStopping
from rosenblatt.tuning.progress import function_progress
from rosenblatt.tuning.samplers import Sampler
from rosenblatt.tuning.space import Space
from rosenblatt.workflows.function_constants import function_constants
from rosenblatt.workflows.tune_record import INTERRUPTED, TIME_LIMIT, TrialRun, TuneRecord, TuneTrial
from rosenblatt.workflows.tune_settings import TuneResult, TuneSettings

TrainFunction = Callable[[Mapping[str, Any], TrialRun], Any]


class TrialOutcome(NamedTuple):
    """How a training function has ended."""

    result: Any = None  # what it returned
    error: str = ""  # class and message of its exception
    is_interrupted: bool = False  # whether the search has ended before it


class Trainer(Protocol):
    """Trains the trials of a search."""

    def train_all(self) -> None:
        """Train trials until the search proposes no more."""

    def close(self) -> None:
        """Wait for trials that were asked to stop, and release all resources."""


class _UserSpace(Space):
    """A space of the user's own names, which have only the conditions that the user gives."""

    def is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether the conditions of a dimension hold."""
        conditions = self.dimensions[name].when
        return all(other in params and params[other] in allowed for other, allowed in conditions.items())


def _check_space(space: Mapping[str, Dimension]) -> dict[str, Dimension]:
    for name, dimension in space.items():
        if not isinstance(dimension, Choice | Uniform | LogUniform | Integer):
            raise SpecError(
                f"Expected a dimension such as rosenblatt.uniform(0, 1) or rosenblatt.choice('a', 'b') for {name!r} of "
                f"the search space, but got {dimension!r}."
            )
    return dict(space)


class FunctionSearch:
    """A search, used by the threads of a trainer; the lock protects sampler, stopping rule and scores of trials.

    Args:
        space: dimensions by name.
        settings: of the search.

    Raises:
        SpecError: if the space cannot be searched.
    """

    def __init__(self, space: Mapping[str, Dimension], settings: TuneSettings) -> None:
        self._direction = settings.score_direction
        user_space = _UserSpace(Spec(), _check_space(space))
        search_spec = Spec.from_hyperparameters(sampler=settings.sampler).search
        self._sampler = Sampler(search_spec, user_space, settings.seed, self._direction)
        self._stopping = FunctionStopping(settings.stopping, settings.reduction_factor, self._direction)
        self._record = TuneRecord(space, settings.metric, self._direction, settings.experiment, settings.store)
        self.settings = settings.move_to(self._record.place) if self._record.place else settings
        self._deadline: float | None = None
        self._result = TuneResult([], settings.metric, self._direction, self._record.run.id)
        self._running: list[TrialRun] = []
        self._reports: dict[int, list[tuple[int, float]]] = {}  # to the stopping rule, by trial
        self._is_exhausted = False  # whether all combinations of the space have been proposed
        self._lock, self._stop = threading.Lock(), threading.Event()

    def run(self, train: TrainFunction, trainer: Trainer) -> TuneResult:
        """Train all trials of a function."""
        settings = self.settings
        self._deadline = None if settings.minutes is None else time.monotonic() + 60 * settings.minutes
        self._record.begin(settings.data, settings.reuse, function_constants(train))
        show_progress = sys.stderr.isatty() if settings.progress is None else settings.progress
        state, reason = "finished", None
        try:
            with function_progress(show_progress) as self._on_progress:
                trainer.train_all()
        except KeyboardInterrupt:
            state, reason = "stopped", INTERRUPTED
        except BaseException as error:
            state, reason = "failed", repr(error)
            raise
        finally:
            self._stop_trials()
            try:
                trainer.close()
            finally:
                self._record.end(self._result.best if self._result.scored_trials else None, state, reason)
        self._record.run.check_owner()
        if self._is_exhausted:
            n, asked = len(self._result.trials), settings.trials
            print(f"rosenblatt: {n:,} of {asked:,} trials: the space has no further combination", file=sys.stderr)
        return self._result

    def next_trial(self) -> TuneTrial | None:
        """Propose the next trial that must be trained; None at the end of the search."""
        while (trial := self._propose()) is not None:
            finished = self._record.resumed_trial(trial.number) or self._record.finished_trial(trial.params)
            if finished is None:
                return trial
            trial.run, trial.state, trial.score, trial.reused = finished.run, finished.state, finished.score, True
            trial.curve, trial.reason = finished.curve, finished.reason
            with self._lock:
                self._stopping.replay(trial.curve.values())
                self._tell(trial)
        return None

    def begin_trial(self, trial: TuneTrial, *, is_here: bool = True) -> TrialRun:
        """Begin the run of a trial; `is_here` says whether this process trains it."""
        run = self._record.begin_trial(trial, is_here=is_here)
        run.deadline = self._deadline
        run.on_log = lambda values, step: self._on_log(trial, run, values, step)
        self._running.append(run)
        if self._stop.is_set():
            run.stop(INTERRUPTED)
        return run

    def restart_trial(self, trial: TuneTrial, run: TrialRun, *, is_here: bool) -> TrialRun:
        """Begin a trial again from its beginning: what it has logged does not count."""
        with self._lock:
            for report in self._reports.pop(trial.number, []):
                self._stopping.withdraw(*report)
            trial.curve.clear()
            trial.score = None
        self._running.remove(run)
        try:
            self._record.remove_trial(run)
        except StoreError as error:
            message = f"trial {trial.number} starts again, but the points before stay in its run: {error}"
            print(f"rosenblatt: {message}", file=sys.stderr)
        return self.begin_trial(trial, is_here=is_here)

    def end_trial(self, trial: TuneTrial, run: TrialRun, outcome: TrialOutcome) -> None:
        """End a trial and its run, and tell the sampler its score."""
        metric, result = self.settings.metric, outcome.result
        try:
            if isinstance(result, int | float) or hasattr(result, "item"):
                run.log({metric: result}, step=max(trial.curve, default=-1) + 1)
            trial.state, trial.reason = ("stopped", run.stop_reason) if run.was_stopped else ("finished", "")
            if trial.score is None and trial.reason not in (INTERRUPTED, TIME_LIMIT):
                trial.state, trial.reason = "failed", f"it logged no finite {metric!r}"
        except Exception as error:  # noqa: BLE001 - what the user's function returned
            outcome = TrialOutcome(error=f"{type(error).__name__}: {error}")
        if outcome.is_interrupted:
            trial.state, trial.reason = "stopped", INTERRUPTED
        elif outcome.error:
            trial.state, trial.reason = "failed", outcome.error[:2000]
        self._running.remove(run)
        self._record.record_inputs()
        run.finish(trial.state, trial.reason or None)
        with self._lock:
            self._tell(trial)

    def _stop_if_taken_over(self) -> None:
        """Leave the search to another process that has resumed it, because this one was suspended for long."""
        if self._record.run.is_taken_over:
            self._stop_trials()

    def _stop_trials(self) -> None:
        """Start no more trials, and ask those that are running to stop."""
        self._stop.set()
        for run in list(self._running):
            run.stop(INTERRUPTED)

    def _propose(self) -> TuneTrial | None:
        """Propose a trial, or None at the end of the search."""
        self._stop_if_taken_over()
        with self._lock:
            number = len(self._result.trials)
            is_late = self._deadline is not None and time.monotonic() > self._deadline
            if self._stop.is_set() or self._is_exhausted or is_late or number >= self.settings.trials:
                return None
            params = self._sampler.ask(number)
            if params is None:
                self._is_exhausted = True
                return None
            resumed = self._record.resumed_trial(number)
            if resumed and resumed.params != params:  # with several workers, proposals depend on which trials end first
                self._sampler.replace(number, resumed.params)
                params = resumed.params
            run_id = resumed.run if resumed else self._record.new_run_id(number)
            trial = TuneTrial(number, params, run_id)
            self._result.trials.append(trial)
            return trial

    def _tell(self, trial: TuneTrial) -> None:
        """Give the score of an ended trial to the sampler, and report progress."""
        if trial.score is None:
            self._sampler.fail(trial.number)
        else:
            epochs, finished = max(trial.curve, default=0), trial.state == "finished"
            self._sampler.tell(trial.number, trial.score, epochs, 0, finished)
        ended = [other for other in self._result.trials if other.state != "running"]
        scores = [other.score for other in ended if other.score is not None]
        best = max(scores, key=self._direction.to_maximize, default=None)
        self._on_progress(len(ended), self.settings.trials, best)

    def _on_log(self, trial: TuneTrial, run: TrialRun, values: Mapping[str, float], step: int) -> None:
        """Take the metric from what a trial logged, and decide whether the trial must stop."""
        self._stop_if_taken_over()
        value = values.get(self.settings.metric)
        if value is None or not math.isfinite(value):
            return
        with self._lock:
            trial.curve[step] = value
            if trial.score is None or self._direction.is_better(value, trial.score):
                trial.score = value
            self._reports.setdefault(trial.number, []).append((len(trial.curve), trial.score))
            if self._stopping.report(len(trial.curve), trial.score):
                run.stop(f"not among the best at step {max(trial.curve)}")
