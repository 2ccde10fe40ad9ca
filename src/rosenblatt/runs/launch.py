"""In: a script of anybody's, and its arguments. Out: its run, recorded from outside; the script knows nothing of it."""

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

from rosenblatt.errors import RunError, nearest
from rosenblatt.runs import script_runner
from rosenblatt.runs.capture.environment import libraries_of
from rosenblatt.runs.capture.resources import Resources, peak_memory
from rosenblatt.runs.capture.snapshot import Captured, data_of, identity_of
from rosenblatt.runs.capture.source import add, hash_of
from rosenblatt.runs.redaction import masked_arguments
from rosenblatt.runs.store.artifacts import hash_of as file_hash
from rosenblatt.runs.store.locations import url_of
from rosenblatt.runs.store.queries import finished_run
from rosenblatt.runs.store.records import Batch
from rosenblatt.runs.tracking.output import Output
from rosenblatt.runs.tracking.run import RUN, Run, known_data, new_id

LARGEST = 20_000_000_000  # bytes of a file whose content is hashed because it was read
_NAMED_SIGNALS = {number.value: number.name for number in signal.Signals}


@dataclass(frozen=True)
class Launch:
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
    asked: Launch, *, store: str | None = None, reuse: bool = False, notes: dict[str, Any] | None = None
) -> tuple[int, Run]:
    """Run a script and record it: its exit status, and the run.

    Raises RunError where there is no such script or data; StoreError for a store that is damaged or of a later version.
    """
    folder = Path(asked.folder or Path.cwd())
    script = folder / asked.target
    if not asked.is_module and not script.is_file():
        raise RunError(f"There is no script {asked.target!r}.{nearest(asked.target, _scripts(script.parent))}")
    url = url_of(store, folder)
    stem = asked.target if asked.is_module else script.stem
    run = Run(url, new_id(), asked.experiment or stem, params_of(asked.arguments))
    if url is None:
        return _Process(asked, run, folder, None).wait(), run
    captured = Captured(folder if asked.is_module else script, run.keep_source)
    captured.environment["linear_algebra"] = []  # that of the script is told when it ends
    run.data = [known_data(folder / path) for path in asked.data]
    digests = [one["hash"] for one in run.data]
    inside = os.path.relpath(folder, captured.source["root"])
    spec = {"command": asked.command, "folder": inside, "script": "" if asked.is_module else file_hash(script)}
    identity = identity_of("script", hash_of(captured.source), spec, digests, captured.environment)
    found = finished_run(url, identity) if reuse else None
    if found:
        run.id, run.reused = found, True
        return 0, run
    process = _Process(asked, run, folder, captured)
    run.begin(asked.name, "script", None, identity=identity)
    run.tag(**asked.tags)
    run.fact("command", masked_arguments(asked.command))
    run.fact("folder", str(folder))
    known = {"target": asked.target, "arguments": masked_arguments(asked.arguments), "is_module": asked.is_module}
    run.fact("launched", known | {"data": list(asked.data)})
    for fact, value in (notes or {}).items():
        run.fact(fact, value)
    process.write_source()
    status = process.wait()
    run.fact("exit_status", status)
    run.peak = partial(peak_memory, children=True)
    run.finish(*_ended(status))
    return status, run


def params_of(arguments: Sequence[str]) -> dict[str, Any]:
    """Hyperparameters from a command line: `--lr 0.1`, `--lr=0.1`, `--fast`, `model.layers=3`."""
    found: dict[str, Any] = {}
    words = list(arguments)
    while words:
        word = words.pop(0)
        if word.startswith("-") and not _is_number(word) and word.strip("-"):
            name, equals, value = word.lstrip("-").partition("=")
            if equals:
                found[name] = _value(value)
            elif words and (not words[0].startswith("-") or _is_number(words[0])):
                found[name] = _value(words.pop(0))
            else:
                found[name] = True
        elif "=" in word and word.partition("=")[0].replace(".", "").replace("_", "").isalnum():
            name, _, value = word.partition("=")
            found[name] = _value(value)
    return found


class _Process:
    """The script's process: what it prints goes on to ours, and to the run."""

    def __init__(self, asked: Launch, run: Run, folder: Path, captured: Captured | None) -> None:
        self._run, self._captured, self._folder = run, captured, folder
        self._report = Path(tempfile.mkdtemp(prefix="rosenblatt-")) / "report"
        self._place, self._data, self._modules = 0, list[dict[str, Any]](), list[dict[str, Any]]()
        self._command = [sys.executable, script_runner.__file__, *asked.command]
        self._looked = time.monotonic()

    def write_source(self) -> None:
        """Write the source and the environment as they are now."""
        if self._captured:
            batch = Batch()
            self._captured.write(batch, self._run.id)
            self._run.writer.put(batch)

    def wait(self) -> int:
        """Start it, and wait until it has ended: its exit status, 128 and the signal's number where one ended it."""
        env = os.environ | {script_runner.REPORT: str(self._report), "PYTHONUNBUFFERED": "1"}
        tracked = self._run.url is not None
        if tracked:
            env |= {RUN: self._run.id, "ROSENBLATT_STORE": self._run.place}
        (out, out_of_script), (error, error_of_script) = _channel(sys.stdout), _channel(sys.stderr)
        process = subprocess.Popen(  # noqa: S603 - the user's own script
            self._command, cwd=self._folder, env=env, stdout=out_of_script, stderr=error_of_script
        )
        os.close(out_of_script)
        os.close(error_of_script)
        interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the script's
        ended = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        output = Output(self._run.writer, self._run.id) if tracked else None
        threads = [
            threading.Thread(target=_pass_on, args=(pipe, stream, name, output), daemon=True)
            for pipe, stream, name in ((out, sys.stdout, "stdout"), (error, sys.stderr, "stderr"))
        ]
        for thread in threads:
            thread.start()
        if tracked:
            run = self._run
            resources = Resources(
                lambda values, second: run.writer.log(run.id, (second, time.time(), values)), process.pid
            )
            run.writer.every_time(run.id, resources.look)
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=0.5 if tracked else None)
                    break
                self._read_report()
        finally:
            for thread in threads:
                thread.join(timeout=5.0)
            os.close(out)
            os.close(error)
            signal.signal(signal.SIGINT, interrupted)
            signal.signal(signal.SIGTERM, ended)
            if output:
                self._read_report(at_end=True)
                output.write(at_end=True)
            with suppress(OSError):
                self._report.unlink(missing_ok=True)
                self._report.parent.rmdir()
        return process.returncode if process.returncode >= 0 else 128 - process.returncode

    def _read_report(self, at_end: bool = False) -> None:
        """Take up modules and data that the script has met since."""
        if not at_end and time.monotonic() - self._looked < 1.0:
            return
        self._looked = time.monotonic()
        try:
            with self._report.open("rb") as file:
                file.seek(self._place)
                words = file.read()
        except OSError:
            return
        whole = words[: words.rfind(b"\n") + 1]
        self._place += len(whole)
        modules, known = list[Path](), len(self._data)
        for line in whole.splitlines():
            kind, rest = line[:1], line[1:]
            if kind == b"M":
                modules.append(Path(os.fsdecode(rest)))
            elif kind == b"D":
                self._take_data(Path(os.fsdecode(rest)))
            elif kind == b"L" and self._captured:
                self._captured.environment["linear_algebra"] = libraries_of(json.loads(rest))
                self.write_source()
            elif kind == b"S":
                self._run.seeds["torch"] = int(rest)
        self._take_modules(modules)
        if len(self._data) > known:
            self._run.fact("data_read", self._data)

    def _take_data(self, path: Path) -> None:
        """Take down a file that the script reads, by its content."""
        with suppress(OSError):  # it is gone again
            if path.stat().st_size <= LARGEST and ".git" not in path.parts:
                self._data.append(data_of(path))

    def _take_modules(self, paths: list[Path]) -> None:
        """Take down the modules that the script imports; without git they are its source."""
        captured = self._captured
        if captured is None or not paths:
            return
        root, files = Path(captured.source["root"]), captured.source["files"]
        for path in paths:  # git does not know all of them: some are ignored, or lie elsewhere
            with suppress(OSError):
                self._modules.append({"path": str(path), "hash": file_hash(path)})
        self._run.fact("modules", self._modules)
        news = [p for p in paths if p.is_relative_to(root) and p.relative_to(root).as_posix() not in files]
        if news and "commit" not in captured.source:
            add(captured.source, news, self._run.keep_source)
            self.write_source()


def _channel(stream: Any) -> tuple[int, int]:
    """Two ends, ours and the script's, of what it prints: a terminal where ours is one, so that it shows bars and
    colors as it would without us; else a pipe."""
    if sys.platform == "win32" or not stream.isatty():
        return os.pipe()
    import fcntl
    import termios

    ours, theirs = os.openpty()
    settings = termios.tcgetattr(theirs)
    settings[1] &= ~termios.OPOST  # our own terminal makes of line ends what it needs
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    with suppress(OSError):
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, fcntl.ioctl(stream.fileno(), termios.TIOCGWINSZ, bytes(8)))
    return ours, theirs


def _pass_on(pipe: int, stream: Any, name: str, output: Output | None) -> None:
    """What the script prints, at once, until it has closed its end."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    with suppress(OSError):  # a terminal whose other end is closed
        while part := os.read(pipe, 65_536):
            words = decoder.decode(part)
            with suppress(OSError, ValueError):
                stream.write(words)
                stream.flush()
            if output:
                output.add(name, words)


def _ended(status: int) -> tuple[str, str | None]:
    """The state of a run whose script ended so, and the reason."""
    if status == 0:
        return "finished", None
    if status == 128 + signal.SIGINT:
        return "stopped", "interrupted"
    name = _NAMED_SIGNALS.get(status - 128)
    return "failed", f"ended by {name}" if name else f"exit status {status}"


def _scripts(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.py")] if folder.is_dir() else []


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _value(word: str) -> Any:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        found = ast.literal_eval(word)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return word
    return found if isinstance(found, int | float | str | bool | list | tuple) else word
