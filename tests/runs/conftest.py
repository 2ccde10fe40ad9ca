"""A real PostgreSQL server for tests, and shared fixtures for tests of runs."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.curves import make_points, summarize
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store


class PostgresqlServer:
    """A PostgreSQL server in a folder of its own, which can be stopped and started again."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        pg_ctl = shutil.which("pg_ctl") or (str(programs[-1] / "pg_ctl") if programs else None)
        if pg_ctl is None:
            pytest.skip("PostgreSQL is not on this machine (pg_ctl is missing); scripts/install-system-packages has it")
        self._programs = Path(os.path.realpath(pg_ctl)).parent
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        # Not below pytest's temporary folder: only the user of the tests may enter it, and other test runs clean it up.
        # The path must be short: that of a Unix socket is limited to 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="rosenblatt-postgresql-"))  # mode 0700
        try:
            if os.getuid() == 0:
                shutil.chown(self._folder, self._user)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            self._call("initdb", "-D", str(self._folder / "data"), "-A", "trust", "-N", "-U", "postgres")
            self.start()
        except BaseException:
            self.remove()
            raise

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(self._programs / program), *arguments], user=self._user, cwd="/", stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, check=False, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    def _call(self, program: str, *arguments: str) -> None:
        process = self._run(program, *arguments)
        assert process.returncode == 0, process.stderr.decode()

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._call(
            "pg_ctl", "-D", str(self._folder / "data"), "-o", options, "-w", "-l", str(self._folder / "log"), "start"
        )

    def stop(self) -> None:
        self._call("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")

    def remove(self) -> None:
        """Stop the server if it runs, and remove its folder."""
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def database(self, name: str) -> str:
        import psycopg  # not installed for `make check`

        with psycopg.connect(f"postgresql://postgres@127.0.0.1:{self.port}/postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://postgres:secret@127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresqlServer]:
    """The server of this session; under pytest-xdist each worker has one."""
    postgresql = PostgresqlServer()
    yield postgresql
    postgresql.remove()


STORE_KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]


def empty_store_url(request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of a new store of the kind that a fixture is requested for: below a folder, or on the server."""
    if request.param == "sqlite":
        return f"sqlite:///{folder / 'here' / 'runs.db'}"
    return request.getfixturevalue("server").database(f"runs{time.monotonic_ns()}")


@pytest.fixture(params=STORE_KINDS)
def url(request, tmp_path) -> str:
    """An empty store of each kind."""
    return empty_store_url(request, tmp_path)


@pytest.fixture
def store(url) -> Iterator[Store]:
    """An open store of each kind."""
    opened = Store(url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite(tmp_path):
    """A SQLite store, for tests that do not depend on the database."""
    opened = Store(f"sqlite:///{tmp_path / 'runs.db'}")
    yield opened
    opened.close()


@pytest.fixture
def artifacts(sqlite):
    return Artifacts(sqlite.url, sqlite)


def downgrade(url: str) -> None:
    """Make a SQLite store of version 1001 of one of this version."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        for table in ("settings", "log_segments", "point_logs", "queue"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("ALTER TABLE runs DROP COLUMN owner")
        connection.execute("UPDATE alembic_version SET version_num = '1001'")
        connection.commit()


def add_run_with_curves(
    batch: RecordBatch, run: str = "a", experiment: str = "e", **curves: list[float]
) -> RecordBatch:
    """Put a run with curves into a batch."""
    batch.add_run(run, experiment, "", "track")
    for name, values in curves.items():
        points = make_points(range(len(values)), [0.0] * len(values), values)
        batch.add_curve(run, name, "w", 0, points, summarize(points))
    return batch
