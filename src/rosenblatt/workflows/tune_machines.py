"""Training of the trials of a function on the machines of a cluster; this process decides and writes everything."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty
from typing import Any

from rosenblatt.errors import Notify, RosenblattError, StoreError
from rosenblatt.runs.store.batches import parse_batch
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.training.workers import POLL_INTERVAL_S
from rosenblatt.tuning.ray_trial_workers import RayTrialWorkers
from rosenblatt.tuning.trial_messages import (
    LocalTurn,
    ReceivedReport,
    TrialEnd,
    TrialFailure,
    TrialItem,
    TrialReport,
    TrialRestart,
)
from rosenblatt.workflows.tune_record import TrialRun, TuneTrial
from rosenblatt.workflows.tune_search import FunctionSearch, TrainFunction, TrialOutcome
from rosenblatt.workflows.tune_threads import train_trial

CHECK_INTERVAL_S = 0.1  # seconds between looks for trials that must stop
STOP_INTERVAL_S = 1.0  # seconds after which a trial is asked again to stop
STOP_TIMEOUT_S = 8.0  # seconds for trials to return after the search has ended
_TABLES = {"params", "tags", "metadata"}  # that a trial may write


@dataclass
class _RunningTrial:
    trial: TuneTrial
    run: TrialRun
    item: TrialItem
    next_stop: float = 0.0  # `time.monotonic` of the next request to stop
    machine: str = ""


class MachineTrainer:
    """Trains trials on a cluster, or in this process if the cluster is lost.

    Args:
        train: the training function.
        search: proposes trials.
        workers: of the cluster.
        notify: called with a message if what a trial recorded cannot be written.
        max_trials: number of trials trained at a time; None for as many as the cluster has processes.
    """

    def __init__(
        self,
        train: TrainFunction,
        search: FunctionSearch,
        workers: RayTrialWorkers,
        notify: Notify,
        max_trials: int | None = None,
    ) -> None:
        self._train, self._search, self._workers, self._notify = train, search, workers, notify
        self._max_trials = max_trials
        self._running: dict[int, _RunningTrial] = {}  # by number
        self._next_check = 0.0  # `time.monotonic` of the next look for trials that must stop

    def train_all(self) -> None:
        """Train trials until the search proposes no more."""
        while True:
            self._submit_trials()
            if not self._running:
                return
            with suppress(Empty):
                self._handle(self._workers.get(POLL_INTERVAL_S))
            self._send_stops()

    def close(self) -> None:
        """Ask running trials to stop, wait a while for them, and leave the cluster."""
        deadline = time.monotonic() + STOP_TIMEOUT_S
        try:
            while self._running and time.monotonic() < deadline:
                self._send_stops()
                with suppress(Empty, RosenblattError):
                    message = self._workers.get(POLL_INTERVAL_S)
                    if isinstance(message, LocalTurn):
                        self._end(self._running[message.item.number], TrialOutcome(is_interrupted=True))
                    else:
                        self._handle(message)
        finally:
            self._workers.close()
            for running in list(self._running.values()):
                self._end(running, TrialOutcome(is_interrupted=True))

    def _submit_trials(self) -> None:
        """Keep all processes of the cluster busy."""
        n_processes = self._workers.threads
        limit = n_processes if self._max_trials is None else min(self._max_trials, n_processes)
        while len(self._running) < limit and (trial := self._search.next_trial()) is not None:
            run = self._search.begin_trial(trial, is_here=False)
            item = TrialItem(trial.number, dict(trial.params), trial.run, run.experiment)
            self._running[trial.number] = _RunningTrial(trial, run, item)
            self._workers.submit(item)

    def _send_stops(self) -> None:
        """Ask the trials to stop that must."""
        now = time.monotonic()
        if now < self._next_check:
            return
        self._next_check = now + CHECK_INTERVAL_S
        for running in self._running.values():
            running.run.stop_at_deadline()
            if running.run.stop_reason and now >= running.next_stop:
                running.next_stop = now + STOP_INTERVAL_S
                self._workers.stop_trial(running.item, running.run.stop_reason)

    def _handle(self, message: Any) -> None:
        """Handle a message of the workers."""
        running = self._running[message.item.number]
        if isinstance(message, ReceivedReport):
            self._on_report(running, message)
        elif isinstance(message, TrialRestart):
            running.run = self._search.restart_trial(running.trial, running.run, is_here=False)
            running.machine, running.next_stop = "", 0.0
        elif isinstance(message, TrialFailure):
            self._end(running, TrialOutcome(error=message.reason))
        elif isinstance(message, LocalTurn):
            del self._running[message.item.number]
            train_trial(self._train, running.trial, running.run, self._search)

    def _on_report(self, running: _RunningTrial, message: ReceivedReport) -> None:
        """Record what a trial has reported."""
        if not running.machine:
            running.machine = message.machine
            running.run.set_metadata("host", message.machine)
        try:
            _record(running.run, message.report, message.contents)
        except RosenblattError as error:
            self._notify(f"trial {running.trial.number}: some of what it recorded is lost: {error}")
        if (end := message.report.end) is not None:
            _take_end(running.run, end)
            self._end(running, TrialOutcome(end.result, end.error))

    def _end(self, running: _RunningTrial, outcome: TrialOutcome) -> None:
        del self._running[running.trial.number]
        self._search.end_trial(running.trial, running.run, outcome)


def _record(run: TrialRun, report: TrialReport, contents: list[bytes]) -> None:
    """Write a report to the run of its trial. Raises RosenblattError."""
    for stream, text in report.output:
        run.write_output(stream, text)
    for step, values in report.points:
        run.log(values, step)
    for name, curve, steps in report.curves:
        run.log_curve(name, curve, steps)
    for line in report.batches:
        batch = RecordBatch()
        batch.rows = parse_batch(line.encode())
        rows = [row for table in batch.rows.values() for row in table]
        if not batch.rows.keys() <= _TABLES or any(row["run"] != run.id for row in rows):
            raise StoreError("a machine sent records of other runs than that of the trial")
        run.put(batch)
    for (name, kind, _), content in zip(report.files, contents, strict=True):
        run.log_bytes(name, content, kind)


def _take_end(run: TrialRun, end: TrialEnd) -> None:
    run.was_stopped = end.was_stopped and bool(run.stop_reason)
    run.measure_peak_memory = lambda: end.peak_memory
    run.seeds |= end.seeds
