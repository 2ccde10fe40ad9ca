"""Generated requests against the description of the dashboard.

`ROSENBLATT_SCHEMATHESIS_EXAMPLES=300 .venv/bin/pytest tests/dashboard/test_openapi.py -n 0` sends more than 10,000.
"""

from __future__ import annotations

import os
from contextlib import closing

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from starlette.testclient import TestClient

from rosenblatt.dashboard.app import Application
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from rosenblatt.web.access import Access

MAX_EXAMPLES = int(os.environ.get("ROSENBLATT_SCHEMATHESIS_EXAMPLES", "5"))  # for each operation
CHECKS = [
    not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance,
    unsupported_method,
]  # fmt: skip


@pytest.fixture
def application(tmp_path):
    with closing(Store(f"sqlite:///{tmp_path}/runs.db")) as store:
        batch = RecordBatch()
        batch.add_run("a" * 32, "people", "first", "fit")
        batch.rows["runs"] = [row | {"owner": None} for row in batch.rows["runs"]]
        batch.add_params("a" * 32, {"lr": 0.1, "activation": "relu"})
        store.write(batch)
        yield Application(store, Access(host_names=frozenset({"testserver"})))


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_fails_the_server_and_all_answers_are_as_described(application, mode):
    api = schemathesis.openapi.from_asgi("/api/openapi.json", application.asgi)
    for result in api.get_all_operations():
        operation = result.ok()
        if mode == GenerationMode.NEGATIVE and operation.method != "post":
            continue

        @settings(max_examples=MAX_EXAMPLES, deadline=None, database=None, derandomize=True,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            case.call_and_validate(checks=CHECKS)

        check()


def test_the_description_names_all_paths_that_take_and_give_models(application):
    client = TestClient(application.asgi, base_url="http://localhost")
    description = client.get("/api/openapi.json").json()
    assert {"/api/runs", "/api/curves", "/api/runs/{run}/output", "/api/store/take-over"} <= description["paths"].keys()
    (run,) = description["paths"]["/api/runs/{run}"]["get"]["parameters"]
    assert (run["name"], run["in"], run["required"]) == ("run", "path", True)
    answer = description["paths"]["/api/curves"]["post"]["responses"]["200"]["content"]
    assert list(answer) == ["application/octet-stream"]
    assert "security" not in description


def test_a_token_is_described(store):
    access = Access("token-of-those-who-write")
    headers = {"Authorization": f"Bearer {access.token}"}
    client = TestClient(Application(store, access).asgi, base_url="http://localhost", headers=headers)
    assert client.get("/api/openapi.json").json()["security"] == [{"token": []}]
