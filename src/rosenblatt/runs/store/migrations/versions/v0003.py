"""Add the queue of experiments."""

import sqlalchemy as sa
from alembic import op

revision = "1003"
down_revision = "1002"


def upgrade() -> None:
    """Create the table of the queue, which is empty."""
    op.create_table(
        "queue",
        sa.Column("number", sa.Integer, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("machine", "user", "folder", "arguments")),
        *(sa.Column(name, sa.Text) for name in ("config", "output", "source")),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("reason", "run")),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("added", sa.Double, nullable=False),
        *(sa.Column(name, sa.Double) for name in ("started", "ended", "heartbeat")),
        *(sa.Column(name, sa.Text) for name in ("owner", "process", "log")),
    )
    op.create_index("ix_queue_state", "queue", ["state"])
