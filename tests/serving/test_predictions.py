import datetime as dt
import json
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from rosenblatt.estimators.forecaster import RNNForecaster
from rosenblatt.models.model_file import load_model
from rosenblatt.serving.fields import make_fields
from rosenblatt.serving.predictions import Answerer, CallRequest, PredictRequest, write_columns, write_rows
from rosenblatt.web.errors import RequestError
from tests.inspection.models import linear_model
from tests.serving.people_model import ROW, make_model
from tests.serving.served import Served


def answer(model, *groups):
    """The answers of one batch, as frames or errors."""
    fields = make_fields(model)
    requests = [PredictRequest(fields.check_rows(rows), lambda frame, _: frame) for rows in groups]
    return Answerer(model).answer(requests)


def test_each_request_of_a_batch_gets_its_rows():
    model = make_model()
    groups = [[{**ROW, "age": 20.0 + k}] * (k + 1) for k in range(4)]
    for frame, rows in zip(answer(model, *groups), groups, strict=True):
        assert frame.equals(answer(model, rows)[0])
        assert frame.height == len(rows)


def test_a_bad_row_is_found_by_bisection_and_affects_no_other_request():
    model = linear_model([3e38, 3e38])
    good, bad = [{"a": 1.0, "b": 0.5}], [{"a": 1.0, "b": 1.0}] * 6 + [{"a": 1e300, "b": -1e300}, {"a": 0.0, "b": 0.0}]
    first, error, last = answer(model, good, bad, good)
    assert first.equals(last)
    assert isinstance(error, RequestError)
    assert error.place == {"row": 7}


def test_calls_are_answered_beside_predictions():
    model = make_model()
    rows = make_fields(model).check_rows([ROW])
    predict = PredictRequest(rows, lambda frame, _: frame.height)
    assert Answerer(model).answer([predict, CallRequest(lambda: "a call"), predict]) == [1, "a call", 1]


def test_predictions_of_all_types_are_written_as_json():
    frame = pl.DataFrame({"day": [dt.date(2026, 1, 31)], "price": [Decimal("1.50")], "p": [0.1 + 0.2], "ok": [True]})
    expected = {"day": "2026-01-31", "price": 1.5, "p": 0.1 + 0.2, "ok": True}
    rows = json.loads(write_rows(frame, ["a note"], {"model": "m"}))
    assert rows == {"model": "m", "predictions": [expected], "notes": ["a note"]}
    columns = json.loads(write_columns(frame, [], {}))
    assert columns["predictions"] == {name: [cell] for name, cell in expected.items()}


@pytest.mark.slow
@pytest.mark.torch
def test_a_forecaster_takes_series_and_answers_the_next_steps(tmp_path):
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=k) for k in range(30)]
    frame = pl.DataFrame({"day": days * 2, "shop": ["x"] * 30 + ["y"] * 30, "sold": [float(k % 5) for k in range(60)]})
    options = {"members": 1, "folds": 1, "n_jobs": 1, "epochs": 2, "recurrent_width": 4}
    forecaster = RNNForecaster(horizon=3, time="day", series="shop", **options).fit(frame, "sold")
    forecaster.save(tmp_path / "sales.rosenblatt")
    served = Served(tmp_path / "sales.rosenblatt")
    rows = [{**row, "day": str(row["day"])} for row in frame.to_dicts()]
    predictions = served.predict(*rows).json()["predictions"]
    assert [(row["shop"], row["step"]) for row in predictions] == [(shop, step) for shop in "xy" for step in (1, 2, 3)]
    np.testing.assert_array_equal([row["sold"] for row in predictions], forecaster.predict(frame).ravel())
    assert "at least 2 values" in served.predict(rows[0]).json()["detail"]
    assert served.client.post("/v1/models/sales/explain", json={"rows": rows[:1]}).status_code == 422


@pytest.mark.slow
@pytest.mark.torch
def test_a_language_model_continues_a_prompt_as_the_command_does(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text("the cat sat on the mat. " * 60)
    options = "--kind", "rnn", "--task", "language", "--epochs", "2", "--recurrent-width", "8", "--max-length", "16"
    assert run("fit", "book.txt", *options)[0] == 0
    served = Served(tmp_path / "book.rosenblatt")
    body = {"prompt": "the", "length": 20, "seed": 3}
    answer = served.client.post("/v1/models/book/generate", json=body)
    _, text, _ = run("generate", "book.rosenblatt", "--prompt", "the", "--length", "20", "--seed", "3")
    assert f"the{answer.json()['text']}\n" == text
    assert load_model("book.rosenblatt").task == "language"
    for wrong in ({"length": 0}, {"prompt": 1}, {"lenght": 5}, [], {"seed": -1}, {"temperature": True}):
        refused = served.client.post("/v1/models/book/generate", json=wrong)
        assert (refused.status_code, refused.json()["detail"][-1]) == (422, ".")
    assert "/v1/models/book/generate" in served.predict({}).json()["detail"]
    assert "/v1/models/book/generate" in served.client.get("/openapi.json").json()["paths"]
