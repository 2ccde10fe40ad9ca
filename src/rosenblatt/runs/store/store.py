"""The database of runs, in SQLite or PostgreSQL: connections, migrations, and writing of record batches."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection, Table, and_, bindparam, case, func, or_, select, text
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError

from rosenblatt.errors import StoreError, StoreUnavailableError
from rosenblatt.runs.redaction import redact
from rosenblatt.runs.store import schema
from rosenblatt.runs.store.clock import database_time
from rosenblatt.runs.store.engines import (
    can_write,
    copied_database,
    make_engine,
    read_only_error,
    redact_url,
)
from rosenblatt.runs.store.filters import LOST_REASON, is_stale
from rosenblatt.runs.store.locations import STORE_FOLDER, database_file, is_sqlite_file
from rosenblatt.runs.store.permissions import close_to_others, find_other_writers
from rosenblatt.runs.store.records import RecordBatch, Row

_RUN_TABLES = (
    "params", "tags", "metadata", "metrics", "replacement_metrics", "curve_chunks", "point_logs", "log_segments",
    "output", "artifacts",
)  # fmt: skip
_DAMAGE_MESSAGES = ("malformed", "not a database", "database corruption", "disk image")
_UNAVAILABLE = (OperationalError, InterfaceError, InternalError, sqlite3.OperationalError)
_FORBIDDEN = ("42501", "25006")  # codes of PostgreSQL: no permission, a read-only transaction
_OTHER_ROLES = (  # of PostgreSQL, that can write to a table
    "SELECT rolname FROM pg_roles WHERE rolcanlogin AND NOT rolsuper AND rolname <> current_user "
    "AND has_table_privilege(oid, :table, 'INSERT, UPDATE') ORDER BY rolname"
)
_BATCH_SIZE = 500  # names in one statement
# The pool logs a failing rollback although the error is raised too; without any handler Python prints a traceback.
logging.getLogger("sqlalchemy.pool").addHandler(logging.NullHandler())


class Store:
    """The database of runs: SQLite in a folder, or PostgreSQL.

    Args:
        url: `sqlite:///FILE`, or `postgresql://USER:PASSWORD@HOST/DATABASE`, as `locations.store_url` gives it.
        create: Whether to create it if there is none, and to require that it can be written.

    Raises:
        StoreError: If it is damaged or of another version, or the address is wrong.
        StoreUnavailableError: If it cannot be reached.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self.url = url
        self.engine = make_engine(url, create)
        self._is_read_only = is_sqlite_file(url) and not can_write(database_file(url))
        self._insert: Any = import_module(f"sqlalchemy.dialects.{self.engine.dialect.name}").insert
        self._upserts: dict[str, Any] = {}
        try:
            with self._translate_errors():
                if self._is_read_only:
                    self._open_read_only()
                else:
                    self._upgrade()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def forget_connections(self) -> None:
        """Leave the connections to the process that opened them, after a fork."""
        self.engine.dispose(close=False)

    @cached_property
    def id(self) -> str:
        """The random id that the store got when it was created. Raises StoreError."""
        with self.reading() as connection:
            return str(
                connection.execute(select(schema.settings.c.value).where(schema.settings.c.name == "id")).scalar_one()
            )

    def find_other_writers(self) -> str:
        """Describe who else can write to the store, whose records are then not proof of who recorded them.

        Empty if nobody can but this user, or the role of this connection, and administrators. Raises StoreError.
        """
        if is_sqlite_file(self.url):
            return find_other_writers(database_file(self.url))
        with self.reading() as connection:
            roles = connection.execute(text(_OTHER_ROLES), {"table": schema.runs.name}).scalars().all()
        return f"the roles {', '.join(roles)}" if roles else ""

    def write(self, batch: RecordBatch | Mapping[str, Sequence[Row]], *, is_alive: bool = False) -> set[str]:
        """Write a batch completely or not at all.

        Args:
            batch: Records of runs, and the owners that wrote them.
            is_alive: Whether the process that recorded them is alive, so that they are a sign of life of its runs now.

        Returns:
            Runs that were deleted, or that another process has taken over; their records are ignored.

        Raises:
            StoreUnavailableError: If the store cannot be reached or is full.
            StoreError: If the database rejects a record.
        """
        with self.writing() as connection:
            return self.write_rows(
                connection, batch.rows if isinstance(batch, RecordBatch) else batch, is_alive=is_alive
            )

    def write_rows(
        self, connection: Connection, rows: Mapping[str, Sequence[Row]], *, is_alive: bool = False
    ) -> set[str]:
        """Write rows as a part of a transaction; see `write`."""
        if rows.get("documents"):
            connection.execute(self._upsert("documents"), rows["documents"])
        new_runs, taken_over = _filter_new_runs(connection, rows.get("runs", ()))
        if new_runs:
            connection.execute(self._upsert("runs" if is_alive else "runs_of_ended_process"), new_runs)
        ignored = taken_over | _find_ignored_runs(connection, rows)
        for name in _RUN_TABLES:
            valid_rows = [row for row in rows.get(name, ()) if row["run"] not in ignored]
            if valid_rows:
                connection.execute(self._upsert(name), valid_rows)
        for row in rows.get("run_updates", ()):
            if row["run"] not in ignored:
                connection.execute(_update_run(row, is_alive))
        return ignored

    def has_run(self, run: str) -> bool:
        """Whether a run is in the store. Raises StoreError."""
        with self.reading() as connection:
            return connection.execute(select(schema.runs.c.id).where(schema.runs.c.id == run)).scalar() is not None

    def has_log(self, run: str) -> bool:
        """Whether points of a run wait in its log; see `point_log`. Raises StoreError."""
        with self.reading() as connection:
            query = schema.log_query(schema.log_segments.c.id).where(schema.point_logs.c.run == run).limit(1)
            return connection.execute(query).scalar() is not None

    def load_state(self, run: str) -> tuple[str, str | None]:
        """Load the state and reason of a run; the state is "" if it was deleted. Raises StoreError."""
        with self.reading() as connection:
            query = select(schema.runs.c.state, schema.runs.c.reason).where(schema.runs.c.id == run)
            state, reason = connection.execute(query).one_or_none() or ("", None)
            return state, reason

    def take_over(self, run: str, owner: str) -> bool:
        """Make a process the owner of a run, and of its trials, if the run has ended or gives no sign of life.

        Returns False if another owner is alive, or another process was faster; True also if this was done before.
        """
        is_free = or_(schema.runs.c.state != "running", is_stale(), schema.runs.c.owner == owner)
        resumed = {"owner": owner, "state": "running", "reason": None, "ended": None, "heartbeat": database_time()}
        is_trial = and_(schema.runs.c.parent == run, schema.runs.c.kind == "trial")
        with self.writing() as connection:
            statement = schema.runs.update().where(schema.runs.c.id == run, is_free).values(resumed)
            if not connection.execute(statement).rowcount:
                return False
            connection.execute(schema.runs.update().where(is_trial).values(owner=owner))
        return True

    def descendants(self, runs: Sequence[str]) -> dict[str, str]:
        """Find the trials and child runs of some runs, and theirs; returns the kind of each by its id."""
        kinds: dict[str, str] = {}
        parents = list(runs)
        with self.reading() as connection:
            while parents:
                query = select(schema.runs.c.id, schema.runs.c.kind)
                rows = [
                    row
                    for batch in batches(parents)
                    for row in connection.execute(query.where(schema.runs.c.parent.in_(batch)))
                ]
                parents = [run for run, _ in rows if run not in kinds]
                kinds.update((run, kind) for run, kind in rows)
        return kinds

    def delete(self, runs: Sequence[str]) -> int:
        """Delete runs with all their records, trials and child runs; returns the number of deleted runs."""
        deleted = 0
        ids = sorted({*runs, *self.descendants(runs)})
        with self.writing() as connection:
            for batch in batches(ids):
                existing = select(func.count()).where(schema.runs.c.id.in_(batch))
                deleted += connection.execute(existing).scalar_one()
            for batch in batches(ids):
                connection.execute(schema.log_segments.delete().where(schema.log_segments.c.run.in_(batch)))
                connection.execute(schema.runs.delete().where(schema.runs.c.id.in_(batch)))
        return deleted

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction for writing. Raises StoreError."""
        if self._is_read_only:
            raise read_only_error(self.url)
        with (
            self._translate_errors(),
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a connection for reading, which sees one state of the store. Raises StoreError."""
        level = {"isolation_level": "REPEATABLE READ"} if self.engine.dialect.name == "postgresql" else {}
        with self._translate_errors(), self.engine.connect().execution_options(**level) as connection:
            yield connection

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        """Raise errors of the database as StoreError or StoreUnavailableError."""
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:  # settings of a new SQLite connection raise errors of sqlite3
            original = error.orig if isinstance(error, DBAPIError) else error
            reason = redact((str(original).strip().splitlines() or [type(original).__name__])[0])
            if any(message in reason for message in _DAMAGE_MESSAGES):
                raise StoreError(
                    f"The store {redact_url(self.url)} is damaged ({reason}). `rosenblatt runs tidy --rescue` saves "
                    "what can be read."
                ) from error
            if getattr(original, "sqlstate", None) in _FORBIDDEN:
                raise read_only_error(self.url, reason) from error
            is_lost = isinstance(error, _UNAVAILABLE) or getattr(error, "connection_invalidated", False)
            if is_lost:
                raise StoreUnavailableError(f"The store {redact_url(self.url)} cannot be reached: {reason}.") from error
            raise StoreError(f"The store {redact_url(self.url)} rejected a record: {reason}.") from error

    def _upsert(self, name: str) -> Any:
        """The statement that inserts rows of a table, or updates those that exist."""
        if name not in self._upserts:
            table: Table = schema.metadata_obj.tables[
                name.removeprefix("replacement_").removesuffix("_of_ended_process")
            ]
            values: dict[str, Any] = {column.name: bindparam(column.name) for column in table.columns}
            if name == "runs":
                values["heartbeat"] = database_time()
            statement = self._insert(table).values(values)
            new, keys = statement.excluded, [column.name for column in table.primary_key]
            if name == "log_segments":
                statement = self._insert(table).from_select([c.name for c in table.columns], _new_segment(table))
            if table.name in ("runs", "documents", "point_logs", "log_segments"):
                statement = statement.on_conflict_do_nothing(index_elements=keys)
            else:
                merge_rules = _merge_columns(table, new) if name == "metrics" else {}
                updates = {c.name: merge_rules.get(c.name, new[c.name]) for c in table.columns if c.name not in keys}
                statement = statement.on_conflict_do_update(index_elements=keys, set_=updates)
            self._upserts[name] = statement
        return self._upserts[name]

    def _open_read_only(self) -> None:
        """Read the file in its place or, if that is impossible without writing beside it, in a copy of this process."""
        with contextlib.suppress(OperationalError), self.engine.connect() as connection:
            if _read_version(connection) == schema.VERSION:
                return
        self.engine.dispose()
        with copied_database(database_file(self.url)) as self.engine:
            self._upgrade()

    def _upgrade(self) -> None:
        """Create the tables, or migrate them to this version."""
        with self.engine.connect() as connection:
            version = _read_version(connection)
        if version == schema.VERSION:
            return
        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            if self.engine.dialect.name == "postgresql":  # one process at a time
                connection.execute(text("SELECT pg_advisory_xact_lock(7265736)"))
            version = _read_version(connection)
            if version is None:
                _create(connection)
            elif version != schema.VERSION:
                _migrate(connection, self.url, version)
        if version not in (None, schema.VERSION) and is_sqlite_file(self.url) and not self._is_read_only:
            _close_to_others(database_file(self.url))


def version_error(url: str, version: str | None) -> StoreError:
    """Make the error for a store that another version of Rosenblatt wrote."""
    return StoreError(
        f"The store {redact_url(url)} has version {version!r}, but this Rosenblatt reads version {schema.VERSION}. "
        "If a later Rosenblatt wrote it, upgrade (pip install --upgrade rosenblatt); if an earlier one did, choose "
        "another store (--store, ROSENBLATT_STORE) or move this one away."
    )


def _read_version(connection: Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _create(connection: Connection) -> None:
    """Create the tables as migrations do, but without Alembic, which takes long to load."""
    schema.metadata_obj.create_all(connection, checkfirst=False)
    connection.execute(schema.settings.insert().values(name="id", value=secrets.token_hex(8)))
    connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": schema.VERSION})


def _migrate(connection: Connection, url: str, version: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", os.fspath(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise version_error(url, version) from error


def _close_to_others(database: Path) -> None:
    """Make the files of a store of an earlier version private, and say so."""
    folder = database.parent if database.parent.name == STORE_FOLDER else database
    with contextlib.suppress(OSError):  # the files belong to another user
        if close_to_others(folder, database):
            print(
                f"rosenblatt: other users could read the store {redact_url(str(database))} of an earlier version; now "
                "only you can. `chmod -R g+rX,o+rX` on its folder allows it again.",
                file=sys.stderr,
            )


def _merge_columns(table: Table, new: Any) -> dict[str, Any]:
    """SQL expressions that merge a new summary of a curve with the stored one, as `merge_summaries` does."""
    old = table.c
    is_later = new.step >= old.step
    is_lower = or_(old.min.is_(None), new.min < old.min)
    is_higher = or_(old.max.is_(None), new.max > old.max)
    return {
        "step": case((is_later, new.step), else_=old.step),
        "last": case((is_later, new.last), else_=old.last),
        "min": case((is_lower, func.coalesce(new.min, old.min)), else_=old.min),
        "min_step": case((is_lower, func.coalesce(new.min_step, old.min_step)), else_=old.min_step),
        "max": case((is_higher, func.coalesce(new.max, old.max)), else_=old.max),
        "max_step": case((is_higher, func.coalesce(new.max_step, old.max_step)), else_=old.max_step),
    }


def _new_segment(table: Table) -> Any:
    """The bound values of a segment, unless its points were moved to chunks before: it may be delivered twice."""
    values = {column.name: bindparam(column.name, type_=column.type) for column in table.columns}
    log = schema.point_logs.c
    is_own = (log.run == values["run"], values["id"].between(log.first_id, log.first_id + log.last_moved))
    row = select(*(sql.cast(value, value.type) for value in values.values()))
    return row.where(~select(log.run).where(*is_own).exists())


def _filter_new_runs(connection: Connection, rows: Sequence[Row]) -> tuple[list[Row], set[str]]:
    """Remove trials of searches that were deleted, or that another process has taken over.

    Returns the other new runs, parents before their children, and the trials and searches that were taken over.
    Children of a deleted script stay, as runs without a parent.
    """
    new_ids = {row["id"] for row in rows}
    owners = _load_owners(connection, {row["parent"] for row in rows if row["parent"]} - new_ids)
    taken_over, valid_rows = set[str](), list[Row]()
    for row in rows:
        parent = row["parent"]
        if row["kind"] == "trial" and _is_other_owner(owners.get(parent), row["owner"]):
            taken_over |= {row["id"], parent}
        elif not parent or parent in new_ids or parent in owners:
            valid_rows.append(row)
        elif row["kind"] != "trial":
            valid_rows.append({**row, "parent": None})
    return sorted(valid_rows, key=lambda row: bool(row["parent"])), taken_over


def _find_ignored_runs(connection: Connection, rows: Mapping[str, Sequence[Row]]) -> set[str]:
    """Find the runs of a batch that are not in the store, or that another process has taken over."""
    run_ids = {row["run"] for name, table in rows.items() if name not in ("runs", "documents") for row in table}
    writers = {row["run"]: row["owner"] for row in rows.get("owners", ())}
    owners = _load_owners(connection, run_ids)
    return run_ids - {run for run, owner in owners.items() if not _is_other_owner(owner, writers.get(run))}


def _is_other_owner(owner: str | None, writer: str | None) -> bool:
    return owner is not None and writer is not None and owner != writer


def _load_owners(connection: Connection, ids: set[str]) -> dict[str, str | None]:
    """Load the owner of each run that is in the store; in PostgreSQL it stays as it is until the transaction ends."""
    owners: dict[str, str | None] = {}
    for batch in batches(sorted(ids)):
        statement = select(schema.runs.c.id, schema.runs.c.owner).where(schema.runs.c.id.in_(batch))
        if connection.dialect.name == "postgresql":  # in order, so that two processes do not wait for each other
            statement = statement.order_by(schema.runs.c.id).with_for_update(key_share=True)
        owners.update((run, owner) for run, owner in connection.execute(statement))
    return owners


def _update_run(row: Row, is_alive: bool) -> Any:
    """The statement that changes a run; a sign of life shows that a run that was given up goes on."""
    values: dict[str, Any] = {column: value for column, value in row.items() if column != "run"}
    run = schema.runs.c
    if is_alive:
        values["heartbeat"] = database_time()
    if is_alive and "state" not in values:
        was_given_up = and_(run.state == "failed", run.reason == LOST_REASON)
        values |= {
            "state": case((was_given_up, "running"), else_=run.state),
            "ended": case((was_given_up, None), else_=run.ended),
            "reason": case((was_given_up, None), else_=run.reason),
        } | values
    return schema.runs.update().where(run.id == row["run"]).values(values)


def batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """Divide names into as many as one statement may have."""
    for start in range(0, len(names), _BATCH_SIZE):
        yield names[start : start + _BATCH_SIZE]
