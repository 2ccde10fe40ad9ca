import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rosenblatt.errors import ModelFileError, ServingError
from rosenblatt.models.model_file import to_bytes
from rosenblatt.serving.models import name_models
from tests.serving.people_model import ROW, make_model, save
from tests.serving.served import Served


def replace_file(path, content):
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def reload(served):
    asyncio.run(served.models.reload_changed())


def test_a_changed_file_replaces_its_model_and_a_broken_one_does_not(tmp_path):
    path = save(make_model(), tmp_path)
    served = Served(path)
    first = served.predict(ROW).json()
    reload(served)
    assert served.predict(ROW).json() == first

    replace_file(path, to_bytes(make_model(seed=1)))
    reload(served)
    second = served.predict(ROW).json()
    assert second["version"] != first["version"]
    assert second["predictions"] != first["predictions"]

    replace_file(path, to_bytes(make_model(seed=2))[:-100])
    reload(served)
    assert served.predict(ROW).json() == second
    description = served.client.get("/v1/models/people").json()
    assert "is not a Rosenblatt model, or incomplete" in description["reload_error"]
    assert "the old model stays" in served.lines.getvalue()
    path.unlink()
    reload(served)
    assert served.predict(ROW).json() == second
    text = served.client.get("/metrics").text
    assert 'rosenblatt_reloads_total{model="people",result="loaded"} 1.0' in text
    assert 'rosenblatt_reloads_total{model="people",result="refused"} 2.0' in text

    replace_file(path, to_bytes(make_model()))
    reload(served)
    assert served.predict(ROW).json() == first
    assert served.client.get("/v1/models/people").json()["reload_error"] is None


def test_requests_during_reloads_are_all_answered_by_one_version(tmp_path):
    path = save(make_model(), tmp_path)
    contents = [to_bytes(make_model(seed=seed)) for seed in range(2)]
    served = Served(path)
    expected = {}
    for content in contents:
        replace_file(path, content)
        reload(served)
        answer = served.predict(ROW).json()
        expected[answer["version"]] = answer
    has_ended = threading.Event()

    def post(_):
        answers = []
        while not has_ended.is_set():
            answers.append(served.predict(ROW))
        return answers

    with ThreadPoolExecutor(3) as pool:
        results = pool.map(post, range(3))
        for k in range(4):
            replace_file(path, contents[k % 2])
            reload(served)
        has_ended.set()
    answers = [answer for result in results for answer in result]
    assert {answer.status_code for answer in answers} == {200}
    assert all(answer.json() == expected[answer.json()["version"]] for answer in answers)


def test_models_are_named_by_their_file_or_as_given(tmp_path, monkeypatch):
    names = name_models(("a/people.rosenblatt", "cats=b/photos.rosenblatt"))
    assert names == {"people": Path("a/people.rosenblatt"), "cats": Path("b/photos.rosenblatt")}
    with pytest.raises(ServingError, match="Two models are named 'people'"):
        name_models(("a/people.rosenblatt", "b/people.rosenblatt"))
    odd = tmp_path / "x=y.rosenblatt"
    odd.touch()
    monkeypatch.chdir(tmp_path)
    assert name_models(("x=y.rosenblatt",)) == {"x=y": Path("x=y.rosenblatt")}


def test_a_file_that_is_no_model_is_refused_at_the_start(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        Served(tmp_path / "none.rosenblatt")
