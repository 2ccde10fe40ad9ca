"""The log of a server: a line for each request, and for each event."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from rosenblatt.serving.settings import LogFormat


class Log:
    """Writes lines as text or JSON.

    Args:
        format: of the lines; "none" writes events only.
        stream: where they go; standard error by default.
    """

    def __init__(self, format: LogFormat = "text", stream: TextIO | None = None) -> None:
        self._format, self._stream = format, stream

    def request(self, **fields: Any) -> None:
        """Write the line of a request: its id, method, path, status, milliseconds and others."""
        if self._format == "json":
            self._write(json.dumps({"time": _now(), **fields}))
        elif self._format == "text":
            line = (
                f"{fields['status']} {fields['method']} {fields['path']} {fields['milliseconds']:.1f} ms "
                f"{fields['request_id']}"
            )
            self._write(f"{_now()} {_printable(line)}")

    def event(self, message: str) -> None:
        """Write a message about the server itself."""
        line = json.dumps({"time": _now(), "event": message}) if self._format == "json" else f"{_now()} {message}"
        self._write(_printable(line))

    def _write(self, line: str) -> None:
        print(line, file=self._stream or sys.stderr, flush=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _printable(line: str) -> str:
    """A line without control characters, which could forge other lines."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
