"""The tables that migrations create are those that the code describes."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from rosenblatt.runs.store import schema
from rosenblatt.runs.store.store import Store


def list_tables(connection):
    """All tables with the types, defaults and keys of their columns, as the database describes them."""
    if connection.dialect.name == "sqlite":
        query = 'SELECT m.name, c.name, c.type, c."notnull", c.pk FROM sqlite_master m, pragma_table_info(m.name) c'
    else:
        query = (
            "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
            "WHERE table_schema = 'public'"
        )
    return sorted(map(str, connection.execute(text(query))))


def test_migrations_create_the_tables_of_the_schema(url, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.store.store._create", pytest.fail)
    monkeypatch.setattr("rosenblatt.runs.store.store._read_version", lambda _: "")
    migrated = Store(url)
    with migrated.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata_obj) == []
        tables = list_tables(connection)
        connection.execute(text("SELECT value FROM settings WHERE name = 'id'")).scalar_one()
    with migrated.writing() as connection:
        schema.metadata_obj.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    migrated.close()
    monkeypatch.undo()
    created = Store(url)
    with created.reading() as connection:
        assert list_tables(connection) == tables
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == schema.VERSION
    assert len(created.id) == 16
    created.close()
