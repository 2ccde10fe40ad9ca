"""What a worker prints while it trains, by work item."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, local

from rosenblatt.runs.tracking.output import Tee

MAX_CHARACTERS = 10_000  # of a work item; the rest is only in the log of the process
STREAMS = "stdout", "stderr"


class WorkerOutput:
    """Records what this process prints, such as warnings, by the work item in training; it is still printed.

    A thread that trains one item says so by `training`. What other threads print, such as the one that trains many
    networks together on a GPU, belongs to all items that have begun and not ended.

        output = WorkerOutput()
        with output.training((3, 0)):
            print("loss is nan")
        output.take((3, 0))  # "loss is nan\\n"
    """

    def __init__(self) -> None:
        self._texts: dict[tuple[int, int], str] = {}  # by trial and fold, of items that have not ended
        self._lock, self._thread = Lock(), local()
        self._tees = {name: Tee(getattr(sys, name), self, name) for name in STREAMS}
        for name, tee in self._tees.items():
            setattr(sys, name, tee)

    def add(self, _stream: str, text: str) -> None:
        """Take printed text."""
        current = getattr(self._thread, "key", None)
        with self._lock:
            for key in self._texts if current is None else [current]:
                self._texts[key] = (self._texts.get(key, "") + text)[: MAX_CHARACTERS + 1]

    def begin(self, key: tuple[int, int]) -> None:
        """Record what is printed for an item from now on."""
        with self._lock:
            self._texts[key] = ""

    @contextmanager
    def training(self, key: tuple[int, int]) -> Iterator[None]:
        """Begin an item, and record what this thread prints for it only."""
        self.begin(key)
        self._thread.key = key
        try:
            yield
        finally:
            self._thread.key = None

    def take(self, key: tuple[int, int]) -> str:
        """Return what was printed for an item, which has ended; it says if it was cut."""
        with self._lock:
            text = self._texts.pop(key, "")
        if len(text) > MAX_CHARACTERS:
            return f"{text[:MAX_CHARACTERS]}\n[more than {MAX_CHARACTERS:,} characters were printed]\n"
        return text

    def release(self) -> None:
        """Stop recording, and restore the streams unless another one has replaced them."""
        for name, tee in self._tees.items():
            tee.released = True
            if getattr(sys, name) is tee:
                setattr(sys, name, tee.stream)
