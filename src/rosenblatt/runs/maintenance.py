"""Maintenance of a store: deliver spooled records, collect garbage, recover damaged SQLite files."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select, text

from rosenblatt.errors import Notify, StoreError, format_count
from rosenblatt.runs.store import schema
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.filters import is_stale
from rosenblatt.runs.store.locations import database_file, is_sqlite_file
from rosenblatt.runs.store.owners import end_dead_runs, end_runs
from rosenblatt.runs.store.places import Bucket
from rosenblatt.runs.store.point_log import move_ended_logs
from rosenblatt.runs.store.store import Store, version_error
from rosenblatt.runs.tracking.spool import REJECTED_SUFFIX, deliver_pending, pending_files

MAX_READ_FAILURES = 100_000  # unreadable rows in succession after which the rest of a table is given up
_RESCUED_VERSIONS = ("1001", "1002", schema.VERSION)
STATE_RETENTION_SECONDS = 30 * 86_400.0  # how long the checkpoint of an unfinished search is kept


@dataclass(frozen=True)
class CleanupCounts:
    """What `cleanup` did: the number of items of each kind."""

    delivered_batches: int
    delivered_files: int
    rejected_files: int  # files of records that the database refused; they stay in the spool
    killed_runs: int
    removed_files: int
    kept_shared_files: int  # unused ones in a place that stores share
    removed_documents: int
    removed_states: int


def cleanup(store: Store, notify: Notify = print, *, shared: bool = False) -> CleanupCounts:
    """Deliver spooled records, end runs whose process died, move their points to chunks, and remove unused files.

    In places that stores share, files are removed only with `shared`.
    """
    n_delivered = deliver_pending(store, notify)
    n_ended = end_dead_runs(store)
    files = Artifacts(store.url, store)
    n_delivered_files = files.deliver(notify)
    with store.writing() as connection:
        n_ended += end_runs(connection, is_stale())
        used_hashes, n_removed_documents = _remove_unused_documents(connection)
        run_ids = set(connection.execute(select(schema.runs.c.id)).scalars())
    move_ended_logs(store)
    n_removed_files, n_kept_files = files.collect_garbage(used_hashes, shared=shared)
    if n_kept_files:
        notify(
            f"{format_count(n_kept_files, 'file')} in a shared place, used by no run of this store, may be used by "
            "copies of the store; `rosenblatt runs tidy --shared` removes them"
        )
    is_own = files.states_folder.parent == files.folder  # otherwise a copy of the store may have runs of its own
    n_removed_states = _remove_states(files.states_folder, run_ids) if is_own or shared else 0
    if shared and (bucket := files.state_bucket()):
        n_removed_states += _remove_state_copies(bucket, run_ids)
    _vacuum(store)
    return CleanupCounts(
        delivered_batches=n_delivered,
        delivered_files=n_delivered_files,
        rejected_files=len(pending_files(store.url, REJECTED_SUFFIX)),
        killed_runs=n_ended,
        removed_files=n_removed_files,
        kept_shared_files=n_kept_files,
        removed_documents=n_removed_documents,
        removed_states=n_removed_states,
    )


def recover(url: str, notify: Notify = print) -> dict[str, tuple[int, int]]:
    """Copy the readable rows of a damaged SQLite file to a new store in its place, and keep the original beside it.

    Returns the numbers of rows recovered and lost (about) by table. Raises StoreError if the store is not a SQLite file
    of this version or an earlier one.
    """
    if not is_sqlite_file(url):
        raise StoreError("Only SQLite files can be rescued. For PostgreSQL, use its own tools.")
    path = database_file(url)
    if not path.exists():
        raise StoreError(f"There is no file {str(path)!r} to rescue.")
    _check_version(path, url)
    original_path = path.with_name(f"{path.name}.original-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{original_path}{suffix}")
    notify(f"the original file is kept as {original_path}")
    store = Store(url)
    counts: dict[str, tuple[int, int]] = {}
    with closing(sqlite3.connect(original_path)) as source, store.writing() as target:
        target.execute(text("PRAGMA defer_foreign_keys = ON"))
        for table in schema.metadata_obj.sorted_tables:
            rows, n_lost = _read_rows(source, table.name)
            names = [column.name for column in table.columns if not rows or column.name in rows[0]]  # of its version
            placeholders = ", ".join("?" * len(names))
            conflict = "REPLACE" if table is schema.settings else "IGNORE"  # the store keeps its id
            sql = f"INSERT OR {conflict} INTO {table.name} ({', '.join(names)}) VALUES ({placeholders})"  # noqa: S608 - our names
            for row in rows:
                target.exec_driver_sql(sql, tuple(row[name] for name in names))
            counts[table.name] = len(rows), n_lost
        _remove_orphans(target)
    store.close()
    return counts


def _check_version(path: Path, url: str) -> None:
    with closing(sqlite3.connect(path)) as source, suppress(sqlite3.DatabaseError):
        row = source.execute("SELECT version_num FROM alembic_version").fetchone()
        if row and row[0] not in _RESCUED_VERSIONS:
            raise version_error(url, row[0])


def _read_rows(source: sqlite3.Connection, table: str) -> tuple[list[dict[str, Any]], int]:
    """Read the rows of a table one by one, step over those that cannot be read, and count about how many these are."""
    source.row_factory = sqlite3.Row
    query = f"SELECT *, rowid AS row_number FROM {table} WHERE rowid >= ? ORDER BY rowid"  # noqa: S608 - our names
    rows: list[dict[str, Any]] = []
    n_lost, n_failures, first = 0, 0, 1
    while n_failures < MAX_READ_FAILURES:
        try:
            for row in source.execute(query, (first,)):
                rows.append(dict(row))
                first, n_lost, n_failures = row["row_number"] + 1, n_lost + n_failures, 0
        except sqlite3.DatabaseError as error:
            if "no such table" in str(error) or "not a database" in str(error):
                break
            first, n_failures = first + 1, n_failures + 1
        else:
            break
    return rows, n_lost + bool(rows and n_failures)


def _remove_orphans(connection: Connection) -> None:
    """Remove rows of runs that were lost, and make trials of lost searches runs of their own."""
    run_ids = select(schema.runs.c.id)
    for table in schema.metadata_obj.sorted_tables:
        if "run" in table.columns:
            connection.execute(table.delete().where(table.c.run.not_in(run_ids)))
    orphans = schema.runs.c.parent.is_not(None) & schema.runs.c.parent.not_in(run_ids)
    connection.execute(schema.runs.update().where(orphans).values(parent=None))


def _remove_unused_documents(connection: Connection) -> tuple[set[str], int]:
    """Remove documents that no run refers to; return the hashes of all files in use, and the number removed."""
    documents = schema.documents
    used_files = set(connection.execute(select(schema.artifacts.c.hash).distinct()).scalars())
    references = select(schema.run_metadata.c.value).where(schema.run_metadata.c.name.in_(("source", "environment")))
    referenced = {reference.strip('"') for reference in connection.execute(references).scalars()}
    unused = []
    for digest, document in connection.execute(select(documents.c.hash, documents.c.text)):
        if digest in referenced:
            used_files |= _referenced_files(document)
        else:
            unused.append(digest)
    for digest in unused:
        connection.execute(documents.delete().where(documents.c.hash == digest))
    return used_files, len(unused)


def _referenced_files(document: str) -> set[str]:
    """The hashes of the files of a source, wherever in it they are; an environment has none."""
    hashes, values = set[str](), [json.loads(document)]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            if isinstance(value.get("hash"), str):
                hashes.add(value["hash"])
            values += value.values()
        elif isinstance(value, list):
            values += value
    return hashes


def _remove_states(folder: Path, run_ids: set[str]) -> int:
    """Remove checkpoints of searches that were deleted, or not resumed for a long time; other folders stay."""
    n_removed = 0
    for state in folder.glob("*") if folder.is_dir() else ():
        if not _is_checkpoint(state):
            continue
        if state.name not in run_ids or time.time() - state.stat().st_mtime > STATE_RETENTION_SECONDS:
            shutil.rmtree(state, ignore_errors=True)
            n_removed += 1
    return n_removed


def _remove_state_copies(bucket: Bucket, run_ids: set[str]) -> int:
    """Remove states of searches from a bucket, as `_remove_states` does from a folder."""
    files = list(bucket.list_files())
    last_changes: dict[str, float] = {}
    for name, changed in files:
        run_id = name.partition("/")[0]
        last_changes[run_id] = max(changed, last_changes.get(run_id, 0.0))
    oldest = time.time() - STATE_RETENTION_SECONDS
    removed = {run_id for run_id, changed in last_changes.items() if run_id not in run_ids or changed < oldest}
    for name, _ in files:
        if name.partition("/")[0] in removed:
            bucket.remove(name)
    return len(removed)


def _is_checkpoint(folder: Path) -> bool:
    """Whether a folder holds nothing but files of a search: a store may lie in a folder of the user's own."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(path.name == "search.jsonl" or path.name.startswith("trial-") for path in folder.iterdir())


def _vacuum(store: Store) -> None:
    """Return free space of the database to the disk."""
    if store.engine.dialect.name == "sqlite":
        with closing(store.engine.raw_connection()) as raw:
            raw.cursor().execute("VACUUM")
    else:
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM")
