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
        "point_logs",
        sa.Column("run", sa.Text, sa.ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("writer", sa.Text, nullable=False),
        sa.Column("first_id", sa.BigInteger, nullable=False),
        sa.Column("last_moved", sa.Integer, nullable=False),
        sa.Column("names", sa.LargeBinary),
        sa.PrimaryKeyConstraint("run", "writer"),
    )
    op.create_table(
        "log_segments",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("is_summarized", sa.Boolean, nullable=False),
        sa.Column("names", sa.LargeBinary),
        sa.Column("points", sa.LargeBinary, nullable=False),
    )
