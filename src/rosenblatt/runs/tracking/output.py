"""Capture of the output of a run, with credentials masked and progress bars in their final state."""

from __future__ import annotations

import re
import sys
import threading
import time
from typing import Any, Protocol, TextIO

from rosenblatt.runs.redaction import StreamRedactor
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.tracking.fork import reset_after_fork
from rosenblatt.runs.tracking.writer import Writer

MAX_CHARACTERS = 10_000_000  # characters of a run; the rest is not recorded
MAX_LINE_LENGTH = 20_000  # longer lines are written before they end
MAX_WORD_LENGTH = 1_000_000  # lines without a blank are written before they end only if they are even longer
# of terminals: colors and movements, titles and links up to their end, character sets
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]{0,5000}(?:\x07|\x1b\\)|\x1b[ -/]*[0-Z\\^-~]")


class OutputCapture:
    """Records printed text line by line."""

    def __init__(self, writer: Writer, run: str) -> None:
        self._writer, self._run = writer, run
        self._partial_lines: dict[str, str] = {"stdout": "", "stderr": ""}  # by stream
        self._redactors = {stream: StreamRedactor() for stream in self._partial_lines}
        self._chunk_index, self._n_characters = 0, 0
        self._lock = threading.Lock()
        self._previous: list[tuple[str, TextIO, Tee]] = []
        writer.add_before_write_hook(run, self.write)
        reset_after_fork(self)

    def add(self, stream: str, text: str) -> None:
        """Queue printed text."""
        with self._lock:
            self._partial_lines[stream] += text

    def write(self, at_end: bool = False) -> None:
        """Record complete lines; at the end also the last, incomplete one."""
        with self._lock:
            for stream, text in self._partial_lines.items():
                end = len(text) if at_end else text.rfind("\n") + 1 or _end_of_word(text)
                self._partial_lines[stream] = text[end:]
                if end and self._n_characters < MAX_CHARACTERS:
                    redacted = self._redactors[stream].redact(final_text(text[:end]))
                    redacted = redacted[: MAX_CHARACTERS - self._n_characters]
                    self._n_characters += len(redacted)
                    if self._n_characters >= MAX_CHARACTERS:
                        redacted += (
                            f"\n[more than {MAX_CHARACTERS:,} characters were printed; the rest is not recorded]\n"
                        )
                    batch = RecordBatch()
                    batch.add_output(self._run, self._writer.id, self._chunk_index, stream, time.time(), redacted)
                    self._chunk_index += 1
                    self._writer.put(batch)

    def capture(self) -> None:
        """Record what is written to `sys.stdout` and `sys.stderr` from now on; it is still printed."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None:
                tee = Tee(stream, self, name)
                self._previous.append((name, stream, tee))
                setattr(sys, name, tee)

    def reset_in_child(self) -> None:
        """Stop recording in a forked child, and replace the lock, which a thread of the parent may hold."""
        self._lock = threading.Lock()
        for _, _, tee in self._previous:
            tee.released = True

    def release(self) -> None:
        """Stop recording, and restore the streams."""
        for name, stream, tee in self._previous:
            tee.released = True
            if getattr(sys, name) is tee:
                setattr(sys, name, stream)
        self._previous.clear()
        self.write(at_end=True)


class OutputSink(Protocol):
    """Takes what is printed."""

    def add(self, stream: str, text: str) -> None:
        """Take printed text."""


class Tee:
    """A stream that also passes text on to a sink."""

    def __init__(self, stream: TextIO, output: OutputSink, name: str) -> None:
        self.stream, self._output, self._name = stream, output, name
        self.released = False

    def write(self, text: str) -> int:
        """Write text to the stream, and pass it on."""
        if not self.released:
            self._output.add(self._name, text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _end_of_word(line: str) -> int:
    """Where to cut a line that is too long: after its last blank, so that no credential is cut; 0 if it is not."""
    if len(line) <= MAX_LINE_LENGTH:
        return 0
    return line.rfind(" ") + 1 or (len(line) if len(line) > MAX_WORD_LENGTH else 0)


def final_text(raw: str) -> str:
    """Convert raw output to the text that remains on the screen, without colors and overwritten lines."""
    text = _ESCAPES.sub("", raw).replace("\r\n", "\n")
    if "\r" not in text:
        return text
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
