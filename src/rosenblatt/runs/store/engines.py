"""Connections to the database of a store: SQLite files, also ones that can only be read, and PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, QueuePool, StaticPool, create_engine, event
from sqlalchemy.exc import ArgumentError

from rosenblatt.errors import StoreError, StoreUnavailableError
from rosenblatt.runs.redaction import redact
from rosenblatt.runs.store.locations import STORE_FOLDER, database_file, is_remote, is_sqlite_file, store_name
from rosenblatt.runs.store.permissions import create_file, make_store_folder

BUSY_TIMEOUT = 10.0  # seconds to wait while another process writes
PAGE_BYTES = 1024  # of a new SQLite file: a transaction of a live run changes little, but whole pages are written
MAX_MAPPED_BYTES = 2**40  # of a SQLite file; SQLite lowers it to what it was built for
CHECKPOINT_PAGES = 4000  # in the log of a SQLite file before they are copied to the file
_POSTGRESQL_OPTIONS: dict[str, Any] = {  # a server that does not answer counts as unreachable
    "connect_timeout": int(BUSY_TIMEOUT),
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "options": "-c statement_timeout=60000",
}
_AMBIGUOUS_PASSWORD = re.compile(r"postgresql://[^/?#@:]*:(?!\d+[/?])[^@/?#]*(?:[/?#].*@|@[^/?#]*@)")


def can_write(path: Path) -> bool:
    """Whether a SQLite file can be written, and others beside it, which SQLite needs; also if it does not exist."""
    try:
        path = path.resolve()
        return not path.exists() or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK))
    except OSError:
        return False


def read_only_error(url: str, reason: str = "") -> StoreUnavailableError:
    """Make the error for a store that this user cannot write."""
    more = f" ({reason})" if reason else ""
    return StoreUnavailableError(f"The store {redact_url(url)} can only be read by this user{more}.")


def redact_url(url: str) -> str:
    """Format the address of a store without its password."""
    return repr(redact(store_name(url)))


def make_engine(url: str, create: bool) -> Engine:
    """Make the engine for a store. Raises StoreError."""
    if is_sqlite_file(url):
        return _make_sqlite_engine(url, create)
    if is_remote(url):
        raise StoreError(
            f"Runs can be recorded in {redact_url(url)}, but not read from there. Open the address in a browser, or "
            "run the command on the machine of the store."
        )
    if not url.startswith("postgresql://"):
        raise StoreError(
            f"{redact_url(url)} is not the address of a store. Give a folder, postgresql://USER@HOST/DATABASE, or "
            "https://HOST:PORT of a dashboard."
        )
    if _AMBIGUOUS_PASSWORD.match(url):
        raise StoreError(
            f"{redact_url(url)} cannot be read. In its password, write / as %2F, @ as %40, ? as %3F and # as %23."
        )
    try:
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        return create_engine(url, pool_pre_ping=True, connect_args=_POSTGRESQL_OPTIONS)
    except (ArgumentError, ValueError) as error:
        raise StoreError(f"{redact_url(url)} is not an address of PostgreSQL: {redact(str(error))}.") from error
    except ModuleNotFoundError as error:
        raise StoreError("PostgreSQL needs a driver: pip install 'rosenblatt[postgresql]'.") from error


def _make_files(path: Path) -> None:
    """Create the folder and the empty file of a store, for its user or for the group of its folder."""
    folder = path.parent
    try:
        if make_store_folder(folder) and folder.name == STORE_FOLDER:  # keep it out of version control
            with os.fdopen(create_file(folder / ".gitignore"), "w") as file:
                file.write("*\n")
        with contextlib.suppress(FileExistsError):
            os.close(create_file(path))
    except OSError as error:
        raise StoreUnavailableError(f"The store {str(path)!r} cannot be created: {error.strerror}.") from error


def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # `_on_begin` begins transactions
    deadline = time.monotonic() + BUSY_TIMEOUT
    while True:  # SQLite does not wait if two processes create a file at the same time
        try:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    for setting in (
        "synchronous = NORMAL",
        "foreign_keys = ON",
        "cache_size = -20000",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
    ):
        connection.execute(f"PRAGMA {setting}")


def map_file(engine: Engine) -> None:
    """Let new connections to a SQLite file read it through mapped memory, which is several times faster.

    For servers that only read: an error of the disk while it reads ends the process.
    """
    if engine.dialect.name == "sqlite" and not isinstance(engine.pool, StaticPool):
        engine.dispose()
        event.listen(engine, "connect", _on_connect_to_map)


def _on_connect_to_map(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute(f"PRAGMA mmap_size = {MAX_MAPPED_BYTES}")


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_sqlite_engine(url: str, create: bool) -> Engine:
    path = database_file(url)
    try:
        if not create and not path.exists():
            raise StoreError(f"There is no store {str(path)!r} yet. The first recorded run creates it.")
    except OSError as error:
        raise StoreUnavailableError(f"The store {str(path)!r} cannot be reached: {error.strerror}.") from error
    if can_write(path):
        _make_files(path)
        engine = _connect(path, "")
        event.listen(engine, "connect", _on_connect)
    elif create:
        raise read_only_error(url)
    else:  # "immutable" needs no files beside it, but leaves out a write-ahead log
        wal = Path(f"{path.resolve()}-wal")
        engine = _connect(path, "?mode=ro" if wal.exists() and wal.stat().st_size else "?mode=ro&immutable=1")
        event.listen(engine, "connect", _on_connect_to_read)
    event.listen(engine, "begin", _on_begin)
    return engine


def _connect(path: Path, options: str, **pool: Any) -> Engine:
    """Make an engine for a SQLite file with options of its address."""
    address = f"{path.absolute().as_uri()}{options}"
    return create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT, check_same_thread=False),
        **({"poolclass": QueuePool} | pool),
    )


@contextlib.contextmanager
def copied_database(path: Path) -> Iterator[Engine]:
    """Copy a SQLite file, with what waits in its log, to a file that only this process can open.

    The copy can be written in the block. It has no name afterwards, and is gone when the engine is closed, however this
    process ends.
    """
    with tempfile.TemporaryDirectory(prefix="rosenblatt-") as folder:
        copy = Path(folder) / "runs.db"
        try:
            for suffix in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(f"{path.resolve()}{suffix}", f"{copy}{suffix}")
        except OSError as error:
            raise StoreUnavailableError(f"The store {str(path)!r} cannot be copied to read it: {error}.") from error
        engine = _connect(copy, "", poolclass=StaticPool)
        event.listen(engine, "connect", _on_connect_to_copy)
        event.listen(engine, "begin", _on_begin)
        try:
            yield engine
        except BaseException:
            engine.dispose()
            raise


def _on_connect_to_read(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None


def _on_connect_to_copy(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    for setting in ("locking_mode = EXCLUSIVE", "journal_mode = MEMORY", "foreign_keys = ON"):  # no files beside it
        connection.execute(f"PRAGMA {setting}")
