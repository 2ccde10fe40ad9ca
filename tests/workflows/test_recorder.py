"""Fits and searches are recorded automatically, and reused if nothing has changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from rosenblatt.cli.exit_status import ExitStatus
from rosenblatt.cli.main import cli
from rosenblatt.errors import DivergedError, RunError
from rosenblatt.inspection.description import describe_model
from rosenblatt.models.model_file import load_model
from rosenblatt.runs.maintenance import cleanup
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.details import Param
from rosenblatt.runs.store.queries import find_runs, load_all_curves, load_output, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.workflows.recorded_results import metric_name
from rosenblatt.workflows.resume import resume
from tests.waiting import wait_until

FAST = ["--epochs", "4", "--folds", "2", "--members", "2", "--hidden-sizes", "8"]
SEARCH = ["--trials", "6", "--epochs", "6", "--folds", "2", "--repeats", "1"]


@pytest.fixture
def table(tmp_path, people, monkeypatch, same_process_check):
    monkeypatch.chdir(tmp_path)
    people.write_csv("people.csv")
    return tmp_path


def fit(*arguments):
    result = CliRunner().invoke(cli, ["fit", "people.csv", "-t", "rich", "--json", *arguments], obj=ExitStatus())
    assert result.exit_code == 0, result.output + str(result.exception)
    return json.loads(result.stdout)


@pytest.fixture
def store(own_store):
    Store(f"sqlite:///{own_store}/runs.db").close()
    store = Store(f"sqlite:///{own_store}/runs.db")
    yield store
    store.close()


def test_a_fit_is_recorded(table, store, people):
    result = fit(*FAST, "--seed", "3")
    details = run_details(store, result["run"])
    assert (details.state, details.kind, details.experiment) == ("finished", "fit", "people")
    assert details.params["seed"] == Param(value="3", explicit=True)
    assert not details.params["activation"].explicit
    assert set(details.params) == set(describe_model(load_model("people.rosenblatt"), "")["hyperparameters"])
    assert details.metrics["auc"].last == result["scores"]["AUC"]["model"]
    assert details.baseline["accuracy"] == result["scores"]["accuracy"]["baseline"]
    assert np.sum(details.confusion["counts"]) == result["test_rows"]
    assert set(details.classes) == {"no", "yes"}
    assert len(load_all_curves(store, result["run"])["validation_loss"].values) == 4
    assert details.data[0].name == "table"
    assert {"training", "test"} <= details.split.keys()
    assert details.environment.packages["numpy"] == np.__version__
    stored_file = details.artifacts["predictions.parquet"]
    artifacts = Artifacts(store.url, store)
    artifacts.fetch(stored_file.hash, stored_file.root, table / "predictions.parquet")
    predictions = pl.read_parquet(table / "predictions.parquet")
    assert predictions.height == result["test_rows"]
    assert predictions["row"].is_sorted()
    assert people["rich"].gather(predictions["row"] - 1).to_list() == predictions["target"].to_list()
    assert "rows: 240 for training, 60 for testing" in "".join(words for _, words in load_output(store, result["run"]))


def test_regression_and_several_targets_are_recorded(table, store):
    result = CliRunner().invoke(cli, ["fit", "people.csv", "-t", "age", "-t", "noise", *FAST], obj=ExitStatus())
    assert result.exit_code == 0, result.output
    details = run_details(store, find_runs(store)[0].id)
    assert {"r2 of age", "rmse of noise"} <= details.metrics.keys()
    assert {"predictions.parquet", "model.rosenblatt"} <= details.artifacts.keys()


def test_a_search_records_its_trials(table, store):
    result = fit(*SEARCH)
    trials = find_runs(store, parent=result["run"], sort="number")
    assert [trial.number for trial in trials] == list(range(6))
    assert all(trial.state in ("finished", "stopped") for trial in trials)
    finished = find_runs(store, "kind = trial and state = finished and metrics.auc > 0.1", parent=result["run"])
    assert finished
    best = result["search"]["best"]["number"]
    details = run_details(store, f"{result['run']}-{best}")
    assert details.metrics["validation_loss"].best is not None
    assert details.trial["number"] == best
    chosen_params = {name for name, param in details.params.items() if param.explicit}
    assert {"learning_rate", "activation", "hidden_layers"} <= chosen_params
    params = run_details(store, result["run"]).params
    assert {name: params[name].explicit for name in ("hidden_sizes", "epochs", "members", "patience")} == {
        "hidden_sizes": True, "epochs": True, "members": False, "patience": False,
    }  # fmt: skip
    assert run_details(store, result["run"]).search["trials"]["proposed"] == 6
    assert len(find_runs(store, include_trials=False)) == 1


def test_a_repeated_search_is_reused_without_training(table, store, monkeypatch):
    first = fit(*SEARCH)
    before = load_model("people.rosenblatt")
    monkeypatch.setattr("rosenblatt.workflows.search.search", None)  # would be called for training
    second = fit(*SEARCH, "--reuse")
    assert second["reused"]
    assert second["run"] == first["run"]
    assert second["scores"] == first["scores"]
    theta = [np.concatenate([n.theta for n in model.networks]) for model in (before, load_model("people.rosenblatt"))]
    assert np.array_equal(*theta)
    assert len(find_runs(store, include_trials=False)) == 1


@pytest.mark.slow
def test_only_changed_training_rows_need_training(table, store):
    """A changed training row needs training; changed test rows and ignored columns do not."""
    frame = pl.read_csv("people.csv")
    frame.head(200).write_csv("people.csv")
    frame.tail(100).write_csv("test.csv")
    first = fit(*FAST, "--test", "test.csv", "--ignore", "noise")
    frame.tail(50).write_csv("test.csv")
    frame.head(200).with_columns(noise=pl.col("noise") + 1).write_csv("people.csv")
    second = fit(*FAST, "--test", "test.csv", "--ignore", "noise", "--reuse")
    assert second["run"] == first["run"]
    assert second["test_rows"] == 50
    frame.head(199).write_csv("people.csv")
    assert not fit(*FAST, "--test", "test.csv", "--ignore", "noise", "--reuse")["reused"]
    assert not fit(*FAST, "--test", "test.csv", "--ignore", "noise", "--reuse", "--seed", "1")["reused"]


def test_exchanged_or_renamed_columns_need_training(table, store):
    frame = pl.read_csv("people.csv").select("age", "noise", "rich")
    frame.write_csv("people.csv")
    first = fit(*FAST)
    for names in ({"age": "noise", "noise": "age"}, {"age": "years"}):
        frame.rename(names).write_csv("people.csv")
        result = fit(*FAST, "--reuse")
        assert not result["reused"]
        assert result["run"] != first["run"]
    frame.write_csv("people.csv")
    assert fit(*FAST, "--reuse")["run"] == first["run"]


def test_nothing_is_recorded_without_a_store(table, own_store):
    assert fit(*FAST, "--store", "none")["run"] is None
    assert not (own_store / "runs.db").exists()


def test_a_fit_that_fails_is_recorded_with_the_reason(table, store):
    diverging = [
        "--kind",
        "perceptron",
        "--perceptron-rule",
        "delta",
        "--learning-rate",
        "500",
        "--folds",
        "1",
        "--numeric-encoding",
        "none",
    ]
    result = CliRunner().invoke(cli, ["fit", "people.csv", "-t", "rich", *diverging], obj=ExitStatus())
    assert isinstance(result.exception, DivergedError), result.output
    record = find_runs(store)[0]
    assert record.state == "failed"
    assert "not finite" in record.reason


def _count_trials_with_loss(store):
    """The number of trials that have reached a rung."""
    try:
        return len(find_runs(store, "kind = trial and metrics.loss is not null"))
    except RunError:  # none has a loss yet
        return 0


def _start(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "rosenblatt", "fit", "people.csv", "-t", "rich", *arguments],
        cwd=folder, env=os.environ.copy(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_search_is_resumed(table, store, capfd):
    arguments = ["--trials", "8", "--epochs", "20", "--folds", "2", "--repeats", "1", "--deterministic"]
    process = _start(table, *arguments)
    try:
        wait_until(
            lambda: _count_trials_with_loss(store) >= 3 or process.poll() is not None,
            timeout=100,
            description="three trials at a rung",
        )
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    search = find_runs(store, include_trials=False)[0]
    assert search.state == "running"
    before = {trial.id: trial.started for trial in find_runs(store, parent=search.id)}
    assert len(before) >= 3
    assert resume(store, "people") == 0
    assert "resuming the search in" in capfd.readouterr().out
    assert find_runs(store, include_trials=False)[0].state == "finished"
    after = {trial.id: trial.started for trial in find_runs(store, parent=search.id)}
    assert len(after) == 8
    assert before.items() <= after.items()
    fit(*arguments, "-o", "whole.rosenblatt")
    models = [load_model(table / name) for name in ("people.rosenblatt", "whole.rosenblatt")]
    assert all(np.array_equal(a.theta, b.theta) for a, b in zip(models[0].networks, models[1].networks, strict=True))


def test_the_checkpoint_of_a_search_is_removed_when_it_finishes_or_is_deleted(table, store, own_store, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.store.artifacts.GRACE_SECONDS", -5.0)
    result = fit(*SEARCH)
    assert not (own_store / "state" / result["run"]).exists()
    (own_store / "state" / "gone").mkdir(parents=True)
    store.delete([result["run"]])
    counts = cleanup(store)
    assert counts.removed_states == 1
    assert counts.removed_files >= 2
    assert not list((own_store / "artifacts").glob("??/*"))


@pytest.mark.parametrize(
    ("score", "metric"),
    [("AUC", "auc"), ("F1 of yes", "f1"), ("R2", "r2"), ("R2 of price", "r2 of price"), ("log loss", "log_loss"),
     ("root mean squared error of b", "rmse of b"), ("accuracy", "accuracy"), ("F1 (mean of classes)", "f1")],
)  # fmt: skip
def test_scores_have_short_names_as_metrics(score, metric):
    assert metric_name(score) == metric
