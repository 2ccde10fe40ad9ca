"""Generated requests against the description of the server.

`ROSENBLATT_SCHEMATHESIS_EXAMPLES=1700 .venv/bin/pytest tests/serving/test_openapi.py -n 0` sends more than 10,000.
"""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from rosenblatt.serving.openapi import make_openapi
from rosenblatt.web.access import Access
from tests.serving.people_model import ROW, make_media_model, make_model, save
from tests.serving.served import Served

MAX_EXAMPLES = int(os.environ.get("ROSENBLATT_SCHEMATHESIS_EXAMPLES", "15"))  # for each operation
CHECKS = [
    not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance,
    unsupported_method,
]  # fmt: skip


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    access = Access(host_names=frozenset({"testserver"}))
    return Served(save(make_model(), tmp_path_factory.mktemp("models")), access=access)


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_fails_the_server_and_all_answers_are_as_described(served, mode):
    api = schemathesis.openapi.from_asgi("/openapi.json", served.application.asgi)
    operations = [operation.ok() for operation in api.get_all_operations()]
    assert len(operations) == 8
    posts = [operation for operation in operations if operation.method == "post"]
    for operation in posts if mode == GenerationMode.NEGATIVE else operations:

        @settings(max_examples=MAX_EXAMPLES, deadline=None, database=None, derandomize=True,
                  suppress_health_check=list(HealthCheck))  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            case.call_and_validate(checks=CHECKS)

        check()


def row_validator(served):
    openapi = make_openapi(served.models, has_token=False)
    body = openapi["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    Draft202012Validator.check_schema(body["schema"])
    return body, Draft202012Validator(body["schema"])


def test_the_schema_accepts_what_the_server_accepts(served):
    body, validator = row_validator(served)
    for example in body["examples"].values():
        validator.validate(example["value"])
        assert served.client.post("/predict", json=example["value"]).status_code == 200
    for row in (ROW, dict.fromkeys(ROW), {**ROW, "member": "yes"}, {**ROW, "other": 1}):
        assert validator.is_valid({"rows": [row]})
        assert served.predict(row).status_code == 200
    for row in ({}, {**ROW, "age": "1"}, {**ROW, "age": True}, {**ROW, "city": 1.5}, {**ROW, "member": "perhaps"}):
        assert not validator.is_valid({"rows": [row]})
        assert served.predict(row).status_code == 422


def test_fields_are_described_by_categories_and_ranges(served):
    body, _ = row_validator(served)
    fields = body["schema"]["oneOf"][0]["properties"]["rows"]["items"]["properties"]
    assert fields["city"]["examples"] == ["Oslo", "Rome"]
    assert "in training from 17.9" in fields["age"]["description"]
    assert {"enum": ["no", "yes"]} in fields["member"]["anyOf"]


@pytest.mark.torch
def test_models_of_media_and_models_that_explain_nothing_are_described(tmp_path):
    names = {"tagger": "tagger", "media": "text, image and table"}
    served = Served(*(save(make_media_model(kind), tmp_path, name) for name, kind in names.items()))
    paths = make_openapi(served.models, has_token=True)["paths"]
    assert "/predict" not in paths
    assert "/v1/models/tagger/explain" not in paths
    body = paths["/v1/models/media/predict"]["post"]["requestBody"]["content"]
    rows = body["application/json"]["schema"]["oneOf"][0]["properties"]["rows"]
    assert rows["items"]["properties"]["image"]["contentEncoding"] == "base64"
    assert "multipart/form-data" in body
