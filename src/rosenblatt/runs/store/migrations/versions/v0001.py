"""Create the tables of the first version."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "1001"
down_revision = None


def _run_table(name: str, *columns: sa.Column[Any], key_columns: tuple[str, ...] = ()) -> None:
    op.create_table(
        name,
        sa.Column("run", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("run", *key_columns),
    )


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)


def _chunk_index() -> sa.Column[Any]:
    return sa.Column("chunk_index", sa.Integer, nullable=False)


def upgrade() -> None:
    """Create all tables in an empty store."""
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, primary_key=True),
        *(_text(name) for name in ("experiment", "name", "kind", "state")),
        sa.Column("reason", sa.Text),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("ended", sa.Double),
        sa.Column("heartbeat", sa.Double, nullable=False),
        sa.Column("parent", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE")),
        sa.Column("number", sa.Integer),
        sa.Column("identity", sa.Text),
    )
    for column in ("started", "parent", "identity", "experiment"):
        op.create_index(f"ix_runs_{column}", "runs", [column])
    _run_table(
        "params",
        _text("name"),
        _text("value"),
        sa.Column("numeric_value", sa.Double),
        sa.Column("explicit", sa.Boolean, nullable=False),
        key_columns=("name",),
    )
    _run_table("tags", _text("name"), _text("value"), key_columns=("name",))
    _run_table("metadata", _text("name"), _text("value"), key_columns=("name",))
    _run_table(
        "metrics",
        _text("name"),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("last", sa.Double),
        sa.Column("min", sa.Double),
        sa.Column("min_step", sa.BigInteger),
        sa.Column("max", sa.Double),
        sa.Column("max_step", sa.BigInteger),
        _text("direction"),
        key_columns=("name",),
    )
    _run_table(
        "curve_chunks",
        _text("metric"),
        _text("writer"),
        _chunk_index(),
        sa.Column("points", sa.LargeBinary, nullable=False),
        key_columns=("metric", "writer", "chunk_index"),
    )
    _run_table(
        "output",
        _text("writer"),
        _chunk_index(),
        _text("stream"),
        sa.Column("time", sa.Double, nullable=False),
        _text("text"),
        key_columns=("writer", "chunk_index"),
    )
    _run_table(
        "artifacts",
        _text("name"),
        _text("kind"),
        _text("hash"),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        _text("root"),
        key_columns=("name",),
    )
    op.create_index("ix_artifacts_hash", "artifacts", ["hash"])
    op.create_table("documents", sa.Column("hash", sa.Text, primary_key=True), _text("text"))
