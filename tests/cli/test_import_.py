"""The command import: files, messages and what can be done with the model."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytestmark = [pytest.mark.slow, pytest.mark.frameworks]
COLUMNS = ("age", "hours", "gain")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    import skops.io

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    x = rng.normal(40, 10, (200, 3))
    y = np.where(x[:, 0] + x[:, 1] > 80, "yes", "no")
    estimator = make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=30, random_state=1)).fit(x, y)
    skops.io.dump(estimator, "network.skops")
    pl.DataFrame(dict(zip(COLUMNS, x.T, strict=True)) | {"income": y}).write_csv("people.csv")
    return tmp_path, estimator, x, y


def test_an_imported_network_predicts_is_described_explained_and_reported(run, folder):
    _, estimator, x, y = folder
    status, out, _ = run("import", "network.skops", "--rows", "people.csv", "--target", "income")
    assert status == 0
    assert "compared on 200 rows (of the table), in a new process" in out
    assert "imported: network.rosenblatt, 3 inputs -> 8 relu -> 1 output" in out
    run("predict", "network.rosenblatt", "people.csv", "--out", "predictions.csv")
    assert pl.read_csv("predictions.csv")["income"].to_list() == estimator.predict(x).tolist()
    status, out, _ = run("evaluate", "network.rosenblatt", "people.csv", "--report", "report.html", "--json")
    assert status == 0
    assert json.loads(out)["scores"]["accuracy"]["model"] == pytest.approx(np.mean(estimator.predict(x) == y))
    for command in (["describe", "network.rosenblatt"], ["explain", "network.rosenblatt", "people.csv", "--row", "1"]):
        status, out, _ = run(*command)
        assert status == 0
        assert "age" in out or "income" in out


def test_json_has_names_and_the_largest_difference(run, folder):
    status, out, _ = run("import", "network.skops", "--columns", ",".join(COLUMNS), "--out", "n.rosenblatt", "--json")
    assert status == 0
    result = json.loads(out)
    assert result["columns"] == [*COLUMNS]
    assert result["classes"] == ["no", "yes"]
    assert result["largest_difference"] < 1e-5


def test_a_file_that_cannot_be_imported_is_one_sentence(run, folder):
    (folder[0] / "x.skops").write_bytes(b"nothing")
    status, _, err = run("import", "x.skops")
    assert status == 2
    assert "is damaged, or not a file of skops" in err


def test_an_imported_network_is_fine_tuned_but_not_overwritten(run, folder):
    run("import", "network.skops", "--rows", "people.csv", "--target", "income", "--out", "people.rosenblatt")
    options = ("fit", "people.csv", "-t", "income", "--start", "people.rosenblatt", "--epochs", "2", "--members", "1")
    status, _, err = run(*options)  # the default name of the output is that of the model to start from
    assert status == 2
    assert "'people.rosenblatt' is also another file of this command" in err
    status, out, _ = run(*options, "--out", "tuned.rosenblatt")
    assert status == 0
    assert "start: 1 network, 3 inputs -> 8 relu -> 1 output; their columns and encoder stay" in out
    status, _, err = run(*options, "--out", "tuned.rosenblatt", "--activation", "tanh")
    assert status == 2
    assert "continues networks with activation" in err
