"""Search the hyperparameters of a user's training function, with our samplers and stopping rules."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rosenblatt.errors import SpecError, StoreUnavailableError, did_you_mean
from rosenblatt.runs.capture.snapshot import RunSnapshot, main_script, run_identity
from rosenblatt.runs.capture.source import source_hash
from rosenblatt.runs.store.locations import store_url
from rosenblatt.runs.store.queries import find_runs, load_curves, load_params, load_summaries, run_details
from rosenblatt.runs.store.records import metric_direction
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import Run, fingerprint_data, new_id
from rosenblatt.spec.dimensions import Dimension
from rosenblatt.spec.search import SearchSpec
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.progress import function_progress
from rosenblatt.tuning.samplers import Sampler
from rosenblatt.tuning.space import Space
from rosenblatt.tuning.stopping import MIN_MEDIAN_TRIALS
from rosenblatt.workflows.request import RESUME

STOPPING_RULES = ("none", "asha", "median")
TrainFunction = Callable[[Mapping[str, Any], "TrialRun"], Any]


class TrialRun(Run):
    """The run of one trial, as the training function is handed it: logs like any other, and knows when to stop."""

    should_stop = False
    """Whether the trial does not earn more time; a training function that asks returns then."""


@dataclass
class TuneTrial:
    """What became of one trial."""

    number: int
    params: dict[str, Any]
    run: str  # its id
    state: str = "running"  # then finished, stopped or failed
    score: float | None = None  # the best of its metric
    reason: str = ""
    reused: bool = False
    curve: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TuneResult:
    """What came of a search."""

    trials: list[TuneTrial]
    metric: str
    direction: str
    run: str  # of the search

    @property
    def best(self) -> TuneTrial:
        """The trial of the best score. Raises SpecError where none has one."""
        scored = [trial for trial in self.trials if trial.score is not None and math.isfinite(trial.score)]
        if not scored:
            reasons = {trial.reason for trial in self.trials if trial.reason}
            raise SpecError(f"No trial logged a finite {self.metric!r}. {'; '.join(sorted(reasons))[:500]}")
        sign = 1 if self.direction == "maximize" else -1
        return max(scored, key=lambda trial: (sign * float(trial.score or 0.0), -trial.number))

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
    stopping: Literal["none", "asha", "median"] = "none",
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
    """Tune a training function of any framework: call it with proposed hyperparameters, keep what it logs.

    def train(params, run):
        for epoch in range(20):
            ...
            run.log({"val_loss": loss}, step=epoch)
            if run.should_stop:
                return

    result = rosenblatt.tune(train, {"lr": rosenblatt.log_uniform(1e-4, 1e-1)}, trials=50, metric="val_loss")

    What it returns, where that is a number, is logged as the metric. An error in one trial is recorded for it, and
    stops no other. Ctrl-C ends the search with what there is; `rosenblatt runs resume` goes on with it.

    Args:
        space: dimensions by name: `choice`, `uniform`, `log_uniform`, `integer`.
        direction: whether less or more of the metric is better; found out from its name where "auto".
        stopping: what sets `run.should_stop`: "asha" where a trial is not among the best one in
            `reduction_factor` at steps 1, `reduction_factor`, `reduction_factor`^2, ...; "median" where it is below the
            median of those before.
        workers: trials at a time, each in a thread.
        reuse: take finished trials that are the same in source, hyperparameters, data and environment.

    Raises SpecError for a space that cannot be searched.
    """
    if not space:
        raise SpecError("There is nothing to search. Give a space such as {'lr': rosenblatt.log_uniform(1e-4, 1e-1)}.")
    if stopping not in STOPPING_RULES:
        raise SpecError(
            f"stopping must be none, asha or median, but it is {stopping!r}.{did_you_mean(stopping, STOPPING_RULES)}"
        )
    if reduction_factor < 2:
        raise SpecError(f"reduction_factor must be a whole number of at least 2, but it is {reduction_factor!r}.")
    if direction == "auto":
        direction = "minimize" if metric_direction(metric) == "min" else "maximize"
    return _FunctionTuner(
        train,
        space,
        trials,
        metric,
        direction,
        SearchSpec(sampler=sampler),
        stopping,
        reduction_factor,
        minutes,
        workers,
        seed,
    ).run(experiment, data, reuse, store, progress)


class _UserSpace(Space):
    """Dimensions of the user's own names: none means anything to our networks."""

    def is_active(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether what a dimension asks for is so."""
        conditions = self.dimensions[name].when
        return all(other in values and values[other] in allowed for other, allowed in conditions.items())


class _FunctionTuner:
    def __init__(
        self,
        train: TrainFunction,
        space: Mapping[str, Dimension],
        trials: int,
        metric: str,
        direction: str,
        search_spec: SearchSpec,
        stopping: str,
        reduction_factor: int,
        minutes: float | None,
        workers: int,
        seed: int,
    ) -> None:
        self._train, self._n_trials, self._metric, self._direction = train, trials, metric, direction
        self._sign = 1.0 if direction == "maximize" else -1.0
        self._sampler = Sampler(search_spec, _UserSpace(Spec(), dict(space)), seed)
        self._stopping, self._reduction_factor, self._workers = stopping, reduction_factor, max(workers, 1)
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self._trials: list[TuneTrial] = []
        self._scores_at_step: dict[int, list[float]] = {}  # by step: the scores of trials that came there
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._finished_trials: dict[str, TuneTrial] = {}
        self._running: list[TrialRun] = []
        self._space = {name: str(dimension) for name, dimension in space.items()}

    def run(
        self, experiment: str, data: Sequence[str | Path], reuse: bool, store: str | None, progress: bool | None
    ) -> TuneResult:
        """All trials."""
        url, script = store_url(store), main_script()
        self._url, self._source = url, ""
        self._experiment = experiment or (script.stem if script.is_file() else script.name)
        resumed_id = self._find_resumed_search(url)
        self._run = Run(url, resumed_id or new_id(), self._experiment, {})
        if url:
            self._begin(url, RunSnapshot(script, self._run.store_source), resumed_id, data, reuse)
        threads = [threading.Thread(target=self._run_trials, daemon=True) for _ in range(self._workers - 1)]
        for thread in threads:
            thread.start()
        state, reason = "finished", None
        try:
            with function_progress(sys.stderr.isatty() if progress is None else progress) as show:
                self._show = show
                self._run_trials()
        except KeyboardInterrupt:
            state, reason = "stopped", "interrupted"
        except BaseException as error:
            state, reason = "failed", repr(error)
            raise
        finally:
            self._end(threads, state, reason)
        return TuneResult(self._trials, self._metric, self._direction, self._run.id)

    def _begin(
        self, url: str, snapshot: RunSnapshot, resumed_id: str | None, data: Sequence[str | Path], reuse: bool
    ) -> None:
        """Record that the search begins, or goes on; take up the trials that need not be made again."""
        self._source, self._environment = source_hash(snapshot.source), snapshot.environment
        self._run.data = [fingerprint_data(path) for path in data]
        self._digests = [dataset["hash"] for dataset in self._run.data]
        if resumed_id:
            self._run.resume(snapshot)
            self._load_finished_trials(url, search_id=resumed_id)
            self._delete_unfinished_trials(url, resumed_id)
        else:
            self._run.begin("", "search", snapshot)
            self._run.set_metadata("space", self._space)
            self._run.capture_output()
        if reuse:
            self._load_finished_trials(url)

    def _end(self, threads: list[threading.Thread], state: str, reason: str | None) -> None:
        """Wait for the trials that are left, told to stop where the search was; record what came of it."""
        if state != "finished":
            self._stop.set()
            for run in list(self._running):
                run.should_stop = True
        for thread in threads:
            thread.join()
        scored = [trial for trial in self._trials if trial.score is not None and math.isfinite(trial.score)]
        if scored:
            best = TuneResult(self._trials, self._metric, self._direction, self._run.id).best
            self._run.set_metadata("best", {"number": best.number, "params": best.params, "score": best.score})
            self._run.log({self._metric: best.score}, step=0)
        self._run.finish(state, reason)

    def _run_trials(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                number = len(self._trials)
                if number >= self._n_trials or (self._deadline is not None and time.monotonic() > self._deadline):
                    return
                values = self._sampler.ask(number)
                if values is None:
                    return
                trial = TuneTrial(number, values, f"{self._run.id}-{number}")
                self._trials.append(trial)
            finished_trial = self._finished_trials.get(self._identity(values))
            if finished_trial is not None:
                trial.run, trial.state, trial.score, trial.reused = (
                    finished_trial.run,
                    finished_trial.state,
                    finished_trial.score,
                    True,
                )
                trial.curve = finished_trial.curve
                self._replay(trial)
            else:
                self._run_trial(trial)
            with self._lock:
                if trial.score is None:
                    self._sampler.fail(number)
                else:
                    finished = trial.state == "finished"
                    self._sampler.tell(number, self._sign * trial.score, max(trial.curve, default=0), 0, finished)
                ended_trials = [other for other in self._trials if other.state != "running"]
                scores = [self._sign * other.score for other in ended_trials if other.score is not None]
                self._show(len(ended_trials), self._n_trials, self._sign * max(scores) if scores else None)

    def _run_trial(self, trial: TuneTrial) -> None:
        run = TrialRun(self._url, trial.run, self._experiment, trial.params)
        if self._url:
            identity = self._identity(trial.params)
            run.begin(
                f"trial {trial.number}", "trial", None, parent=self._run.id, number=trial.number, identity=identity
            )
        self._running.append(run)
        run.on_log = lambda values, step: self._on_metric(trial, run, values, step)
        try:
            result = self._train(dict(trial.params), run)
            if isinstance(result, int | float) or hasattr(result, "item"):
                run.log({self._metric: result}, step=max(trial.curve, default=-1) + 1)
            trial.state = "stopped" if run.should_stop else "finished"
            trial.reason = f"not among the best at step {max(trial.curve, default=0)}" if run.should_stop else ""
            if trial.score is None:
                trial.state, trial.reason = "failed", f"it logged no finite {self._metric!r}"
        except KeyboardInterrupt:
            trial.state, trial.reason = "stopped", "interrupted"
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's own code: one trial stops no other
            trial.state, trial.reason = "failed", f"{type(error).__name__}: {error}"[:2000]
        finally:
            self._running.remove(run)
            run.finish(trial.state, trial.reason or None)

    def _on_metric(self, trial: TuneTrial, run: TrialRun, values: Mapping[str, float], step: int) -> None:
        """Take up what a trial logged, and decide whether it goes on.

        A function cannot be paused as our networks can, so trials are stopped where those pause, and the first to come
        to a rung go on (the stopping variant of ASHA).
        """
        value = values.get(self._metric)
        if value is None or not math.isfinite(value):
            return
        with self._lock:
            trial.curve[step] = value
            if trial.score is None or self._sign * value > self._sign * trial.score:
                trial.score = value
            if self._stopping == "none" or (self._stopping == "asha" and not self._is_rung(len(trial.curve))):
                return
            n_reports = len(trial.curve)
            rung_scores = self._scores_at_step.setdefault(n_reports, [])
            score = self._sign * float(trial.score)
            rung_scores.append(score)
            ranked = sorted(rung_scores, reverse=True)
            if self._stopping == "median":
                run.should_stop |= len(rung_scores) > MIN_MEDIAN_TRIALS and score < ranked[len(ranked) // 2]
            elif len(rung_scores) >= self._reduction_factor:
                run.should_stop |= score < ranked[max(len(ranked) // self._reduction_factor, 1) - 1]

    def _replay(self, trial: TuneTrial) -> None:
        """Have others compared with a trial that was made before."""
        best = -math.inf
        with self._lock:
            for n_reports, value in enumerate(trial.curve.values(), 1):
                best = max(best, self._sign * value)
                self._scores_at_step.setdefault(n_reports, []).append(best)

    def _is_rung(self, n_reports: int) -> bool:
        while n_reports % self._reduction_factor == 0:
            n_reports //= self._reduction_factor
        return n_reports == 1

    def _identity(self, values: Mapping[str, Any]) -> str:
        if not self._url:
            return ""
        params = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return run_identity("trial", self._source, params, self._digests, self._environment)

    def _find_resumed_search(self, url: str | None) -> str | None:
        """The search that is gone on with, where the command asked for that, and it is this one."""
        search_id = os.environ.get(RESUME)
        if not search_id or url is None:
            return None
        with closing(Store(url)) as store:
            details = run_details(store, search_id)
        if details["experiment"] != self._experiment or details.get("space") != self._space:
            return None
        del os.environ[RESUME]
        return search_id

    def _delete_unfinished_trials(self, url: str, run: str) -> None:
        """Delete trials that are made again, so that nothing of them is mixed."""
        reusable_ids = {trial.run for trial in self._finished_trials.values()}
        with closing(Store(url)) as store:
            store.delete(
                [trial_run["id"] for trial_run in find_runs(store, parent=run) if trial_run["id"] not in reusable_ids]
            )

    def _load_finished_trials(self, url: str, search_id: str | None = None) -> None:
        """Take up finished trials, by their identity: those of one search, or all."""
        try:
            store = Store(url)
        except StoreUnavailableError:
            return
        where = "state in (finished, stopped) and kind = trial" if search_id else "state = finished and kind = trial"
        trial_runs = [
            trial_run
            for trial_run in find_runs(store, where, parent=search_id)
            if trial_run["identity"] and trial_run["reason"] != "interrupted"
        ]
        ids = [trial_run["id"] for trial_run in trial_runs]
        metrics, params = load_summaries(store, ids), load_params(store, ids)
        curves_by_run = load_curves(store, ids, self._metric, None)
        store.close()
        extreme = "max" if self._direction == "maximize" else "min"
        for trial_run in trial_runs:
            metric = metrics[trial_run["id"]].get(self._metric)
            if metric and metric[extreme] is not None:
                trial = TuneTrial(
                    trial_run["number"],
                    dict(params[trial_run["id"]]),
                    trial_run["id"],
                    trial_run["state"],
                    metric[extreme],
                )
                points = curves_by_run[trial_run["id"]]
                steps_and_values = zip(points.steps.tolist(), points.values.tolist(), strict=True)
                trial.curve = {step: value for step, value in steps_and_values if math.isfinite(value)}
                self._finished_trials.setdefault(trial_run["identity"], trial)
