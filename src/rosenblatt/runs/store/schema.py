"""The tables of a store, the same in SQLite and PostgreSQL."""

from __future__ import annotations

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
    Table,
    Text,
)

VERSION = "0001"  # the newest in migrations/versions

metadata = MetaData()


def _run() -> Column[str]:
    return Column("run", Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)


runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("experiment", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),  # fit, search, trial, script, or track for what Python code reports
    Column("state", Text, nullable=False),  # running, finished, failed, stopped
    Column("reason", Text),  # why it failed or stopped
    Column("started", Double, nullable=False),  # seconds since 1970
    Column("ended", Double),
    Column("beat", Double, nullable=False),  # when it was last heard of
    Column("parent", Text, ForeignKey("runs.id", ondelete="CASCADE")),  # the search of a trial
    Column("number", Integer),  # of a trial in its search
    Column("identity", Text),  # a hash of source, spec, data and environment: runs that are equal in it are the same
    Index("runs_by_start", "started"),
    Index("runs_by_parent", "parent"),
    Index("runs_by_identity", "identity"),
    Index("runs_by_experiment", "experiment"),
)
params = Table(
    "params",
    metadata,
    _run(),
    Column("name", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("number", Double),  # where it is one
    Column("chosen", Boolean, nullable=False),  # or a default
)
tags = Table("tags", metadata, _run(), Column("name", Text, primary_key=True), Column("text", Text, nullable=False))
facts = Table(
    "facts",
    metadata,
    _run(),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),  # JSON
)
metrics = Table(
    "metrics",
    metadata,
    _run(),
    Column("name", Text, primary_key=True),
    Column("step", BigInteger, nullable=False),  # the highest: that of `last`
    Column("last", Double),  # NULL where NaN
    Column("min", Double),
    Column("min_step", BigInteger),
    Column("max", Double),
    Column("max_step", BigInteger),
    Column("best", Text, nullable=False),  # "min" or "max", whichever is better
)
chunks = Table(
    "chunks",
    metadata,
    _run(),
    Column("metric", Text, primary_key=True),
    Column("writer", Text, primary_key=True),  # several processes may write to one run
    Column("number", Integer, primary_key=True),
    Column("points", LargeBinary, nullable=False),  # see chunks.py
)
output = Table(
    "output",
    metadata,
    _run(),
    Column("writer", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("stream", Text, nullable=False),  # stdout, stderr
    Column("time", Double, nullable=False),
    Column("text", Text, nullable=False),
)
artifacts = Table(
    "artifacts",
    metadata,
    _run(),
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),  # model, figure, file, source
    Column("hash", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("root", Text, nullable=False),  # the folder or object store that holds it
    Index("artifacts_by_hash", "hash"),
)
documents = Table(  # what many runs share: source, environment
    "documents",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("text", Text, nullable=False),  # JSON
)
