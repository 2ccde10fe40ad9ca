"""In: where runs are kept, and batches of rows. Out: a store that is there, is of this version, and holds them."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, case, create_engine, event, func, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InternalError, OperationalError

from rosenblatt.errors import StoreError, StoreLostError
from rosenblatt.runs.store import schema
from rosenblatt.runs.store.locations import FOLDER
from rosenblatt.runs.store.records import Batch, Row

PATIENCE = 10.0  # seconds to wait for another process that writes
_OF_RUNS = ("params", "tags", "facts", "metrics", "whole_metrics", "chunks", "output", "artifacts")
_DAMAGED = ("malformed", "not a database", "database corruption", "disk image")
_NETWORK: dict[str, Any] = {  # a server that no longer answers is lost, not waited for
    "connect_timeout": int(PATIENCE),
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "options": "-c statement_timeout=60000",
}
_MANY = 500  # names in one statement


class Store:
    """The database of runs: SQLite in a folder, or PostgreSQL.

    Args:
        url: `sqlite:///FILE`, or `postgresql://USER:PASSWORD@HOST/DATABASE`, as `places.url_of` gives it.

    Raises:
        StoreError: where it is damaged, of a later version, or its address is wrong.
        StoreLostError: where it cannot be reached.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = url
        self.engine = _engine(url, create)
        self._insert: Any = sqlite.insert if self.engine.dialect.name == "sqlite" else postgresql.insert
        self._upserts: dict[str, Any] = {}
        with self._told():
            self._to_this_version()

    def close(self) -> None:
        """Let go of the connections."""
        self.engine.dispose()

    def write(self, batch: Batch | Mapping[str, Sequence[Row]]) -> set[str]:
        """Write all or nothing. Returns the runs of the batch that are not there, since somebody deleted them.

        Raises StoreLostError where the store cannot be reached or is full.
        """
        rows = batch.rows if isinstance(batch, Batch) else batch
        with self.writing() as connection:
            if rows.get("documents"):
                connection.execute(self._upsert("documents"), rows["documents"])
            begun = _with_parents(connection, rows.get("runs", ()))
            if begun:
                connection.execute(self._upsert("runs"), begun)
            asked = {row["run"] for name, some in rows.items() if name not in ("runs", "documents") for row in some}
            gone = asked - _there(connection, asked)
            for name in _OF_RUNS:
                kept = [row for row in rows.get(name, ()) if row["run"] not in gone]
                if kept:
                    connection.execute(self._upsert(name), kept)
            for row in rows.get("changes", ()):
                changed = {column: value for column, value in row.items() if column != "run"}
                connection.execute(schema.runs.update().where(schema.runs.c.id == row["run"]).values(changed))
        return gone

    def delete(self, runs: Sequence[str]) -> int:
        """Delete runs with all that belongs to them, trials of a search too; how many there were."""
        deleted = 0
        with self.writing() as connection:
            for some in _parts(list(runs)):
                where = or_(schema.runs.c.id.in_(some), schema.runs.c.parent.in_(some))
                deleted += connection.execute(schema.runs.delete().where(where)).rowcount
        return deleted

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes. Raises StoreLostError."""
        with self._told(), self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read by. Raises StoreError, StoreLostError."""
        with self._told(), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the database in our words."""
        try:
            yield
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
            if any(words in reason for words in _DAMAGED):
                raise StoreError(
                    f"The store {shown(self.url)} is damaged ({reason}). `rosenblatt runs tidy --rescue` saves "
                    "what can be read."
                ) from error
            if isinstance(error, OperationalError | InterfaceError | InternalError) or error.connection_invalidated:
                raise StoreLostError(f"The store {shown(self.url)} cannot be reached: {reason}.") from error
            raise StoreError(f"The store {shown(self.url)} refuses what is to be written: {reason}.") from error

    def _upsert(self, name: str) -> Any:
        """A statement that writes rows of a table, and where they are there already, how they are now."""
        if name not in self._upserts:
            table: Table = schema.metadata.tables[name.removeprefix("whole_")]
            statement = self._insert(table).values({column.name: bindparam(column.name) for column in table.columns})
            new, keys = statement.excluded, [column.name for column in table.primary_key]
            if name in ("runs", "documents"):
                statement = statement.on_conflict_do_nothing(index_elements=keys)
            else:
                merged = _merged(table, new) if name == "metrics" else {}
                others = {c.name: merged.get(c.name, new[c.name]) for c in table.columns if c.name not in keys}
                statement = statement.on_conflict_do_update(index_elements=keys, set_=others)
            self._upserts[name] = statement
        return self._upserts[name]

    def _to_this_version(self) -> None:
        """Make the tables, or bring them to this version."""
        with self.engine.connect() as connection:
            version = _version(connection)
        if version == schema.VERSION:
            return
        from alembic.util import CommandError

        try:
            with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
                if self.engine.dialect.name == "postgresql":  # so that two that come at once do not both make them
                    connection.execute(text("SELECT pg_advisory_xact_lock(7265736)"))
                if _version(connection) != schema.VERSION:
                    _migrate(connection)
        except CommandError as error:
            raise StoreError(
                f"The store {shown(self.url)} has version {version!r}, written by a later Rosenblatt; this one knows "
                f"versions up to {schema.VERSION}. Upgrade: pip install --upgrade rosenblatt."
            ) from error


def shown(url: str) -> str:
    """The address of a store without its password."""
    return repr(re.sub(r"(://[^:/@]*):[^@]*@", r"\1:******@", url.removeprefix("sqlite:///")))


def _engine(url: str, create: bool) -> Engine:
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        if not create and not path.exists():
            raise StoreError(f"There is no store {str(path)!r} yet. It is made when the first run is tracked.")
        _make_folder(path.parent)
        engine = create_engine(url, connect_args={"timeout": PATIENCE, "check_same_thread": False})
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
        return engine
    if not url.startswith("postgresql://"):
        raise StoreError(f"{shown(url)} is no address of a store. Give a folder, or postgresql://USER@HOST/DATABASE.")
    try:
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        return create_engine(url, pool_pre_ping=True, connect_args=_NETWORK)
    except (ArgumentError, ValueError) as error:
        raise StoreError(f"{shown(url)} is no address of PostgreSQL: {error}.") from error
    except ModuleNotFoundError as error:
        raise StoreError("Stores in PostgreSQL need its driver: pip install 'rosenblatt[postgresql]'.") from error


def _make_folder(folder: Path) -> None:
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)  # another process may be making it
            if folder.name == FOLDER:  # what is in it is not for version control
                (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise StoreLostError(f"The folder {str(folder)!r} cannot be made: {error.strerror}.") from error


def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions are begun below
    deadline = time.monotonic() + PATIENCE
    while True:  # SQLite does not wait by itself where two processes make a file at once
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    for setting in ("synchronous = NORMAL", "foreign_keys = ON", "cache_size = -20000"):
        connection.execute(f"PRAGMA {setting}")


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _version(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", os.fspath(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _merged(table: Table, new: Any) -> dict[str, Any]:
    """How summaries of two writers of one curve become one: of equal steps the one that came later is the last."""
    old = table.c
    later = new.step >= old.step
    lower = or_(old.min.is_(None), new.min < old.min)
    higher = or_(old.max.is_(None), new.max > old.max)
    return {
        "step": case((later, new.step), else_=old.step),
        "last": case((later, new.last), else_=old.last),
        "min": case((lower, func.coalesce(new.min, old.min)), else_=old.min),
        "min_step": case((lower, func.coalesce(new.min_step, old.min_step)), else_=old.min_step),
        "max": case((higher, func.coalesce(new.max, old.max)), else_=old.max),
        "max_step": case((higher, func.coalesce(new.max_step, old.max_step)), else_=old.max_step),
    }


def _with_parents(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """Runs that begin, but for trials of a search that was deleted; searches before their trials."""
    new = {row["id"] for row in rows}
    there = new | _there(connection, {row["parent"] for row in rows if row["parent"]} - new)
    return sorted(
        (row for row in rows if not row["parent"] or row["parent"] in there), key=lambda row: bool(row["parent"])
    )


def _there(connection: Connection, asked: set[str]) -> set[str]:
    found: set[str] = set()
    for some in _parts(sorted(asked)):
        statement = select(schema.runs.c.id).where(schema.runs.c.id.in_(some))
        if connection.dialect.name == "postgresql":
            statement = statement.with_for_update(key_share=True)
        found |= set(connection.execute(statement).scalars())
    return found


def _parts(names: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(names), _MANY):
        yield names[start : start + _MANY]
