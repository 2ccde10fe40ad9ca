"""Background writer of runs: takes points and records from any thread, and writes them to a store or its spool.

`Writer.log` only appends to a queue. A thread writes the content of the queue every `FLUSH_INTERVAL` seconds, in one
transaction; no more is lost if the process is killed.
"""

from __future__ import annotations

import atexit
import math
import multiprocessing
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import chain
from multiprocessing.util import Finalize, register_after_fork
from typing import TYPE_CHECKING

from rosenblatt.errors import Notify, StorageError, StoreError, StoreUnavailableError
from rosenblatt.runs.store.filters import STALE_SECONDS
from rosenblatt.runs.store.owners import new_owner
from rosenblatt.runs.store.record_store import RecordStore, move_points, open_record_store
from rosenblatt.runs.store.records import RecordBatch, Row
from rosenblatt.runs.tracking.fork import flush_after_tasks, is_child, reset_after_fork, wait_before_fork
from rosenblatt.runs.tracking.spool import Spool, deliver_all

if TYPE_CHECKING:  # loads NumPy, which a run without points does not need
    from rosenblatt.runs.store.point_log import Entry, RunLog

FLUSH_INTERVAL = 0.2  # seconds between two transactions
HEARTBEAT_INTERVAL = 10.0  # seconds between two signs of life of a run
RETRY_INTERVAL = 5.0  # seconds until an unreachable store is tried again
MAX_UNWRITTEN_BYTES = 500_000_000  # records in memory that neither the store nor the disk accepts
MAX_BULK_POINTS = 65_536  # points of a chunk that is logged as a whole

DELETED, TAKEN_OVER = "deleted", "taken over by another process"


class Writer:
    """Writes runs to a store from a thread of its own; records wait while the store cannot be reached.

    Args:
        url: The address of the store.
        notify: Called with a message when the store becomes unreachable, when it is back, and when records are lost.

    Raises:
        StoreError: If the store is damaged or of another version.
    """

    def __init__(self, url: str, notify: Notify | None = None) -> None:
        self.url = url
        self.ignored_runs: dict[str, str] = {}  # why records are ignored, by run: DELETED or TAKEN_OVER
        self.owner = new_owner()
        self.lock = threading.RLock()
        self._owners: dict[str, str] = {}  # by run, of runs that this process did not begin
        self._notify = notify or (lambda message: print(f"rosenblatt: {message}", file=sys.stderr))
        self._store: RecordStore | None = None
        self._unavailable_since: float | None = None
        self._next_attempt = 0.0
        try:
            self._store = open_record_store(url)
            deliver_all(self._store, self._notify)
        except StoreUnavailableError as error:
            self._mark_unavailable(error)
        self._start()
        atexit.register(self.close)
        if multiprocessing.parent_process():  # a forked child does not call functions of `atexit`
            _close_on_exit(self)
        reset_after_fork(self)
        wait_before_fork(self)
        register_after_fork(self, _close_on_exit)
        if is_child():  # which a pool has spawned
            flush_after_tasks(self._flush_task)

    def _start(self) -> None:
        self.id = secrets.token_hex(4)
        self._spool = Spool(self.url, self.id)
        self._points: deque[tuple[str, Entry]] = deque()
        self._batches: deque[RecordBatch] = deque()
        self._unwritten: deque[dict[str, list[Row]]] = deque()  # batches that neither store nor spool accepted
        self._n_unwritten_bytes = self._n_dropped = 0
        self._logs: dict[str, RunLog] = {}  # by run
        self._n_segments = 0  # of all runs
        self._heartbeats: dict[str, float] = {}  # by run: `time.monotonic` of the last sign of life
        self._wake = threading.Event()
        self._writing_thread: int | None = None  # the one that holds the lock
        self.closed = self._is_spool_refused = False
        self._before_write_hooks: list[tuple[str, Callable[[], object]]] = []
        self._thread = threading.Thread(target=self._loop, name="rosenblatt-runs", daemon=True)
        self._thread.start()

    def reset_in_child(self) -> None:
        """Become a new writer in a forked child, with its own thread and connections."""
        if self._store is not None:
            self._store.forget_connections()
        runs = dict(self._heartbeats)
        self._owners |= {run: self._owners.get(run, self.owner) for run in runs}
        self.owner = new_owner()
        self._spool.release()  # the lock stays with the parent
        self._start()
        self._heartbeats = dict.fromkeys(runs, time.monotonic())
        flush_after_tasks(self._flush_task)

    @property
    def store(self) -> RecordStore | None:
        """The store; None before it could be reached."""
        return self._store

    def log(self, run: str, entry: Entry) -> None:
        """Queue a point of one or more curves."""
        self._points.append((run, entry))

    def put(self, batch: RecordBatch) -> None:
        """Queue a batch."""
        self._batches.append(batch)

    def start_run(self, run: str) -> None:
        """Give regular signs of life of a run that this process owns."""
        self._heartbeats[run] = time.monotonic()

    def attach(self, run: str, owner: str) -> None:
        """Write to a run that another process owns."""
        self._owners[run] = owner

    def has_lost(self, run: str) -> bool:
        """Whether another process has taken over a run, which it can after `STALE_SECONDS` without a sign of life."""
        last_beat = self._heartbeats.get(run)
        if last_beat is not None and time.monotonic() - last_beat > STALE_SECONDS / 2:  # this process was suspended
            self.flush()
        return self.ignored_runs.get(run) == TAKEN_OVER

    def find_owner(self, run: str) -> str:
        """The owner of a run that this process writes."""
        return self._owners.get(run, self.owner)

    def take_over(self, run: str) -> bool:
        """Become the owner of a run that has ended or whose process is gone; returns False if its owner is alive.

        Points that its process left in the log are moved to chunks, before there are new ones.

        Raises:
            StoreError: If the store cannot be reached.
        """
        store = self._store or open_record_store(self.url)
        if not store.take_over(run, self.owner):
            return False
        with self.lock:
            self._move_points(run)
        return True

    def end_run(self, run: str) -> None:
        """Write everything queued, and forget a run."""
        self.flush()
        with self.lock:
            self._heartbeats.pop(run, None)
            self._before_write_hooks = [
                (other_run, hook) for other_run, hook in self._before_write_hooks if other_run != run
            ]
            self._logs.pop(run, None)
            if run not in self.ignored_runs:
                self._move_points(run)

    def add_before_write_hook(self, run: str, hook: Callable[[], object]) -> None:
        """Call a function in the writer's thread before each transaction, until the run ends."""
        with self.lock:
            self._before_write_hooks.append((run, hook))

    def flush(self) -> bool:
        """Wait until everything queued is in the store or its spool; returns False if neither accepts it."""
        try:
            self._write_pending()
        except Exception as error:  # noqa: BLE001 - errors of recording must not stop the program
            self._notify(f"recording: {error!r}")
            return False
        return not self._unwritten

    def _flush_task(self) -> None:
        """Write everything queued, unless this thread does so already, and a finalizer sends something."""
        if not self.closed and self._writing_thread != threading.get_ident():
            self.flush()

    def close(self) -> None:
        """Write everything queued, and stop."""
        if self.closed:
            return
        self.closed = True
        atexit.unregister(self.close)
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=5.0)
        if not self.flush():
            self._notify(f"{len(self._unwritten)} batches of records could not be written anywhere and are lost")
        elif self._spool.path is not None:
            self._notify(f"records wait in {self._spool.path}; the next command on this store delivers them")
        self._spool.release()
        if self._store is not None:
            self._store.close()

    def _loop(self) -> None:
        while not self.closed:
            self._wake.wait(FLUSH_INTERVAL)
            with self.lock:
                try:
                    for _, hook in list(self._before_write_hooks):
                        hook()
                except Exception as error:  # noqa: BLE001 - errors of hooks must not stop the recording
                    self._notify(f"recording: {error!r}")
                self.flush()

    def _write_pending(self) -> None:
        with self.lock:
            self._writing_thread = threading.get_ident()
            try:
                self._write_batches()
            finally:
                self._writing_thread = None

    def _write_batches(self) -> None:
        """Write what is queued and what waits, and move long logs."""
        batch = self._drain()
        if batch:
            self._unwritten.append(batch.rows)
        elif not self._unwritten and self._unavailable_since is not None:
            self._write_to_store({})
        while self._unwritten:
            rows = self._unwritten[0]
            if not self._write_to_store(rows) and not self._write_to_spool(rows):
                if batch:
                    self._limit_memory(batch.rows)
                return
            self._unwritten.popleft()
        if self._n_dropped:
            self._notify(f"{self._n_dropped:,} parts of curves and output are lost; later ones are recorded again")
        self._n_unwritten_bytes = self._n_dropped = 0
        for run, log in self._logs.items():
            if log.is_long and self._move_points(run, self.id):
                log.restart()

    def _limit_memory(self, rows: dict[str, list[Row]]) -> None:
        """Drop points and output of a batch that waits, once too much waits; segments with names explain later ones."""
        if self._n_unwritten_bytes < MAX_UNWRITTEN_BYTES:
            self._n_unwritten_bytes += sum(map(_row_size, chain.from_iterable(rows.values())))
            return
        was_complete = not self._n_dropped
        for table in ("log_segments", "curve_chunks", "output"):
            named_segments = [row for row in rows.get(table, ()) if row.get("names")]
            self._n_dropped += len(rows.get(table, ())) - len(named_segments)
            rows[table] = named_segments
        if was_complete and self._n_dropped:
            size = f"{self._n_unwritten_bytes / 1e6:,.0f} MB of records wait in memory"
            self._notify(f"{size}; until the store or the disk accepts them, further points and output are lost")

    def _drain(self) -> RecordBatch:
        """Take everything queued as one batch."""
        batch, now = RecordBatch(), time.monotonic()
        for run, last_beat in list(self._heartbeats.items()):
            if now - last_beat > HEARTBEAT_INTERVAL:
                self._heartbeats[run] = now
                batch.update_run(run)
        while self._batches:
            for table, rows in self._batches.popleft().rows.items():
                batch.rows.setdefault(table, []).extend(rows)
        self._drain_points(batch)
        self._add_owners(batch)
        return batch

    def _add_owners(self, batch: RecordBatch) -> None:
        """Say which owner wrote the records of each run."""
        for row in batch.rows.get("runs", ()):
            row["owner"] = self.find_owner(row["id"])
        runs = {row["run"] for table, rows in batch.rows.items() if table not in ("runs", "documents") for row in rows}
        for run in sorted(runs):
            batch.add_owner(run, self.find_owner(run))

    def _drain_points(self, batch: RecordBatch) -> None:
        """Add the queued points of each run as a segment of its log."""
        entries: dict[str, list[Entry]] = {}
        for _ in range(len(self._points)):
            run, entry = self._points.popleft()
            entries.setdefault(run, []).append(entry)
        for run, run_entries in entries.items():
            if run in self.ignored_runs:
                continue
            if run not in self._logs:
                from rosenblatt.runs.store.point_log import RunLog

                self._logs[run] = RunLog(run, self.id)
            self._n_segments += 1
            self._logs[run].add_segment(batch, self._n_segments, run_entries)

    def _move_points(self, run: str, writer: str | None = None) -> bool:
        """Move points of a run, by default all, from its log to chunks; False if the store cannot be reached."""
        if self._store is None or self._unavailable_since is not None or self._spool.path is not None:
            return False
        try:
            move_points(self._store, run, writer)
        except StoreUnavailableError:
            return False
        except StoreError as error:
            self._notify(f"points of run {run} stay in its log: {error}")
        return True

    def _write_to_store(self, rows: dict[str, list[Row]]) -> bool:
        """Write to the store, after records that wait in the spool; returns False if it cannot be reached."""
        if self._unavailable_since is not None and time.monotonic() < self._next_attempt:
            return False
        try:
            if self._store is None:
                self._store = open_record_store(self.url)
            if self._unavailable_since is not None or self._spool.path is not None:
                self._spool.deliver(self._store, self._notify)
            ignored_runs = self._write_rows(self._store, rows)
        except StoreError as error:
            self._mark_unavailable(error)
            return False
        if self._unavailable_since is not None:
            seconds = time.monotonic() - self._unavailable_since
            self._notify(f"the store is back after {seconds:.0f} s; waiting records are delivered")
            self._unavailable_since = None
            self._heartbeats = dict.fromkeys(self._heartbeats, -math.inf)  # what waited has times of this machine
        for run in sorted(ignored_runs - self.ignored_runs.keys(), key=len):
            self._ignore_run(self._store, run)
        return True

    def _ignore_run(self, store: RecordStore, run: str) -> None:
        """Record nothing more of a run that was deleted or taken over, and say so, but not for each trial of it."""
        self._heartbeats.pop(run, None)
        self.ignored_runs[run] = TAKEN_OVER if store.has_run(run) else DELETED
        if run.rpartition("-")[0] not in self.ignored_runs:
            self._notify(
                f"run {run} was {self.ignored_runs[run]} while it was written; its further records are ignored"
            )

    def _write_rows(self, store: RecordStore, rows: dict[str, list[Row]]) -> set[str]:
        """Write a batch; if the database rejects it, write it record by record; return the runs that are ignored."""
        try:
            return store.write(rows, is_alive=True)
        except StoreUnavailableError:
            raise
        except StoreError:
            ignored_runs, errors, owners = set[str](), dict[str, StoreError](), rows.get("owners", [])
            for table in sorted(rows.keys() - {"owners"}, key=_write_order):
                for row in rows[table]:
                    try:
                        ignored_runs |= store.write({table: [row], "owners": owners}, is_alive=True)
                    except StoreUnavailableError:
                        raise
                    except StoreError as error:
                        errors.setdefault(row.get("run") or row.get("id") or "", error)
            for run, reason in errors.items():
                self._notify(f"some records of run {run} are lost: {reason}")
            return ignored_runs - errors.keys()

    def _write_to_spool(self, rows: dict[str, list[Row]]) -> bool:
        try:
            self._spool.add(rows)
        except (OSError, StorageError) as error:
            if not self._is_spool_refused:
                self._is_spool_refused = True
                self._notify(f"records wait in memory, and are lost if this process is killed: {error}")
            return False
        return True

    def _mark_unavailable(self, error: StoreError) -> None:
        self._next_attempt = time.monotonic() + RETRY_INTERVAL
        if self._unavailable_since is None:
            self._unavailable_since = time.monotonic()
            self._notify(
                f"{error} The run goes on: records wait on this machine, and are delivered once the store is back."
            )


def _row_size(row: Row) -> int:
    """Bytes that a row takes in memory, about."""
    return 500 + sum(len(value) for value in row.values() if isinstance(value, bytes | str))


def _write_order(table: str) -> int:
    """Documents and runs are written before the records that refer to them, and changes of runs last."""
    return {"documents": 0, "runs": 1, "run_updates": 3}.get(table, 2)


def _close_on_exit(writer: Writer) -> None:
    """Close the writer at the end of a multiprocessing child, which does not call atexit functions."""
    Finalize(None, writer.close, exitpriority=10)


class _Writers:
    """The writers of this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.by_url: dict[str, Writer] = {}


_writers = _Writers()


def get_writer(url: str) -> Writer:
    """Get the writer of this process for a store. Raises StoreError."""
    wait_before_fork(_writers)  # a child must not find the lock held by a thread that it does not have
    with _writers.lock:
        writer = _writers.by_url.get(url)
        if writer is None or writer.closed:
            writer = _writers.by_url[url] = Writer(url)
        return writer
