import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.tasks.target import Target
from rosenblatt.serving.bodies import ARROW_FILE, ARROW_STREAM, parse_arrow, write_arrow
from rosenblatt.serving.settings import Limits
from rosenblatt.web.access import Access
from tests.inspection.models import linear_model
from tests.models.export.fitted_models import encode_png, typed_rows
from tests.serving.people_model import ROW, make_media_model, make_model, people, save
from tests.serving.served import Served


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    return Served(save(model, tmp_path_factory.mktemp("models")))


def json_rows(frame):
    return [
        {name: str(cell) if hasattr(cell, "isoformat") else cell for name, cell in row.items()}
        for row in frame.to_dicts()
    ]


def probabilities(predictions, model):
    names = [f"probability of {label}" for label in model.target.labels]
    return np.array([[row[name] for name in names] for row in predictions])


def test_predictions_equal_those_of_the_model_to_the_last_bit(served, model):
    rows = people()
    answer = served.predict(*json_rows(rows)).json()
    np.testing.assert_array_equal(probabilities(answer["predictions"], model), model.predict_proba(rows))
    assert [row["income"] for row in answer["predictions"]] == model.predict(rows).tolist()
    assert (answer["model"], answer["notes"]) == ("people", [])


def test_requests_in_one_batch_are_answered_as_if_each_came_alone(served, model):
    rows = people()
    bodies = [json_rows(rows[k : k + 3]) for k in range(0, 60, 3)]
    bad = [{**ROW, "age": "x"}]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda body: served.predict(*body), [*bodies, bad]))
    predictions = [row for answer in answers[:-1] for row in answer.json()["predictions"]]
    np.testing.assert_array_equal(probabilities(predictions, model), model.predict_proba(rows))
    assert answers[-1].status_code == 422


def test_columns_give_columns_and_arrow_gives_arrow(served, model):
    rows = people().with_columns(pl.col("since").cast(pl.Date))
    columns = {name: [str(c) if hasattr(c, "isoformat") else c for c in rows[name]] for name in rows.columns}
    by_column = served.client.post("/predict", json={"columns": columns}).json()["predictions"]
    for content_type in (ARROW_STREAM, ARROW_FILE):
        answer = served.client.post(
            "/predict", content=write_arrow(rows, content_type), headers={"Content-Type": content_type}
        )
        assert answer.headers["content-type"] == content_type
        assert parse_arrow(answer.content, content_type, 1 << 25).to_dict(as_series=False) == by_column
    headers = {"Content-Type": ARROW_STREAM, "Accept": "application/json"}
    answer = served.client.post("/predict", content=write_arrow(rows, ARROW_STREAM), headers=headers)
    assert answer.json()["predictions"] == by_column
    np.testing.assert_array_equal(np.array(by_column["probability of low"]), model.predict_proba(rows)[:, 0])


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"rows": [NaN]}', "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"rows": []}', "application/json", 422),
        (b'{"rows": [1]}', "application/json", 422),
        (b'{"rows": {}}', "application/json", 422),
        (b'{"columns": {"age": 1}}', "application/json", 422),
        (b'{"columns": {}}', "application/json", 422),
        (b'{"rows": [{}], "columns": {}}', "application/json", 422),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b"garbage", ARROW_STREAM, 400),
        (b"garbage", "multipart/form-data; boundary=x", 400),
    ],
)
def test_wrong_bodies_are_problems_with_one_sentence(served, content, content_type, status):
    answer = served.client.post("/v1/models/people/predict", content=content, headers={"Content-Type": content_type})
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (status, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["detail"].endswith(".")
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_unknown_models_paths_and_methods_are_named(served):
    assert "Did you mean 'people'?" in served.predict(ROW, path="/v1/models/peopl/predict").json()["detail"]
    assert served.client.get("/v2").status_code == 404
    answer = served.client.get("/predict")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    answer = served.client.post("/v1/models/people/generate", json={})
    assert (answer.status_code, "Use /v1/models/people/predict." in answer.text) == (404, True)


def test_bodies_are_limited(model, tmp_path):
    served = Served(save(model, tmp_path), limits=Limits(body_bytes=200))
    assert served.predict(ROW).status_code == 200
    assert served.predict(*[ROW] * 10).status_code == 413

    def chunks():
        yield b" " * 150
        yield b" " * 150

    answer = served.client.post("/predict", content=chunks(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_slow_answers_and_too_many_requests_are_refused(model, tmp_path, monkeypatch):
    served = Served(save(model, tmp_path), limits=Limits(answer_timeout_s=0.05, waiting_requests=2))
    may_run, answerer = threading.Event(), next(iter(served.models))._answerer
    monkeypatch.setattr(answerer, "answer", lambda requests: may_run.wait(20) and [b"{}"] * len(requests))
    slow = served.predict(ROW)
    assert (slow.status_code, slow.headers["retry-after"]) == (503, "1")
    served.metrics.n_in_flight = 2
    assert served.predict(ROW).json()["detail"] == "Too many requests wait. Try again later."
    assert served.client.get("/healthz").status_code == 200
    may_run.set()


def test_a_row_without_a_finite_prediction_is_refused_and_named(tmp_path):
    served = Served(save(linear_model([3e38, 1.0]), tmp_path))
    answer = served.predict({"a": 1, "b": 2}, {"a": 1e300, "b": -1e300})
    assert (answer.status_code, answer.json()["row"]) == (422, 2)
    assert served.predict({"a": 2, "b": 2}).status_code == 200


def test_tokens_are_needed_where_they_are_set(model, tmp_path):
    served = Served(save(model, tmp_path), access=Access("a-token-of-the-tests"))
    assert (answer := served.predict(ROW)).status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert served.client.get("/v1/models").status_code == 401
    assert served.client.get("/healthz").status_code == 200
    headers = {"Authorization": "Bearer a-token-of-the-tests"}
    assert served.client.post("/predict", json={"rows": [ROW]}, headers=headers).status_code == 200
    assert "security" in served.client.get("/openapi.json", headers=headers).json()


def test_request_ids_are_kept_if_they_are_harmless(served):
    assert served.client.get("/healthz", headers={"X-Request-ID": "job-7:3"}).headers["x-request-id"] == "job-7:3"
    answer = served.client.get("/healthz", headers={"X-Request-ID": "a b\tc"})
    assert len(answer.headers["x-request-id"]) == 16
    last = json.loads(served.lines.getvalue().splitlines()[-1])
    assert (last["request_id"], last["path"], last["status"]) == (answer.headers["x-request-id"], "/healthz", 200)


def test_requests_rows_and_batches_are_counted(model, tmp_path):
    served = Served(save(model, tmp_path))
    served.predict(ROW, ROW)
    served.predict({})
    text = served.client.get("/metrics").text
    for line in (
        'rosenblatt_requests_total{model="people",status="200"} 1.0',
        'rosenblatt_requests_total{model="people",status="422"} 1.0',
        'rosenblatt_rows_total{model="people"} 2.0',
        'rosenblatt_batch_rows_sum{model="people"} 2.0',
        'rosenblatt_request_seconds_count{model="people"} 2.0',
    ):
        assert line in text


def test_a_fault_of_the_server_is_logged_and_not_shown(model, tmp_path, monkeypatch):
    served = Served(save(model, tmp_path))
    monkeypatch.setattr(served.models, "find", lambda name: 1 / 0)
    answer = served.client.get("/v1/models/people")
    assert answer.status_code == 500
    assert "ZeroDivisionError" not in answer.text
    assert "ZeroDivisionError" in served.lines.getvalue()
    assert answer.json()["request_id"] in served.lines.getvalue()


def test_an_explanation_names_the_columns_and_the_output(served):
    answer = served.client.post("/v1/models/people/explain", json={"rows": [ROW], "answer": "high"}).json()
    assert answer["output"] == "probability of high"
    assert {effect["column"] for effect in answer["effects"]} == {*ROW}
    unknown = served.client.post("/v1/models/people/explain", json={"rows": [ROW], "answer": "highh"})
    assert (unknown.status_code, "Did you mean 'high'?" in unknown.text) == (422, True)
    assert served.client.post("/v1/models/people/explain", json={"rows": [ROW, ROW]}).status_code == 422


def test_several_models_have_paths_of_their_own(model, tmp_path):
    values = make_model(Target.fit_regression(("pay",), np.arange(9.0).reshape(-1, 1), "none"))
    served = Served(save(model, tmp_path), save(values, tmp_path, "pay"))
    assert set(served.predict(ROW, path="/v1/models/pay/predict").json()["predictions"][0]) == {"pay"}
    answer = served.predict(ROW)
    assert (answer.status_code, "/v1/models/pay/predict" in answer.json()["detail"]) == (404, True)
    assert [m["name"] for m in served.client.get("/v1/models").json()["models"]] == ["people", "pay"]


def test_the_page_may_not_load_anything_from_elsewhere(served):
    page = served.client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    for path in ("/", "/page.js", "/page.css"):
        text = served.client.get(path).text
        assert "//" not in text.replace("http://www.w3.org/2000/svg", "").replace("// ", "")


@pytest.mark.torch
@pytest.mark.parametrize("name", ["text, image and table", "elman, mean, layer norm", "tagger"])
def test_images_texts_and_sequences_are_predicted_as_by_the_model(name, tmp_path):
    model = make_media_model(name)
    served = Served(save(model, tmp_path))
    frame = typed_rows(n=12).select(column.name for column in model.schema.columns)
    rows = [{name: _cell(name, cell) for name, cell in row.items()} for row in frame.to_dicts()]
    predictions = served.predict(*rows).json()["predictions"]
    raw = model.predict_typed(frame)
    if model.target.task == "tagging":
        for row, prediction, text in zip(raw, predictions, frame["text"].struct.field("text"), strict=True):
            assert prediction["tags"].split() == model.label(row[None])[0][: len(text.split())].tolist()
    else:
        np.testing.assert_array_equal([[*row.values()][-raw.shape[1] :] for row in predictions], raw)


def _cell(name, cell):
    if name == "image":
        return base64.b64encode(cell["image"]).decode()
    if name == "steps":
        steps = np.frombuffer(cell["sequence"], np.float32).reshape(-1, 2).astype(float)
        return [[None if np.isnan(x) else x for x in step] for step in steps.tolist()]
    return cell["text"] if name == "text" else cell


@pytest.mark.torch
def test_an_image_comes_as_a_file_of_a_form_and_a_damaged_one_is_named(tmp_path):
    model = make_media_model("cnn")
    served = Served(save(model, tmp_path))
    content = encode_png((np.random.default_rng(0).random((9, 8, 3)) * 255).astype(np.uint8))
    form = served.client.post("/predict", files={"image": ("a.png", content, "image/png")}).json()
    encoded = base64.b64encode(content).decode()
    assert served.predict({"image": encoded}).json() == form
    damaged = base64.b64encode(content[:40]).decode()
    answer = served.predict({"image": encoded}, {"image": damaged}, {"image": encoded})
    assert (answer.status_code, answer.json()["row"]) == (422, 2)
