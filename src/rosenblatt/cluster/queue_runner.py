"""The runner of the queue: takes experiments one after the other, and starts each as a process of its own."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy import or_, select

from rosenblatt.cluster.experiment_process import STOP_TIMEOUT_S, ExperimentProcess
from rosenblatt.cluster.queue import (
    Experiment,
    NewExperiment,
    end_experiment,
    give_sign_of_life,
    load_experiments,
    release_lost,
    take_experiment,
    update_started,
)
from rosenblatt.data.cores import cores
from rosenblatt.errors import Notify, RunError, StoreUnavailableError, join_names
from rosenblatt.runs.capture.source import SourceCapture, source_hash
from rosenblatt.runs.redaction import redact
from rosenblatt.runs.signals import handle_signals
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.locations import store_name, store_prefixes
from rosenblatt.runs.store.owners import end_dead_runs, new_owner
from rosenblatt.runs.store.permissions import create_file, make_folder
from rosenblatt.runs.store.places import file_hash
from rosenblatt.runs.store.queries import written_files
from rosenblatt.runs.store.schema import runs
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.start import RESUME, RUN_ID, new_id

COMMAND = (sys.executable, "-P", "-m", "rosenblatt")
POLL_INTERVAL_S = 0.1  # seconds between two looks at the processes
HEARTBEAT_INTERVAL_S = 1.0  # seconds between two signs of life, and looks at the queue
MAX_REASON_LENGTH = 200  # characters of the last line of the output
MAX_LINE_BYTES = 4096  # at the end of the output, in which that line is looked for
INTERRUPTED = "its runner was stopped"


@dataclass(frozen=True)
class RunnerOptions:
    """Which experiments a runner takes, and how."""

    workers: int = 1  # experiments at the same time
    on: str | None = None  # where those train that do not say it themselves, as `fit --on`
    any_machine: bool = False  # whether to take those that were added on other machines
    waits: bool = False  # whether to wait for new ones once the queue is empty


class QueueRunner:
    """Runs experiments of the queue until none waits.

    Args:
        store: The store with the queue.
        options: Which experiments to take.
        notify: Called with a message on each experiment that starts or ends.
    """

    def __init__(self, store: Store, options: RunnerOptions, notify: Notify) -> None:
        self._store, self._options, self._notify = store, options, notify
        self._owner = new_owner()
        self._processes: dict[int, ExperimentProcess] = {}
        self._unrecorded: dict[int, dict[str, str]] = {}  # columns of experiments that wait to be recorded and begin
        self._cancelled: set[int] = set()
        self._skipped: set[int] = set()  # that wait for another machine
        self._ended: list[int] = []
        self._n_signals, self._next_beat, self._is_cut_off = 0, 0.0, False
        self._n_ending = 0  # lost experiments of this machine whose processes have not ended yet

    def run(self) -> list[Experiment]:
        """Run experiments; returns those that have ended.

        After Ctrl-C, running ones wait again, and go on if they are searches; a second Ctrl-C kills them.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            StoreError: If the store is damaged.
        """
        if self._options.workers > 1 and "OMP_NUM_THREADS" not in os.environ:
            share = max(cores() // self._options.workers, 1)
            self._notify(f"{self._options.workers} workers: each experiment uses {share} of {cores()} cores")
        with _defer_signals(self._on_signal):
            try:
                while self._step():
                    time.sleep(POLL_INTERVAL_S)
            finally:
                for process in self._processes.values():  # after an error
                    process.kill()
                    process.poll()
        return load_experiments(self._store, self._ended)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._n_signals += 1

    def _step(self) -> bool:
        """Look at processes and queue once; returns whether there is something left to do."""
        if self._n_signals:
            self._stop_processes()
        try:
            is_due = time.monotonic() >= self._next_beat
            if is_due:
                self._next_beat = time.monotonic() + HEARTBEAT_INTERVAL_S
                self._beat()
            is_due |= self._end_processes()
            while is_due and not self._n_signals and len(self._processes) < self._options.workers:
                is_due = self._start_next()
        except StoreUnavailableError as error:
            if not self._is_cut_off:
                self._notify(f"{error} Experiments that run go on; the queue is looked at again until it answers.")
            self._is_cut_off = True
        if self._n_signals:
            return bool(self._processes) and not (self._is_cut_off and self._n_signals > 1)
        return bool(self._processes or self._n_ending or self._is_cut_off or self._options.waits)

    def _stop_processes(self) -> None:
        """Ask all processes to end; kill them after a second signal."""
        waiting = [str(number) for number, process in self._processes.items() if not process.is_asked_to_end]
        if waiting:
            self._notify(
                f"stopping {join_names(waiting)}: {STOP_TIMEOUT_S:.0f} s to save what was trained; Ctrl-C again kills"
            )
        for process in self._processes.values():
            if self._n_signals > 1:
                process.kill()
            else:
                process.ask_to_end(signal.SIGINT)

    def _beat(self) -> None:
        """Give a sign of life, end experiments that were cancelled or taken, and take up lost ones."""
        own = give_sign_of_life(self._store, self._owner, self._processes)
        self._is_cut_off = False
        self._record_starts()
        for number in self._processes.keys() - own - self._cancelled:
            self._cancelled.add(number)
            self._processes[number].ask_to_end(signal.SIGTERM)
        lost = release_lost(self._store)
        self._n_ending = sum(experiment.state == "running" for experiment in lost)
        for experiment in lost:
            if experiment.state != "running":
                self._notify(f"{experiment.number}: {experiment.state}, because {experiment.reason}")

    def _end_processes(self) -> bool:
        """Record the end of processes that have ended; returns whether there are any."""
        n_running = len(self._processes)
        for number, process in list(self._processes.items()):
            status = process.poll()
            if status is None:
                continue
            state, reason = self._describe_end(number, process, status)
            is_own = end_experiment(self._store, number, self._owner, state, reason)
            del self._processes[number]
            self._unrecorded.pop(number, None)
            if is_own and state != "waiting":
                self._ended.append(number)
            (experiment,) = load_experiments(self._store, [number])
            if not is_own:
                self._cancelled.discard(number)
                self._notify(f"{number}: {experiment.state}, not by this runner; its process has ended")
            elif state == "waiting":
                self._notify(f"{number}: waits again, because {reason}")
            else:
                self._notify(f"{number}: {state} after {experiment.seconds or 0:.1f} s{reason and f': {reason}'}")
        return len(self._processes) < n_running

    def _describe_end(self, number: int, process: ExperimentProcess, status: int) -> tuple[str, str]:
        if status == 0:
            return "finished", ""
        if process.is_asked_to_end and number not in self._cancelled:
            return "waiting", INTERRUPTED
        names = {number.value: number.name for number in signal.Signals}
        cause = f"exit status {status}" if status > 0 else f"signal {names.get(-status, -status)}"
        return "failed", redact(f"{cause}: {_last_line(_log_path(self._store, number))}"[:MAX_REASON_LENGTH])

    def _start_next(self) -> bool:
        """Start the next experiment; returns False if none waits."""
        experiment = take_experiment(self._store, self._owner, self._may_take)
        if experiment is None:
            return False
        number = experiment.number
        try:
            self._start(experiment)
        except (OSError, RunError) as error:
            reason = f"it could not be started: {error}"
            end_experiment(self._store, number, self._owner, "failed", reason)
            self._ended.append(number)
            self._notify(f"{number}: failed: {reason}")
        return True

    def _start(self, experiment: Experiment) -> None:
        number, log = experiment.number, _log_path(self._store, experiment.number)
        make_folder(log.parent)
        arguments = list(experiment.arguments)
        if experiment.config is not None:
            config = log.with_name("config.toml")
            config.unlink(missing_ok=True)
            with os.fdopen(create_file(config), "w", encoding="utf-8") as file:
                file.write(experiment.config)
            arguments = replace_option(arguments, "--config", str(config))
        if self._options.on and arguments[0] == "fit" and not has_option(arguments, "--on"):
            arguments[1:1] = ["--on", self._options.on]
        resumed = _find_resumable(self._store, experiment.run)
        run = resumed if resumed and arguments[0] == "fit" else new_id()
        title = f"$ rosenblatt {shlex.join(experiment.arguments)}"
        process = ExperimentProcess(
            [*COMMAND, *arguments], experiment.folder, self._environment(run, resumed), log, title
        )
        self._processes[number] = process
        place = f"{socket.gethostname()}:{log}"
        self._unrecorded[number] = {"run": run, "process": process.token, "log": place}
        self._notify(f"{number}: {'resumed' if resumed else 'started'}: {shlex.join(experiment.arguments)}")
        self._record_starts()
        if experiment.source and experiment.source != hash_source(self._store, experiment):
            self._notify(f"{number}: its source has changed since it was added; it runs, and records, that of now")

    def _record_starts(self) -> None:
        """Let experiments begin once the store has their process, so that no other runner takes them while they run."""
        for number, columns in list(self._unrecorded.items()):
            if update_started(self._store, number, self._owner, columns):
                self._processes[number].start()
            del self._unrecorded[number]  # if it was cancelled meanwhile, `_beat` ends its process

    def _environment(self, run: str, resumed: str | None) -> dict[str, str]:
        environment = os.environ | {RUN_ID: run, "ROSENBLATT_STORE": store_name(self._store.url)}
        environment |= {"PYTHONUNBUFFERED": "1"} | ({RESUME: resumed} if resumed else {})
        if self._options.workers > 1:
            environment.setdefault("OMP_NUM_THREADS", str(max(cores() // self._options.workers, 1)))
        return environment

    def _may_take(self, experiment: Experiment) -> bool:
        """Whether an experiment can run here; says once of each why it cannot."""
        is_here = experiment.machine == socket.gethostname()
        if (is_here or self._options.any_machine) and Path(experiment.folder).is_dir():
            return True
        if experiment.number not in self._skipped:
            self._skipped.add(experiment.number)
            hint = "" if self._options.any_machine else "; --any-machine takes it if its folder exists here"
            place = f"{experiment.folder} on {experiment.machine}"
            self._notify(f"{experiment.number}: waits for another runner, because it was added in {place}{hint}")
        return False


def replace_option(arguments: Sequence[str], option: str, value: str) -> list[str]:
    """Replace the value of an option in a command line.

    >>> replace_option(["fit", "--config", "a.toml", "--config=b.toml"], "--config", "c.toml")
    ['fit', '--config', 'c.toml', '--config=c.toml']
    """
    replaced = list(arguments)
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            replaced[i] = f"{option}={value}"
        elif i and arguments[i - 1] == option:
            replaced[i] = value
    return replaced


def has_option(arguments: Sequence[str], option: str, short: str = "") -> bool:
    """Whether a command line has an option.

    >>> has_option(["fit", "--out=a"], "--out"), has_option(["fit", "-oa"], "--out", "-o")
    (True, True)
    """
    prefixes = (f"{option}=", short) if short else (f"{option}=",)
    return any(argument == option or argument.startswith(prefixes) for argument in arguments)


def hash_source(store: Store, experiment: NewExperiment) -> str:
    """Hash the source of the script of an experiment as it is now; see `runs.capture.source`."""
    folder = Path(experiment.folder)
    scripts = [folder / argument for argument in experiment.arguments if argument.endswith(".py")]
    place = next((script for script in scripts if script.is_file()), folder)
    excluded, find_outputs = store_prefixes(store.url), partial(written_files, store.url)
    capture = SourceCapture(place, lambda path: (file_hash(path), ""), excluded, find_outputs)
    return source_hash(capture.source)


def _log_path(store: Store, number: int) -> Path:
    """The file of the output of an experiment that runs on this machine."""
    return Artifacts(store.url, store).folder / "queue" / str(number) / "log.txt"


def _last_line(log: Path) -> str:
    """The last line of a log, which may be long, or removed by its user."""
    try:
        with log.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - MAX_LINE_BYTES, 0))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError as error:
        return f"its output cannot be read: {error.strerror}"
    return lines[-1] if lines else ""


def _find_resumable(store: Store, run: str | None) -> str | None:
    """The id of the search that the last run of an experiment was or started, if it has not finished."""
    if run is None:
        return None
    end_dead_runs(store)
    is_own = or_(runs.c.id == run, runs.c.parent == run)
    query = select(runs.c.id).where(is_own, runs.c.kind == "search", runs.c.state != "finished")
    with store.reading() as connection:
        return connection.execute(query.order_by(runs.c.started.desc())).scalars().first()


@contextmanager
def _defer_signals(handler: Any) -> Iterator[None]:
    """Call a handler on Ctrl-C, SIGTERM and SIGHUP instead of what they do; they do it at the end of the block."""
    received: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        received.append(number)
        handler(number, frame)

    with handle_signals(on_signal):
        yield
    if received:
        signal.raise_signal(received[0])
        raise KeyboardInterrupt
