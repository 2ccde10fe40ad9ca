"""Maintenance of a store: deliver spooled records, collect garbage, recover damaged SQLite files."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from rosenblatt.errors import Notify, StoreError
from rosenblatt.runs.store import artifacts as files
from rosenblatt.runs.store import schema
from rosenblatt.runs.store.filters import is_stale
from rosenblatt.runs.store.locations import artifact_root, store_folder
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.spool import REJECTED_SUFFIX, deliver_pending, pending_files

MAX_READ_FAILURES = 20_000  # ranges of a table that cannot be read, of which none can
STATE_RETENTION_SECONDS = 30 * 86_400.0  # seconds that the state of a search is kept that nobody goes on with


def cleanup(store: Store) -> dict[str, Any]:
    """Deliver what waits, end runs that were killed, remove what nobody refers to; what was done."""
    n_delivered = deliver_pending(store)
    root = artifact_root(store.url)
    n_delivered_files = files.deliver(store.url, root)
    now = time.time()
    with store.writing() as connection:
        runs = schema.runs
        end_lost_runs = (
            runs.update().where(is_stale()).values(state="failed", reason="it was killed", ended=runs.c.heartbeat)
        )
        n_ended = connection.execute(end_lost_runs).rowcount
        used_hashes = set(connection.execute(select(schema.artifacts.c.hash).distinct()).scalars())
        referenced: set[str] = set()
        for reference in connection.execute(
            select(schema.run_metadata.c.value).where(schema.run_metadata.c.name.in_(("source", "environment")))
        ).scalars():
            referenced.add(reference.strip('"'))
        for digest, document in connection.execute(select(schema.documents.c.hash, schema.documents.c.text)):
            if digest in referenced:
                used_hashes |= _referenced_hashes(document)
        unused_documents = set(connection.execute(select(schema.documents.c.hash)).scalars()) - referenced
        for digest in unused_documents:
            connection.execute(schema.documents.delete().where(schema.documents.c.hash == digest))
        run_ids = set(connection.execute(select(runs.c.id)).scalars())
    n_removed_files = files.collect_garbage(root, used_hashes)
    n_removed_states = _remove_states(store_folder(store.url) / "state", run_ids, now)
    _vacuum(store)
    return {
        "delivered_batches": n_delivered,
        "delivered_files": n_delivered_files,
        "rejected_files": len(pending_files(store.url, REJECTED_SUFFIX)),
        "killed_runs": n_ended,
        "removed_files": n_removed_files,
        "removed_documents": len(unused_documents),
        "removed_states": n_removed_states,
    }


def recover(url: str, notify: Notify = print) -> dict[str, Any]:
    """Copy what can be read of a damaged SQLite file into a new store in its place; the damaged file is kept beside it.

    Returns {table: [rows rescued, rows lost]}. Raises StoreError where there is nothing to rescue.
    """
    if not url.startswith("sqlite:///"):
        raise StoreError("Only stores in a file can be rescued here; PostgreSQL has tools of its own.")
    path = Path(url.removeprefix("sqlite:///"))
    if not path.exists():
        raise StoreError(f"There is no file {str(path)!r} to rescue.")
    damaged_path = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{damaged_path}{suffix}")
    notify(f"the damaged file is kept as {damaged_path}")
    store = Store(url)
    counts: dict[str, Any] = {}
    with closing(sqlite3.connect(damaged_path)) as source, store.writing() as target:
        target.execute(text("PRAGMA defer_foreign_keys = ON"))
        for table in schema.metadata_obj.sorted_tables:
            rows, n_lost = _read_rows(source, table.name)
            names = [column.name for column in table.columns]
            placeholders = ", ".join("?" * len(names))
            sql = f"INSERT OR IGNORE INTO {table.name} ({', '.join(names)}) VALUES ({placeholders})"  # noqa: S608 - our names
            for row in rows:
                target.exec_driver_sql(sql, tuple(row[name] for name in names))
            counts[table.name] = [len(rows), n_lost]
        for table in schema.metadata_obj.sorted_tables:
            if "run" in table.columns:
                target.execute(table.delete().where(table.c.run.not_in(select(schema.runs.c.id))))
        orphans = schema.runs.c.parent.is_not(None) & schema.runs.c.parent.not_in(select(schema.runs.c.id))
        target.execute(schema.runs.update().where(orphans).values(parent=None))
    store.close()
    return counts


def _read_rows(source: sqlite3.Connection, table: str) -> tuple[list[dict[str, Any]], int]:
    """All rows of a table that can be read, and about how many cannot."""
    source.row_factory = sqlite3.Row
    try:
        low, high = source.execute(f"SELECT min(rowid), max(rowid) FROM {table}").fetchone()  # noqa: S608 - our names
    except sqlite3.DatabaseError:
        low, high = 1, 10_000_000
    if low is None:
        return [], 0
    rows: list[dict[str, Any]] = []
    n_lost, n_failures, ranges = 0, 0, [(low, high)]
    while ranges:
        first, last = ranges.pop()
        try:
            query = f"SELECT * FROM {table} WHERE rowid BETWEEN ? AND ?"  # noqa: S608 - our names
            rows += [dict(row) for row in source.execute(query, (first, last)).fetchall()]
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error) or "not a database" in str(error):
                return rows, 0
            n_failures += 1
            if n_failures > MAX_READ_FAILURES and not rows:  # the root of the table, not some of its leaves
                return rows, 0
            if first == last:
                n_lost += 1
                continue
            middle = (first + last) // 2
            ranges += [(middle + 1, last), (first, middle)]
    return rows, n_lost


def _referenced_hashes(document: str) -> set[str]:
    """The files that a source refers to."""
    source = json.loads(document)
    entries = source.get("files", {}).values() if isinstance(source, dict) else ()
    return {entry["hash"] for entry in entries if isinstance(entry, dict) and "hash" in entry}


def _remove_states(folder: Path, runs: set[str], now: float) -> int:
    """Remove states of searches that were deleted, or that nobody went on with for long."""
    n_removed = 0
    for state in folder.glob("*") if folder.is_dir() else ():
        if state.name not in runs or now - state.stat().st_mtime > STATE_RETENTION_SECONDS:
            shutil.rmtree(state, ignore_errors=True)
            n_removed += 1
    return n_removed


def _vacuum(store: Store) -> None:
    """Give room that is free back to the disk."""
    if store.engine.dialect.name == "sqlite":
        with closing(store.engine.raw_connection()) as raw:
            raw.cursor().execute("VACUUM")
    else:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM")
