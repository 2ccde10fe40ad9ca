"""What the trial of a process on a machine records, until the driver collects it."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Condition
from typing import Any

from rosenblatt.tuning.attempts import IDLE_WAIT_S, Attempt
from rosenblatt.tuning.trial_messages import TrialEnd, TrialReport

MAX_WAITING_BYTES = 20_000_000  # of records that wait to be collected; more make the training function wait
POINT_BYTES = 100  # of a value of a point, about
FLUSH_TIMEOUT_S = 60.0


class Outbox:
    """Records of the trial of a process, with the text that the process prints."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._attempt: Attempt | None = None
        self._is_closed = False
        self._clear()

    def _clear(self) -> None:
        self._records: dict[str, list[Any]] = {name: [] for name in ("points", "output", "batches", "curves", "files")}
        self._contents = list[bytes]()
        self._end: TrialEnd | None = None
        self._n_bytes = 0

    def begin(self, attempt: Attempt) -> TrialRelay:
        """Begin an attempt; returns what takes its records."""
        with self._changed:
            self._attempt = attempt
        return TrialRelay(self, attempt)

    def add(self, stream: str, text: str) -> None:
        """Add printed text, unless no trial is trained."""
        attempt = self._attempt
        if attempt is not None and text:
            self.record(attempt, "output", (stream, text), len(text))

    def record(self, attempt: Attempt, name: str, record: Any, n_bytes: int, content: bytes | None = None) -> None:
        """Add a record of an attempt, unless that has ended; waits while too much waits to be collected."""
        with self._changed:
            self._changed.wait_for(lambda: self._n_bytes < MAX_WAITING_BYTES or self._attempt != attempt)
            if self._attempt != attempt or self._end is not None:
                return
            self._records[name].append(record)
            if content is not None:
                self._contents.append(content)
            self._n_bytes += max(n_bytes, 1)
            self._changed.notify_all()

    def end(self, end: TrialEnd) -> None:
        """Add the end of the attempt."""
        with self._changed:
            self._end = end
            self._changed.notify_all()

    def close(self) -> None:
        """Let no collection wait for records any more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def flush(self, attempt: Attempt) -> bool:
        """Wait until all records of an attempt were collected; returns False after a minute."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._n_bytes or self._attempt != attempt, FLUSH_TIMEOUT_S)

    def take(self, window_s: float) -> tuple[TrialReport, list[bytes]] | None:
        """Wait for records, and for more of them for `window_s` seconds; None if there are none for a while."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_closed or self._has_records(), IDLE_WAIT_S):
                return None
            self._changed.wait_for(lambda: self._is_closed or self._end is not None, window_s)
            if self._attempt is None or not self._has_records():
                return None  # another thread, that of `close`, has taken them
            report = TrialReport(attempt=self._attempt, end=self._end, **self._records)
            contents = self._contents
            if self._end is not None:
                self._attempt = None
            self._clear()
            self._changed.notify_all()
        return report, contents

    def _has_records(self) -> bool:
        return bool(self._n_bytes) or self._end is not None


class TrialRelay:
    """Adds what the run of an attempt records to an outbox."""

    def __init__(self, outbox: Outbox, attempt: Attempt) -> None:
        self._outbox, self._attempt = outbox, attempt

    def add_point(self, _run: str, entry: tuple[int, float, Mapping[str, float]]) -> None:
        """Add the values of some metrics at a step."""
        step, _, values = entry
        self._outbox.record(self._attempt, "points", (step, dict(values)), POINT_BYTES * len(values))

    def add_resources(self, values: Mapping[str, float], second: int) -> None:
        """Add the resources that the process uses."""
        self.add_point("", (second, 0.0, values))

    def add_batch(self, line: str) -> None:
        """Add records, as a line of a spool."""
        self._outbox.record(self._attempt, "batches", line, len(line))

    def add_curve(self, name: str, values: list[float], steps: list[int]) -> None:
        """Add many points of one metric."""
        self._outbox.record(self._attempt, "curves", (name, values, steps), POINT_BYTES * len(values))

    def add_file(self, name: str, kind: str, content: bytes) -> None:
        """Add a file."""
        self._outbox.record(self._attempt, "files", (name, kind, len(content)), len(content), content)

    def flush(self) -> bool:
        """Wait until everything was collected; returns False after a minute."""
        return self._outbox.flush(self._attempt)
