"""Programs of other machines record runs over HTTP: complete, exactly once, and without loss while it is away."""

from __future__ import annotations

import hashlib
from contextlib import closing
from threading import Event, Thread

import numpy as np
import pytest
from starlette.testclient import TestClient

from rosenblatt.dashboard.app import Application
from rosenblatt.errors import StoreError
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.batches import format_rows
from rosenblatt.runs.store.queries import find_runs, load_all_curves, load_output, run_details
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.remote_store import PATH
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking import writer as writer_module
from rosenblatt.runs.tracking.run import Run
from rosenblatt.runs.tracking.spool import pending_files
from rosenblatt.runs.tracking.start import RunStart
from rosenblatt.runs.tracking.writer import get_writer
from rosenblatt.web.access import Access
from tests.dashboard.servers import running_dashboard
from tests.waiting import wait_until

TOKEN = "token-of-those-who-record"
ACCESS = Access(TOKEN)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_TOKEN", TOKEN)
    monkeypatch.setenv("ROSENBLATT_SPOOL", str(tmp_path / "spool"))
    with closing(Store(f"sqlite:///{tmp_path}/runs.db")) as store:
        yield store


@pytest.fixture
def client(store):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return TestClient(Application(store, ACCESS).asgi, base_url="http://localhost", headers=headers)


def begin(url, run_id):
    run = Run(url, run_id, "remote", {"lr": 0.1})
    run.begin(RunStart("track", run_id), monitor=False)
    return run


def test_a_run_is_recorded_as_on_this_machine(store, tmp_path):
    with running_dashboard(store, access=ACCESS) as port:
        url = f"http://127.0.0.1:{port}"
        run = begin(url, "a" * 32)
        for step in range(1000):
            run.log({"loss": 1 / (step + 1), "auc": step / 1000}, step)
        run.write_output("stdout", "epoch 1\n")
        run.tag(team="blue")
        run.log_bytes("weights.bin", b"weights")
        run.finish()
        get_writer(url).close()
    details = run_details(store, run.id)
    assert (details.state, details.params["lr"].value, details.tags) == ("finished", "0.1", {"team": "blue"})
    np.testing.assert_array_equal(load_all_curves(store, run.id)["auc"].values, np.arange(1000) / 1000)
    assert not store.has_log(run.id)  # its points were moved to chunks
    assert load_output(store, run.id) == [("stdout", "epoch 1\n")]
    stored = details.artifacts["weights.bin"]
    Artifacts(store.url, store).fetch(stored.hash, stored.root, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"weights"


def test_nothing_is_lost_while_the_server_is_ended_and_started_again(store, monkeypatch):
    monkeypatch.setattr(writer_module, "RETRY_INTERVAL", 0.05)
    n_clients, n_points, is_over = 4, 3000, Event()
    with running_dashboard(store, access=ACCESS) as port:
        url = f"http://127.0.0.1:{port}"
        runs = [begin(url, f"{number:032x}") for number in range(n_clients)]

    def log(run):
        for step in range(n_points):
            run.log({"loss": float(step)}, step)
            if step % 100 == 0:
                is_over.wait(0.01)

    threads = [Thread(target=log, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for _ in range(3):  # on, and off, while they log
        with running_dashboard(store, port, ACCESS):
            is_over.wait(0.3)
        is_over.wait(0.2)
    for thread in threads:
        thread.join()
    with running_dashboard(store, port, ACCESS):
        for run in runs:
            run.finish()
        wait_until(lambda: get_writer(url).flush() and not pending_files(url), description="all to be delivered")
        get_writer(url).close()
    for run in runs:
        assert run_details(store, run.id).state == "finished"
        np.testing.assert_array_equal(load_all_curves(store, run.id)["loss"].values, np.arange(n_points))


def test_a_batch_that_is_sent_twice_counts_once(store, client):
    batch = RecordBatch()
    batch.add_run("a" * 32, "remote", "first", "track")
    batch.add_tag("a" * 32, "team", "blue")
    content = format_rows({name: [{"owner": None} | row for row in rows] if name == "runs" else rows
                           for name, rows in batch.rows.items()})  # fmt: skip
    for _ in range(2):
        answer = client.post(f"{PATH}/records", content=content, headers={"Content-Type": "application/json"})
        assert answer.json() == {"ignored": []}, answer.text
    assert [run.name for run in find_runs(store)] == ["first"]


def test_records_of_deleted_runs_are_ignored(store, client):
    batch = RecordBatch()
    batch.add_tag("b" * 32, "team", "blue")
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"{PATH}/records", content=format_rows(batch.rows), headers=headers)
    assert answer.json() == {"ignored": ["b" * 32]}


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"rows": {"settings": [{"name": "id", "value": "x"}]}}', b'{"rows": {"tags": [{"run": 1}]}}'],
)
def test_what_is_no_batch_is_refused(client, content):
    answer = client.post(f"{PATH}/records", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "no batch of records" in answer.json()["detail"]


def test_records_of_another_type_of_content_are_refused(client):
    assert client.post(f"{PATH}/records", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415


def test_nobody_records_without_a_token(store):
    client = TestClient(Application(store, Access()).asgi, base_url="http://localhost")
    answer = client.post(f"{PATH}/records", json={"rows": {}})
    assert (answer.status_code, "--token-file" in answer.json()["detail"]) == (403, True)


@pytest.mark.parametrize("path", ["/api/stop", "/api/resume"])
def test_who_may_record_starts_and_stops_no_process(client, path):
    answer = client.post(path, json={"run": "a" * 32})
    assert (answer.status_code, "in a terminal" in answer.json()["detail"]) == (403, True)


def test_a_file_must_have_the_hash_of_its_name(store, client):
    digest = hashlib.sha256(b"model").hexdigest()
    assert client.put(f"{PATH}/files/{digest}", content=b"other").status_code == 422
    assert client.put(f"{PATH}/files/..%2F..%2Fetc", content=b"model").status_code == 404
    query = f"{PATH}/has-file?digest={digest}&size=5"
    assert client.get(query).json() == {"exists": False}
    assert client.put(f"{PATH}/files/{digest}", content=b"model").status_code == 200
    assert client.get(query).json() == {"exists": True}
    assert client.get(f"{PATH}/has-file?digest=../../x&size=5").status_code == 422


def test_a_store_that_cannot_be_reached_is_no_fault_of_the_request(store, client, monkeypatch):
    def fail(*_arguments, **_options):
        raise StoreError("The store is full.")

    monkeypatch.setattr(Store, "write", fail)
    headers = {"Content-Type": "application/json"}
    assert client.post(f"{PATH}/records", content=b'{"rows": {}}', headers=headers).status_code == 422
