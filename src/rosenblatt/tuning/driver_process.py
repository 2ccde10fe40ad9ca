"""The child process that connects a search to a Ray cluster, and the messages to and from it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from queue import Empty, SimpleQueue
from threading import Event, Thread, current_thread
from typing import IO, Any, cast

from rosenblatt.errors import ClusterError
from rosenblatt.tuning.attempts import Attempt, Packer
from rosenblatt.tuning.ray_connection import (
    HEARTBEAT_INTERVAL_S,
    SILENCE_TIMEOUT_S,
    Message,
    RayConnection,
    read_report,
    write_command,
)
from rosenblatt.tuning.start_marker import last_line, skip_start

CLOSE_TIMEOUT_S = 10.0  # seconds for the cluster to return what was trained
ERROR_TIMEOUT_S = 5.0  # seconds for the rest of the driver's standard error, which its children may keep open
ERROR_LINES = 20  # last lines of the driver's standard error that are kept


class DriverProcess:
    """The driver of a cluster, as a child of the search (through SSH if it runs on another machine).

    Args:
        connection: starts the driver.
        work: what the driver must know to start its actors.
        packer: packs work items for it.
        on_report: called with each report, by the thread that reads them.
        on_end: called when the driver has ended, by the same thread.

    Raises:
        ClusterError: if it cannot be started.
    """

    def __init__(
        self,
        connection: RayConnection,
        work: Mapping[str, Any],
        packer: Packer,
        on_report: Callable[[Message], None],
        on_end: Callable[[DriverProcess], None],
    ) -> None:
        self._name, self._on_report, self._on_end = connection.name, on_report, on_end
        self.is_started, self.has_ended = False, False
        self._last_report, self.end_reason = time.monotonic(), ""
        self._refusal, self._ready, self._lines = "", Event(), deque[str](maxlen=ERROR_LINES)
        self._packer = packer
        pipe = subprocess.PIPE
        try:  # in a session of its own, so that Ctrl-C does not reach it
            self._process = subprocess.Popen(  # noqa: S603 - the command of the connection
                connection.command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
            )
        except OSError as error:
            raise ClusterError(f"The driver of cluster {self._name} cannot be started: {error}.") from error
        self._commands = SimpleQueue[Callable[[IO[bytes]], None] | None]()  # None is the last
        self._reader, self._writer, self._error_reader = (
            Thread(target=target, daemon=True)
            for target in (self._read_reports, self._write_commands, self._read_errors)
        )
        for thread in (self._reader, self._writer, self._error_reader):
            thread.start()
        environment = dict(connection.environment)
        silence_s = SILENCE_TIMEOUT_S
        self.send("start", address=connection.address, environment=environment, silence_s=silence_s, **work)

    def send_item(self, item: Any, attempt: Attempt, avoid: Sequence[str], *, is_moved: bool) -> None:
        """Send a work item, after the shared objects that it is the first to need.

        An item whose process ended on machines to avoid is trained without others, and on other machines if possible.
        One that was moved is trained before items that wait.
        """
        packed = self._packer.pack(item, attempt.number)
        if released := self._packer.take_released():
            self.send("release", keys=released)
        for shared in self._packer.take_new():
            self.send("share", shared.content, key=shared.key)
        order = {"avoid": tuple(avoid), "is_moved": is_moved}
        self.send("item", packed.content, attempt=packed.attempt, keys=packed.keys, **order)

    def send(self, kind: str, content: bytes = b"", **header: Any) -> None:
        """Queue a command, so that a driver that does not read blocks nobody."""
        self._commands.put(partial(write_command, kind=kind, content=content, **header))

    def wait_until_started(self, timeout: float) -> None:
        """Wait until machines are ready. Raises ClusterError."""
        if not self._ready.wait(timeout):
            raise ClusterError(
                f"Cluster {self._name} has no machine that is ready after {timeout:g} s. Check that it is up "
                "and that no other program occupies its cores."
            )
        if not self.is_started:
            raise ClusterError(f"Cluster {self._name} cannot be used: {self._refusal or self.end_reason}")

    def close(self) -> None:
        """Let the machines stop, and wait for what they have trained."""
        self.send("close")
        self._reader.join(CLOSE_TIMEOUT_S)

    def end(self) -> None:
        """End the process, and wait until its last reports are handled."""
        self.kill()
        if self._reader is not current_thread():
            self._reader.join(CLOSE_TIMEOUT_S)

    def kill(self, reason: str = "") -> None:
        """End the process."""
        self.end_reason = self.end_reason or reason
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def end_if_silent(self) -> None:
        """End the process if its last report is too old."""
        if time.monotonic() - self._last_report > SILENCE_TIMEOUT_S:
            self.kill(f"no report for {SILENCE_TIMEOUT_S:g} s")

    def _read_reports(self) -> None:
        with cast("IO[bytes]", self._process.stdout) as reports:
            try:
                prefix = bytearray()
                if not skip_start(reports, prefix) and not self._lines and (line := last_line(prefix)):
                    self._lines.append(f"it printed {line!r}")
                while (message := read_report(reports, self._note_life)) is not None:
                    self._last_report = math.inf  # it is not silent while its report is handled
                    self._handle(message)
                    self._note_life()
            except Exception as error:  # noqa: BLE001 - whatever a machine sent, the search goes on
                self.end_reason = f"it sent a message that cannot be read: {error or type(error).__name__}"
        self.kill()
        self._commands.put(None)
        self._writer.join()
        self._error_reader.join(ERROR_TIMEOUT_S)
        self.end_reason = self.end_reason or (self._lines[-1] if self._lines else "its driver has ended")
        self._ready.set()
        self._on_end(self)

    def _note_life(self) -> None:
        self._last_report = time.monotonic()

    def _handle(self, message: Message) -> None:
        header = message.header
        if header["kind"] == "refused":
            self._refusal = str(header["message"])
        elif header["kind"] == "joined" and header["rosenblatt"] != version("rosenblatt"):
            self._refusal = (
                f"it has rosenblatt {header['rosenblatt']}, but this machine has {version('rosenblatt')}. Install the "
                "same version."
            )
            self._ready.set()
        else:
            self._on_report(message)
            if header["kind"] == "nodes" and header["is_started"] and not self._refusal:
                self.is_started = True
                self._ready.set()

    def _write_commands(self) -> None:
        """Write commands, and a sign of life if there is none for a while."""
        with suppress(OSError), cast("IO[bytes]", self._process.stdin) as pipe:  # an error means that it has ended
            while True:
                try:
                    write = self._commands.get(timeout=HEARTBEAT_INTERVAL_S)
                except Empty:
                    write = partial(write_command, kind="alive")
                if write is None:
                    return
                write(pipe)

    def _read_errors(self) -> None:
        with cast("IO[bytes]", self._process.stderr) as lines:
            for line in lines:
                if text := line.decode(errors="replace").strip():
                    self._lines.append(text)
