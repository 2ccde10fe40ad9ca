"""Run a script or module and record it from outside, without changes to it."""

from __future__ import annotations

import ast
import codecs
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, TextIO

from rosenblatt.errors import RunError, did_you_mean
from rosenblatt.runs import script_runner
from rosenblatt.runs.capture.environment import blas_libraries
from rosenblatt.runs.capture.resources import peak_memory
from rosenblatt.runs.capture.snapshot import RunSnapshot, fingerprint_data, fingerprint_path
from rosenblatt.runs.redaction import find_masked, redact_arguments
from rosenblatt.runs.store.artifacts import file_hash
from rosenblatt.runs.store.details import InputFile, ScriptCall
from rosenblatt.runs.store.locations import store_url
from rosenblatt.runs.tracking.program_end import state_of_status
from rosenblatt.runs.tracking.run import RUN_VARIABLE, Run, RunStart, new_id

MAX_FINGERPRINT_BYTES = 20_000_000_000  # larger files that a script reads are not recorded
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

    @property
    def command(self) -> list[str]:
        """The arguments of Python."""
        return [*(["-m"] if self.is_module else []), self.target, *self.arguments]


def launch(
    request: LaunchRequest, *, store: str | None = None, reuse: bool = False, metadata: Mapping[str, Any] | None = None
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
        new_id(),
        request.experiment or stem,
        parse_params(redact_arguments(request.arguments)),
    )
    snapshot = None
    if run.url:
        snapshot = RunSnapshot(folder if request.is_module else script, run.store_source)
        # the script reports its own linear algebra libraries when it ends
        snapshot.environment = snapshot.environment.model_copy(update={"linear_algebra": ()})
        run.data = [fingerprint_data(folder / path) for path in request.data]
        start = _describe_start(request, folder, snapshot, run.data, metadata or {})
        if reuse and start.identity and run.reuse_finished(start.identity):
            return 0, run
        run.begin(start, snapshot, monitor=False)
    status = _run_script(request, run, folder, snapshot)
    run.set_metadata("exit_status", status)
    run.measure_peak_memory = partial(peak_memory, children=True)
    run.finish(*state_of_status(status))
    return status, run


def parse_params(arguments: Sequence[str]) -> dict[str, Any]:
    """Read hyperparameters from a command line: `--lr 0.1`, `--lr=0.1`, `--fast`, `model.layers=3`."""
    params: dict[str, Any] = {}
    tokens = list(arguments)
    while tokens:
        token = tokens.pop(0)
        if token.startswith("-") and not _is_number(token) and token.strip("-"):
            name, equals, value = token.lstrip("-").partition("=")
            if equals:
                params[name] = _parse_value(value)
            elif tokens and (not tokens[0].startswith("-") or _is_number(tokens[0])):
                params[name] = _parse_value(tokens.pop(0))
            else:
                params[name] = True
        elif "=" in token and token.partition("=")[0].replace(".", "").replace("_", "").isalnum():
            name, _, value = token.partition("=")
            params[name] = _parse_value(value)
    return params


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


def _run_script(request: LaunchRequest, run: Run, folder: Path, snapshot: RunSnapshot | None) -> int:
    """Run a script in a process of its own, and record its output; return its exit status, or 128 plus its signal."""
    report = _Report(run, snapshot)
    env = os.environ | {script_runner.REPORT_VARIABLE: str(report.path), "PYTHONUNBUFFERED": "1"}
    if run.url:
        env |= {RUN_VARIABLE: run.id, "ROSENBLATT_STORE": run.store_name}
    if sys.stdout and sys.stdout.isatty():  # the script writes to a pipe, and would print without colors
        env.setdefault("FORCE_COLOR", "1")
    command = [sys.executable, script_runner.__file__, *request.command]
    process = subprocess.Popen(  # noqa: S603 - the user's own script
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    streams = ((process.stdout, sys.stdout, "stdout"), (process.stderr, sys.stderr, "stderr"))
    threads = [threading.Thread(target=_forward_output, args=(*stream, run), daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    run.monitor(process.pid)
    with _leave_signals_to(process):
        while process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=REPORT_INTERVAL_S if run.url else None)
            report.read()
        for thread in threads:
            thread.join(timeout=5.0)
    report.close()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


@contextmanager
def _leave_signals_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Let a script handle Ctrl-C, which it receives itself, and pass SIGTERM on to it."""
    previous_sigint = signal.signal(signal.SIGINT, signal.SIG_IGN)
    previous_sigterm = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_sigint)
        signal.signal(signal.SIGTERM, previous_sigterm)


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


class _Report:
    """The file to which a script reports its modules, data, libraries and seed; see `script_runner`."""

    def __init__(self, run: Run, snapshot: RunSnapshot | None) -> None:
        self._run, self._snapshot = run, snapshot
        self.path = Path(tempfile.mkdtemp(prefix="rosenblatt-")) / "report"
        self._offset, self._data, self._modules = 0, list[InputFile](), list[InputFile]()

    def read(self) -> None:
        """Record what the script has reported since the last time."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except OSError:
            return
        complete = content[: content.rfind(b"\n") + 1]
        self._offset += len(complete)
        modules, n_data = list[Path](), len(self._data)
        for line in complete.splitlines():
            kind, payload = line[:1], line[1:]
            if kind == b"M":
                modules.append(Path(os.fsdecode(payload)))
            elif kind == b"D":
                self._add_data(Path(os.fsdecode(payload)))
            elif kind == b"L" and self._snapshot:
                libraries = blas_libraries(json.loads(payload))
                environment = self._snapshot.environment
                self._snapshot.environment = environment.model_copy(update={"linear_algebra": libraries})
                self._run.write_snapshot(self._snapshot)
            elif kind == b"S":
                self._run.seeds["torch"] = int(payload)
        self._add_modules(modules)
        if len(self._data) > n_data:
            self._run.set_metadata("data_read", [file.to_json() for file in self._data])

    def close(self) -> None:
        """Read the rest and remove the file."""
        self.read()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            self.path.parent.rmdir()

    def _add_data(self, path: Path) -> None:
        with suppress(OSError):  # the file is gone
            if path.stat().st_size <= MAX_FINGERPRINT_BYTES and ".git" not in path.parts:
                self._data.append(fingerprint_path(path))

    def _add_modules(self, paths: list[Path]) -> None:
        """Record imported modules; without git they are part of the source."""
        if self._snapshot is None or not paths:
            return
        for path in paths:  # also with git, which may ignore some of them
            with suppress(OSError):
                self._modules.append(InputFile(path=str(path), hash=file_hash(path)))
        self._run.set_metadata("modules", [module.to_json() for module in self._modules])
        if not self._snapshot.source.is_repository and self._snapshot.add_modules(paths):
            self._run.write_snapshot(self._snapshot)


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
