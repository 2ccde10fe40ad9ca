"""Actor of a cluster that calls a training function for one trial at a time, in a process of its own."""

from __future__ import annotations

import io
import os
import shutil
import socket
import sys
import tarfile
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from rosenblatt.errors import ClusterError, RunError
from rosenblatt.runs.capture.resources import ResourceMonitor, peak_memory
from rosenblatt.runs.capture.snapshot import fingerprint_data, read_seeds
from rosenblatt.runs.store.file_lock import lock_file
from rosenblatt.runs.tracking.output import Tee
from rosenblatt.runs.tracking.program_end import describe_error
from rosenblatt.runs.tracking.relayed_run import RelayedRun
from rosenblatt.tuning.attempts import Attempt, Collection
from rosenblatt.tuning.trial_messages import (
    FunctionBundle,
    TrialEnd,
    load_bundle,
    load_function,
    load_trial,
    pack_report,
)
from rosenblatt.tuning.trial_outbox import Outbox

STOP_TIMEOUT_S = 6.0  # seconds for a training function to return after the search has ended
INTERRUPTED = "interrupted"
FOLDER_PREFIX = "rosenblatt-trials-"
THREAD_VARIABLES = (  # of libraries that start a thread for each core by default
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS", "LOKY_MAX_CPU_COUNT", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip


class TrialProcess:
    """Trains trials, one at a time; its methods are called from several threads at once.

    Args:
        cores: cores that the training function may use.
        device: not used: the training function chooses among the GPUs that it sees.
    """

    def __init__(self, cores: int, device: str) -> None:  # noqa: ARG002 - as other actors
        self._cores, self._outbox = cores, Outbox()
        self._function: Callable[..., Any] | None = None
        self._error: tuple[str, str] | None = None  # class and message of an error that ends the search
        self._running: _RunningTrial | None = None
        self._stop_reasons: dict[Attempt, str] = {}
        self._thread: Thread | None = None
        self._folder: _WorkFolder | None = None
        os.environ["ROSENBLATT_STORE"] = "none"  # the search alone writes to the store
        for name in ("stdout", "stderr"):
            setattr(sys, name, Tee(getattr(sys, name), self._outbox, name))

    def load(self, _released: list[int], keys: list[int], *contents: bytes) -> int:
        """Load the training function; returns the number of trials that are trained at a time."""
        for _key, content in zip(keys, contents, strict=True):
            try:
                self._load(load_bundle(content))
            except Exception as error:  # noqa: BLE001 - modules of the user may raise anything
                self._error = "ClusterError", f"{socket.gethostname()}: {_explain(error)}"
        return 1

    def submit(self, attempts: list[Attempt], contents: list[bytes]) -> None:
        """Start to train a trial."""
        for attempt, content in zip(attempts, contents, strict=True):
            self._thread = Thread(target=self._train, args=(Attempt(*attempt), content), daemon=True)
            self._thread.start()

    def stop(self, attempt: Attempt, reason: str) -> None:
        """Make `should_stop` true in a trial."""
        self._stop_reasons[Attempt(*attempt)] = reason
        running = self._running
        if running is not None and running.attempt == Attempt(*attempt):
            running.run.stop(reason)

    def collect(self, window_s: float) -> Collection:
        """Wait for what the trial records; returns nothing if there is nothing for a while."""
        running = self._running
        if running is not None:
            running.monitor.sample()
        if self._error is not None:
            error, self._error = self._error, None
            return Collection([], 0.0, b"", error)
        taken = self._outbox.take(window_s)
        if taken is None:
            return Collection([], 0.0, b"")
        report, contents = taken
        attempts = [Attempt(*report.attempt)] if report.end is not None else []
        return Collection(attempts, 0.0, pack_report(report, contents))

    def close(self) -> Collection:
        """Ask the trial to stop, and wait for its end; returns what it has recorded."""
        running = self._running
        if running is not None:
            running.run.stop(INTERRUPTED)
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)
        self._outbox.close()
        collection = self.collect(0.0)
        if self._folder is not None:
            self._folder.remove()
        return collection

    def _load(self, bundle: FunctionBundle) -> None:
        if bundle.python != sys.version_info[:2]:
            here, there = (".".join(map(str, version)) for version in (sys.version_info[:2], bundle.python))
            raise ClusterError(f"it has Python {here}, but the search runs with Python {there}")
        self._folder = _WorkFolder()
        root = self._folder.files
        with tarfile.open(fileobj=io.BytesIO(bundle.archive)) as archive:
            archive.extractall(root, filter="data")
        working_folder = root / bundle.folder
        working_folder.mkdir(parents=True, exist_ok=True)
        os.chdir(working_folder)
        sys.path[:0] = [str(root / folder) for folder in bundle.module_folders]
        for path, expected_hash in bundle.data.items():
            if fingerprint_data(path).hash != expected_hash:
                raise RunError(f"The data {path!r} differs from that of the machine that started the search.")
        self._limit_threads()
        self._function = load_function(bundle)
        self._limit_threads()  # of libraries that the function has loaded

    def _limit_threads(self) -> None:
        """Let libraries use the cores of this process only."""
        from threadpoolctl import threadpool_limits

        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self._cores)))
        threadpool_limits(self._cores)
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(self._cores)

    def _train(self, attempt: Attempt, content: bytes) -> None:
        """Call the training function, and record how it ends."""
        relay, result, error = self._outbox.begin(attempt), None, ""
        try:
            params, run_id, experiment = load_trial(content)
        except Exception as exception:  # noqa: BLE001 - classes of the user may raise anything
            reason = f"its hyperparameters cannot be loaded on the machine: {describe_error(exception)}"
            self._outbox.end(TrialEnd(error=reason))
            return
        run = RelayedRun(run_id, experiment, params, relay)
        self._running = _RunningTrial(attempt, run, ResourceMonitor(relay.add_resources))
        run.stop(self._stop_reasons.get(attempt, ""))
        try:
            if self._function is not None:
                result = self._function(params, run)
                result = float(result) if isinstance(result, int | float) or hasattr(result, "item") else None
        except BaseException as exception:  # noqa: BLE001 - the user's function may raise anything
            error = describe_error(exception)
            with suppress(Exception):
                self._outbox.add("stderr", "".join(traceback.format_exception(exception)))
        self._running = None
        run.end()
        seeds = {**read_seeds(), **run.seeds}
        end = TrialEnd(result=result, error=error, was_stopped=run.was_stopped, peak_memory=peak_memory(), seeds=seeds)
        self._outbox.end(end)


class _RunningTrial(NamedTuple):
    attempt: Attempt
    run: RelayedRun
    monitor: ResourceMonitor


class _WorkFolder:
    """A folder for the files of a process, which holds a lock on it; folders of killed processes are removed."""

    def __init__(self) -> None:
        for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
            with suppress(OSError), (folder / "lock").open("r+b") as file:  # else its process is there, or it is gone
                lock_file(file.fileno())
                shutil.rmtree(folder)
        folder = Path(tempfile.mkdtemp(prefix=f".{FOLDER_PREFIX}"))
        self._lock = (folder / "lock").open("wb")
        lock_file(self._lock.fileno())
        self._folder = folder.rename(folder.with_name(folder.name.removeprefix(".")))
        self.files = self._folder / "files"
        self.files.mkdir()

    def remove(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()


def _explain(error: Exception) -> str:
    if isinstance(error, ClusterError | RunError):
        return str(error)
    text = f"The training function cannot be loaded ({describe_error(error)})."
    if isinstance(error, ModuleNotFoundError):
        text += (
            " Modules of the project are sent unless git ignores them; packages must be installed there: name an "
            "interpreter that has them with python=PATH in the file of hosts."
        )
    return text
