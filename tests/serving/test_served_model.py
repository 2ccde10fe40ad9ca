import numpy as np
import pytest

from rosenblatt.data.tasks.target import Target
from tests.serving.people_model import ROW, make_media_model, make_model, save
from tests.serving.served import Served

VALUES = Target.fit_regression(("pay", "age"), np.arange(20.0).reshape(-1, 2), "none")
LABELS = Target(names=("p", "q"), task="multilabel", label_pairs=(("no", "yes"), (0, 1)))
SUMS = Target(names=("rich",), task="binary", labels=(False, True), loss="hinge", output_type="sums")


@pytest.mark.parametrize("target", [VALUES, LABELS, SUMS])
def test_a_description_names_the_columns_of_the_predictions(target, tmp_path):
    served = Served(save(make_model(target), tmp_path))
    description = served.client.get("/v1/models/people").json()
    prediction = served.predict(ROW).json()["predictions"][0]
    assert description["predictions"] == [*prediction]
    assert description["targets"] == list(target.names)
    assert description["example"].keys() == ROW.keys()
    assert served.predict(description["example"]).status_code == 200


@pytest.mark.torch
@pytest.mark.parametrize("name", ["texts, attention", "gru, last"])
def test_parts_of_texts_and_sequences_are_explained(name, tmp_path):
    served = Served(save(make_media_model(name), tmp_path))
    row = {"text": "red green blue"} if name.startswith("text") else {"steps": [[1, 2], [3, 4], [5, 6]]}
    answer = served.client.post("/v1/models/people/explain", json={"rows": [row]}).json()
    (part,) = answer["parts"]
    if name.startswith("text"):  # of characters, cut to the longest text of the training
        assert "red green blue".startswith("".join(part["tokens"]))
        assert len(part["values"]) == len(part["tokens"]) > 0
    else:
        assert (part["kind"], len(part["values"])) == ("sequence", 3)
    assert answer["effects"] == []


@pytest.mark.torch
def test_a_tagger_explains_nothing_and_says_so(tmp_path):
    served = Served(save(make_media_model("tagger"), tmp_path))
    answer = served.client.post("/v1/models/people/explain", json={"rows": [{"text": "red"}]})
    assert answer.status_code == 422
    assert "predicts several steps for each row" in answer.json()["detail"]
