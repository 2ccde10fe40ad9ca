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
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread
from typing import Any

from rosenblatt.errors import ClusterError, RunError
from rosenblatt.runs.capture.resources import ResourceMonitor, peak_memory
from rosenblatt.runs.capture.snapshot import fingerprint_data, read_seeds
from rosenblatt.runs.store.file_lock import lock_file
from rosenblatt.runs.tracking.output import Tee
from rosenblatt.runs.tracking.program_end import describe_error
from rosenblatt.runs.tracking.relayed_run import RelayedRun
from rosenblatt.tuning.node_worker import IDLE_WAIT_S, Collection
from rosenblatt.tuning.packing import Attempt
from rosenblatt.tuning.trial_messages import (
    FunctionBundle,
    TrialEnd,
    TrialReport,
    load_bundle,
    load_function,
    load_trial,
    pack_report,
)

MAX_WAITING_BYTES = 20_000_000  # of records that wait to be collected; more make the training function wait
POINT_BYTES = 100  # of a value of a point, about
FLUSH_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 6.0  # seconds for a training function to return after the search has ended
INTERRUPTED = "interrupted"
FOLDER_PREFIX = "rosenblatt-trials-"
THREAD_VARIABLES = (  # of libraries that start a thread for each core by default
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS", "LOKY_MAX_CPU_COUNT", "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip


class Outbox:
    """What the trial of a process has recorded and the driver has not collected yet."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._attempt: Attempt | None = None
        self._clear()

    def _clear(self) -> None:
        self._records: dict[str, list[Any]] = {name: [] for name in ("points", "output", "batches", "curves", "files")}
        self._contents = list[bytes]()
        self._end: TrialEnd | None = None
        self._n_bytes = 0

    def begin(self, attempt: Attempt) -> None:
        """Take what an attempt records from now on."""
        with self._changed:
            self._attempt = attempt

    def add_point(self, _run: str, entry: tuple[int, float, Mapping[str, float]]) -> None:
        """Add the values of some metrics at a step."""
        step, _, values = entry
        self._add("points", (step, dict(values)), POINT_BYTES * len(values))

    def add_batch(self, line: str) -> None:
        """Add records, as a line of a spool."""
        self._add("batches", line, len(line))

    def add_curve(self, name: str, values: list[float], steps: list[int]) -> None:
        """Add many points of one metric."""
        self._add("curves", (name, values, steps), POINT_BYTES * len(values))

    def add_file(self, name: str, kind: str, content: bytes) -> None:
        """Add a file."""
        self._add("files", (name, kind, len(content)), len(content), content)

    def add(self, stream: str, text: str) -> None:
        """Add printed text."""
        if self._attempt is not None and text:
            self._add("output", (stream, text), len(text))

    def end(self, end: TrialEnd) -> None:
        """Add the end of the attempt."""
        with self._changed:
            self._end = end
            self._changed.notify_all()

    def flush(self) -> bool:
        """Wait until everything was collected; returns False after a minute."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._n_bytes, FLUSH_TIMEOUT_S)

    def take(self, window_s: float) -> tuple[TrialReport, list[bytes]] | None:
        """Wait for records, and for more of them for `window_s` seconds; None if there are none for a while."""
        with self._changed:
            if not self._changed.wait_for(self._has_records, IDLE_WAIT_S):
                return None
            self._changed.wait_for(lambda: self._end is not None, window_s)
            assert self._attempt is not None  # noqa: S101 - it has recorded something
            report = TrialReport(attempt=self._attempt, end=self._end, **self._records)
            contents = self._contents
            if self._end is not None:
                self._attempt = None
            self._clear()
            self._changed.notify_all()
        return report, contents

    def _has_records(self) -> bool:
        return bool(self._n_bytes) or self._end is not None

    def _add(self, name: str, record: Any, n_bytes: int, content: bytes | None = None) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._n_bytes < MAX_WAITING_BYTES)
            self._records[name].append(record)
            if content is not None:
                self._contents.append(content)
            self._n_bytes += max(n_bytes, 1)
            self._changed.notify_all()


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
        self._run: RelayedRun | None = None
        self._stop_reasons: dict[Attempt, str] = {}
        self._monitor: ResourceMonitor | None = None
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
        if self._run is not None and self._outbox._attempt == Attempt(*attempt):  # noqa: SLF001
            self._run.stop(reason)

    def collect(self, window_s: float) -> Collection:
        """Wait for what the trial records; returns nothing if there is nothing for a while."""
        if self._monitor is not None:
            self._monitor.sample()
        taken = self._outbox.take(window_s)
        if self._error is not None:
            error, self._error = self._error, None
            return Collection([], 0.0, b"", error)
        if taken is None:
            return Collection([], 0.0, b"")
        report, contents = taken
        attempts = [Attempt(*report.attempt)] if report.end is not None else []
        return Collection(attempts, 0.0, pack_report(report, contents))

    def close(self) -> Collection:
        """Ask the trial to stop, and wait for its end; returns what it has recorded."""
        if self._run is not None:
            self._run.stop(INTERRUPTED)
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)
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
        result, error = None, ""
        self._outbox.begin(attempt)
        params, run_id, experiment = load_trial(content)
        run = self._run = RelayedRun(run_id, experiment, params, self._outbox)
        run.stop(self._stop_reasons.get(attempt, ""))
        self._monitor = ResourceMonitor(lambda values, second: self._outbox.add_point("", (second, 0.0, values)))
        try:
            if self._function is not None:
                result = self._function(params, run)
                result = float(result) if isinstance(result, int | float) or hasattr(result, "item") else None
        except BaseException as exception:  # noqa: BLE001 - the user's function may raise anything
            error = describe_error(exception)
            with suppress(Exception):
                self._outbox.add("stderr", "".join(traceback.format_exception(exception)))
        self._monitor = self._run = None
        seeds = {**read_seeds(), **run.seeds}
        end = TrialEnd(result=result, error=error, was_stopped=run.was_stopped, peak_memory=peak_memory(), seeds=seeds)
        self._outbox.end(end)


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
