"""Add the id of the store, the owner of each run, and the log of points that are not yet in chunks."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "1002"
down_revision = "1001"


def upgrade() -> None:
    """Add what version 1001 lacks; existing runs have no owner."""
    settings = op.create_table(
        "settings",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.bulk_insert(settings, [{"name": "id", "value": secrets.token_hex(8)}])
    op.add_column("runs", sa.Column("owner", sa.Text))
    op.create_table(
        "point_log",
        sa.Column("run", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("segment", sa.Integer, nullable=False),
        sa.Column("points", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("run", "writer", "segment"),
    )
