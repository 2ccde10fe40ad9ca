"""Run a script on one machine of a cluster: send its files, stream its output, and bring back what it recorded."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import Connection, select

from rosenblatt.cluster.checks import Machine, check_hosts
from rosenblatt.cluster.clouds import CLUSTER_FILE_SUFFIXES, list_clouds
from rosenblatt.cluster.environment import EnvironmentSource, prepare_environment
from rosenblatt.cluster.hosts import Host, read_hosts
from rosenblatt.cluster.record import read_record
from rosenblatt.cluster.script_files import ScriptFiles, describe_files, find_script_files
from rosenblatt.cluster.script_process import (
    ARTIFACTS_PREFIX,
    EXPORTED_TABLES,
    MAX_SILENCE_S,
    RECORDS_FILE,
    SOURCE_FOLDER,
    STATUS_FILE,
    STOP_TIMEOUT_S,
    STORE_NAME,
    WRITTEN_FILE,
    ScriptCommand,
)
from rosenblatt.cluster.slurm import PREFIX as SLURM_PREFIX
from rosenblatt.cluster.ssh import CONNECTION_FAILED, SshSessions, copy_command, ssh_command
from rosenblatt.errors import (
    ClusterError,
    Notify,
    RosenblattError,
    StorageError,
    StoreError,
    did_you_mean,
    format_count,
    format_list,
)
from rosenblatt.runs.launch import LaunchRequest
from rosenblatt.runs.signals import handle_signals
from rosenblatt.runs.store import schema
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.batches import parse_batch
from rosenblatt.runs.store.locations import NO_STORE, store_prefixes, store_url
from rosenblatt.runs.store.records import RecordBatch, Row
from rosenblatt.runs.store.store import Store
from rosenblatt.tuning.start_marker import last_line, skip_start

TRANSFER_TIMEOUT_S = 1800
HEARTBEAT_INTERVAL_S = 5.0
RECONNECT_INTERVAL_S = 2.0
RECONNECT_TIMEOUT_S = MAX_SILENCE_S + STOP_TIMEOUT_S + 30  # in which a script without connection has ended
_PARENT = '"${XDG_CACHE_HOME:-$HOME/.cache}"/rosenblatt/scripts'
_MODULE = "rosenblatt.cluster.script_process"


@dataclass(frozen=True)
class _Place:
    """Where a script runs: a machine, the interpreter of its environment, and a folder of the script there."""

    host: Host
    python: str
    folder: str

    def command(self, action: str) -> tuple[str, ...]:
        """The program here that starts an action of `script_process` there."""
        return ssh_command(self.host, [self.python, "-P", "-m", _MODULE, action, self.folder])

    def __str__(self) -> str:
        return f"{self.host.name}:{self.folder}"


def run_script(request: LaunchRequest, on: str, store: str | None, notify: Notify) -> int:
    """Run a script on one machine of a cluster, and record it in the store here when it has ended.

    Args:
        request: the script, below the working folder or in its repository.
        on: a hosts file, or the name of a cluster of such machines that is up; its first machine, or another one, as
            in "hosts.txt:lab2".
        store: the store, as for `track`.
        notify: receives what is done.

    Returns:
        The exit status of the script.

    Raises:
        ClusterError: if the machine cannot be used, or is lost.
        StoreError, StorageError: if the runs cannot be written to the store.
    """
    folder = Path.cwd().resolve()
    if not request.is_module and not (folder / request.target).is_file():
        scripts = [path.name for path in folder.glob("*.py")]
        raise ClusterError(f"There is no script {request.target!r}.{did_you_mean(request.target, scripts)}")
    url = store_url(store)
    files = find_script_files(folder, [folder / path for path in request.data], store_prefixes(url) if url else ())
    target = request.target if request.is_module else _relative_path(request.target, folder, files.root)
    with SshSessions() as sessions:
        host, python = _find_machine(on, sessions, notify)
        notify(f"{host.name}: {describe_files(files)}")
        place = _send_files(files, host, python, sessions)
        command = ScriptCommand(
            arguments=_arguments(request, target, folder, files.root),
            folder=folder.relative_to(files.root).as_posix(),
            store=f"{place.folder}/{STORE_NAME}" if url else NO_STORE,
        )
        status = _run(place, command)
        try:
            if status == CONNECTION_FAILED:  # or of the script
                status = _wait_for_status(place, sessions, notify)
            written = _bring_back(place, url)
        except BaseException:  # also Ctrl-C
            copy = copy_command(host, f"{place.folder}/{STORE_NAME}", STORE_NAME)
            show = f"rosenblatt runs --store {STORE_NAME}"
            notify(f"What the script recorded is in {place}: `{copy}` copies it, and `{show}` shows it.")
            raise
        if written == []:
            _remove_folder(place, sessions)
        else:
            notify(f"{_describe_written(written)} in {place}/{SOURCE_FOLDER}.")
    return status


def _describe_written(names: list[str] | None) -> str:
    if names is None:
        return "Which files the script wrote is not known. They stay"
    count = format_count(len(names), "file")
    return f"{count} that the script wrote, recorded or not: {format_list(names)}. They stay"


def _find_machine(on: str, sessions: SshSessions, notify: Notify) -> tuple[Host, str]:
    """A machine of a cluster, and the interpreter of its environment, which is built if it is not there."""
    place, _, machine = (on, "", "") if Path(on).is_file() else on.partition(":")
    path = Path(place)
    is_other = "://" in on or on.startswith(SLURM_PREFIX) or path.suffix in CLUSTER_FILE_SUFFIXES
    if is_other or place in list_clouds():
        raise ClusterError(
            f"`run --on` takes machines that SSH reaches, so a file of hosts or the name of a cluster that was brought "
            f"up with one, but got {on!r}. Name the machine in a file of hosts."
        )
    if not path.is_file():
        if "/" in place or path.suffix == ".txt":
            raise ClusterError(f"There is no hosts file {place!r}.")
        pythons = {node.host: node.python for node in read_record(place).nodes}
        host = _choose_host(tuple(pythons), machine, place)
        return host, pythons[host]
    host = _choose_host(read_hosts(path), machine, place)
    [check] = check_hosts([host], sessions)
    if check.facts is None or check.problems:
        raise ClusterError(f"{host.name}: {' '.join(check.problems)}")
    return host, prepare_environment(Machine(host=host, facts=check.facts), EnvironmentSource(), sessions, notify)


def _choose_host(hosts: tuple[Host, ...], machine: str, place: str) -> Host:
    """The host of this name; the first one without a name. Raises ClusterError."""
    names = [host.name for host in hosts]
    if machine and machine not in names:
        hint = did_you_mean(machine, names) or f" Its machines are {format_list(names)}."
        raise ClusterError(f"There is no machine {machine!r} in {place!r}.{hint}")
    return hosts[names.index(machine) if machine else 0]


def _relative_path(target: str, folder: Path, root: Path) -> str:
    path = (folder / target).parent.resolve() / Path(target).name  # a link stays one
    if not path.is_relative_to(root):
        raise ClusterError(
            f"The script {target!r} is outside of {str(root)!r}, whose files are sent to the machine. Run the command "
            "in the folder of the script."
        )
    return os.path.relpath(path, folder)


def _arguments(request: LaunchRequest, target: str, folder: Path, root: Path) -> tuple[str, ...]:
    """The arguments of `rosenblatt` on the machine."""
    options = list[str]()
    for name, value in (("--experiment", request.experiment), ("--name", request.name)):
        options += [name, value] if value else []
    for name, value in request.tags.items():
        options += ["--tag", f"{name}={value}"]
    for path in request.data:
        options += ["--data", _relative_path(path, folder, root)]
    return ("run", *options, *(["-m"] if request.is_module else []), target, "--", *request.arguments)


def _send_files(files: ScriptFiles, host: Host, python: str, sessions: SshSessions) -> _Place:
    """Unpack the files of the script in a new folder on the machine."""
    name = secrets.token_hex(6)
    make = f"umask 077 && mkdir -p {_PARENT}/{name}/{SOURCE_FOLDER} && cd {_PARENT}/{name} && pwd"
    place = _Place(host, python, sessions.run(host, make).strip())
    try:
        with files.open_archive() as archive:
            unpack = f"tar -x -C {shlex.quote(f'{place.folder}/{SOURCE_FOLDER}')}"
            sessions.run(host, unpack, archive, TRANSFER_TIMEOUT_S)
    except BaseException:
        _remove_folder(place, sessions)
        raise
    return place


def _remove_folder(place: _Place, sessions: SshSessions) -> None:
    with suppress(ClusterError):
        sessions.run(place.host, f"rm -rf {shlex.quote(place.folder)}")


def _run(place: _Place, command: ScriptCommand) -> int:
    """Run the script, with its output as that of this process; returns the exit status of `ssh`."""
    process = subprocess.Popen(  # noqa: S603 - the user's own ssh
        place.command("run"), stdin=subprocess.PIPE, bufsize=0, start_new_session=True
    )
    assert process.stdin  # noqa: S101 - a pipe
    has_ended = threading.Event()

    def send(line: bytes) -> None:
        with suppress(OSError):  # the connection is lost, which `ssh` tells
            process.stdin.write(line)  # type: ignore[union-attr]

    def send_heartbeats() -> None:
        while not has_ended.wait(HEARTBEAT_INTERVAL_S):
            send(b"\n")

    with handle_signals(lambda number, _frame: send(f"{signal.Signals(number).name[3:]}\n".encode())):
        send(command.model_dump_json().encode() + b"\n")
        heartbeats = threading.Thread(target=send_heartbeats, name="rosenblatt-heartbeats", daemon=True)
        heartbeats.start()
        try:
            return process.wait()
        finally:
            has_ended.set()
            heartbeats.join()
            process.stdin.close()


def _wait_for_status(place: _Place, sessions: SshSessions, notify: Notify) -> int:
    """The exit status of a script whose connection may be lost, once the script has ended. Raises ClusterError."""
    read = f"cat {shlex.quote(f'{place.folder}/{STATUS_FILE}')}"
    deadline = time.monotonic() + RECONNECT_TIMEOUT_S
    is_reported = False
    while True:
        try:
            status, output, _ = sessions.run_unchecked(place.host, read)
            reason = "it has not ended"
        except ClusterError as error:
            status, output, reason = CONNECTION_FAILED, "", str(error).rstrip(".")
        if status == 0 and output.strip().isdecimal():
            return int(output)
        if time.monotonic() > deadline:
            raise ClusterError(
                f"The connection to {place.host.name} was lost, and for {RECONNECT_TIMEOUT_S:.0f} s the end of the "
                f"script could not be seen ({reason})."
            )
        if not is_reported:
            notify(f"{place.host.name}: connection lost. The script is ended there; waiting for what it recorded")
            is_reported = True
        time.sleep(RECONNECT_INTERVAL_S)


def _bring_back(place: _Place, url: str | None) -> list[str] | None:
    """Bring the runs of the script into the store; returns the names of the files that it wrote, if they are known."""
    reason = "what was recorded cannot be read"
    try:
        with subprocess.Popen(  # noqa: S603 - the user's own ssh
            place.command("export"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        ) as process:
            assert process.stdout  # noqa: S101 - a pipe
            _require_start(process.stdout)
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                written = _read_export(archive, url, place.host)
            process.stdout.read()
    except (tarfile.TarError, OSError, ValueError) as error:
        if isinstance(error, RosenblattError):
            raise
        raise ClusterError(f"{place.host.name}: {reason} ({error}).") from error
    if process.returncode:  # an archive that ends after one of its files looks complete
        raise ClusterError(f"{place.host.name}: {reason} (exit status {process.returncode}).")
    return written


def _require_start(file: IO[bytes]) -> None:
    """Skip what the shell printed before an export. Raises ValueError if there is none."""
    prefix = bytearray()
    if not skip_start(file, prefix):
        line = last_line(prefix)
        raise ValueError(f"it printed {line!r}" if line else "it printed nothing")


def _read_export(archive: tarfile.TarFile, url: str | None, host: Host) -> list[str] | None:
    """Store the recorded files and records of an export, once they are checked; returns names of written files."""
    written: list[str] | None = None
    store = Store(url) if url else None
    try:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None:
                raise StoreError(f"{member.name!r} of {host.name} is no file.")
            if member.name == WRITTEN_FILE:
                written = [str(name) for name in json.loads(file.read())]
            elif store and member.name.startswith(ARTIFACTS_PREFIX):
                _store_file(file, member.name.removeprefix(ARTIFACTS_PREFIX), Artifacts(store.url, store))
            elif store and member.name == RECORDS_FILE:
                _write_records(file, store, host)
    finally:
        if store:
            store.close()
    return written


def _store_file(file: IO[bytes], digest: str, artifacts: Artifacts) -> None:
    with tempfile.NamedTemporaryFile() as copy:
        actual = hashlib.sha256()
        while part := file.read(1 << 20):
            actual.update(part)
            copy.write(part)
        copy.flush()
        if actual.hexdigest() != digest:
            raise StorageError(f"A recorded file is damaged: its content does not match its hash {digest!r}.")
        artifacts.store_file(Path(copy.name))


def _write_records(lines: IO[bytes], store: Store, host: Host) -> None:
    """Write records of new runs to the store, and on which machine they ran; nothing of other runs is changed."""
    new_runs = set[str]()
    with store.writing() as connection:
        for line in lines:
            rows = parse_batch(line)
            new_runs |= _check_records(rows, new_runs, connection)
            store.write_rows(connection, rows)
        batch = RecordBatch()
        for run in sorted(new_runs):
            batch.add_metadata(run, "host", host.name)
        store.write_rows(connection, batch.rows)


def _check_records(rows: dict[str, list[Row]], own: set[str], connection: Connection) -> set[str]:
    """Return the runs that rows add. Raises StoreError if rows change runs that are in the store already."""
    runs = rows.get("runs", [])
    added = {str(row["id"]) for row in runs}
    existing = set(connection.execute(select(schema.runs.c.id).where(schema.runs.c.id.in_(added))).scalars())
    named = {str(row["run"]) for name, table in rows.items() if name not in ("runs", "documents") for row in table}
    named |= {str(row["parent"]) for row in runs if row["parent"]}
    if not rows.keys() <= set(EXPORTED_TABLES) or existing or named - own - added:
        raise StoreError("The machine sent records of other runs than those of the script; they are not written.")
    return added
