"""The first tables: those of schema.py."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _of_run(name: str, *columns: sa.Column[Any], more: tuple[str, ...] = ()) -> None:
    op.create_table(
        name,
        sa.Column("run", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("run", *more),
    )


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)


def _number() -> sa.Column[Any]:
    return sa.Column("number", sa.Integer, nullable=False)


def upgrade() -> None:
    """From an empty store."""
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, primary_key=True),
        *(_text(name) for name in ("experiment", "name", "kind", "state")),
        sa.Column("reason", sa.Text),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("ended", sa.Double),
        sa.Column("beat", sa.Double, nullable=False),
        sa.Column("parent", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE")),
        sa.Column("number", sa.Integer),
        sa.Column("identity", sa.Text),
    )
    for index, column in (("start", "started"), ("parent", "parent"), ("identity", "identity"), ("experiment",) * 2):
        op.create_index(f"runs_by_{index}", "runs", [column])
    _of_run(
        "params",
        _text("name"),
        _text("text"),
        sa.Column("number", sa.Double),
        sa.Column("chosen", sa.Boolean, nullable=False),
        more=("name",),
    )
    _of_run("tags", _text("name"), _text("text"), more=("name",))
    _of_run("facts", _text("name"), _text("value"), more=("name",))
    _of_run(
        "metrics",
        _text("name"),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("last", sa.Double),
        sa.Column("min", sa.Double),
        sa.Column("min_step", sa.BigInteger),
        sa.Column("max", sa.Double),
        sa.Column("max_step", sa.BigInteger),
        _text("best"),
        more=("name",),
    )
    _of_run(
        "chunks",
        _text("metric"),
        _text("writer"),
        _number(),
        sa.Column("points", sa.LargeBinary, nullable=False),
        more=("metric", "writer", "number"),
    )
    _of_run(
        "output",
        _text("writer"),
        _number(),
        _text("stream"),
        sa.Column("time", sa.Double, nullable=False),
        _text("text"),
        more=("writer", "number"),
    )
    _of_run(
        "artifacts",
        _text("name"),
        _text("kind"),
        _text("hash"),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        _text("root"),
        more=("name",),
    )
    op.create_index("artifacts_by_hash", "artifacts", ["hash"])
    op.create_table("documents", sa.Column("hash", sa.Text, primary_key=True), _text("text"))
