"""Capture of what a run prints, without credentials, with progress bars in their final state."""

from __future__ import annotations

import re
import sys
import threading
import time
from typing import Any, TextIO

from rosenblatt.runs.redaction import redact
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.tracking.fork import reset_after_fork
from rosenblatt.runs.tracking.writer import Writer

MAX_CHARACTERS = 10_000_000  # characters of a run that are kept
MAX_LINE_LENGTH = 20_000  # characters of a line that is not waited for
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


class OutputCapture:
    """Keeps what is printed, line by line."""

    def __init__(self, writer: Writer, run: str) -> None:
        self._writer, self._run = writer, run
        self._partial_lines: dict[str, str] = {"stdout": "", "stderr": ""}  # lines that have not ended
        self._chunk_index, self._n_characters = 0, 0
        self._lock = threading.Lock()
        self._previous: list[tuple[str, TextIO, _Tee]] = []
        writer.add_before_write_hook(run, self.write)
        reset_after_fork(self)

    def add(self, stream: str, text: str) -> None:
        """Take what was printed; returns at once."""
        with self._lock:
            self._partial_lines[stream] += text

    def write(self, at_end: bool = False) -> None:
        """Give what was printed to the writer: whole lines, at the end all."""
        with self._lock:
            for stream, text in self._partial_lines.items():
                end = len(text) if at_end or len(text) > MAX_LINE_LENGTH else text.rfind("\n") + 1
                self._partial_lines[stream] = text[end:]
                if end and self._n_characters < MAX_CHARACTERS:
                    final_text = _final_text(text[:end])[: MAX_CHARACTERS - self._n_characters]
                    self._n_characters += len(final_text)
                    if self._n_characters >= MAX_CHARACTERS:
                        final_text += (
                            f"\n[more than {MAX_CHARACTERS:,} characters were printed; the rest is not kept]\n"
                        )
                    batch = RecordBatch()
                    batch.add_output(
                        self._run, self._writer.id, self._chunk_index, stream, time.time(), redact(final_text)
                    )
                    self._chunk_index += 1
                    self._writer.put(batch)

    def capture(self) -> None:
        """Keep from now on what this process prints through `sys.stdout` and `sys.stderr`, which it still prints."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None:
                tee = _Tee(stream, self, name)
                self._previous.append((name, stream, tee))
                setattr(sys, name, tee)

    def reset_in_child(self) -> None:
        """Record nothing of what a forked process prints, and use no lock that a thread of its parent may hold."""
        self._lock = threading.Lock()
        for _, _, tee in self._previous:
            tee.released = True

    def release(self) -> None:
        """Capture no more."""
        for name, stream, tee in self._previous:
            tee.released = True
            if getattr(sys, name) is tee:
                setattr(sys, name, stream)
        self._previous.clear()
        self.write(at_end=True)


class _Tee:
    """A stream that also keeps what is written to it."""

    def __init__(self, stream: TextIO, output: OutputCapture, name: str) -> None:
        self._stream, self._output, self._name = stream, output, name
        self.released = False

    def write(self, text: str) -> int:
        if not self.released:
            self._output.add(self._name, text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _final_text(raw: str) -> str:
    """Text as it stands on the screen in the end: what a line was overwritten with, without colors."""
    text = _ESCAPES.sub("", raw).replace("\r\n", "\n")
    if "\r" not in text:
        return text
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
