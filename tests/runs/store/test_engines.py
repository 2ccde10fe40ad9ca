"""Stores that can only be read are read in their place or in a copy, also with a log that waits, and never written."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from rosenblatt.errors import StoreUnavailableError
from rosenblatt.runs.store.locations import database_file
from rosenblatt.runs.store.queries import find_runs, load_all_curves, run_details
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.schema import VERSION
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from rosenblatt.runs.tracking.spool import pending_files
from rosenblatt.runs.tracking.writer import get_writer
from tests.runs.conftest import add_run_with_curves, downgrade

KILLED = """
import os, sys
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.schema import VERSION
from rosenblatt.runs.store.store import Store
store = Store(sys.argv[1])
batch = RecordBatch()
batch.add_run("killed", "e", "", "track")
store.write(batch)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def filled(tmp_path):
    """The address of a store with one run."""
    url = f"sqlite:///{tmp_path / 'store' / 'runs.db'}"
    store = Store(url)
    store.write(add_run_with_curves(RecordBatch(), "a", loss=[1.0, 2.0]))
    store.close()
    return url


@pytest.fixture
def make_read_only(monkeypatch):
    """Return a function after which this process cannot write any store; root is not stopped by permissions."""

    def make():
        monkeypatch.setattr("rosenblatt.runs.store.engines.can_write", lambda _: False)
        monkeypatch.setattr("rosenblatt.runs.store.store.can_write", lambda _: False)

    return make


def read(url):
    """Read a store and check that this changes none of its files, and leaves nothing in the temporary folder."""
    files = [path for path in database_file(url).parent.iterdir() if path.suffix != ".db-shm"]
    before = {path: path.read_bytes() for path in files}
    store = Store(url, create=False)
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    try:
        return sorted(run.id for run in find_runs(store)), run_details(store, "a"), load_all_curves(store, "a")
    finally:
        store.close()
        assert {path: path.read_bytes() for path in files} == before


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def test_a_store_that_cannot_be_written_is_read(filled, make_read_only):
    make_read_only()
    ids, details, curves = read(filled)
    assert ids == ["a"]
    assert details.metrics["loss"].last == 2.0
    assert curves["loss"].values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("version", ["1001", VERSION])
def test_records_in_a_log_that_a_killed_process_left_are_read(filled, make_read_only, tmp_path, version):
    subprocess.run([sys.executable, "-c", KILLED, filled], check=False)
    assert (tmp_path / "store" / "runs.db-wal").stat().st_size
    if version != VERSION:
        downgrade(filled)
    make_read_only()
    assert read(filled)[0] == ["a", "killed"]


def test_a_store_of_an_earlier_version_is_read_in_a_copy(filled, make_read_only):
    downgrade(filled)
    make_read_only()
    ids, details, _ = read(filled)
    assert ids == ["a"]
    assert details.owner is None
    with closing(sqlite3.connect(database_file(filled))) as unchanged:
        assert unchanged.execute("SELECT version_num FROM alembic_version").fetchall() == [("1001",)]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("name", [".rosenblatt", "store"])
def test_a_store_of_an_earlier_version_that_others_could_read_becomes_private(tmp_path, capsys, name):
    database = tmp_path / name / "runs.db"
    Store(f"sqlite:///{database}").close()
    downgrade(f"sqlite:///{database}")
    (database.parent / "artifacts").mkdir()
    for path, mode in ((database.parent, 0o755), (database, 0o644), (database.parent / "artifacts", 0o755)):
        path.chmod(mode)
    Store(f"sqlite:///{database}").close()
    assert (stat.S_IMODE(database.stat().st_mode), capsys.readouterr().err.count("now only you can")) == (0o600, 1)
    assert stat.S_IMODE((database.parent / "artifacts").stat().st_mode) == 0o700
    assert stat.S_IMODE(database.parent.stat().st_mode) == (0o700 if name == ".rosenblatt" else 0o755)
    Store(f"sqlite:///{database}").close()
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_store_of_an_earlier_version_of_a_group_stays_open_for_it(filled, capsys):
    downgrade(filled)
    database = database_file(filled)
    database.parent.chmod(0o2770)
    database.chmod(0o660)
    Store(filled).close()
    assert stat.S_IMODE(database.stat().st_mode) == 0o660
    assert capsys.readouterr().err == ""


def test_writing_a_store_that_can_only_be_read_is_refused(filled, make_read_only):
    make_read_only()
    store = Store(filled, create=False)
    with pytest.raises(StoreUnavailableError, match="can only be read by this user"):
        store.delete(["a"])
    store.close()
    with pytest.raises(StoreUnavailableError, match="can only be read by this user"):
        Store(filled)


def test_runs_that_are_tracked_into_it_wait(filled, make_read_only, capsys):
    make_read_only()
    with track("waits", store=filled.removeprefix("sqlite:///")) as run:
        run.log({"loss": 1.0})
    get_writer(filled).close()
    printed = capsys.readouterr().err
    assert "can only be read by this user. The run goes on" in printed
    assert f"records wait in {pending_files(filled)[0]};" in printed


@pytest.mark.parametrize("name", ["a b", "50%", "what?", "#1", "größe", "semi;colon", "quote'"])
def test_any_name_of_a_folder_can_be_that_of_a_store(tmp_path, make_read_only, name):
    url = f"sqlite:///{tmp_path / name / 'runs.db'}"
    store = Store(url)
    store.write(add_run_with_curves(RecordBatch(), "a"))
    store.close()
    assert (tmp_path / name / "runs.db").exists()
    make_read_only()
    assert read(url)[0] == ["a"]


@pytest.mark.postgresql
def test_a_user_who_may_only_select_reads_a_store(server, tmp_path):
    url = server.database("selected")
    owner = Store(url)
    owner.write(add_run_with_curves(RecordBatch(), "a", loss=[1.0]))
    with owner.writing() as connection:
        connection.execute(text("DROP ROLE IF EXISTS reader"))
        connection.execute(text("CREATE ROLE reader LOGIN PASSWORD 'x'"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"))
    scheme, _, place = url.partition("://")
    reader = Store(f"{scheme}://reader:x@{place.rpartition('@')[2]}", create=False)
    assert [run.id for run in find_runs(reader)] == ["a"]
    assert load_all_curves(reader, "a")["loss"].values.tolist() == [1.0]
    for change in (lambda: reader.delete(["a"]), lambda: reader.write(add_run_with_curves(RecordBatch(), "b"))):
        with pytest.raises(StoreUnavailableError, match="can only be read by this user"):
            change()
    reader.close()
    owner.close()
