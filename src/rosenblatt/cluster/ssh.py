"""Run commands on a machine with the user's own `ssh`, over one connection, without ever asking for a password."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import BinaryIO, Self, TypeVar

from rosenblatt.cluster.hosts import Host
from rosenblatt.errors import ClusterError
from rosenblatt.tuning.start_marker import START_MARKER

Item = TypeVar("Item")
Result = TypeVar("Result")
CONNECT_TIMEOUT_S = 10
KEEPALIVE_S = 5  # between signs of life of a connection
MAX_MISSED_KEEPALIVES = 3  # before a connection counts as lost
CONNECTION_FAILED = 255  # exit status of ssh itself
IDLE_CONNECTION_S = 60  # after which a shared connection is closed if this process was killed
_REASONS = {  # what ssh prints, and what to do
    "Host key verification failed": "its host key is not known here. Connect once with `{command}` and check the key",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "its host key is not the one of before. Check that it is your machine",
    "Permission denied": "it accepts no key of yours. Make `{command}` work without a password, for example with "
    "ssh-copy-id",
    "Could not resolve hostname": "its name is not known here",
    "Connection refused": "it refuses connections. Start sshd there, or write the port as host:port",
    "timed out": "it does not answer",
    "No route to host": "there is no route to it",
    "Network is unreachable": "there is no route to it",
}


class SshSessions:
    """Connections to machines, each opened once and shared by its commands; a context manager that closes them.

    with SshSessions() as sessions:
        sessions.run(host, "uname -a")

    At its end, commands of other threads that still run are ended here; see `holds_stdin` for what runs there.
    """

    def __init__(self) -> None:
        if not shutil.which("ssh"):
            raise ClusterError("The program `ssh` is missing. Install OpenSSH's client.")
        self._folder = Path(tempfile.mkdtemp(prefix="rb-ssh-"))  # short, since paths of sockets are limited
        self._hosts: dict[str, Host] = {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._is_closed = Lock(), False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_closed = True
            for process in self._running:
                process.kill()
        for host in self._hosts.values():
            with suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(  # noqa: S603 - the user's own ssh
                    [*self._command(host), "-O", "exit", _target(host)], capture_output=True, timeout=5, check=False
                )
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, host: Host, command: str, stdin: bytes | BinaryIO = b"", timeout: float = 60) -> str:
        """Run a command of the remote shell; returns its standard output.

        Raises:
            ClusterError: if the machine cannot be reached, or the command fails or takes longer than the timeout.
        """
        status, output, errors = self.run_unchecked(host, command, stdin, timeout)
        if status:
            detail = (errors.strip() or output.strip() or f"exit status {status}").splitlines()[-1]
            raise ClusterError(f"{host.name}: {detail}")
        return output

    def run_unchecked(
        self, host: Host, command: str, stdin: bytes | BinaryIO = b"", timeout: float = 60, *, holds_stdin: bool = False
    ) -> tuple[int, str, str]:
        """Run a command of the remote shell; returns its exit status, standard output and standard error.

        What start files of the shell print, such as .bashrc, is left out of the standard output. With `holds_stdin`,
        the standard input of the command, which is empty, ends when this process does, or when the sessions close: a
        command that reads it can end as well.

        Raises:
            ClusterError: if the machine cannot be reached, its shell does not run the command, or that takes longer
                than the timeout.
        """
        program = [*self._command(host), _target(host), f"echo {START_MARKER}; {command}"]
        with TemporaryFile() as source, TemporaryFile() as output, TemporaryFile() as log:
            # files instead of pipes, which the shared connection of older versions keeps open
            if isinstance(stdin, bytes):
                source.write(stdin)
                source.seek(0)
                stdin = source
            status = self._wait(host, program, subprocess.PIPE if holds_stdin else stdin, (output, log), timeout)
            output.seek(0)
            log.seek(0)
            text, errors = (file.read().decode(errors="replace") for file in (output, log))
        if status == CONNECTION_FAILED:
            raise ClusterError(f"{host.name}: {_explain(host, errors)}.")
        noise, marker, text = text.partition(f"{START_MARKER}\n")
        if not marker:
            detail = (noise.strip() or errors.strip() or f"exit status {status}").splitlines()[-1]
            raise ClusterError(f"{host.name}: its shell runs no commands for this user ({detail}).")
        return status, text, errors

    def _wait(
        self, host: Host, program: list[str], stdin: BinaryIO | int, outputs: tuple[BinaryIO, BinaryIO], timeout: float
    ) -> int:
        """Run a program of this machine; returns its exit status."""
        with self._lock:
            if self._is_closed:
                raise ClusterError(f"{host.name}: the command was interrupted.")
            self._hosts[host.name] = host
            process = subprocess.Popen(  # noqa: S603 - the user's own ssh
                program, stdin=stdin, stdout=outputs[0], stderr=outputs[1], start_new_session=True
            )
            self._running.add(process)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{host.name}: no answer within {timeout:g} s.") from None
        finally:
            with self._lock:
                self._running.discard(process)
                process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
        if self._is_closed:
            raise ClusterError(f"{host.name}: the command was interrupted.")
        return status

    def _command(self, host: Host) -> list[str]:
        shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={self._folder}/%C"]
        return [*_options(host), *shared, "-o", f"ControlPersist={IDLE_CONNECTION_S}"]


def run_at_once(items: Sequence[Item], step: Callable[[Item], Result]) -> list[Result]:
    """Run a step for all items at once; returns the result of each.

    After Ctrl-C it does not wait for the steps: they end with the sessions that they use.
    """
    pool = ThreadPoolExecutor(max(len(items), 1))
    try:
        return list(pool.map(step, items))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def ssh_command(host: Host, command: Sequence[str]) -> tuple[str, ...]:
    """The program that runs a command on a machine over a connection of its own, which ends when that is lost."""
    return (*_options(host), "-o", "ControlPath=none", _target(host), f"exec {shlex.join(command)}")


def copy_command(host: Host, path: str, target: str) -> str:
    """The command by which the user copies a folder of a machine to this one."""
    port = ["-P", str(host.port)] if host.port else []
    return shlex.join(["scp", "-r", *port, f"{_target(host)}:{path}", target])


def _options(host: Host) -> list[str]:
    settings = {
        "BatchMode": "yes",
        "ConnectTimeout": CONNECT_TIMEOUT_S,
        "ServerAliveInterval": KEEPALIVE_S,
        "ServerAliveCountMax": MAX_MISSED_KEEPALIVES,
        "ForwardAgent": "no",  # a machine must not use the user's keys, whatever the user's configuration says
        "ForwardX11": "no",
        "ClearAllForwardings": "yes",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-T", *options, *(["-p", str(host.port)] if host.port else [])]


def _target(host: Host) -> str:
    return f"{host.user}@{host.address}" if host.user else host.address


def _explain(host: Host, errors: str) -> str:
    port = ["-p", str(host.port)] if host.port else []
    for text, reason in _REASONS.items():
        if text in errors:
            return reason.format(command=shlex.join(["ssh", *port, _target(host)]))
    return f"the connection failed ({(errors.strip() or 'ssh gave no reason').splitlines()[-1].rstrip('.')})"
