"""Maintenance of stores: damaged files are recovered, and files that no run refers to are removed."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing

import pytest

from rosenblatt.errors import StoreError
from rosenblatt.runs.maintenance import CleanupCounts, cleanup, recover
from rosenblatt.runs.store.engines import PAGE_BYTES
from rosenblatt.runs.store.queries import find_runs, load_all_curves, run_details
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from tests.runs.conftest import add_run_with_curves, downgrade


@pytest.fixture
def large_store(tmp_path):
    """A store of 300 runs, in which pages were overwritten."""
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    store, batch = Store(url), RecordBatch()
    for i in range(300):
        add_run_with_curves(batch, f"r{i:03}", loss=[float(i), i + 0.1], acc=[random.Random(i).random()] * 40)
        batch.add_params(f"r{i:03}", {"lr": i, "long": "x" * 200})
    store.write(batch)
    store.close()
    return url, tmp_path / "runs.db"


def test_readable_rows_of_a_damaged_file_are_recovered(large_store):
    url, path = large_store
    content = bytearray(path.read_bytes())
    pages = len(content) // PAGE_BYTES
    for page in (pages // 3, pages // 2, pages - 4):  # leaves of tables, far from the first pages
        content[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = b"\xff" * PAGE_BYTES
    path.write_bytes(content)
    messages = []
    counts = recover(url, messages.append)
    assert messages == [f"the original file is kept as {next(path.parent.glob('runs.db.original-????????-??????'))}"]
    store = Store(url)
    runs = find_runs(store)
    assert 200 < len(runs) <= 300
    n_intact = 0
    for run in runs:
        curves = load_all_curves(store, run.id)
        if "loss" in curves:
            assert curves["loss"].values[0] == float(run.id[1:])
            n_intact += 1
    assert n_intact > 150
    assert sum(n_lost for _, n_lost in counts.values()) > 0
    store.close()


def test_an_unreadable_file_becomes_an_empty_store(tmp_path):
    (tmp_path / "runs.db").write_bytes(b"nonsense" * 1000)
    counts = recover(f"sqlite:///{tmp_path / 'runs.db'}", lambda _: None)
    assert counts["runs"] == (0, 0)
    assert find_runs(Store(f"sqlite:///{tmp_path / 'runs.db'}")) == []
    with pytest.raises(StoreError, match="no file"):
        recover(f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(StoreError, match="For PostgreSQL, use its own tools"):
        recover("postgresql://db/x")


def leaves(content: bytes, page: int) -> list[int]:
    """Numbers of the leaf pages of a table, from a page of its tree (https://www.sqlite.org/fileformat2.html, 1.6)."""
    node = content[(page - 1) * PAGE_BYTES : page * PAGE_BYTES]
    if node[0] == 13:  # a leaf
        return [page]
    n_cells = int.from_bytes(node[3:5], "big")
    cells = [int.from_bytes(node[12 + 2 * k :][:2], "big") for k in range(n_cells)]
    children = [*(int.from_bytes(node[cell:][:4], "big") for cell in cells), int.from_bytes(node[8:12], "big")]
    return [leaf for child in children for leaf in leaves(content, child)]


@pytest.mark.parametrize("damaged_leaf", [2, -2])
def test_all_readable_rows_of_a_table_are_recovered(large_store, damaged_leaf):
    """The rows are compared with those of an undamaged copy."""
    url, path = large_store
    before = sqlite3.connect(path)
    (root,) = before.execute("SELECT rootpage FROM sqlite_master WHERE name = 'curve_chunks'").fetchone()
    expected = {row[0] for row in before.execute("SELECT run FROM curve_chunks")}
    before.close()
    content = bytearray(path.read_bytes())
    page = leaves(content, root)[damaged_leaf]
    content[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = b"\xff" * PAGE_BYTES
    path.write_bytes(content)
    recovered, lost = recover(url, lambda _: None)["curve_chunks"]
    assert recovered + lost == 2 * len(expected)
    assert 0 < lost < 100


def test_a_file_of_another_version_is_left_alone(tmp_path):
    path = tmp_path / "runs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES ('0001')")
        connection.commit()
    with pytest.raises(StoreError, match="has version '0001'"):
        recover(f"sqlite:///{path}", lambda _: None)
    assert [file.name for file in tmp_path.iterdir()] == ["runs.db"]


def test_a_rescued_store_keeps_its_id(tmp_path):
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    before = Store(url)
    store_id = before.id
    before.close()
    recover(url, lambda _: None)
    after = Store(url)
    assert after.id == store_id
    after.close()


def test_a_store_of_the_version_before_is_rescued(tmp_path):
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    before = Store(url)
    before.write(add_run_with_curves(RecordBatch(), "a", loss=[1.0]))
    before.close()
    downgrade(url)
    assert recover(url, lambda _: None)["runs"] == (1, 0)
    after = Store(url)
    assert [run.id for run in find_runs(after)] == ["a"]
    assert after.id
    after.close()


def test_cleanup_keeps_files_that_runs_refer_to(work_folder, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.store.artifacts.GRACE_SECONDS", -5.0)
    (work_folder / "model.bin").write_bytes(b"x" * 1000)
    run_ids = []
    for i in range(3):
        with track("tidy", params={"n": i}) as run:
            run.log_artifact(work_folder / "model.bin")
            run.log_bytes("own", bytes([i]))
        run_ids.append(run.id)
    store = Store(run.url)
    assert cleanup(store) == CleanupCounts(0, 0, 0, 0, 0, 0, 0, 0)
    store.delete(run_ids[:1])
    assert cleanup(store).removed_files == 1  # its own file; the other runs still refer to the model
    store.delete(run_ids[1:])
    cleaned = cleanup(store)
    assert cleaned.removed_files >= 3
    assert cleaned.removed_documents >= 1
    assert not list((work_folder / ".rosenblatt" / "artifacts").glob("??/*"))
    store.close()


@pytest.mark.postgresql
def test_cleanup_of_a_server(server):
    store = Store(server.database("tidy"))
    store.write(add_run_with_curves(RecordBatch(), loss=[1.0]))
    assert cleanup(store).killed_runs == 0
    assert run_details(store, "a").state == "running"
    store.close()


def test_cleanup_removes_only_checkpoints_from_the_folder_of_a_store(tmp_path):
    for name in ("state/deleted/search.jsonl", "state/deleted/trial-1.safetensors", "state/mine/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    (tmp_path / "state" / "link").symlink_to(tmp_path / "state" / "mine")
    with closing(Store(f"sqlite:///{tmp_path / 'runs.db'}")) as store:
        assert cleanup(store).removed_states == 1
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"mine", "link"}
