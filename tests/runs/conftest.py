"""A real PostgreSQL server of the tests' own, and what tests of runs share."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rosenblatt.runs.store.curves import summary
from rosenblatt.runs.store.records import Batch
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.writer import points_of


class Server:
    """A PostgreSQL server in a folder of its own, which can go away and come back."""

    def __init__(self) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        found = shutil.which("pg_ctl") or (str(programs[-1] / "pg_ctl") if programs else None)
        if found is None:
            pytest.skip("PostgreSQL is not on this machine (pg_ctl is missing); scripts/install-system-packages has it")
        self._programs = Path(os.path.realpath(found)).parent
        self._user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        # Not below pytest's temporary folder: only the user of the tests may enter it, and other test runs clean it up.
        # The path must be short: that of a Unix socket is limited to 107 bytes.
        self._folder = Path(tempfile.mkdtemp(prefix="rosenblatt-postgresql-"))  # mode 0700
        try:
            if os.getuid() == 0:
                shutil.chown(self._folder, self._user)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
            self._call("initdb", "-D", str(self._folder / "data"), "-A", "trust", "-N", "-U", "postgres")
            self.start()
        except BaseException:
            self.remove()
            raise

    def _run(self, program: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(self._programs / program), *words], user=self._user, cwd="/", stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, check=False, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )  # fmt: skip

    def _call(self, program: str, *words: str) -> None:
        done = self._run(program, *words)
        assert done.returncode == 0, done.stderr.decode()

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
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", name)
        return f"postgresql://postgres:secret@127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server of this session; under pytest-xdist each worker has one."""
    found = Server()
    yield found
    found.remove()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request, tmp_path) -> str:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'here' / 'runs.db'}"
    return request.getfixturevalue("server").database(f"runs{time.monotonic_ns()}")


@pytest.fixture
def store(url) -> Iterator[Store]:
    """An open store of each kind."""
    found = Store(url)
    yield found
    found.close()


def a_run(batch: Batch, run: str = "a", experiment: str = "e", **curves: list[float]) -> Batch:
    """Put a run with curves into a batch."""
    batch.begin(run, experiment, "", "track")
    for name, values in curves.items():
        points = points_of(range(len(values)), [0.0] * len(values), values)
        batch.curve(run, name, "w", 0, points, summary(points))
    return batch
