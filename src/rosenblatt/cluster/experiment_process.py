"""The process of a queued experiment: a process group of its own, which ends when its runner is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from rosenblatt.errors import RunError
from rosenblatt.runs.store.owners import new_owner
from rosenblatt.runs.store.permissions import create_file

# Waits for a line before it becomes the command, and ends if its runner ends before that.
_GATE = 'read -r _ || exit 1; exec "$@" </dev/null'
STOP_TIMEOUT_S = 60.0  # seconds in which a process that was asked to end saves its state, before it is killed
# Reads from its runner, and ends the process group $1 within $2 seconds if the runner ends without a word.
_GUARD = """
read -r _ && exit
kill -s TERM -- "-$1" 2>/dev/null || exit
while [ "$2" -gt 0 ] && kill -s 0 -- "-$1" 2>/dev/null; do sleep 1; set -- "$1" $(($2 - 1)); done
kill -s KILL -- "-$1" 2>/dev/null
"""


class ExperimentProcess:
    """A command in a process group of its own, whose output is appended to a file.

    The process waits until `start`, so that a runner that is killed before leaves no command that nobody watches.

    Args:
        command: The program and its arguments.
        folder: The working folder.
        environment: All environment variables.
        log: The file, which is created; its folder exists.
        title: A line for the file, before the output.

    Raises:
        OSError: If the folder does not exist, or the file cannot be written.
        RunError: On systems without process groups.
    """

    def __init__(
        self, command: Sequence[str], folder: str, environment: Mapping[str, str], log: Path, title: str
    ) -> None:
        if not hasattr(os, "killpg"):
            raise RunError("Experiments of the queue run on Linux and macOS only. Run the command itself instead.")
        with _open_log(log) as output:
            output.write(f"{title}\n".encode(errors="backslashreplace"))
            output.flush()
            self._process = subprocess.Popen(  # noqa: S603 - the user's own command
                ["/bin/sh", "-c", _GATE, "sh", *command], cwd=folder, env=environment, stdin=subprocess.PIPE,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        group = str(self._process.pid)
        self._guard = subprocess.Popen(  # noqa: S603 - a constant script
            ["/bin/sh", "-c", _GUARD, "sh", group, f"{STOP_TIMEOUT_S:.0f}"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        self._kill_time = 0.0
        self.token = new_owner(self._process.pid)

    def start(self) -> None:
        """Let the command begin."""
        if self._process.stdin:
            with suppress(BrokenPipeError), self._process.stdin as gate:  # it was killed meanwhile
                gate.write(b"start\n")

    @property
    def is_asked_to_end(self) -> bool:
        """Whether `ask_to_end` was called."""
        return self._kill_time > 0

    def ask_to_end(self, number: int) -> None:
        """Send a signal to the group; it is killed if it has not ended after STOP_TIMEOUT_S."""
        if not self.is_asked_to_end:
            self._kill_time = time.monotonic() + STOP_TIMEOUT_S
            self._send(number)

    def kill(self) -> None:
        """End the group at once."""
        self._kill_time = time.monotonic()
        self._send(signal.SIGKILL)

    def poll(self) -> int | None:
        """The exit status if the process has ended, negative for a signal; kills it if its time to end is over."""
        if self.is_asked_to_end and time.monotonic() > self._kill_time:
            self._send(signal.SIGKILL)
        status = self._process.poll()
        if status is not None and self._process.stdin:
            self._process.stdin.close()
        if status is not None and self._guard.poll() is None:
            if self.is_asked_to_end:  # and what it started and left behind
                self._send(signal.SIGKILL)
            self._guard.communicate(b"ended\n")
        return status

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses to send to a group of zombies
            os.killpg(self._process.pid, number)


def _open_log(path: Path) -> IO[bytes]:
    """Open a file to append to it; a new one can only be read by those who may read the store."""
    with suppress(FileExistsError):
        os.close(create_file(path))
    return path.open("ab")
