"""Tune the hyperparameters of a user's training function with our samplers and stopping rules."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from rosenblatt.errors import SpecError, did_you_mean
from rosenblatt.runs.store.records import metric_direction
from rosenblatt.spec.dimensions import Choice, Dimension, Integer, LogUniform, Uniform
from rosenblatt.spec.scoring import Direction
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.function_stopping import FunctionStopping, FunctionStoppingRule
from rosenblatt.tuning.progress import function_progress
from rosenblatt.tuning.samplers import Sampler
from rosenblatt.tuning.space import Space
from rosenblatt.workflows.function_constants import function_constants
from rosenblatt.workflows.tune_record import INTERRUPTED, TIME_LIMIT, TrialRun, TuneRecord, TuneTrial

TrainFunction = Callable[[Mapping[str, Any], TrialRun], Any]


@dataclass(frozen=True)
class TuneSettings:
    """Settings of `tune`, checked when they are created. Raises SpecError."""

    trials: int
    metric: str
    direction: Literal["minimize", "maximize", "auto"]
    sampler: str
    stopping: FunctionStoppingRule
    reduction_factor: int
    minutes: float | None
    workers: int
    seed: int
    experiment: str
    data: Sequence[str | Path]
    reuse: bool
    store: str | None
    progress: bool | None

    def __post_init__(self) -> None:
        rules = get_args(FunctionStoppingRule)
        if self.direction not in ("minimize", "maximize", "auto"):
            raise SpecError(
                f"direction must be minimize, maximize or auto, but it is {self.direction!r}."
                f"{did_you_mean(str(self.direction), ('minimize', 'maximize', 'auto'))}"
            )
        if self.stopping not in rules:
            raise SpecError(
                f"stopping must be none, asha or median, but it is {self.stopping!r}."
                f"{did_you_mean(self.stopping, rules)}"
            )
        if self.reduction_factor < 2:
            raise SpecError(
                f"reduction_factor must be a whole number of at least 2, but it is {self.reduction_factor!r}."
            )

    @property
    def score_direction(self) -> Direction:
        """The direction, resolved from the name of the metric if it is "auto"."""
        if self.direction != "auto":
            return Direction(self.direction)
        return Direction.MINIMIZE if metric_direction(self.metric) == "min" else Direction.MAXIMIZE


@dataclass(frozen=True)
class TuneResult:
    """Result of `tune`."""

    trials: list[TuneTrial]
    metric: str
    direction: Direction
    run: str  # id of the run of the search

    @property
    def scored_trials(self) -> list[TuneTrial]:
        """Trials with a finite score."""
        return [trial for trial in self.trials if trial.score is not None and math.isfinite(trial.score)]

    @property
    def best(self) -> TuneTrial:
        """The trial with the best score. Raises SpecError if no trial has a finite score."""
        scored = self.scored_trials
        if not scored:
            reasons = {trial.reason for trial in self.trials if trial.reason}
            raise SpecError(f"No trial logged a finite {self.metric!r}. {'; '.join(sorted(reasons))[:500]}")
        return max(scored, key=lambda trial: (self.direction.to_maximize(float(trial.score or 0.0)), -trial.number))

    @property
    def best_params(self) -> dict[str, Any]:
        """The hyperparameters of the best trial."""
        return self.best.params


def tune(
    train: TrainFunction,
    space: Mapping[str, Dimension],
    *,
    trials: int = 50,
    metric: str = "loss",
    direction: Literal["minimize", "maximize", "auto"] = "auto",
    sampler: str = "tpe",
    stopping: FunctionStoppingRule = "none",
    reduction_factor: int = 3,
    minutes: float | None = None,
    workers: int = 1,
    seed: int = 0,
    experiment: str = "",
    data: Sequence[str | Path] = (),
    reuse: bool = False,
    store: str | None = None,
    progress: bool | None = None,
) -> TuneResult:
    """Tune a training function of any framework: call it with proposed hyperparameters, and record what it logs.

    def train(params, run):
        for epoch in range(20):
            ...
            run.log({"val_loss": loss}, step=epoch)
            if run.should_stop:
                return

    result = rosenblatt.tune(train, {"lr": rosenblatt.log_uniform(1e-4, 1e-1)}, trials=50, metric="val_loss")

    If the function returns a number, it is logged as the metric. An exception in one trial is recorded for that trial
    and stops no other. After Ctrl-C the result has the trials so far; `rosenblatt runs resume` continues the search.

    Args:
        train: called with the hyperparameters of a trial and its run.
        space: dimensions by name: `choice`, `uniform`, `log_uniform`, `integer`.
        trials: number of trials.
        metric: name of the logged metric to optimize.
        direction: "minimize", "maximize", or "auto" to infer it from the name of the metric.
        sampler: "tpe", "random", "quasi_random", "gp", "cma_es" or "grid".
        stopping: rule that sets `run.should_stop`: "none"; "asha" if a trial is not among the best
            1 / `reduction_factor` after 1, `reduction_factor`, `reduction_factor`^2, ... reports of the metric;
            "median" if it is worse than the median of earlier trials.
        reduction_factor: of "asha".
        minutes: time limit; None for none. At its end no new trial starts, and `run.should_stop` becomes true in the
            trials that are running; their best scores so far count. A resumed search has all minutes again.
        workers: number of trials trained at a time, each in a thread.
        seed: seed of the proposals.
        experiment: name of the experiment in the store; by default that of the script.
        data: files that the function reads; they are part of the identity of a trial.
        reuse: whether to take over finished trials with the same source, hyperparameters, data and environment.
        store: path or URL of the store of runs, or "none"; by default the store of the working directory.
        progress: whether to show a progress bar; by default if standard error is a terminal.

    Returns:
        All trials, and the best one.

    Raises:
        SpecError: if a setting is out of range or the space cannot be searched.
        RunError: if another process has resumed the search meanwhile.
    """
    if not space:
        raise SpecError(
            "space must have at least one dimension, such as {'lr': rosenblatt.log_uniform(1e-4, 1e-1)}, but it is "
            "empty."
        )
    settings = TuneSettings(
        trials, metric, direction, sampler, stopping, reduction_factor, minutes, workers, seed, experiment, data, reuse,
        store, progress,
    )  # fmt: skip
    return _FunctionTuner(train, space, settings).run()


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


class _FunctionTuner:
    """Trains trials in threads; the lock protects the sampler, the stopping rule and the scores of trials."""

    def __init__(self, train: TrainFunction, space: Mapping[str, Dimension], settings: TuneSettings) -> None:
        self._train, self._settings, self._direction = train, settings, settings.score_direction
        user_space = _UserSpace(Spec(), _check_space(space))
        search_spec = Spec.from_hyperparameters(sampler=settings.sampler).search
        self._sampler = Sampler(search_spec, user_space, settings.seed, self._direction)
        self._stopping = FunctionStopping(settings.stopping, settings.reduction_factor, self._direction)
        self._record = TuneRecord(space, settings.metric, self._direction, settings.experiment, settings.store)
        self._deadline = None if settings.minutes is None else time.monotonic() + 60 * settings.minutes
        self._result = TuneResult([], settings.metric, self._direction, self._record.run.id)
        self._running: list[TrialRun] = []
        self._is_exhausted = False  # whether all combinations of the space have been proposed
        self._lock, self._stop = threading.Lock(), threading.Event()

    def run(self) -> TuneResult:
        """Train all trials."""
        settings = self._settings
        self._record.begin(settings.data, settings.reuse, function_constants(self._train))
        show_progress = sys.stderr.isatty() if settings.progress is None else settings.progress
        n_threads = max(settings.workers, 1) - 1
        threads: list[threading.Thread] = []
        state, reason = "finished", None
        try:
            with function_progress(show_progress) as self._on_progress:
                threads = [threading.Thread(target=self._run_trials, daemon=True) for _ in range(n_threads)]
                for thread in threads:
                    thread.start()
                self._run_trials()
                for thread in threads:
                    thread.join()
        except KeyboardInterrupt:
            state, reason = "stopped", INTERRUPTED
        except BaseException as error:
            state, reason = "failed", repr(error)
            raise
        finally:
            self._stop_trials()
            for thread in threads:
                thread.join()
            self._record.end(self._result.best if self._result.scored_trials else None, state, reason)
        self._record.run.check_owner()
        if self._is_exhausted:
            n, asked = len(self._result.trials), settings.trials
            print(f"rosenblatt: {n:,} of {asked:,} trials: the space has no further combination", file=sys.stderr)
        return self._result

    def _stop_if_taken_over(self) -> None:
        """Leave the search to another process that has resumed it, because this one was suspended for long."""
        if self._record.run.is_taken_over:
            self._stop_trials()

    def _stop_trials(self) -> None:
        """Start no more trials, and ask those that are running to stop."""
        self._stop.set()
        for run in list(self._running):
            run.stop(INTERRUPTED)

    def _run_trials(self) -> None:
        """Train one trial after another."""
        while (trial := self._next_trial()) is not None:
            finished = self._record.resumed_trial(trial.number) or self._record.finished_trial(trial.params)
            if finished is not None:
                trial.run, trial.state, trial.score, trial.reused = finished.run, finished.state, finished.score, True
                trial.curve, trial.reason = finished.curve, finished.reason
                with self._lock:
                    self._stopping.replay(trial.curve.values())
            else:
                self._run_trial(trial)
            with self._lock:
                self._tell(trial)

    def _next_trial(self) -> TuneTrial | None:
        """Propose a trial, or None at the end of the search."""
        self._stop_if_taken_over()
        with self._lock:
            number = len(self._result.trials)
            is_late = self._deadline is not None and time.monotonic() > self._deadline
            if self._stop.is_set() or is_late or number >= self._settings.trials:
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
        self._on_progress(len(ended), self._settings.trials, best)

    def _run_trial(self, trial: TuneTrial) -> None:
        run = self._record.begin_trial(trial)
        run.deadline = self._deadline
        self._running.append(run)
        run.on_log = lambda values, step: self._on_log(trial, run, values, step)
        metric = self._settings.metric
        try:
            result = self._train(dict(trial.params), run)
            if isinstance(result, int | float) or hasattr(result, "item"):
                run.log({metric: result}, step=max(trial.curve, default=-1) + 1)
            trial.state, trial.reason = ("stopped", run.stop_reason) if run.was_stopped else ("finished", "")
            if trial.score is None and trial.reason not in (INTERRUPTED, TIME_LIMIT):
                trial.state, trial.reason = "failed", f"it logged no finite {metric!r}"
        except KeyboardInterrupt:
            trial.state, trial.reason = "stopped", INTERRUPTED
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's function may raise anything
            trial.state, trial.reason = "failed", f"{type(error).__name__}: {error}"[:2000]
        finally:
            self._running.remove(run)
            self._record.record_inputs()
            run.finish(trial.state, trial.reason or None)

    def _on_log(self, trial: TuneTrial, run: TrialRun, values: Mapping[str, float], step: int) -> None:
        """Take the metric from what a trial logged, and decide whether the trial must stop."""
        self._stop_if_taken_over()
        value = values.get(self._settings.metric)
        if value is None or not math.isfinite(value):
            return
        with self._lock:
            trial.curve[step] = value
            if trial.score is None or self._direction.is_better(value, trial.score):
                trial.score = value
            if self._stopping.report(len(trial.curve), trial.score):
                run.stop(f"not among the best at step {max(trial.curve)}")
