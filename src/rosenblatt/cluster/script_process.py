"""A script on a machine: its supervisor, which ends it when the controller is gone, and the export of what it recorded.

python -m rosenblatt.cluster.script_process run|export FOLDER
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import psutil
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from rosenblatt.cluster.node_process import PR_SET_CHILD_SUBREAPER, kill_processes
from rosenblatt.runs.store import schema
from rosenblatt.runs.store.owners import end_dead_runs
from rosenblatt.runs.store.point_log import move_ended_logs
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.spool import deliver_all, format_batch
from rosenblatt.tuning.start_marker import write_start

SOURCE_FOLDER, STORE_NAME = "source", "store"  # in the folder of the script on the machine
STATUS_FILE, WRITTEN_FILE, RECORDS_FILE = "status", "written.json", "records"
ARTIFACTS_PREFIX = "artifacts/"  # of names in the export
MAX_SILENCE_S = 60.0  # without a sign of life of the controller, after which the script is ended
STOP_TIMEOUT_S = 60.0  # for a script that is asked to end, when the controller is gone
POLL_INTERVAL_S = 0.2
ROWS_PER_BATCH = 200
SIGNALS = {b"INT": signal.SIGINT, b"TERM": signal.SIGTERM, b"HUP": signal.SIGHUP}  # what the controller passes on
EXPORTED_TABLES = (
    "runs", "documents", "params", "tags", "metadata", "metrics", "curve_chunks", "point_logs", "log_segments",
    "output", "artifacts",
)  # fmt: skip


class ScriptCommand(BaseModel):
    """The first line that the supervisor reads: what to run, and in which folder below that of the source."""

    model_config = ConfigDict(frozen=True)

    arguments: tuple[str, ...]  # of `rosenblatt`
    folder: str
    store: str  # as ROSENBLATT_STORE names it


class ScriptSupervisor:
    """Runs the script as a child, passes signals on, and ends it when the controller is gone.

    The controller writes a line at least every few seconds: the name of a signal, or nothing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last_line = time.monotonic()
        self._is_lost = False

    def run(self) -> int:
        """Run the script; returns its exit status, which is also kept in a file, or 128 plus its signal."""
        lines = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - of standard input, without its lock
        command = ScriptCommand.model_validate_json(lines.readline())
        for number in (signal.SIGHUP, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # not SIG_IGN, which the script would inherit
        signal.signal(signal.SIGTERM, self._on_term)
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # descendants cannot get lost
        source = self._folder / SOURCE_FOLDER
        files = _describe_files(source)
        process = subprocess.Popen(  # noqa: S603 - the user's own script
            [sys.executable, "-P", "-m", "rosenblatt", *command.arguments],
            cwd=source / command.folder, env=_script_environment(command.store), stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        threading.Thread(target=self._read, args=(lines, process), daemon=True).start()
        self._watch(process)
        kill_processes(lambda: psutil.Process().children(recursive=True))
        written = sorted(name for name, state in _describe_files(source).items() if files.get(name) != state)
        (self._folder / WRITTEN_FILE).write_text(json.dumps(written))
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        part = self._folder / f"{STATUS_FILE}.part"
        part.write_text(str(status))
        part.replace(self._folder / STATUS_FILE)
        return status

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until the script has ended, or the controller is gone and the script was ended."""
        while _is_running(process, POLL_INTERVAL_S):
            if self._is_lost or time.monotonic() - self._last_line > MAX_SILENCE_S:
                _send(process, signal.SIGTERM)
                if _is_running(process, STOP_TIMEOUT_S):
                    _send(process, signal.SIGKILL)
                process.wait()

    def _read(self, lines: IO[bytes], process: subprocess.Popen[bytes]) -> None:
        for line in lines:
            self._last_line = time.monotonic()
            if number := SIGNALS.get(line.strip()):
                _send(process, number)
        self._is_lost = True

    def _on_term(self, _number: int, _frame: object) -> None:
        self._is_lost = True


def _is_running(process: subprocess.Popen[bytes], timeout: float) -> bool:
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        return True
    return False


def _send(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        if process.returncode is None:
            os.killpg(process.pid, number)


def _script_environment(store: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("ROSENBLATT_")}
    return {**own, "ROSENBLATT_STORE": store}


def _describe_files(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of modification of all files below a folder, by name, without compiled modules."""
    files = {}
    for path in root.rglob("*"):
        with suppress(OSError):
            if path.is_file() and "__pycache__" not in path.parts:
                info = path.stat()
                files[path.relative_to(root).as_posix()] = (info.st_size, info.st_mtime_ns)
    return files


def export(folder: Path) -> None:
    """Write a tar archive to standard output: names of written files, recorded files by their hash, and records."""
    write_start(sys.stdout.buffer)
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        if (folder / WRITTEN_FILE).exists():  # unless the supervisor was killed
            archive.add(folder / WRITTEN_FILE, WRITTEN_FILE)
        database = folder / STORE_NAME / "runs.db"
        if not database.exists():
            return
        store = Store(f"sqlite:///{database}", create=False)
        deliver_all(store, lambda message: print(message, file=sys.stderr))
        end_dead_runs(store)
        move_ended_logs(store)
        for path in (database.parent / "artifacts").glob("??/*"):
            archive.add(path, f"{ARTIFACTS_PREFIX}{path.name}")
        with TemporaryFile() as file:
            file.writelines(_read_records(store))
            info = tarfile.TarInfo(RECORDS_FILE)
            info.size = file.tell()
            file.seek(0)
            archive.addfile(info, file)
        store.close()


def _read_records(store: Store) -> Iterator[bytes]:
    """All records of a store, as lines of a spool, parents before their children."""
    with store.reading() as connection:
        for name in EXPORTED_TABLES:
            table = schema.metadata_obj.tables[name]
            query = select(table).order_by(table.c.started) if name == "runs" else select(table)
            for rows in connection.execute(query).mappings().partitions(ROWS_PER_BATCH):
                yield format_batch({name: [dict(row) for row in rows]})


if __name__ == "__main__":
    if sys.argv[1] == "run":
        sys.exit(ScriptSupervisor(Path(sys.argv[2])).run())
    export(Path(sys.argv[2]))
