"""In: a store that grew, or was damaged. Out: the same without what nobody refers to; or what could be read of it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from rosenblatt.errors import StoreError
from rosenblatt.runs.store import artifacts as files
from rosenblatt.runs.store import schema
from rosenblatt.runs.store.filters import is_silent
from rosenblatt.runs.store.locations import artifacts_of, folder_of
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.spool import REFUSED, deliver_left, left

FAILURES = 20_000  # ranges of a table that cannot be read, of which none can
STATE_KEPT = 30 * 86_400.0  # seconds that the state of a search is kept that nobody goes on with


def tidy(store: Store) -> dict[str, Any]:
    """Deliver what waits, end runs that were killed, remove what nobody refers to; what was done."""
    delivered = deliver_left(store)
    root = artifacts_of(store.url)
    waiting = files.deliver(store.url, root)
    now = time.time()
    with store.writing() as connection:
        runs = schema.runs
        lost = runs.update().where(is_silent()).values(state="failed", reason="it was killed", ended=runs.c.beat)
        ended = connection.execute(lost).rowcount
        used = set(connection.execute(select(schema.artifacts.c.hash).distinct()).scalars())
        referred: set[str] = set()
        for words in connection.execute(
            select(schema.facts.c.value).where(schema.facts.c.name.in_(("source", "environment")))
        ).scalars():
            referred.add(words.strip('"'))
        for digest, words in connection.execute(select(schema.documents.c.hash, schema.documents.c.text)):
            if digest in referred:
                used |= _hashes(words)
        unused = set(connection.execute(select(schema.documents.c.hash)).scalars()) - referred
        for digest in unused:
            connection.execute(schema.documents.delete().where(schema.documents.c.hash == digest))
        there = set(connection.execute(select(runs.c.id)).scalars())
    removed = files.sweep(root, used)
    states = _remove_states(folder_of(store.url) / "state", there, now)
    _shrink(store)
    return {
        "delivered": delivered,
        "delivered_files": waiting,
        "refused_records": len(left(store.url, REFUSED)),
        "killed_runs": ended,
        "removed_files": removed,
        "removed_documents": len(unused),
        "removed_states": states,
    }


def rescue(url: str, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Copy what can be read of a damaged SQLite file into a new store in its place; the damaged file is kept beside it.

    Returns {table: [rows rescued, rows lost]}. Raises StoreError where there is nothing to rescue.
    """
    if not url.startswith("sqlite:///"):
        raise StoreError("Only stores in a file can be rescued here; PostgreSQL has tools of its own.")
    path = Path(url.removeprefix("sqlite:///"))
    if not path.exists():
        raise StoreError(f"There is no file {str(path)!r} to rescue.")
    damaged = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for ending in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{ending}").replace(f"{damaged}{ending}")
    say(f"the damaged file is kept as {damaged}")
    store = Store(url)
    found: dict[str, Any] = {}
    with closing(sqlite3.connect(damaged)) as source, store.writing() as target:
        target.execute(text("PRAGMA defer_foreign_keys = ON"))
        for table in schema.metadata.sorted_tables:
            rows, lost = _readable(source, table.name)
            names = [column.name for column in table.columns]
            places = ", ".join("?" * len(names))
            sql = f"INSERT OR IGNORE INTO {table.name} ({', '.join(names)}) VALUES ({places})"  # noqa: S608 - our names
            for row in rows:
                target.exec_driver_sql(sql, tuple(row[name] for name in names))
            found[table.name] = [len(rows), lost]
        for table in schema.metadata.sorted_tables:
            if "run" in table.columns:
                target.execute(table.delete().where(table.c.run.not_in(select(schema.runs.c.id))))
        orphans = schema.runs.c.parent.is_not(None) & schema.runs.c.parent.not_in(select(schema.runs.c.id))
        target.execute(schema.runs.update().where(orphans).values(parent=None))
    store.close()
    return found


def _readable(source: sqlite3.Connection, table: str) -> tuple[list[dict[str, Any]], int]:
    """All rows of a table that can be read, and about how many cannot."""
    source.row_factory = sqlite3.Row
    try:
        low, high = source.execute(f"SELECT min(rowid), max(rowid) FROM {table}").fetchone()  # noqa: S608 - our names
    except sqlite3.DatabaseError:
        low, high = 1, 10_000_000
    if low is None:
        return [], 0
    found: list[dict[str, Any]] = []
    lost, failures, parts = 0, 0, [(low, high)]
    while parts:
        first, last = parts.pop()
        try:
            query = f"SELECT * FROM {table} WHERE rowid BETWEEN ? AND ?"  # noqa: S608 - our names
            found += [dict(row) for row in source.execute(query, (first, last)).fetchall()]
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error) or "not a database" in str(error):
                return found, 0
            failures += 1
            if failures > FAILURES and not found:  # the root of the table, not some of its leaves
                return found, 0
            if first == last:
                lost += 1
                continue
            middle = (first + last) // 2
            parts += [(middle + 1, last), (first, middle)]
    return found, lost


def _hashes(words: str) -> set[str]:
    """The files that a source refers to."""
    source = json.loads(words)
    entries = source.get("files", {}).values() if isinstance(source, dict) else ()
    return {entry["hash"] for entry in entries if isinstance(entry, dict) and "hash" in entry}


def _remove_states(folder: Path, runs: set[str], now: float) -> int:
    """Remove states of searches that were deleted, or that nobody went on with for long."""
    removed = 0
    for state in folder.glob("*") if folder.is_dir() else ():
        if state.name not in runs or now - state.stat().st_mtime > STATE_KEPT:
            shutil.rmtree(state, ignore_errors=True)
            removed += 1
    return removed


def _shrink(store: Store) -> None:
    """Give room that is free back to the disk."""
    if store.engine.dialect.name == "sqlite":
        with closing(store.engine.raw_connection()) as raw:
            raw.cursor().execute("VACUUM")
    else:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM")
