"""In: what a run prints. Out: batches that keep it, without credentials, and with progress bars as they ended."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
import weakref
from typing import Any, TextIO

from rosenblatt.runs.redaction import masked
from rosenblatt.runs.store.records import Batch
from rosenblatt.runs.tracking.writer import Writer

MOST = 10_000_000  # characters of a run that are kept
LONG = 20_000  # characters of a line that is not waited for
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")


class Output:
    """Keeps what is printed, line by line."""

    def __init__(self, writer: Writer, run: str) -> None:
        self._writer, self._run = writer, run
        self._open: dict[str, str] = {"stdout": "", "stderr": ""}  # lines that have not ended
        self._number, self._kept = 0, 0
        self._lock = threading.Lock()
        self._previous: list[tuple[str, TextIO, _Tee]] = []
        writer.every_time(run, self.write)
        _outputs.add(self)

    def add(self, stream: str, words: str) -> None:
        """Take what was printed; returns at once."""
        with self._lock:
            self._open[stream] += words

    def write(self, at_end: bool = False) -> None:
        """Give what was printed to the writer: whole lines, at the end all."""
        with self._lock:
            for stream, words in self._open.items():
                whole = len(words) if at_end or len(words) > LONG else words.rfind("\n") + 1
                self._open[stream] = words[whole:]
                if whole and self._kept < MOST:
                    shown = _settled(words[:whole])[: MOST - self._kept]
                    self._kept += len(shown)
                    if self._kept >= MOST:
                        shown += f"\n[more than {MOST:,} characters were printed; the rest is not kept]\n"
                    batch = Batch()
                    batch.output(self._run, self._writer.id, self._number, stream, time.time(), masked(shown))
                    self._number += 1
                    self._writer.put(batch)

    def capture(self) -> None:
        """Keep from now on what this process prints through `sys.stdout` and `sys.stderr`, which it still prints."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None:
                tee = _Tee(stream, self, name)
                self._previous.append((name, stream, tee))
                setattr(sys, name, tee)

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

    def __init__(self, stream: TextIO, output: Output, name: str) -> None:
        self._stream, self._output, self._name = stream, output, name
        self.released = False

    def write(self, words: str) -> int:
        if not self.released:
            self._output.add(self._name, words)
        return self._stream.write(words)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_outputs: weakref.WeakSet[Output] = weakref.WeakSet()


def _after_fork() -> None:
    """A forked process prints on its own: what it prints is not kept, and no lock of its parent's threads holds it."""
    for output in list(_outputs):
        output._lock = threading.Lock()  # noqa: SLF001
        for _, _, tee in output._previous:  # noqa: SLF001
            tee.released = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _settled(words: str) -> str:
    """Text as it stands on the screen in the end: what a line was overwritten with, without colors."""
    plain = _ESCAPES.sub("", words).replace("\r\n", "\n")
    if "\r" not in plain:
        return plain
    return "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in plain.split("\n"))
