"""The tables of a store, the same in SQLite and PostgreSQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    Table,
    Text,
    select,
)

VERSION = "1003"  # the newest in migrations/versions; "0001" had other tables and was never released
MAX_SEGMENTS = 2**31  # of all logs of a writer

metadata_obj = MetaData()


def _run_column() -> Column[str]:
    return Column("run", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)


runs = Table(
    "runs",
    metadata_obj,
    Column("id", Text, primary_key=True),
    Column("experiment", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),  # fit, search, trial, script, or track for what Python code reports
    Column("state", Text, nullable=False),  # running, finished, failed, stopped
    Column("reason", Text),  # of a failed or stopped run
    Column("started", Double, nullable=False),  # seconds since 1970
    Column("ended", Double),
    Column("heartbeat", Double, nullable=False),  # time of the last sign of life
    Column("parent", Text, ForeignKey("runs.id", ondelete="CASCADE")),  # the search of a trial
    Column("number", Integer),  # of a trial in its search
    Column("identity", Text),  # a hash of source, spec, data and environment; see `run_identity`
    Column("owner", Text),  # random id of the process that may write the run; NULL: any
    Index("ix_runs_started", "started"),
    Index("ix_runs_parent", "parent"),
    Index("ix_runs_identity", "identity"),
    Index("ix_runs_experiment", "experiment"),
)
params = Table(
    "params",
    metadata_obj,
    _run_column(),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("numeric_value", Double),  # NULL unless it is a number
    Column("explicit", Boolean, nullable=False),  # false: a default
)
tags = Table(
    "tags", metadata_obj, _run_column(), Column("name", Text, primary_key=True), Column("value", Text, nullable=False)
)
run_metadata = Table(
    "metadata",
    metadata_obj,
    _run_column(),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),  # JSON
)
metrics = Table(
    "metrics",
    metadata_obj,
    _run_column(),
    Column("name", Text, primary_key=True),
    Column("step", BigInteger, nullable=False),  # the highest step, that of `last`
    Column("last", Double),  # NULL: NaN
    Column("min", Double),
    Column("min_step", BigInteger),
    Column("max", Double),
    Column("max_step", BigInteger),
    Column("direction", Text, nullable=False),  # "min" or "max", whichever is better
)
curve_chunks = Table(
    "curve_chunks",
    metadata_obj,
    _run_column(),
    Column("metric", Text, primary_key=True),
    Column("writer", Text, primary_key=True),  # several processes may write to one run
    Column("chunk_index", Integer, primary_key=True),
    Column("points", LargeBinary, nullable=False),  # see curves.py
)
point_logs = Table(  # points of live runs, until they are moved to chunks; see point_log.py
    "point_logs",
    metadata_obj,
    _run_column(),
    Column("writer", Text, primary_key=True),
    Column("first_id", BigInteger, nullable=False),  # the lowest id of its segments
    Column("last_moved", Integer, nullable=False),  # the number of its last segment that was moved to chunks
    Column("names", LargeBinary),  # in the segments that were moved
)
log_segments = (
    Table(  # one for each transaction and run; their only index is the number of the row, so that few pages change
        "log_segments",
        metadata_obj,
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
        Column("run", Text, nullable=False),
        Column("is_summarized", Boolean, nullable=False),  # whether `metrics` covers this segment and those before it
        Column("names", LargeBinary),  # that are new in this segment
        Column("points", LargeBinary, nullable=False),  # of all metrics
    )
)
output = Table(
    "output",
    metadata_obj,
    _run_column(),
    Column("writer", Text, primary_key=True),
    Column("chunk_index", Integer, primary_key=True),
    Column("stream", Text, nullable=False),  # stdout, stderr
    Column("time", Double, nullable=False),
    Column("text", Text, nullable=False),
)
artifacts = Table(
    "artifacts",
    metadata_obj,
    _run_column(),
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # model, figure, file, source
    Column("hash", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("root", Text, nullable=False),  # the folder or object store
    Index("ix_artifacts_hash", "hash"),
)
documents = Table(  # shared by many runs: source, environment
    "documents",
    metadata_obj,
    Column("hash", Text, primary_key=True),
    Column("text", Text, nullable=False),  # JSON
)
queue = Table(  # experiments that wait for their turn, run or have ended; see cluster/queue.py
    "queue",
    metadata_obj,
    Column("number", Integer, primary_key=True),
    Column("machine", Text, nullable=False),  # the host on which it was added
    Column("user", Text, nullable=False),
    Column("folder", Text, nullable=False),  # in which its command starts
    Column("arguments", Text, nullable=False),  # of `rosenblatt`: JSON, a list of texts
    Column("config", Text),  # the content of the file that --config names, when it was added
    Column("output", Text),  # the path of the model that it writes
    Column("source", Text),  # a hash of the source of a script, when it was added
    Column("priority", Integer, nullable=False),  # the highest first
    Column("state", Text, nullable=False),  # waiting, running, finished, failed, cancelled
    Column("reason", Text),
    Column("run", Text),  # the id of its last run
    Column("attempts", Integer, nullable=False),  # how often it was started
    Column("added", Double, nullable=False),  # seconds since 1970
    Column("started", Double),
    Column("ended", Double),
    Column("heartbeat", Double),  # the last sign of life of its runner
    Column("owner", Text),  # the token of its runner; see owners.py
    Column("process", Text),  # the token of its process
    Column("log", Text),  # HOST:PATH of the file of its output
    Index("ix_queue_state", "state"),
)
settings = Table(  # of the store: its random id
    "settings",
    metadata_obj,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)


def log_query(*columns: Any) -> Select[Any]:
    """Select columns of logs of points and their segments."""
    log, segment = point_logs.c, log_segments.c
    is_own = segment.id.between(log.first_id, log.first_id + (MAX_SEGMENTS - 1))
    return select(*columns).select_from(point_logs.join(log_segments, is_own & (segment.run == log.run)))
