"""In: a training function of the user's own, and a space. Out: trials of it, by our samplers and stopping rules."""

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

from rosenblatt.errors import SpecError, StoreLostError, nearest
from rosenblatt.runs.capture.snapshot import Captured, identity_of, main_place
from rosenblatt.runs.capture.source import hash_of
from rosenblatt.runs.store.locations import url_of
from rosenblatt.runs.store.queries import curves, details, find_runs, params_of, summaries
from rosenblatt.runs.store.records import better
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import Run, known_data, new_id
from rosenblatt.spec.dimensions import Dimension
from rosenblatt.spec.search import SearchSpec
from rosenblatt.spec.spec import Spec
from rosenblatt.tuning.progress import function_progress
from rosenblatt.tuning.samplers import Sampler
from rosenblatt.tuning.space import Space
from rosenblatt.tuning.stopping import FEW
from rosenblatt.workflows.request import RESUME

STOPPING = ("none", "asha", "median")
TrainFunction = Callable[[Mapping[str, Any], "TrialRun"], Any]


class TrialRun(Run):
    """The run of one trial, as the training function is handed it: logs like any other, and knows when to stop."""

    should_stop = False
    """Whether the trial does not earn more time; a training function that asks returns then."""


@dataclass
class FunctionTrial:
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
class FunctionSearch:
    """What came of a search."""

    trials: list[FunctionTrial]
    metric: str
    direction: str
    run: str  # of the search

    @property
    def best(self) -> FunctionTrial:
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


def search(
    train: TrainFunction,
    space: Mapping[str, Dimension],
    *,
    trials: int = 50,
    metric: str = "loss",
    direction: Literal["minimize", "maximize", "auto"] = "auto",
    sampler: str = "tpe",
    stopping: Literal["none", "asha", "median"] = "none",
    reduction: int = 3,
    minutes: float | None = None,
    workers: int = 1,
    seed: int = 0,
    experiment: str = "",
    data: Sequence[str | Path] = (),
    reuse: bool = False,
    store: str | None = None,
    progress: bool | None = None,
) -> FunctionSearch:
    """Tune a training function of any framework: call it with proposed hyperparameters, keep what it logs.

    def train(params, run):
        for epoch in range(20):
            ...
            run.log({"val_loss": loss}, step=epoch)
            if run.should_stop:
                return

    found = rosenblatt.search(train, {"lr": rosenblatt.log_uniform(1e-4, 1e-1)}, trials=50, metric="val_loss")

    What it returns, where that is a number, is logged as the metric. An error in one trial is recorded for it, and
    stops no other. Ctrl-C ends the search with what there is; `rosenblatt runs resume` goes on with it.

    Args:
        space: dimensions by name: `choice`, `uniform`, `log_uniform`, `integer`.
        direction: whether less or more of the metric is better; found out from its name where "auto".
        stopping: what sets `run.should_stop`: "asha" where a trial is not among the best one in `reduction` at steps
            1, `reduction`, `reduction`^2, ...; "median" where it is below the median of those before.
        workers: trials at a time, each in a thread.
        reuse: take finished trials that are the same in source, hyperparameters, data and environment.

    Raises SpecError for a space that cannot be searched.
    """
    if not space:
        raise SpecError("There is nothing to search. Give a space such as {'lr': rosenblatt.log_uniform(1e-4, 1e-1)}.")
    if stopping not in STOPPING:
        raise SpecError(f"stopping must be none, asha or median, but it is {stopping!r}.{nearest(stopping, STOPPING)}")
    if reduction < 2:
        raise SpecError(f"reduction must be a whole number of at least 2, but it is {reduction!r}.")
    if direction == "auto":
        direction = "minimize" if better(metric) == "min" else "maximize"
    return _Tuning(
        train,
        space,
        trials,
        metric,
        direction,
        SearchSpec(sampler=sampler),
        stopping,
        reduction,
        minutes,
        workers,
        seed,
    ).run(experiment, data, reuse, store, progress)


class _FreeSpace(Space):
    """Dimensions of the user's own names: none means anything to our networks."""

    def holds(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether what a dimension asks for is so."""
        asked = self.dimensions[name].when
        return all(other in values and values[other] in allowed for other, allowed in asked.items())


class _Tuning:
    def __init__(
        self,
        train: TrainFunction,
        space: Mapping[str, Dimension],
        trials: int,
        metric: str,
        direction: str,
        how: SearchSpec,
        stopping: str,
        reduction: int,
        minutes: float | None,
        workers: int,
        seed: int,
    ) -> None:
        self._train, self._asked, self._metric, self._direction = train, trials, metric, direction
        self._sign = 1.0 if direction == "maximize" else -1.0
        self._sampler = Sampler(how, _FreeSpace(Spec(), dict(space)), seed)
        self._stopping, self._reduction, self._workers = stopping, reduction, max(workers, 1)
        self._deadline = None if minutes is None else time.monotonic() + 60 * minutes
        self._trials: list[FunctionTrial] = []
        self._at: dict[int, list[float]] = {}  # by step: the scores of trials that came there
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._known: dict[str, FunctionTrial] = {}
        self._running: list[TrialRun] = []
        self._space = {name: str(dimension) for name, dimension in space.items()}

    def run(
        self, experiment: str, data: Sequence[str | Path], reuse: bool, store: str | None, progress: bool | None
    ) -> FunctionSearch:
        """All trials."""
        url, place = url_of(store), main_place()
        self._url, self._source = url, ""
        self._experiment = experiment or (place.stem if place.is_file() else place.name)
        resumed = self._resumed(url)
        self._run = Run(url, resumed or new_id(), self._experiment, {})
        if url:
            self._begin(url, Captured(place, self._run.keep_source), resumed, data, reuse)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._workers - 1)]
        for thread in threads:
            thread.start()
        state, reason = "finished", None
        try:
            with function_progress(sys.stderr.isatty() if progress is None else progress) as show:
                self._show = show
                self._work()
        except KeyboardInterrupt:
            state, reason = "stopped", "interrupted"
        except BaseException as error:
            state, reason = "failed", repr(error)
            raise
        finally:
            self._end(threads, state, reason)
        return FunctionSearch(self._trials, self._metric, self._direction, self._run.id)

    def _begin(
        self, url: str, captured: Captured, resumed: str | None, data: Sequence[str | Path], reuse: bool
    ) -> None:
        """Record that the search begins, or goes on; take up the trials that need not be made again."""
        self._source, self._environment = hash_of(captured.source), captured.environment
        self._run.data = [known_data(path) for path in data]
        self._digests = [one["hash"] for one in self._run.data]
        if resumed:
            self._run.go_on(captured)
            self._recall(url, of=resumed)
            self._forget(url, resumed)
        else:
            self._run.begin("", "search", captured)
            self._run.fact("space", self._space)
            self._run.capture_output()
        if reuse:
            self._recall(url)

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
            best = FunctionSearch(self._trials, self._metric, self._direction, self._run.id).best
            self._run.fact("best", {"number": best.number, "params": best.params, "score": best.score})
            self._run.log({self._metric: best.score}, step=0)
        self._run.finish(state, reason)

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                number = len(self._trials)
                if number >= self._asked or (self._deadline is not None and time.monotonic() > self._deadline):
                    return
                values = self._sampler.ask(number)
                if values is None:
                    return
                trial = FunctionTrial(number, values, f"{self._run.id}-{number}")
                self._trials.append(trial)
            known = self._known.get(self._key(values))
            if known is not None:
                trial.run, trial.state, trial.score, trial.reused = known.run, known.state, known.score, True
                trial.curve = known.curve
                self._take_up(trial)
            else:
                self._run_one(trial)
            with self._lock:
                if trial.score is None:
                    self._sampler.fail(number)
                else:
                    finished = trial.state == "finished"
                    self._sampler.tell(number, self._sign * trial.score, max(trial.curve, default=0), 0, finished)
                done = [one for one in self._trials if one.state != "running"]
                scores = [self._sign * one.score for one in done if one.score is not None]
                self._show(len(done), self._asked, self._sign * max(scores) if scores else None)

    def _run_one(self, trial: FunctionTrial) -> None:
        run = TrialRun(self._url, trial.run, self._experiment, trial.params)
        if self._url:
            identity = self._key(trial.params)
            run.begin(
                f"trial {trial.number}", "trial", None, parent=self._run.id, number=trial.number, identity=identity
            )
        self._running.append(run)
        run.on_log = lambda values, step: self._heard(trial, run, values, step)
        try:
            returned = self._train(dict(trial.params), run)
            if isinstance(returned, int | float) or hasattr(returned, "item"):
                run.log({self._metric: returned}, step=max(trial.curve, default=-1) + 1)
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

    def _heard(self, trial: FunctionTrial, run: TrialRun, values: Mapping[str, float], step: int) -> None:
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
            at = len(trial.curve)
            others = self._at.setdefault(at, [])
            score = self._sign * float(trial.score)
            others.append(score)
            ranked = sorted(others, reverse=True)
            if self._stopping == "median":
                run.should_stop |= len(others) > FEW and score < ranked[len(ranked) // 2]
            elif len(others) >= self._reduction:
                run.should_stop |= score < ranked[max(len(ranked) // self._reduction, 1) - 1]

    def _take_up(self, trial: FunctionTrial) -> None:
        """Have others compared with a trial that was made before."""
        best = -math.inf
        with self._lock:
            for reports, value in enumerate(trial.curve.values(), 1):
                best = max(best, self._sign * value)
                self._at.setdefault(reports, []).append(best)

    def _is_rung(self, reports: int) -> bool:
        while reports % self._reduction == 0:
            reports //= self._reduction
        return reports == 1

    def _key(self, values: Mapping[str, Any]) -> str:
        if not self._url:
            return ""
        known = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return identity_of("trial", self._source, known, self._digests, self._environment)

    def _resumed(self, url: str | None) -> str | None:
        """The search that is gone on with, where the command asked for that, and it is this one."""
        asked = os.environ.get(RESUME)
        if not asked or url is None:
            return None
        with closing(Store(url)) as store:
            known = details(store, asked)
        if known["experiment"] != self._experiment or known.get("space") != self._space:
            return None
        del os.environ[RESUME]
        return asked

    def _forget(self, url: str, run: str) -> None:
        """Delete trials that are made again, so that nothing of them is mixed."""
        known = {trial.run for trial in self._known.values()}
        with closing(Store(url)) as store:
            store.delete([one["id"] for one in find_runs(store, of=run) if one["id"] not in known])

    def _recall(self, url: str, of: str | None = None) -> None:
        """Take up finished trials, by their identity: those of one search, or all."""
        try:
            store = Store(url)
        except StoreLostError:
            return
        where = "state in (finished, stopped) and kind = trial" if of else "state = finished and kind = trial"
        found = [one for one in find_runs(store, where, of=of) if one["identity"] and one["reason"] != "interrupted"]
        ids = [one["id"] for one in found]
        metrics, params = summaries(store, ids), params_of(store, ids)
        known = curves(store, ids, self._metric, None)
        store.close()
        which = "max" if self._direction == "maximize" else "min"
        for one in found:
            metric = metrics[one["id"]].get(self._metric)
            if metric and metric[which] is not None:
                trial = FunctionTrial(one["number"], dict(params[one["id"]]), one["id"], one["state"], metric[which])
                points = known[one["id"]]
                found_points = zip(points.steps.tolist(), points.values.tolist(), strict=True)
                trial.curve = {step: value for step, value in found_points if math.isfinite(value)}
                self._known.setdefault(one["identity"], trial)
