"""In: points and facts of runs, from any thread, at any rate. Out: batches in a store, or in a spool until it is back.

`Writer.log` only appends to a queue. A thread takes what is there every `PAUSE` seconds, and writes it in one
transaction; that is the most that is lost when the process is killed.
"""

from __future__ import annotations

import atexit
import os
import secrets
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.util import Finalize, register_after_fork
from typing import Any

import numpy as np

from rosenblatt.errors import StoreError, StoreLostError
from rosenblatt.runs.store.curves import POINTS, Points, Summary, summary
from rosenblatt.runs.store.records import Batch, Row
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.spool import Spool, deliver_all

PAUSE = 0.2  # seconds between two writings
BEAT = 10.0  # seconds between two signs of life of a run
RETRY = 5.0  # seconds until a store that was lost is tried again
LARGE = 65_536  # points of a chunk that came at once

Entry = tuple[int, float, Mapping[str, float]]  # step, seconds since 1970, values


class Curve:
    """One curve of one run as this process writes it: a chunk that is still open, and the summary of all."""

    __slots__ = ("changed", "number", "steps", "summary", "times", "values")

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.times: list[float] = []
        self.values: list[float] = []
        self.number = 0
        self.summary: Summary | None = None
        self.changed = False

    def close(self) -> None:
        """Write to the open chunk no more: it was put where nothing can be replaced."""
        if self.steps:
            self.summary = joint(self.summary, summary(points_of(self.steps, self.times, self.values)))
            self.number += 1
            for column in (self.steps, self.times, self.values):
                column.clear()

    def write(self, batch: Batch, run: str, name: str, writer: str) -> None:
        """Put the open chunk as it is now, and full ones, into a batch."""
        for start in range(0, len(self.steps), POINTS):
            part = slice(start, start + POINTS)
            points = points_of(self.steps[part], self.times[part], self.values[part])
            batch.curve(run, name, writer, self.number + start // POINTS, points, joint(self.summary, summary(points)))
            if start + POINTS <= len(self.steps):
                self.summary = joint(self.summary, summary(points))
        full = len(self.steps) // POINTS
        self.number += full
        for column in (self.steps, self.times, self.values):
            del column[: full * POINTS]
        self.changed = False


def points_of(steps: Sequence[int] | np.ndarray, times: Sequence[float] | np.ndarray, values: Any) -> Points:
    """Points from lists or arrays (n,); times in seconds."""
    micro = np.round(np.asarray(times, np.float64) * 1e6).astype(np.int64)
    return Points(np.asarray(steps, np.int64), micro, np.asarray(values, np.float64))


def joint(before: Summary | None, after: Summary) -> Summary:
    """The summary of two parts of a curve, of which the second came later."""
    if before is None:
        return after
    step, last = (after.step, after.last) if after.step >= before.step else (before.step, before.last)
    low = after if before.min is None or (after.min is not None and after.min < before.min) else before
    high = after if before.max is None or (after.max is not None and after.max > before.max) else before
    return Summary(step, last, low.min, low.min_step, high.max, high.max_step)


class Writer:
    """Writes runs to a store from a thread of its own.

    Args:
        say: told, once each, where the store is lost, where records wait, and that it is back.

    Raises StoreError where the store is damaged or of a later version; where it only cannot be reached, records wait.
    """

    def __init__(self, url: str, say: Callable[[str], None] | None = None) -> None:
        self.url = url
        self.deleted: set[str] = set()  # runs that somebody deleted meanwhile
        self._say = say or (lambda message: print(f"rosenblatt: {message}", file=sys.stderr))
        self._store: Store | None = None
        self._lost_since: float | None = None
        self._retry = 0.0
        try:
            self._store = Store(url)
            deliver_all(self._store)
        except StoreLostError as error:
            self._is_lost(error)
        self._start()
        _writers.add(self)
        register_after_fork(self, _at_its_end)

    def _start(self) -> None:
        self.id = secrets.token_hex(4)
        self._spool = Spool(self.url, self.id)
        self._points: deque[tuple[str, Entry]] = deque()
        self._batches: deque[Batch] = deque()
        self._unwritten: list[dict[str, list[Row]]] = []  # what neither store nor spool took
        self._curves: dict[tuple[str, str], Curve] = {}
        self._alive: dict[str, float] = {}  # runs, and when a sign of life was last given
        self._wake, self._work = threading.Event(), threading.Lock()
        self.closed = False
        self._before_writing: list[tuple[str, Callable[[], object]]] = []
        self._thread = threading.Thread(target=self._loop, name="rosenblatt-runs", daemon=True)
        self._thread.start()

    def restart_in_child(self) -> None:
        """After a fork: this process is another writer, and has threads and connections of its own."""
        if self._store is not None:
            self._store.engine.dispose(close=False)
        alive = dict(self._alive)
        self._start()
        self._alive = dict.fromkeys(alive, time.time())

    def log(self, run: str, entry: Entry) -> None:
        """Take a point of one or more curves; returns at once."""
        self._points.append((run, entry))

    def put(self, batch: Batch) -> None:
        """Take a batch; returns at once."""
        self._batches.append(batch)

    def begin(self, run: str) -> None:
        """Give signs of life of a run from now on."""
        self._alive[run] = time.time()

    def end(self, run: str) -> None:
        """Write all of a run, and give no more signs of life."""
        self.flush()
        with self._work:
            self._alive.pop(run, None)
            self._before_writing = [(other, call) for other, call in self._before_writing if other != run]
            for key in [key for key in self._curves if key[0] == run]:
                del self._curves[key]

    def every_time(self, run: str, call: Callable[[], object]) -> None:
        """Have something called before each writing, in the writer's thread, until the run ends."""
        with self._work:
            self._before_writing.append((run, call))

    def flush(self) -> bool:
        """Return once all that was taken is in the store, or in the spool; False where neither took it."""
        try:
            self._deliver()
        except Exception as error:  # noqa: BLE001 - recording must not stop what is recorded
            self._say(f"recording: {error!r}")
            return False
        return not self._unwritten

    def close(self) -> None:
        """Write all, and end."""
        if self.closed:
            return
        self.closed = True
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)
        if not self.flush():
            self._say(f"{len(self._unwritten)} batches of records could be written nowhere and are lost")
        elif self._spool.path is not None:
            self._say(f"records wait in {self._spool.path}; the next command on this store delivers them")
        self._spool.leave()
        if self._store is not None:
            self._store.close()

    def _loop(self) -> None:
        while not self.closed:
            self._wake.wait(PAUSE)
            try:
                for _, call in list(self._before_writing):
                    call()
            except Exception as error:  # noqa: BLE001 - whatever happens there must not stop the recording
                self._say(f"recording: {error!r}")
            self.flush()

    def _deliver(self) -> None:
        with self._work:
            batch = self._taken()
            waiting = self._unwritten + ([batch.rows] if batch else [])
            if not waiting and self._lost_since is None:
                return
            self._unwritten = waiting
            while self._unwritten:
                rows = self._unwritten[0]
                if not self._into_store(rows):
                    for curve in self._curves.values():
                        curve.close()
                    if not self._into_spool(rows):
                        return
                self._unwritten = self._unwritten[1:]
            if not waiting:
                self._into_store({})

    def _taken(self) -> Batch:
        """All that came since the last time, as one batch."""
        batch, now = Batch(), time.time()
        while self._batches:
            for table, rows in self._batches.popleft().rows.items():
                batch.rows.setdefault(table, []).extend(rows)
        self._take_points(batch)
        for run, beat in list(self._alive.items()):
            if now - beat > BEAT:
                self._alive[run] = now
                batch.change(run)
        return batch

    def _take_points(self, batch: Batch) -> None:
        """Put the points that came to their curves, and these into the batch."""
        changed: list[tuple[str, str]] = []
        curves = self._curves
        for _ in range(len(self._points)):
            run, (step, seconds, values) = self._points.popleft()
            if run in self.deleted:
                continue
            for name, value in values.items():
                curve = curves.get((run, name))
                if curve is None:
                    curve = curves[run, name] = Curve()
                curve.steps.append(step)
                curve.times.append(seconds)
                curve.values.append(value)
                if not curve.changed:
                    curve.changed = True
                    changed.append((run, name))
        for run, name in changed:
            curves[run, name].write(batch, run, name, self.id)

    def _into_store(self, rows: dict[str, list[Row]]) -> bool:
        """Write to the store, what waits in the spool first; False where it is lost."""
        if self._lost_since is not None and time.monotonic() < self._retry:
            return False
        try:
            if self._store is None:
                self._store = Store(self.url)
            if self._lost_since is not None or self._spool.path is not None:
                self._spool.deliver(self._store)
            gone = self._written(self._store, rows)
        except StoreError as error:
            self._is_lost(error)
            return False
        if self._lost_since is not None:
            self._say(f"the store is back after {time.monotonic() - self._lost_since:.0f} s; what waited is delivered")
            self._lost_since = None
        for run in sorted(gone - self.deleted, key=len):
            self.deleted.add(run)
            self._alive.pop(run, None)
            if run.rpartition("-")[0] in self.deleted:  # a trial of a search that was
                continue
            self._say(f"run {run} was deleted while it was written; what comes of it is no longer kept")
        return True

    def _written(self, store: Store, rows: dict[str, list[Row]]) -> set[str]:
        """Write a batch; where the database refuses it for good, what it takes of it. The runs that are not there."""
        try:
            return store.write(rows)
        except StoreLostError:
            raise
        except StoreError:
            gone: set[str] = set()
            for run, part in _by_run(rows).items():
                try:
                    gone |= store.write(part)
                except StoreLostError:
                    raise
                except StoreError as error:
                    self._say(f"some records of run {run} are left out: {error}")
            return gone

    def _into_spool(self, rows: dict[str, list[Row]]) -> bool:
        try:
            self._spool.add(rows)
        except OSError:
            return False
        return True

    def _is_lost(self, error: StoreError) -> None:
        self._retry = time.monotonic() + RETRY
        if self._lost_since is None:
            self._lost_since = time.monotonic()
            self._say(f"{error} Nothing stops: records are kept on this machine, and delivered when it is back.")


def _by_run(rows: dict[str, list[Row]]) -> dict[str, dict[str, list[Row]]]:
    """A batch in parts, one for each run; documents, which have none, first."""
    parts: dict[str, dict[str, list[Row]]] = {}
    for table in sorted(rows, key=lambda name: name != "documents"):
        for row in rows[table]:
            run = row.get("run") or row.get("id") or ""
            parts.setdefault(run, {}).setdefault(table, []).append(row)
    return parts


def _at_its_end(writer: Writer) -> None:
    """Have a child of multiprocessing, which ends without what atexit has, write what is left."""
    Finalize(None, writer.close, exitpriority=10)


_open: dict[str, Writer] = {}
_writers: weakref.WeakSet[Writer] = weakref.WeakSet()
_opening = threading.Lock()


def writer_of(url: str) -> Writer:
    """The writer of this process for a store. Raises StoreError."""
    with _opening:
        writer = _open.get(url)
        if writer is None or writer.closed:
            writer = _open[url] = Writer(url)
        return writer


def close_all() -> None:
    """Write what is left, at the end of the process."""
    for writer in list(_writers):
        writer.close()


def _after_fork() -> None:
    for writer in list(_writers):
        writer.restart_in_child()


atexit.register(close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
