"""The models of recorded runs: found by their run, kept in memory, and drawn by the page Network."""

from __future__ import annotations

import base64
import io
from contextlib import closing

import numpy as np
import pytest
from starlette.testclient import TestClient

from rosenblatt.dashboard import networks as networks_module
from rosenblatt.dashboard.app import Application
from rosenblatt.dashboard.networks import NetworkQuery, Networks, RowRequest
from rosenblatt.models.model_file import to_bytes
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from rosenblatt.web.access import Access
from rosenblatt.web.errors import RequestError
from tests.dashboard.page_checks import find_barriers, other_hosts, set_theme
from tests.dashboard.servers import running_dashboard
from tests.serving.browser import open_page
from tests.serving.people_model import make_media_model, make_model

CELLS = {"age": "39.5", "city": "Oslo", "member": "yes", "since": "2024-02-29"}


def add_run(store, run, model=None):
    batch = RecordBatch()
    batch.add_run(run, "people", run, "fit")
    batch.rows["runs"] = [row | {"owner": None} for row in batch.rows["runs"]]
    if model is not None:
        stored = Artifacts(store.url, store).store_bytes(to_bytes(model))
        batch.add_artifact(run, "model.rosenblatt", "model", *stored)
    store.write(batch)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    with closing(Store(f"sqlite:///{folder}/runs.db")) as store:
        for seed in range(3):
            add_run(store, f"people{seed}", make_model(seed=seed))
        add_run(store, "empty")
        yield store


def test_the_network_of_a_run_is_described(store):
    info = Networks(store).describe(NetworkQuery(run="people0", network=2))
    assert (info.network, info.networks, info.task) == (2, 2, "multiclass")


def test_runs_without_a_model_and_large_models_are_refused(store, monkeypatch):
    for run in ("empty", "unknown"):
        with pytest.raises(RequestError, match="has no model"):
            Networks(store).describe(NetworkQuery(run=run))
    monkeypatch.setattr(networks_module, "MAX_MODEL_BYTES", 10)
    with pytest.raises(RequestError, match="models of up to 10 bytes"):
        Networks(store).describe(NetworkQuery(run="people0"))


def test_few_models_stay_in_memory(store, monkeypatch):
    monkeypatch.setattr(networks_module, "MAX_MODELS", 2)
    networks = Networks(store)
    for seed in range(3):
        networks.describe(NetworkQuery(run=f"people{seed}"))
    assert len(networks) == 2


def test_mistakes_are_one_sentence(store):
    client = TestClient(Application(store, Access()).asgi, base_url="http://localhost")
    answer = client.get("/api/networks?run=people0&network=9")
    assert (answer.status_code, answer.json()["detail"]) == (
        422, "There is no network 9; the model has 2. Choose a network from 1 to 2.",
    )  # fmt: skip
    answer = client.post("/api/networks/trace", json={"run": "people0", "cells": {"height": "1"}})
    assert (answer.status_code, "no column 'height'" in answer.json()["detail"]) == (422, True)
    assert client.post("/api/networks/maps", json={"run": "people0", "cells": CELLS}).status_code == 422


@pytest.mark.torch
def test_convolutions_have_feature_maps_for_an_image(tmp_path):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    model = make_media_model("cnn")
    with closing(Store(f"sqlite:///{tmp_path}/runs.db")) as store:
        add_run(store, "photos", model)
        column = next(column.name for column in model.schema.input_columns if column.kind == "image")
        content = Networks(store).feature_maps(RowRequest(run="photos", cells={column: image}))
    assert b"channels" in content[:400]
    assert len(content) > 1000


@pytest.mark.browser
def test_a_neuron_is_chosen_in_the_diagram(store, tmp_path):
    with running_dashboard(store) as port, open_page(tmp_path / "browser") as page:
        page.open(f"http://127.0.0.1:{port}/#/network?run=people0")
        page.wait_for(
            "document.querySelector('svg.diagram') && document.querySelector('main').innerText.includes('Prediction')"
        )
        page.open("about:blank")
        page.open(f"http://127.0.0.1:{port}/#/network?run=people0&unit=1.3")
        page.wait_for("document.querySelector('#sum')")
        assert "weighted sum" in page.evaluate("document.querySelector('main').innerText")
        for theme in ("light", "dark"):
            set_theme(page, theme)
            assert find_barriers(page) == []
        assert other_hosts(page, f"http://127.0.0.1:{port}/") == []
        assert not page.errors
