"""Fits and searches are recorded without being asked to be, and what was done before is not done again."""

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

from rosenblatt.cli.exit_status import _Stop
from rosenblatt.cli.main import cli
from rosenblatt.errors import DivergedError, RunError
from rosenblatt.models.model_file import load_model
from rosenblatt.runs.maintenance import tidy
from rosenblatt.runs.store.artifacts import fetch
from rosenblatt.runs.store.queries import all_curves, details, find_runs, output_of
from rosenblatt.runs.store.store import Store
from rosenblatt.workflows.recorder import metric_name
from tests.waiting import wait_until

FAST = ["--epochs", "4", "--folds", "2", "--members", "2", "--hidden-sizes", "8"]
SEARCH = ["--trials", "6", "--epochs", "6", "--folds", "2", "--repeats", "1"]


@pytest.fixture
def table(tmp_path, people, monkeypatch):
    monkeypatch.chdir(tmp_path)
    people.write_csv("people.csv")
    return tmp_path


def fit(*words):
    done = CliRunner().invoke(cli, ["fit", "people.csv", "-t", "rich", "--json", *words], obj=_Stop())
    assert done.exit_code == 0, done.output + str(done.exception)
    return json.loads(done.stdout)


@pytest.fixture
def store(own_store):
    Store(f"sqlite:///{own_store}/runs.db").close()
    found = Store(f"sqlite:///{own_store}/runs.db")
    yield found
    found.close()


def test_a_fit_is_recorded_with_all_that_belongs_to_it(table, store):
    result = fit(*FAST, "--seed", "3")
    known = details(store, result["run"])
    assert (known["state"], known["kind"], known["experiment"]) == ("finished", "fit", "people")
    assert known["params"]["seed"] == {"value": "3", "chosen": True}
    assert not known["params"]["activation"]["chosen"]
    assert len(known["params"]) > 40
    assert known["metrics"]["auc"]["last"] == result["scores"]["AUC"]["model"]
    assert known["baseline"]["accuracy"] == result["scores"]["accuracy"]["baseline"]
    assert np.sum(known["confusion"]["counts"]) == result["test_rows"]
    assert set(known["classes"]) == {"no", "yes"}
    assert len(all_curves(store, result["run"])["validation_loss"].values) == 4
    assert known["data"][0]["name"] == "table"
    assert {"training", "test"} <= known["split"].keys()
    assert known["environment"]["packages"]["numpy"] == np.__version__
    kept = known["artifacts"]["predictions.parquet"]
    fetch(kept["hash"], kept["root"], table / "predictions.parquet")
    assert pl.read_parquet(table / "predictions.parquet").height == result["test_rows"]
    assert "rows: 240 for training, 60 for the test" in "".join(words for _, words in output_of(store, result["run"]))


def test_regression_and_several_targets_are_recorded_too(table, store):
    done = CliRunner().invoke(cli, ["fit", "people.csv", "-t", "age", "-t", "noise", *FAST], obj=_Stop())
    assert done.exit_code == 0, done.output
    known = details(store, find_runs(store)[0]["id"])
    assert {"r2 of age", "rmse of noise"} <= known["metrics"].keys()
    assert {"predictions.parquet", "model.rosenblatt"} <= known["artifacts"].keys()


def test_a_search_records_each_trial_under_it(table, store):
    result = fit(*SEARCH)
    trials = find_runs(store, of=result["run"], sort="number")
    assert [one["number"] for one in trials] == list(range(6))
    assert all(one["state"] in ("finished", "stopped") for one in trials)
    finished = find_runs(store, "kind = trial and state = finished and metrics.auc > 0.1", of=result["run"])
    assert finished
    best = result["search"]["best"]["number"]
    known = details(store, f"{result['run']}-{best}")
    assert known["metrics"]["validation_loss"]["best"] is not None
    assert known["trial"]["number"] == best
    chosen = {name for name, one in known["params"].items() if one["chosen"]}
    assert {"learning_rate", "activation", "hidden_layers"} <= chosen
    assert details(store, result["run"])["search"]["trials"]["proposed"] == 6
    assert len(find_runs(store, trials=False)) == 1


def test_a_finished_search_that_is_asked_for_again_trains_none(table, store, monkeypatch):
    first = fit(*SEARCH)
    before = load_model("people.rosenblatt")
    monkeypatch.setattr("rosenblatt.workflows.search.search", None)  # would be called to train
    again = fit(*SEARCH, "--reuse")
    assert again["reused"]
    assert again["run"] == first["run"]
    assert again["scores"] == first["scores"]
    theta = [np.concatenate([n.theta for n in model.networks]) for model in (before, load_model("people.rosenblatt"))]
    assert np.array_equal(*theta)
    assert len(find_runs(store, trials=False)) == 1


@pytest.mark.slow
def test_a_changed_row_trains_what_it_touches(table, store):
    """One of the training rows touches all; one of the test rows nothing; another column that is ignored nothing."""
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


def test_nothing_is_recorded_where_no_store_is_wanted(table, own_store):
    assert fit(*FAST, "--store", "none")["run"] is None
    assert not (own_store / "runs.db").exists()


def test_a_fit_that_fails_is_recorded_with_the_reason(table, store):
    diverging = [
        "--kind",
        "perceptron",
        "--rule",
        "delta",
        "--learning-rate",
        "500",
        "--folds",
        "1",
        "--numbers",
        "none",
    ]
    done = CliRunner().invoke(cli, ["fit", "people.csv", "-t", "rich", *diverging], obj=_Stop())
    assert isinstance(done.exception, DivergedError), done.output
    known = find_runs(store)[0]
    assert known["state"] == "failed"
    assert "not finite" in known["reason"]


def _reached(store):
    """Trials that came to a rung."""
    try:
        return len(find_runs(store, "kind = trial and metrics.loss is not null"))
    except RunError:  # none has a loss yet
        return 0


def _start(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "rosenblatt", "fit", "people.csv", "-t", "rich", *words],
        cwd=folder, env=os.environ.copy(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_search_goes_on_with_what_had_come_to_a_rung(table, store):
    words = ["--trials", "12", "--epochs", "60", "--repeats", "1", "--deterministic"]
    process = _start(table, *words)
    try:
        wait_until(
            lambda: _reached(store) >= 10 or process.poll() is not None, timeout=100, description="ten trials at a rung"
        )
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    search = find_runs(store, trials=False)[0]
    assert search["state"] == "running"
    before = {one["id"]: one["started"] for one in find_runs(store, of=search["id"])}
    assert len(before) >= 10
    resumed = subprocess.run(
        [sys.executable, "-m", "rosenblatt", "runs", "resume", "people"],
        cwd=table,
        capture_output=True,
        text=True,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from" in resumed.stdout
    assert find_runs(store, trials=False)[0]["state"] == "finished"
    after = {one["id"]: one["started"] for one in find_runs(store, of=search["id"])}
    assert len(after) == 12
    assert before.items() <= after.items()
    whole = _start(table, *words, "-o", "whole.rosenblatt")
    whole.communicate(timeout=100)
    assert whole.returncode == 0
    models = [load_model(table / name) for name in ("people.rosenblatt", "whole.rosenblatt")]
    assert all(np.array_equal(a.theta, b.theta) for a, b in zip(models[0].networks, models[1].networks, strict=True))


def test_the_state_of_a_search_goes_when_it_is_finished_or_deleted(table, store, own_store, monkeypatch):
    monkeypatch.setattr("rosenblatt.runs.store.artifacts.YOUNG", -5.0)
    result = fit(*SEARCH)
    assert not (own_store / "state" / result["run"]).exists()
    (own_store / "state" / "gone").mkdir(parents=True)
    store.delete([result["run"]])
    found = tidy(store)
    assert found["removed_states"] == 1
    assert found["removed_files"] >= 2
    assert not list((own_store / "artifacts").glob("??/*"))


@pytest.mark.parametrize(
    ("score", "metric"),
    [("AUC", "auc"), ("F1 of yes", "f1"), ("R2", "r2"), ("R2 of price", "r2 of price"), ("log loss", "log_loss"),
     ("root mean squared error of b", "rmse of b"), ("accuracy", "accuracy"), ("F1 (mean of classes)", "f1")],
)  # fmt: skip
def test_scores_have_short_names_as_metrics(score, metric):
    assert metric_name(score) == metric
