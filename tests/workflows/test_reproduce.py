"""Fits of ours are made again bit for bit; where something differs, it is named."""

from __future__ import annotations

import json
import subprocess
import sys

import polars as pl
import pytest
from click.testing import CliRunner

from rosenblatt.cli.exit_status import _Stop
from rosenblatt.cli.main import cli
from rosenblatt.errors import RunError
from rosenblatt.runs.compare import causes, compare, verdict
from rosenblatt.runs.launch import Launch, launch
from rosenblatt.runs.store.queries import details
from rosenblatt.runs.store.records import Batch
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from rosenblatt.workflows.reproduce import reproduce, resume
from tests.runs.conftest import a_run

FAST = ["--epochs", "4", "--folds", "2", "--members", "2", "--hidden-sizes", "8"]


@pytest.fixture
def store(own_store):
    found = Store(f"sqlite:///{own_store}/runs.db")
    yield found
    found.close()


@pytest.fixture
def fitted(tmp_path, people, monkeypatch, store):
    monkeypatch.chdir(tmp_path)
    people.write_csv("people.csv")
    return fit()


def fit(*words):
    done = CliRunner().invoke(cli, ["fit", "people.csv", "-t", "rich", "--json", *FAST, *words], obj=_Stop())
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["run"]


def quiet(_):
    """Says nothing."""


def test_our_own_runs_are_identical(fitted, store):
    found = reproduce(store, fitted, quiet)
    assert found["verdict"] == "identical"
    assert found["furthest"] == 0.0
    assert found["causes"] == {}
    assert found["compared"] > 5


def test_a_deterministic_search_is_identical_and_so_is_each_trial(fitted, store):
    run = fit("--trials", "4", "--deterministic", "--repeats", "1", "--members", "auto")
    assert reproduce(store, run, quiet)["verdict"] == "identical"
    assert reproduce(store, f"{run}-2", quiet)["verdict"] == "identical"


def test_another_row_is_named_as_the_cause(fitted, store):
    frame = pl.read_csv("people.csv")
    frame.with_columns(noise=pl.col("noise") ** 2).write_csv("people.csv")
    found = reproduce(store, fitted, quiet)
    assert found["verdict"] == "differs"
    assert found["first"]["step"] is not None
    assert set(found["causes"]) == {"data"}


def test_another_seed_is_named_as_the_cause(fitted, store):
    found = verdict(store, fitted, fit("--seed", "7"), 1e-3)
    assert found["verdict"] == "differs"
    assert set(found["causes"]) == {"seed"}


def test_another_hyperparameter_is_named_as_the_cause(fitted, store):
    found = verdict(store, fitted, fit("--dropout", "0.4"), 1e-3)
    assert set(found["causes"]) == {"hyperparameter"}
    assert found["causes"]["hyperparameter"]["dropout"][1] == "0.4"


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda known: known["environment"]["packages"].update(numpy="1.0"), "package"),
        (lambda known: known["environment"].update(python="3.9"), "package"),
        (lambda known: known["environment"].update(processor="another"), "hardware"),
        (lambda known: known["environment"].update(gpus=[{"name": "H200"}]), "hardware"),
        (lambda known: known.update(source_hash="another"), "source"),
        (lambda known: known["engine"].update(source="another"), "source"),
        (lambda known: known["split"].update(training="another"), "data"),
        (lambda known: known.update(seeds={"torch": 3}), "seed"),
    ],
)
def test_each_cause_has_its_name(fitted, store, change, cause):
    one, other = details(store, fitted), details(store, fitted)
    assert causes(one, other) == {}
    change(other)
    assert set(causes(one, other)) == {cause}


def test_verdicts_of_curves(store):
    batch = Batch()
    a_run(batch, "a", loss=[1.0, 2.0, float("nan")])
    a_run(batch, "b", loss=[1.0, 2.0001, float("nan")], **{"system/cpu percent": [3.0], "epoch_time": [1.0]})
    a_run(batch, "c", loss=[1.0, 3.0, 5.0])
    a_run(batch, "d", loss=[1.0])
    a_run(batch, "e", acc=[1.0])
    store.write(batch)
    assert verdict(store, "a", "a", 1e-3)["verdict"] == "identical"
    near = verdict(store, "a", "b", 1e-3)
    assert near["verdict"] == "within tolerance"
    assert near["furthest"] == pytest.approx(5e-5)
    assert near["not_compared"] == ["epoch_time", "system/cpu percent"]
    assert verdict(store, "a", "b", 1e-6)["first"] == {"step": 1, "what": "loss: 2.0 was 2.0001 this time"}
    assert verdict(store, "a", "c", 1e-3)["first"]["step"] == 1
    assert verdict(store, "a", "d", 1e-3)["first"] == {
        "step": 1, "what": "loss has 3 points in the first run, 1 in the second"
    }  # fmt: skip
    assert verdict(store, "a", "e", 1e-3)["verdict"] == "differs"


def test_two_runs_are_compared_in_what_differs(fitted, store):
    found = compare(store, fitted, fit("--dropout", "0.4", "--seed", "1"))
    assert set(found["params"]) == {"dropout", "seed"}
    assert found["environment"] == {}
    assert found["source"] == ""
    assert set(found["data"]) == {"test rows", "training rows"}  # the seed splits them too
    assert found["metrics"]["auc"][0] is not None


def test_a_run_of_no_script_cannot_be_made_again(store, monkeypatch):
    monkeypatch.setattr("sys.argv", ["a notebook"])
    with track("mine") as run:
        run.log({"loss": 1.0})
    with pytest.raises(RunError, match="was not made by a script"):
        reproduce(store, run.id, quiet)


def test_a_script_that_was_run_by_itself_is_made_again_too(here):
    code = "import sys, rosenblatt\nwith rosenblatt.track() as run: run.log({'loss': float(sys.argv[1])})\n"
    (here / "alone.py").write_text(code)
    subprocess.run([sys.executable, "alone.py", "0.25"], check=True)
    (here / "alone.py").unlink()
    store = Store(f"sqlite:///{here}/.rosenblatt/runs.db")
    assert reproduce(store, "last", quiet)["verdict"] == "identical"
    store.close()


def test_nothing_to_go_on_with_is_told(fitted, store):
    with pytest.raises(RunError, match="No search of 'people' was interrupted"):
        resume(store, "people", quiet)
    with pytest.raises(RunError, match="no experiment and no run 'nothing'"):
        resume(store, "nothing", quiet)


def test_the_difference_of_two_sources_is_that_of_their_files(here):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True, capture_output=True)

    code = "import rosenblatt\nrosenblatt.track().finish()\n"
    (here / "train.py").write_text(code)
    git("init", "-q", ".")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    found = []
    for change in ("", "# changed\n"):
        (here / "train.py").write_text(code + change)
        found.append(launch(Launch("train.py", ()))[1].id)
    store = Store(f"sqlite:///{here}/.rosenblatt/runs.db")
    lines = compare(store, *found)["source"].splitlines()
    assert lines[0] == "diff --git train.py train.py"
    assert [line for line in lines if line.startswith("+") and "++" not in line] == ["+# changed"]
    store.close()
