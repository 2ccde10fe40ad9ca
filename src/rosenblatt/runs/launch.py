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
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rosenblatt.errors import RunError, did_you_mean
from rosenblatt.runs import script_runner
from rosenblatt.runs.capture.environment import blas_libraries
from rosenblatt.runs.capture.resources import ResourceMonitor, peak_memory
from rosenblatt.runs.capture.snapshot import RunSnapshot, fingerprint_path, run_identity
from rosenblatt.runs.capture.source import add_files, source_hash
from rosenblatt.runs.redaction import redact_arguments
from rosenblatt.runs.store.artifacts import file_hash
from rosenblatt.runs.store.locations import store_url
from rosenblatt.runs.store.queries import find_finished_run
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.tracking.output import OutputCapture
from rosenblatt.runs.tracking.run import RUN_VARIABLE, Run, fingerprint_data, new_id

MAX_FINGERPRINT_BYTES = 20_000_000_000  # bytes of a file whose content is hashed because it was read
_SIGNAL_NAMES = {member.value: member.name for member in signal.Signals}


@dataclass(frozen=True)
class LaunchRequest:
    """A script, or a module with -m, to be run."""

    target: str
    arguments: tuple[str, ...]
    is_module: bool = False
    experiment: str = ""
    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    data: tuple[str, ...] = ()
    folder: str = ""  # where it runs

    @property
    def command(self) -> list[str]:
        """What the script is called with."""
        return [*(["-m"] if self.is_module else []), self.target, *self.arguments]


def launch(
    request: LaunchRequest, *, store: str | None = None, reuse: bool = False, metadata: dict[str, Any] | None = None
) -> tuple[int, Run]:
    """Run a script and record it: its exit status, and the run.

    Raises RunError where there is no such script or data; StoreError for a store that is damaged or of a later version.
    """
    folder = Path(request.folder or Path.cwd())
    script = folder / request.target
    if not request.is_module and not script.is_file():
        raise RunError(
            f"There is no script {request.target!r}.{did_you_mean(request.target, _list_scripts(script.parent))}"
        )
    url = store_url(store, folder)
    stem = request.target if request.is_module else script.stem
    run = Run(url, new_id(), request.experiment or stem, parse_params(request.arguments))
    if url is None:
        return _Process(request, run, folder, None).wait(), run
    snapshot = RunSnapshot(folder if request.is_module else script, run.store_source)
    snapshot.environment["linear_algebra"] = []  # that of the script is told when it ends
    run.data = [fingerprint_data(folder / path) for path in request.data]
    digests = [entry["hash"] for entry in run.data]
    relative_folder = os.path.relpath(folder, snapshot.source["root"])
    spec = {
        "command": request.command,
        "folder": relative_folder,
        "script": "" if request.is_module else file_hash(script),
    }
    identity = run_identity("script", source_hash(snapshot.source), spec, digests, snapshot.environment)
    finished_id = find_finished_run(url, identity) if reuse else None
    if finished_id:
        run.id, run.reused = finished_id, True
        return 0, run
    process = _Process(request, run, folder, snapshot)
    run.begin(request.name, "script", None, identity=identity)
    run.tag(**request.tags)
    run.set_metadata("command", redact_arguments(request.command))
    run.set_metadata("folder", str(folder))
    launch_info = {
        "target": request.target,
        "arguments": redact_arguments(request.arguments),
        "is_module": request.is_module,
    }
    run.set_metadata("launch", launch_info | {"data": list(request.data)})
    for name, value in (metadata or {}).items():
        run.set_metadata(name, value)
    process.write_source()
    status = process.wait()
    run.set_metadata("exit_status", status)
    run.measure_peak_memory = partial(peak_memory, children=True)
    run.finish(*_exit_state(status))
    return status, run


def parse_params(arguments: Sequence[str]) -> dict[str, Any]:
    """Hyperparameters from a command line: `--lr 0.1`, `--lr=0.1`, `--fast`, `model.layers=3`."""
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


class _Process:
    """The script's process: what it prints goes on to ours, and to the run."""

    def __init__(self, request: LaunchRequest, run: Run, folder: Path, snapshot: RunSnapshot | None) -> None:
        self._run, self._snapshot, self._folder = run, snapshot, folder
        self._report_path = Path(tempfile.mkdtemp(prefix="rosenblatt-")) / "report"
        self._report_offset, self._data, self._modules = 0, list[dict[str, Any]](), list[dict[str, Any]]()
        self._command = [sys.executable, script_runner.__file__, *request.command]
        self._last_read = time.monotonic()

    def write_source(self) -> None:
        """Write the source and the environment as they are now."""
        if self._snapshot:
            batch = RecordBatch()
            self._snapshot.write(batch, self._run.id)
            self._run.writer.put(batch)

    def wait(self) -> int:
        """Start it, and wait until it has ended: its exit status, 128 and the signal's number where one ended it."""
        env = os.environ | {script_runner.REPORT_VARIABLE: str(self._report_path), "PYTHONUNBUFFERED": "1"}
        tracked = self._run.url is not None
        if tracked:
            env |= {RUN_VARIABLE: self._run.id, "ROSENBLATT_STORE": self._run.store_name}
        if sys.stdout.isatty():  # the script writes to a pipe, and would print without colors
            env.setdefault("FORCE_COLOR", "1")
        process = subprocess.Popen(  # noqa: S603 - the user's own script
            self._command, cwd=self._folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        previous_sigint = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the script's
        previous_sigterm = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        output = OutputCapture(self._run.writer, self._run.id) if tracked else None
        threads = [
            threading.Thread(target=_forward_output, args=(pipe, stream, name, output), daemon=True)
            for pipe, stream, name in (
                (process.stdout, sys.stdout, "stdout"),
                (process.stderr, sys.stderr, "stderr"),
            )
        ]
        for thread in threads:
            thread.start()
        if tracked:
            run = self._run
            resources = ResourceMonitor(
                lambda values, second: run.writer.log(run.id, (second, time.time(), values)), process.pid
            )
            run.writer.add_before_write_hook(run.id, resources.sample)
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.5 if tracked else None)
                    break
                self._read_report()
        finally:
            for thread in threads:
                thread.join(timeout=5.0)
            signal.signal(signal.SIGINT, previous_sigint)
            signal.signal(signal.SIGTERM, previous_sigterm)
            if output:
                self._read_report(at_end=True)
                output.write(at_end=True)
            with suppress(OSError):
                self._report_path.unlink(missing_ok=True)
                self._report_path.parent.rmdir()
        return process.returncode if process.returncode >= 0 else 128 - process.returncode

    def _read_report(self, at_end: bool = False) -> None:
        """Take up modules and data that the script has met since."""
        if not at_end and time.monotonic() - self._last_read < 1.0:
            return
        self._last_read = time.monotonic()
        try:
            with self._report_path.open("rb") as file:
                file.seek(self._report_offset)
                content = file.read()
        except OSError:
            return
        complete = content[: content.rfind(b"\n") + 1]
        self._report_offset += len(complete)
        modules, n_data = list[Path](), len(self._data)
        for line in complete.splitlines():
            kind, payload = line[:1], line[1:]
            if kind == b"M":
                modules.append(Path(os.fsdecode(payload)))
            elif kind == b"D":
                self._record_data(Path(os.fsdecode(payload)))
            elif kind == b"L" and self._snapshot:
                self._snapshot.environment["linear_algebra"] = blas_libraries(json.loads(payload))
                self.write_source()
            elif kind == b"S":
                self._run.seeds["torch"] = int(payload)
        self._record_modules(modules)
        if len(self._data) > n_data:
            self._run.set_metadata("data_read", self._data)

    def _record_data(self, path: Path) -> None:
        """Take down a file that the script reads, by its content."""
        with suppress(OSError):  # it is gone again
            if path.stat().st_size <= MAX_FINGERPRINT_BYTES and ".git" not in path.parts:
                self._data.append(fingerprint_path(path))

    def _record_modules(self, paths: list[Path]) -> None:
        """Take down the modules that the script imports; without git they are its source."""
        snapshot = self._snapshot
        if snapshot is None or not paths:
            return
        root, files = Path(snapshot.source["root"]), snapshot.source["files"]
        for path in paths:  # git does not know all of them: some are ignored, or lie elsewhere
            with suppress(OSError):
                self._modules.append({"path": str(path), "hash": file_hash(path)})
        self._run.set_metadata("modules", self._modules)
        new_paths = [
            path for path in paths if path.is_relative_to(root) and path.relative_to(root).as_posix() not in files
        ]
        if new_paths and "commit" not in snapshot.source:
            add_files(snapshot.source, new_paths, self._run.store_source)
            self.write_source()


def _forward_output(pipe: Any, stream: Any, name: str, output: OutputCapture | None) -> None:
    """Print what the script prints as it comes, and record it, until the script closes the pipe."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with pipe:
        while part := pipe.read1():
            text = decoder.decode(part)
            with suppress(OSError, ValueError):  # our own output is closed
                stream.write(text)
                stream.flush()
            if output:
                output.add(name, text)


def _exit_state(status: int) -> tuple[str, str | None]:
    """The state of a run whose script ended so, and the reason."""
    if status == 0:
        return "finished", None
    if status == 128 + signal.SIGINT:
        return "stopped", "interrupted"
    name = _SIGNAL_NAMES.get(status - 128)
    return "failed", f"ended by {name}" if name else f"exit status {status}"


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
