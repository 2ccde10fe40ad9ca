"""The tables that migrations create are those that the code describes."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from rosenblatt.runs.store import schema


def test_migrations_create_the_tables_of_the_schema(store):
    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema.metadata_obj) == []
