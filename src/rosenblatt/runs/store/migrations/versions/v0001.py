"""Create the tables of the first version."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "1001"
down_revision = None


def upgrade() -> None:
    """Create all tables in an empty store."""
    _create_runs()
    _create_run_table("params", ["name"], _text("value"), _number("numeric_value"), _required("explicit", sa.Boolean))
    _create_run_table("tags", ["name"], _text("value"))
    _create_run_table("metadata", ["name"], _text("value"))
    extremes = [
        column for name in ("min", "max") for column in (_number(name), sa.Column(f"{name}_step", sa.BigInteger))
    ]
    step = _required("step", sa.BigInteger)
    _create_run_table("metrics", ["name"], step, _number("last"), *extremes, _text("direction"))
    chunk_index = _required("chunk_index", sa.Integer)
    points = _required("points", sa.LargeBinary)
    _create_run_table("curve_chunks", ["metric", "writer"], chunk_index, points, more_keys=("chunk_index",))
    printed = [_required("chunk_index", sa.Integer), _text("stream"), _required("time", sa.Double), _text("text")]
    _create_run_table("output", ["writer"], *printed, more_keys=("chunk_index",))
    size = _required("bytes", sa.BigInteger)
    _create_run_table("artifacts", ["name"], _text("kind"), _text("hash"), size, _text("root"))
    op.create_index("ix_artifacts_hash", "artifacts", ["hash"])
    op.create_table("documents", sa.Column("hash", sa.Text, primary_key=True), _text("text"))


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, primary_key=True),
        *(_text(name) for name in ("experiment", "name", "kind", "state")),
        sa.Column("reason", sa.Text),
        _required("started", sa.Double),
        _number("ended"),
        _required("heartbeat", sa.Double),
        sa.Column("parent", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE")),
        sa.Column("number", sa.Integer),
        sa.Column("identity", sa.Text),
    )
    for column in ("started", "parent", "identity", "experiment"):
        op.create_index(f"ix_runs_{column}", "runs", [column])


def _create_run_table(
    name: str, text_keys: list[str], *columns: sa.Column[Any], more_keys: tuple[str, ...] = ()
) -> None:
    """Create a table of rows that belong to a run and are identified within it by the keys."""
    run = sa.Column("run", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False)
    keys = sa.PrimaryKeyConstraint("run", *text_keys, *more_keys)
    op.create_table(name, run, *map(_text, text_keys), *columns, keys)


def _text(name: str) -> sa.Column[Any]:
    return _required(name, sa.Text)


def _number(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Double)


def _required(name: str, type_: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=False)
