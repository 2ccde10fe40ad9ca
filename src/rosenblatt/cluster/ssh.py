"""Run commands on a machine with the user's own `ssh`, over one connection, without ever asking for a password."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

from rosenblatt.cluster.hosts import Host
from rosenblatt.errors import ClusterError

CONNECT_TIMEOUT_S = 10
KEEPALIVE_S = 5  # between signs of life of a connection
MAX_MISSED_KEEPALIVES = 3  # before a connection counts as lost
CONNECTION_FAILED = 255  # exit status of ssh itself
START_MARKER = "rosenblatt-output-begins"  # before it is what the shell's own start files print
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
    """

    def __init__(self) -> None:
        if not shutil.which("ssh"):
            raise ClusterError("The program `ssh` is missing. Install OpenSSH's client.")
        self._folder = Path(tempfile.mkdtemp(prefix="rb-ssh-"))  # short, since paths of sockets are limited
        self._hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
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
        self, host: Host, command: str, stdin: bytes | BinaryIO = b"", timeout: float = 60
    ) -> tuple[int, str, str]:
        """Run a command of the remote shell; returns its exit status, standard output and standard error.

        What start files of the shell print, such as .bashrc, is left out of the standard output.

        Raises:
            ClusterError: if the machine cannot be reached, its shell does not run the command, or that takes longer
                than the timeout.
        """
        self._hosts[host.name] = host
        program = [*self._command(host), _target(host), f"echo {START_MARKER}; {command}"]
        with tempfile.TemporaryFile() as log:  # not a pipe, which the shared connection of older versions keeps open
            source: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
            try:
                run = subprocess.run(  # noqa: S603 - the user's own ssh
                    program,
                    **source,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    timeout=timeout,
                    check=False,
                    start_new_session=True,
                )
            except subprocess.TimeoutExpired:
                raise ClusterError(f"{host.name}: no answer within {timeout:g} s.") from None
            log.seek(0)
            errors = log.read().decode(errors="replace")
        if run.returncode == CONNECTION_FAILED:
            raise ClusterError(f"{host.name}: {_explain(host, errors)}.")
        noise, marker, output = run.stdout.decode(errors="replace").partition(f"{START_MARKER}\n")
        if not marker:
            detail = (noise.strip() or errors.strip() or f"exit status {run.returncode}").splitlines()[-1]
            raise ClusterError(f"{host.name}: its shell runs no commands for this user ({detail}).")
        return run.returncode, output, errors

    def _command(self, host: Host) -> list[str]:
        shared = ["-o", "ControlMaster=auto", "-o", f"ControlPath={self._folder}/%C"]
        return [*_options(host), *shared, "-o", f"ControlPersist={IDLE_CONNECTION_S}"]


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
