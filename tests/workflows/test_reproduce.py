"""Fits are reproduced bit for bit, and causes of differences are found."""

from __future__ import annotations

import json
import subprocess
import sys

import polars as pl
import pytest
from click.testing import CliRunner

from rosenblatt.cli.exit_status import ExitStatus
from rosenblatt.cli.main import cli
from rosenblatt.errors import RunError, SpecError
from rosenblatt.runs.compare import FirstDifference, compare, compare_results, possible_causes
from rosenblatt.runs.launch import LaunchRequest, launch
from rosenblatt.runs.store.details import RunDetails
from rosenblatt.runs.store.queries import run_details
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from rosenblatt.spec.spec import Spec
from rosenblatt.workflows.reproduce import reproduce, resume
from rosenblatt.workflows.request import FitRequest
from tests.runs.conftest import add_run_with_curves

FAST = ["--epochs", "4", "--folds", "2", "--members", "2", "--hidden-sizes", "8"]


@pytest.fixture
def store(own_store):
    store = Store(f"sqlite:///{own_store}/runs.db")
    yield store
    store.close()


@pytest.fixture
def fitted_run(tmp_path, people, monkeypatch, store, same_process_check):
    monkeypatch.chdir(tmp_path)
    people.write_csv("people.csv")
    return fit()


def fit(*arguments):
    result = CliRunner().invoke(cli, ["fit", "people.csv", "-t", "rich", "--json", *FAST, *arguments], obj=ExitStatus())
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["run"]


def silent(_):
    """Ignore a message."""


def test_a_fit_is_reproduced_identically(fitted_run, store):
    result = reproduce(store, fitted_run, silent).result
    assert result.verdict == "identical"
    assert result.max_difference == 0.0
    assert result.causes == {}
    assert result.n_compared > 5


def test_a_deterministic_search_and_its_trials_are_reproduced_identically(fitted_run, store):
    run = fit("--trials", "4", "--deterministic", "--repeats", "1", "--members", "auto")
    assert reproduce(store, run, silent).result.verdict == "identical"
    assert reproduce(store, f"{run}-2", silent).result.verdict == "identical"


def test_changed_rows_are_the_cause(fitted_run, store):
    frame = pl.read_csv("people.csv")
    frame.with_columns(noise=pl.col("noise") ** 2).write_csv("people.csv")
    result = reproduce(store, fitted_run, silent).result
    assert result.verdict == "differs"
    assert result.first_difference.step is not None
    assert set(result.causes) == {"data"}


def test_a_changed_seed_is_the_cause(fitted_run, store):
    result = compare_results(store, fitted_run, fit("--seed", "7"), 1e-3)
    assert result.verdict == "differs"
    assert set(result.causes) == {"seed"}


def test_a_changed_hyperparameter_is_the_cause(fitted_run, store):
    result = compare_results(store, fitted_run, fit("--dropout", "0.4"), 1e-3)
    assert set(result.causes) == {"hyperparameter"}
    assert result.causes["hyperparameter"]["dropout"][1] == "0.4"


def merge_dicts(values, changes):
    """Replace values in nested dictionaries."""
    return values | {
        name: merge_dicts(values.get(name, {}), change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }


CAUSES = [
    ({"environment": {"packages": {"numpy": "1.0"}}}, "package"),
    ({"environment": {"python": "3.9"}}, "package"),
    ({"environment": {"processor": "another"}}, "hardware"),
    ({"environment": {"gpus": [{"name": "H200"}]}}, "hardware"),
    ({"source_hash": "another"}, "source"),
    ({"engine": {"source": "another"}}, "source"),
    ({"split": {"training": "another"}}, "data"),
    ({"seeds": {"torch": 3}}, "seed"),
]


def test_each_cause_has_its_name(fitted_run, store):
    details = run_details(store, fitted_run)
    assert possible_causes(details, run_details(store, fitted_run)) == {}
    for change, cause in CAUSES:
        changed = merge_dicts(details.to_json(), change)
        assert set(possible_causes(details, RunDetails.model_validate(changed))) == {cause}, change


def test_verdicts_of_curves(store):
    batch = RecordBatch()
    add_run_with_curves(batch, "a", loss=[1.0, 2.0, float("nan")])
    add_run_with_curves(
        batch, "b", loss=[1.0, 2.0001, float("nan")], **{"system/cpu percent": [3.0], "epoch_time": [1.0]}
    )
    add_run_with_curves(batch, "c", loss=[1.0, 3.0, 5.0])
    add_run_with_curves(batch, "d", loss=[1.0])
    add_run_with_curves(batch, "e", acc=[1.0])
    store.write(batch)
    assert compare_results(store, "a", "a", 1e-3).verdict == "identical"
    near = compare_results(store, "a", "b", 1e-3)
    assert near.verdict == "within tolerance"
    assert near.max_difference == pytest.approx(5e-5)
    assert near.not_compared == ["epoch_time", "system/cpu percent"]
    assert compare_results(store, "a", "b", 1e-6).first_difference == FirstDifference(
        1, "loss: 2.0 was 2.0001 this time"
    )
    assert compare_results(store, "a", "c", 1e-3).first_difference.step == 1
    assert compare_results(store, "a", "d", 1e-3).first_difference == FirstDifference(
        1, "loss has 3 points in the first run, 1 in the second"
    )
    assert compare_results(store, "a", "e", 1e-3).verdict == "differs"


def test_a_comparison_holds_only_differences(fitted_run, store):
    comparison = compare(store, fitted_run, fit("--dropout", "0.4", "--seed", "1"))
    assert set(comparison.params) == {"dropout", "seed"}
    assert comparison.environment == {}
    assert comparison.source == ""
    assert set(comparison.data) == {"test rows", "training rows"}  # the seed also changes the split
    assert comparison.metrics["auc"][0] is not None


def test_a_run_of_a_notebook_cannot_be_reproduced(store, monkeypatch):
    monkeypatch.setattr("sys.argv", ["a notebook"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # of `python -m pytest`
    with track("mine") as run:
        run.log({"loss": 1.0})
    with pytest.raises(RunError, match="was not recorded by a script"):
        reproduce(store, run.id, silent)


def test_a_script_that_was_started_by_itself_is_reproduced(work_folder):
    code = "import sys, rosenblatt\nwith rosenblatt.track() as run: run.log({'loss': float(sys.argv[1])})\n"
    (work_folder / "alone.py").write_text(code)
    subprocess.run([sys.executable, "alone.py", "0.25"], check=True)
    (work_folder / "alone.py").unlink()
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    assert reproduce(store, "last", silent).result.verdict == "identical"
    store.close()


def test_resuming_without_an_interrupted_search_is_an_error(fitted_run, store):
    with pytest.raises(RunError, match="No search of 'people' was interrupted"):
        resume(store, "people", silent)
    with pytest.raises(RunError, match="no experiment and no run 'nothing'"):
        resume(store, "nothing", silent)


def test_the_difference_between_sources_is_that_of_their_files(work_folder):
    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True, capture_output=True
        )

    code = "import rosenblatt\nrosenblatt.track().finish()\n"
    (work_folder / "train.py").write_text(code)
    git("init", "-q", ".")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    run_ids = []
    for change in ("", "# changed\n"):
        (work_folder / "train.py").write_text(code + change)
        run_ids.append(launch(LaunchRequest("train.py", ()))[1].id)
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    lines = compare(store, *run_ids).source.splitlines()
    assert lines[0] == "diff --git train.py train.py"
    assert [line for line in lines if line.startswith("+") and "++" not in line] == ["+# changed"]
    store.close()


def test_a_request_of_another_version_is_refused_in_one_sentence():
    data = FitRequest(table="t.csv", spec=Spec()).to_json()
    assert FitRequest.from_json(data).table.endswith("t.csv")
    with pytest.raises(SpecError, match=r"recorded by a version of rosenblatt with other options \(header\)"):
        FitRequest.from_json(data | {"header": True})


def test_a_fit_of_standard_input_is_not_repeated(tmp_path, monkeypatch, store, same_process_check):
    monkeypatch.chdir(tmp_path)
    table = "a,y\n" + "".join(f"{k * 37 % 101},{k % 2}\n" for k in range(60))
    result = CliRunner().invoke(cli, ["fit", "-", "-t", "y", *FAST], input=table, obj=ExitStatus())
    assert "rosenblatt predict model.rosenblatt new.csv" in result.output
    with pytest.raises(RunError, match="standard input, which is not stored"):
        reproduce(store, "last", silent)
