"""The command import: files, messages and what can be done with the model."""

import json
import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytestmark = [pytest.mark.slow, pytest.mark.frameworks]
COLUMNS = ("age", "hours", "gain")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A file of skops, its estimator and rows, and the model that the command imports from it."""
    import skops.io

    folder = tmp_path_factory.mktemp("import")
    rng = np.random.default_rng(1)
    x = rng.normal(40, 10, (200, 3))
    y = np.where(x[:, 0] + x[:, 1] > 80, "yes", "no")
    estimator = make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=30, random_state=1)).fit(x, y)
    skops.io.dump(estimator, folder / "network.skops")
    pl.DataFrame(dict(zip(COLUMNS, x.T, strict=True)) | {"income": y}).write_csv(folder / "people.csv")
    names = ("--rows", "people.csv", "--target", "income")
    command = [sys.executable, "-m", "rosenblatt", "import", "network.skops", *names, "--json"]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return folder, estimator, x, y, process


@pytest.fixture
def folder(files, tmp_path, monkeypatch):
    shutil.copytree(files[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path, *files[1:]


def test_an_imported_network_predicts_is_described_explained_and_reported(run, folder):
    _, estimator, x, y, process = folder
    assert "compared on 200 rows (of the table), in a new process" in process.stderr
    run("predict", "network.rosenblatt", "people.csv", "--out", "predictions.csv")
    assert pl.read_csv("predictions.csv")["income"].to_list() == estimator.predict(x).tolist()
    status, out, _ = run("evaluate", "network.rosenblatt", "people.csv", "--report", "report.html", "--json")
    assert status == 0
    assert json.loads(out)["scores"]["accuracy"]["model"] == pytest.approx(np.mean(estimator.predict(x) == y))
    for command in (["describe", "network.rosenblatt"], ["explain", "network.rosenblatt", "people.csv", "--row", "1"]):
        status, out, _ = run(*command)
        assert status == 0
        assert "age" in out or "income" in out


def test_json_has_names_and_the_largest_difference(folder):
    result = json.loads(folder[-1].stdout)
    assert result["columns"] == [*COLUMNS]
    assert result["classes"] == ["no", "yes"]
    assert result["largest_difference"] < 1e-5


def test_a_file_that_cannot_be_imported_is_one_sentence(run, folder):
    (folder[0] / "x.skops").write_bytes(b"nothing")
    status, _, err = run("import", "x.skops")
    assert status == 2
    assert "is damaged, or not a file of skops" in err
    status, _, err = run("import", "network.rosenblatt")
    assert status == 2
    assert "unknown suffix. Expected one of" in err


def test_an_imported_network_is_fine_tuned_but_not_overwritten(run, folder):
    shutil.copy("network.rosenblatt", "people.rosenblatt")
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
