"""Damaged files are rescued, and what nobody refers to is removed."""

from __future__ import annotations

import random

import pytest

from rosenblatt.errors import StoreError
from rosenblatt.runs.maintenance import rescue, tidy
from rosenblatt.runs.store.queries import all_curves, details, find_runs
from rosenblatt.runs.store.records import Batch
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from tests.runs.conftest import a_run


@pytest.fixture
def large(tmp_path):
    """A store of 300 runs, in which pages were overwritten."""
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    store, batch = Store(url), Batch()
    for number in range(300):
        a_run(batch, f"r{number:03}", loss=[float(number), number + 0.1], acc=[random.Random(number).random()] * 40)
        batch.params(f"r{number:03}", {"lr": number, "long": "x" * 200})
    store.write(batch)
    store.close()
    return url, tmp_path / "runs.db"


def test_what_can_be_read_of_a_damaged_file_is_rescued(large):
    url, path = large
    content = bytearray(path.read_bytes())
    pages = len(content) // 4096
    for page in (pages // 3, pages // 2, pages - 4):  # leaves of tables, far from the first pages
        content[page * 4096 : page * 4096 + 4096] = b"\xff" * 4096
    path.write_bytes(content)
    said = []
    found = rescue(url, said.append)
    assert "damaged file is kept as" in said[0]
    store = Store(url)
    runs = find_runs(store)
    assert 200 < len(runs) <= 300
    whole = 0
    for one in runs:
        curves = all_curves(store, one["id"])
        if "loss" in curves:
            assert curves["loss"].values[0] == float(one["id"][1:])
            whole += 1
    assert whole > 150
    assert sum(lost for _, lost in found.values()) > 0
    store.close()


def test_a_file_without_anything_to_rescue_gives_an_empty_store(tmp_path):
    (tmp_path / "runs.db").write_bytes(b"nonsense" * 1000)
    found = rescue(f"sqlite:///{tmp_path / 'runs.db'}", lambda _: None)
    assert found["runs"] == [0, 0]
    assert find_runs(Store(f"sqlite:///{tmp_path / 'runs.db'}")) == []
    with pytest.raises(StoreError, match="no file"):
        rescue(f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(StoreError, match="PostgreSQL has tools"):
        rescue("postgresql://db/x")


def test_tidying_keeps_what_runs_refer_to(here, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.store.artifacts.YOUNG", -5.0)
    (here / "model.bin").write_bytes(b"x" * 1000)
    kept = []
    for number in range(3):
        with track("tidy", params={"n": number}) as run:
            run.log_artifact(here / "model.bin")
            run.log_bytes("own", bytes([number]))
        kept.append(run.id)
    store = Store(run.url)
    assert tidy(store) == dict.fromkeys(
        (
            "delivered",
            "delivered_files",
            "refused_records",
            "killed_runs",
            "removed_files",
            "removed_documents",
            "removed_states",
        ),
        0,
    )
    store.delete(kept[:1])
    assert tidy(store)["removed_files"] == 1  # its own one; the model is the others' too
    store.delete(kept[1:])
    found = tidy(store)
    assert found["removed_files"] >= 3
    assert found["removed_documents"] >= 1
    assert not list((here / ".rosenblatt" / "artifacts").glob("??/*"))
    store.close()


@pytest.mark.postgresql
def test_tidying_a_server(server):
    store = Store(server.database("tidy"))
    store.write(a_run(Batch(), loss=[1.0]))
    assert tidy(store)["killed_runs"] == 0
    assert details(store, "a")["state"] == "running"
    store.close()
