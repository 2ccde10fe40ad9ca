"""The log of the points of live runs: a segment for each transaction, moved to chunks of curves once the log is long.

A transaction that rewrote the open chunks of all curves would write each point many times. A segment holds the calls of
`Run.log` since the last one. Layout: a version byte, and whether every curve has a point of every call; the curves, as
indices of names, and their numbers of points; steps and times of the calls; the call of each point, unless every curve
has a point of every call; values. Names are written once, by the first segment that has them.

The id of a segment is its number, plus the number that the id of its writer is, times `MAX_SEGMENTS`.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Connection, Select, case, func, null, select

from rosenblatt.errors import StoreError
from rosenblatt.runs.store.curves import (
    CurvePoints,
    CurveSummary,
    encode_floats,
    encode_integers,
    make_points,
    merge,
    merge_summaries,
    read_floats,
    read_integers,
    summarize_curves,
)
from rosenblatt.runs.store.records import RecordBatch, index_name
from rosenblatt.runs.store.schema import MAX_SEGMENTS, log_query, log_segments, point_logs, runs
from rosenblatt.runs.store.store import Store

FORMAT = 1
MAX_LOG_POINTS = 4096  # points of each curve, on average, at which the log of a run is moved to chunks
MAX_LOG_BYTES = 32_000_000  # size of a log at which it is moved to chunks; larger ones are moved in parts
CHEAP_SUMMARIES = 16  # summaries that fit into a few pages of the database
SUMMARY_INTERVAL = 64  # points of a curve, on average, after which more summaries than these are written
_NAMES_HEADER = struct.Struct("<I")  # number of names in earlier segments

Entry = tuple[int, float, Mapping[str, float]]  # step, seconds since 1970, values


class RunLog:
    """What a writer knows of its log of one run: the names in it, and the summaries that are not in the store yet."""

    def __init__(self, run: str, writer: str) -> None:
        self._run, self._writer, self._is_new = run, writer, True
        self._names: dict[str, int] = {}  # as they are logged
        self._indexed_names: list[str] = []  # as they are stored
        self._summaries: dict[str, CurveSummary] = {}
        self._n_unsummarized = self._n_points = self._n_bytes = 0

    @property
    def is_long(self) -> bool:
        """Whether its points should be moved to chunks."""
        return self._n_points >= MAX_LOG_POINTS * max(len(self._names), 1) or self._n_bytes >= MAX_LOG_BYTES

    def restart(self) -> None:
        """Note that its points were moved to chunks."""
        self._n_points = self._n_bytes = 0

    def add_segment(self, batch: RecordBatch, number: int, entries: Sequence[Entry]) -> None:
        """Add a segment to a batch, and summaries if they are few compared with the points."""
        n_known, columns = len(self._names), _collect(entries, self._names)
        names = [*self._indexed_names, *map(index_name, list(self._names)[n_known:])]
        self._indexed_names = names
        steps = columns.steps[columns.calls]
        for curve, summary in zip(columns.curves, summarize_curves(steps, columns.values, columns.counts), strict=True):
            self._summaries[names[curve]] = merge_summaries(self._summaries.get(names[curve]), summary)
        self._n_unsummarized += len(columns.values)
        n_summaries = len(self._summaries)
        is_summarized = n_summaries <= CHEAP_SUMMARIES or self._n_unsummarized >= SUMMARY_INTERVAL * n_summaries
        for name in list(self._summaries) if is_summarized else names[n_known:]:
            batch.add_summary(self._run, name, self._summaries.pop(name))
        if is_summarized:
            self._n_unsummarized = 0
        first_id = int(self._writer, 16) * MAX_SEGMENTS
        if self._is_new:
            batch.add_log(self._run, self._writer, first_id)
            self._is_new = False
        new_names, points = encode_names(n_known, names[n_known:]), columns.encode()
        batch.add_segment(self._run, first_id + number, is_summarized, new_names, points)
        self._n_points += len(columns.values)
        self._n_bytes += len(points)


class _Columns(NamedTuple):
    """Points of several curves, one curve after the other, each in the order in which it was logged."""

    curves: np.ndarray  # (m,), indices of names
    counts: np.ndarray  # (m,), numbers of points
    steps: np.ndarray  # (c,), of the calls
    times: np.ndarray  # (c,), microseconds since 1970
    calls: np.ndarray  # (n,), the call of each point
    values: np.ndarray  # (n,)

    def encode(self) -> bytes:
        """Encode them as one blob."""
        is_dense = len(self.values) == len(self.curves) * len(self.steps)
        integers = (self.curves, self.counts, self.steps, self.times, *(() if is_dense else (self.calls,)))
        return bytes([FORMAT, is_dense]) + b"".join(map(encode_integers, integers)) + encode_floats(self.values)


def _collect(entries: Sequence[Entry], names: dict[str, int]) -> _Columns:
    """Arrange points by curve, and add new names to the indices of names."""
    columns: dict[str, tuple[list[int], list[float]]] = {}
    for call, (_, _, values) in enumerate(entries):
        for name, value in values.items():
            column = columns.get(name)
            if column is None:
                column = columns[name] = ([], [])
                names.setdefault(name, len(names))
            column[0].append(call)
            column[1].append(value)
    steps, times, _ = make_points([step for step, _, _ in entries], [time for _, time, _ in entries], [])
    return _Columns(
        np.array([names[name] for name in columns], np.int64),
        np.array([len(calls) for calls, _ in columns.values()], np.int64),
        steps,
        times,
        np.concatenate([np.array(calls, np.int64) for calls, _ in columns.values()]),
        np.concatenate([np.array(values, np.float64) for _, values in columns.values()]),
    )


def _check_sizes(n_points: int, counts: np.ndarray, n_bytes: int) -> None:
    """Raise ValueError if a blob describes more points than it has bytes, before memory is allocated for them."""
    if n_points > n_bytes or np.any((counts < 0) | (counts > n_bytes)):
        raise ValueError(f"more points than {n_bytes} bytes")


def _decode(blob: bytes) -> _Columns:
    """Decode a blob. Raises StoreError if it is damaged or of a later version."""
    try:
        if blob[0] != FORMAT:
            raise StoreError(f"Points are stored in format {blob[0]}, later than {FORMAT}. Upgrade Rosenblatt.")
        columns, offset = [], 2
        for _ in range(4 if blob[1] else 5):
            column, offset = read_integers(blob, offset)
            columns.append(column)
        curves, counts, steps, times = columns[:4]
        _check_sizes(len(curves) * len(steps) if blob[1] else 0, counts, len(blob))
        calls = np.tile(np.arange(len(steps)), len(curves)) if blob[1] else columns[4]
        return _Columns(curves, counts, steps, times, calls, read_floats(blob, offset, len(calls)))
    except (struct.error, IndexError, ValueError) as error:
        raise _damage() from error


def encode_names(n_known: int, names: Sequence[str]) -> bytes | None:
    """Encode names that follow those of earlier segments; None if there are none."""
    return _NAMES_HEADER.pack(n_known) + zlib.compress(json.dumps(names).encode()) if names else None


def _damage() -> StoreError:
    return StoreError("The log of points is damaged. `rosenblatt runs tidy --rescue` saves what can be read.")


class LogReader:
    """Decodes the segments of one run, in the order of their writers and numbers; only one metric, if it is given."""

    def __init__(self, metric: str | None = None) -> None:
        self._metric, self._writer = metric, ""
        self.names: list[str] = []  # of the present writer
        self._indices: dict[str, int] = {}  # of all names
        self._own_indices = np.empty(0, np.int64)  # of the names of the present writer
        self._parts: list[tuple[np.ndarray, ...]] = []

    def add_names(self, writer: str, names: bytes | None) -> None:
        """Add names that a segment of a writer has, or had. Raises StoreError if they are damaged."""
        if writer != self._writer:
            self._writer, self.names = writer, []
        if names is None:
            return
        try:
            (n_known,) = _NAMES_HEADER.unpack_from(names)
            self.names = self.names[:n_known] + json.loads(zlib.decompress(names[_NAMES_HEADER.size :]))
        except (struct.error, zlib.error, ValueError) as error:
            raise _damage() from error
        indices = [self._indices.setdefault(name, len(self._indices)) for name in self.names]
        self._own_indices = np.array(indices, np.int64)

    def add_points(self, points: bytes) -> None:
        """Add the points of a segment. Raises StoreError if they are damaged."""
        columns = _decode(points)
        try:
            part = (np.repeat(self._own_indices[columns.curves], columns.counts), columns.calls, columns.values)
            if self._metric is not None:
                selected = part[0] == self._indices.get(self._metric, -1)
                part = tuple(column[selected] for column in part)
            self._parts.append((part[0], columns.steps[part[1]], columns.times[part[1]], part[2]))
        except IndexError as error:
            raise _damage() from error

    def curves(self) -> dict[str, CurvePoints]:
        """The points of each curve in the order in which they were logged."""
        names, counts, points = self._sort()
        ends = np.cumsum(counts)
        parts = [slice(start, end) for start, end in zip(ends - counts, ends, strict=True)]
        return {name: CurvePoints(*(c[part] for c in points)) for name, part in zip(names, parts, strict=True)}

    def summarize(self) -> dict[str, CurveSummary]:
        """The summaries of all curves."""
        names, counts, points = self._sort()
        return dict(zip(names, summarize_curves(points.steps, points.values, counts), strict=True)) if names else {}

    def _sort(self) -> tuple[list[str], np.ndarray, CurvePoints]:
        """All points, sorted by curve and time; the names of the curves, and their numbers of points."""
        if not self._parts:
            return [], np.empty(0, np.int64), merge([])
        indices, steps, times, values = (np.concatenate(parts) for parts in zip(*self._parts, strict=True))
        order = np.lexsort((times, indices))
        counts = np.bincount(indices, minlength=len(self._indices))
        names = [name for name, count in zip(self._indices, counts, strict=True) if count]
        return names, counts[counts > 0], CurvePoints(steps[order], times[order], values[order])


def load_logs(connection: Connection, ids: Sequence[str], metric: str | None = None) -> dict[str, LogReader]:
    """Load the log of each run that has one."""
    query = log_query(*_SEGMENT_COLUMNS, log_segments.c.points).where(point_logs.c.run.in_(ids))
    return _read_segments(connection, query, metric)


def load_unsummarized(connection: Connection, ids: Sequence[str]) -> dict[str, dict[str, CurveSummary]]:
    """Load the summaries of points that no stored summary covers, by run and name."""
    summarized_id = func.max(log_segments.c.id).filter(log_segments.c.is_summarized)
    last_summarized = summarized_id.over(partition_by=(point_logs.c.run, point_logs.c.writer))
    points = case((log_segments.c.id > func.coalesce(last_summarized, -1), log_segments.c.points), else_=null())
    query = log_query(*_SEGMENT_COLUMNS, points).where(point_logs.c.run.in_(ids))
    return {run: reader.summarize() for run, reader in _read_segments(connection, query).items()}


_SEGMENT_COLUMNS = (point_logs.c.run, point_logs.c.writer, point_logs.c.names.label("moved"), log_segments.c.names)


def _read_segments(connection: Connection, query: Select[Any], metric: str | None = None) -> dict[str, LogReader]:
    """Read what a query selects: run, writer, names of moved and of present segments, and points."""
    readers, previous_log = dict[str, LogReader](), ("", "")
    query = query.order_by(point_logs.c.run, point_logs.c.writer, log_segments.c.id)
    for run, writer, moved_names, names, points in connection.execute(query):
        reader = readers.setdefault(run, LogReader(metric))
        if (run, writer) != previous_log:
            previous_log = run, writer
            reader.add_names(writer, moved_names)
        reader.add_names(writer, names)
        if points is not None:
            reader.add_points(points)
    return readers


def move_to_chunks(store: Store, run: str, writer: str | None = None) -> None:
    """Move the points of a run, of one or all of its writers, from the log to chunks. Raises StoreError."""
    with store.reading() as connection:
        query = log_query(point_logs.c.writer).distinct().where(point_logs.c.run == run)
        writers = [writer] if writer else list(connection.execute(query).scalars())
    for log_writer in writers:
        while _move_part(store, run, log_writer):
            pass


class _LogPart(NamedTuple):
    """The oldest segments of a log."""

    first_id: int
    last_id: int
    n_segments: int
    points: LogReader
    unsummarized: LogReader


def _read_part(connection: Connection, run: str, writer: str) -> _LogPart | None:
    """Read the oldest segments of a log, of about `MAX_LOG_BYTES`."""
    is_log = (point_logs.c.run == run, point_logs.c.writer == writer)
    query = log_query(func.max(log_segments.c.id)).where(*is_log, log_segments.c.is_summarized)
    last_summarized = connection.execute(query).scalar() or -1
    log = connection.execute(select(point_logs.c.first_id, point_logs.c.names).where(*is_log)).one_or_none()
    if log is None:
        return None
    all_points, unsummarized, n_segments, n_bytes, last_id = LogReader(), LogReader(), 0, 0, -1
    for reader in (all_points, unsummarized):
        reader.add_names(writer, log.names)
    query = log_query(*log_segments.c["id", "names", "points"]).where(*is_log).order_by(log_segments.c.id)
    for last_id, names, points in connection.execute(query):
        for reader in (all_points, unsummarized):
            reader.add_names(writer, names)
        all_points.add_points(points)
        if last_id > last_summarized:
            unsummarized.add_points(points)
        n_segments, n_bytes = n_segments + 1, n_bytes + len(points)
        if n_bytes > MAX_LOG_BYTES:
            break
    return _LogPart(log.first_id, last_id, n_segments, all_points, unsummarized) if n_segments else None


def _move_part(store: Store, run: str, writer: str) -> bool:
    """Move the oldest points of a writer in one transaction; returns whether there were any."""
    with store.reading() as connection:
        part = _read_part(connection, run, writer)
    if part is None:
        return False
    batch, last_moved = RecordBatch(), part.last_id - part.first_id
    for name, curve in part.points.curves().items():
        batch.add_chunk(run, name, writer, last_moved, curve)
    for name, summary in part.unsummarized.summarize().items():
        batch.add_summary(run, name, summary)
    is_log = (point_logs.c.run == run, point_logs.c.writer == writer)
    is_moved = (log_segments.c.run == run, log_segments.c.id.between(part.first_id, part.last_id))
    with store.writing() as connection:
        if connection.execute(log_segments.delete().where(*is_moved)).rowcount != part.n_segments:
            connection.rollback()  # another process moved or deleted them
            return False
        log = {"last_moved": last_moved, "names": encode_names(0, part.points.names)}
        connection.execute(point_logs.update().where(*is_log).values(log))
        store.write_rows(connection, batch.rows)
    return True


def move_ended_logs(store: Store) -> None:
    """Move the points of runs that have ended, and whose processes were killed, to chunks. Raises StoreError."""
    query = log_query(point_logs.c.run).distinct().join(runs, runs.c.id == point_logs.c.run)
    with store.reading() as connection:
        ended_runs = list(connection.execute(query.where(runs.c.state != "running")).scalars())
    for run in ended_runs:
        move_to_chunks(store, run)
