"""Run a script or module and record it from outside, without changes to it."""

from __future__ import annotations

import ast
import codecs
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any, TextIO

from rosenblatt.errors import RunError, StoreError, did_you_mean
from rosenblatt.runs.capture.environment import blas_libraries
from rosenblatt.runs.capture.inputs import InputReport
from rosenblatt.runs.capture.resources import peak_memory
from rosenblatt.runs.capture.snapshot import RunSnapshot, fingerprint_data
from rosenblatt.runs.recorded import InputFile, ScriptCall
from rosenblatt.runs.redaction import find_masked, redact_arguments
from rosenblatt.runs.signals import handle_signals
from rosenblatt.runs.store.locations import store_name, store_prefixes, store_url
from rosenblatt.runs.store.places import file_hash
from rosenblatt.runs.tracking.launched import NO_REUSE, LaunchedRun, may_reuse
from rosenblatt.runs.tracking.program_end import state_of_error, state_of_status
from rosenblatt.runs.tracking.run import Run
from rosenblatt.runs.tracking.start import RunStart, take_id
from rosenblatt.runs.tracking.writer import get_writer

WITNESS_TIMEOUT_S = 1.0  # seconds in which a process that received a signal has ended
REPORT_INTERVAL_S = 1.0  # seconds between two looks at the report of a script


@dataclass(frozen=True)
class LaunchRequest:
    """A script, or a module with -m, to run and record."""

    target: str
    arguments: tuple[str, ...]
    is_module: bool = False
    experiment: str = ""
    name: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    folder: str = ""  # the working folder; by default the current one
    import_folders: tuple[str, ...] = ()  # from which modules are imported first, after the folder of the script
    may_reuse: bool = True  # whether the script may take over earlier runs with `reuse=True`

    @property
    def command(self) -> list[str]:
        """The arguments of Python."""
        return [*(["-m"] if self.is_module else []), self.target, *self.arguments]


def launch(
    request: LaunchRequest,
    *,
    store: str | None = None,
    reuse: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[int, Run]:
    """Run a script and record it.

    Args:
        request: The script.
        store: The store, as for `track`.
        reuse: Whether to run nothing if an earlier run with the same inputs has finished.
        metadata: Values to record with the run.

    Returns:
        The exit status of the script, and its run.

    Raises:
        RunError: If the script or a file of data does not exist.
        StoreError: If the store is damaged or of another version.
    """
    folder = Path(request.folder or Path.cwd())
    script = folder / request.target
    if not request.is_module and not script.is_file():
        raise RunError(
            f"There is no script {request.target!r}.{did_you_mean(request.target, _list_scripts(script.parent))}"
        )
    stem = request.target if request.is_module else script.stem
    run = Run(
        store_url(store, folder),
        take_id(),
        request.experiment or stem,
        parse_params(redact_arguments(request.arguments)),
    )
    snapshot = None
    if run.url:
        place = folder if request.is_module else script
        # the script reports its own modules, and linear algebra libraries when it ends
        snapshot = RunSnapshot(place, run.store_source, run.url, of_this_process=False)
        run.data = [fingerprint_data(folder / path) for path in request.data]
        start = _describe_start(request, folder, snapshot, run.data, metadata or {})
        if reuse and may_reuse() and start.identity and run.reuse_finished(start.identity):
            return 0, run
        run.begin(start, snapshot, monitor=False)
    with ExitStack() as signals:  # also those that come while the end is recorded, as by a second Ctrl-C
        try:
            status = _run_script(request, run, folder, snapshot, signals)
        except BaseException as error:
            run.finish(*state_of_error(error))
            raise
        run.set_metadata("exit_status", status)
        run.measure_peak_memory = partial(peak_memory, children=True)
        run.finish(*_end_state(run, status))
    return status, run


def parse_params(arguments: Sequence[str]) -> dict[str, Any]:
    """Read hyperparameters from a command line: `--lr 0.1`, `--lr=0.1`, `--fast`, `model.layers=3`.

    An option that is given several times has a list of its values.
    """
    values: dict[str, list[Any]] = {}
    tokens = list(arguments)
    while tokens:
        token = tokens.pop(0)
        if token.startswith("-") and not _is_number(token) and token.strip("-"):
            name, equals, text = token.lstrip("-").partition("=")
            if equals:
                value = _parse_value(text)
            elif tokens and (not tokens[0].startswith("-") or _is_number(tokens[0])):
                value = _parse_value(tokens.pop(0))
            else:
                value = True
            values.setdefault(name, []).append(value)
        elif "=" in token and token.partition("=")[0].replace(".", "").replace("_", "").isalnum():
            name, _, text = token.partition("=")
            values.setdefault(name, []).append(_parse_value(text))
    return {name: given[0] if len(given) == 1 else given for name, given in values.items()}


def _describe_start(
    request: LaunchRequest, folder: Path, snapshot: RunSnapshot, data: list[InputFile], metadata: Mapping[str, Any]
) -> RunStart:
    spec = {
        "command": request.command,
        "folder": os.path.relpath(folder, snapshot.source.root),
        "script": "" if request.is_module else file_hash(folder / request.target),
    }
    call = ScriptCall(
        target=request.target,
        arguments=tuple(redact_arguments(request.arguments)),
        masked=find_masked(request.arguments),
        is_module=request.is_module,
        data=request.data,
    )
    recorded = {"command": redact_arguments(request.command), "folder": str(folder), "launch": call.to_json()}
    identity = snapshot.identify("script", spec, data)
    return RunStart("script", request.name, identity, tags=request.tags, metadata={**recorded, **metadata})


def _run_script(
    request: LaunchRequest, run: Run, folder: Path, snapshot: RunSnapshot | None, signals: ExitStack
) -> int:
    """Run a script in a process of its own, and record its output; return its exit status, or 128 plus its signal.

    It receives the signals of this process, and this process ignores them until `signals` is closed.
    """
    inputs = run.url and snapshot and _RecordedInputs(run, run.url, snapshot)
    env = _script_environment(request, run)
    if inputs:
        env |= inputs.variables(env)
    command = [sys.executable, *request.command]
    process = subprocess.Popen(  # noqa: S603 - the user's own script
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    streams = ((process.stdout, sys.stdout, "stdout"), (process.stderr, sys.stderr, "stderr"))
    threads = [threading.Thread(target=_forward_output, args=(*stream, run), daemon=True) for stream in streams]
    has_ended = threading.Event()
    threads.append(threading.Thread(target=_wait_for, args=(process, has_ended), daemon=True))
    signals.enter_context(_pass_on_signals(process))  # before anything that the script prints is seen
    for thread in threads:
        thread.start()
    run.monitor(process.pid)
    while not has_ended.wait(REPORT_INTERVAL_S if inputs else None):
        if inputs:
            inputs.record()
    for thread in threads:
        thread.join(timeout=5.0)
    if inputs:
        inputs.record(is_complete=True)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _wait_for(process: subprocess.Popen[bytes], has_ended: threading.Event) -> None:
    """Tell when a process has ended; a wait with a timeout, which Python's `subprocess` polls, would tell late."""
    process.wait()
    has_ended.set()


def _end_state(run: Run, status: int) -> tuple[str, str | None]:
    """The state and reason of a script: those that its run has already, or those of its exit status."""
    state, reason = state_of_status(status)
    store = get_writer(run.url).store if run.url else None
    if state != "stopped" and store and run.flush():
        with suppress(StoreError):
            reported_state, reported_reason = store.load_state(run.id)
            if reported_state == state or (reported_state not in ("running", "") and state == "finished"):
                return reported_state, reported_reason
    return state, reason


def _script_environment(request: LaunchRequest, run: Run) -> dict[str, str]:
    """The environment variables of a script."""
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    if request.import_folders:
        folders = (*request.import_folders, env.get("PYTHONPATH", ""))
        env["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    if not request.may_reuse:
        env[NO_REUSE] = "1"
    if run.url:
        env |= LaunchedRun(run.id, run.owner, os.getpid()).environment(run.url)
        env["ROSENBLATT_STORE"] = store_name(run.url)
    if sys.stdout and sys.stdout.isatty():  # the script writes to a pipe, and would print without colors
        env.setdefault("FORCE_COLOR", "1")
    return env


@contextmanager
def _pass_on_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass signals on to a script that it has not received itself, and wait for it to end."""
    witness = _SignalWitness()

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if not witness.has_received_signal():
            process.send_signal(number)

    try:
        with handle_signals(pass_on):
            yield
    finally:
        witness.close()


class _SignalWitness:
    """A process that does nothing, and dies of a signal that all processes of this group receive, as by Ctrl-C."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        with suppress(OSError):
            self._process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)  # noqa: S607

    def has_received_signal(self) -> bool:
        """Whether the last signal was sent to the whole group, so that a script has received it too."""
        if self._process is None:
            return False
        try:
            self._process.wait(WITNESS_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return False
        self.close()
        self._start()
        return True

    def close(self) -> None:
        """End the process, which ends by itself if this one is killed."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
            self._process.wait()


def _forward_output(pipe: IO[bytes], stream: TextIO | None, name: str, run: Run) -> None:
    """Print what a script prints as it comes, and record it, until the script closes its end."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with pipe:
        while part := pipe.read1():  # type: ignore[attr-defined]
            text = decoder.decode(part)
            if stream:
                with suppress(OSError, ValueError):  # our own output is closed
                    stream.write(text)
                    stream.flush()
            run.write_output(name, text)


class _RecordedInputs:
    """Records what the processes of a script report: inputs, outputs, libraries and seed."""

    def __init__(self, run: Run, url: str, snapshot: RunSnapshot) -> None:
        self._run, self._snapshot = run, snapshot
        self._report = InputReport(Path(snapshot.source.root), store_prefixes(url))
        self.variables = self._report.variables

    def record(self, is_complete: bool = False) -> None:
        """Record what was reported since the last time; `is_complete` once the script has ended."""
        report = self._report
        modules = report.read()
        if is_complete or report.has_grown():
            for name, value in report.metadata(self._run.id, has_named_data=bool(self._run.data)).items():
                self._run.set_metadata(name, value)
        if is_complete:
            report.close()
        has_changed = self._snapshot.add_modules(modules)
        if is_complete and report.libraries is not None:
            libraries = blas_libraries(report.libraries)
            self._snapshot.environment = replace(self._snapshot.environment, linear_algebra=libraries)
            has_changed = True
        if has_changed:
            self._run.write_snapshot(self._snapshot)
        if report.torch_seed is not None:
            self._run.seeds["torch"] = report.torch_seed


def _list_scripts(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.py")] if folder.is_dir() else []


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True


def _parse_value(token: str) -> Any:
    if token.lower() in ("true", "false"):
        return token.lower() == "true"
    try:
        value = ast.literal_eval(token)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return token
    return value if isinstance(value, int | float | str | bool | list | tuple) else token
