"""`rosenblatt fit` with a search, from the command line."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from rosenblatt.inspection.report import Report
from rosenblatt.models.model_file import load_model
from rosenblatt.tuning.progress import SearchProgress
from tests.cli.test_models import folder  # noqa: F401 - a fixture
from tests.waiting import wait_until

FAST = ["--epochs", "6", "--hidden-sizes", "8", "--numeric-encoding", "standard", "--folds", "2", "--repeats", "1"]
SPACE = """
[training]
epochs = 6
folds = 2
[search]
repeats = 1
trials = 5
[space]
hidden_sizes = { choice = [[4], [8, 8]] }
learning_rate = { log_uniform = [1e-3, 1e-1] }
"""


def test_a_search_prints_its_trials_importances_and_both_test_scores(run, folder):  # noqa: F811
    status, out, _ = run("fit", "people.csv", "-t", "rich", "--trials", "12", "--report", "r.html", *FAST)
    assert status == 0
    out = " ".join(out.split())  # lines are wrapped at the width of the terminal
    for text in ("search: 12 trials in", "network steps/s, cores ", "validation loss", "weight in the model",
                  "learning_rate", "importance", "trials: people.trials.jsonl", "majority class"):  # fmt: skip
        assert text in out, text
    assert re.search(r"estimated selection bias", out)
    records = [json.loads(line) for line in (folder / "people.trials.jsonl").read_text().splitlines()]
    assert [record["number"] for record in records] == list(range(12))
    assert {record["state"] for record in records} <= {"finished", "stopped"}
    model = load_model("people.rosenblatt")
    assert sum(trial.weight for trial in model.trials) == pytest.approx(1)
    page = (folder / "r.html").read_text()
    assert "<h3>Search</h3>" in page
    assert "Importance of hyperparameters" in page
    _, described, _ = run("describe", "people.rosenblatt")
    assert "search: 12 trials" in described
    assert run("predict", "people.rosenblatt", "people.csv", "--out", "p.csv")[0] == 0
    assert run("explain", "people.rosenblatt", "people.csv", "--network", str(len(model.networks)))[0] == 0


def test_an_ensemble_predicts_the_weighted_mean_of_its_trials(run, folder, people):  # noqa: F811
    options = ["--trials", "16", "--stopping", "none", "--deterministic", "--epochs", "12", *FAST[2:]]
    assert run("fit", "people.csv", "-t", "noise", *options, "--sampler", "random")[0] == 0
    model = load_model("people.rosenblatt")
    assert len(model.trials) > 1
    typed = model.schema.read(people)
    parts = [trial.weight * x for trial, x in zip(model.trials, _predict_trials(model, typed), strict=True)]
    np.testing.assert_allclose(model.predict_raw(people), sum(parts), rtol=1e-12)
    assert [trial.weight for trial in model.trials] == sorted((t.weight for t in model.trials), reverse=True)
    assert Report.from_estimator  # the page is tested above


def _predict_trials(model, typed):
    from rosenblatt.training.rows import DenseRows

    empty = np.empty((0, 1), np.float32)
    return [
        t.predict_encoded(DenseRows(x, empty, empty[:, 0]), len(x))
        for t, x in zip(model.trials, model.encode(typed), strict=True)
    ]


def test_a_search_space_in_toml(run, folder):  # noqa: F811
    (folder / "search.toml").write_text(SPACE)
    status, out, _ = run("fit", "people.csv", "-t", "rich", "--config", "search.toml", "--json")
    assert status == 0
    result = json.loads(out)
    assert result["search"]["trials"]["proposed"] == 5
    assert set(result["search"]["best"]["params"]) == {"hidden_sizes", "learning_rate"}
    assert result["trials"] == "people.trials.jsonl"
    assert result["scores"]["accuracy"]["model"] > 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "0"], "trials must be"),
        (["--minutes", "-1"], "minutes must be"),
        (["--trials", "3", "--sampler", "tpee"], "Did you mean 'tpe'"),
        (["--trials", "3", "--members", "2"], "members has no effect in a search"),
        (["--trials", "3", "--folds", "200"], "rows. Set folds to"),
        (["--trials", "3", "--goal", "score_and_size"], "goal has an effect only with sampler nsga2"),
        (["--checkpoint", "state"], "--checkpoint saves the state of a search"),
        (["--config", "bad.toml"], "learning_rate in [space]: log_uniform needs a low and a high bound"),
        (["--config", "unknown.toml"], "Did you mean 'dropout'"),
        (["--trials", "3", "--groups", "nobody"], "nobody"),
        (["--trials", "3", "--groups", "rich"], "is the target and cannot be the groups column"),
        (["--trials", "3", "--groups", "city"], "'city' has no value in 14 rows"),
        (["--trials", "3", "--groups", "noise", "--order", "noise"], "not by both"),
        (["--trials", "3", "--checkpoint", "people.csv"], "must name a folder, but 'people.csv' is a file"),
    ],
)
def test_bad_input_is_one_sentence_and_changes_no_file(run, folder, arguments, message):  # noqa: F811
    (folder / "bad.toml").write_text("[space]\nlearning_rate = { log_uniform = [1, 0.1] }\n")
    (folder / "unknown.toml").write_text("[space]\ndroput = { uniform = [0, 0.1] }\n")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    status, _, error = run("fit", "people.csv", "-t", "rich", *arguments)
    assert status == 2
    assert message in error.replace("\n", " ")
    assert len(error.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_if_all_trials_diverge_the_status_is_1_and_the_records_are_written(run, folder):  # noqa: F811
    (folder / "wild.toml").write_text("[space]\nlearning_rate = { log_uniform = [900, 1000] }\n")
    options = ["--config", "wild.toml", "--trials", "3", "--clip-norm", "0", "--optimizer", "sgd", *FAST]
    status, _, error = run("fit", "people.csv", "-t", "rich", *options, "--epochs", "40", "--hidden-sizes", "32,32")
    assert status == 1
    assert "All 3 trials ended in numbers that are not finite" in error
    assert "learning_rate" in error
    records = [json.loads(line) for line in (folder / "people.trials.jsonl").read_text().splitlines()]
    assert [record["state"] for record in records] == ["failed"] * 3
    assert not (folder / "people.rosenblatt").exists()


def test_too_little_time_trains_one_trial_and_reports_it(run):
    status, out, _ = run("fit", "people.csv", "-t", "rich", "--minutes", "0.0001")
    assert status == 0
    assert "no trial finished within the 0.0001-minute limit" in out
    assert "accuracy" in out


def test_groups_and_time_order_are_respected_by_the_split(run, folder, people):  # noqa: F811
    table = people.with_columns(
        pl.Series("patient", [f"p{i % 30}" for i in range(300)]),
        pl.Series("day", [f"2024-{1 + i % 12:02}-{1 + i // 12:02}" for i in range(300)]),
    )
    table.write_csv("visits.csv")
    status, out, _ = run("fit", "visits.csv", "-t", "rich", "--groups", "patient", "--trials", "2", *FAST)
    assert status == 0
    assert "240 for training, 60 for testing" in out
    assert "patient" not in [column.name for column in load_model("visits.rosenblatt").schema.columns]
    status, out, _ = run("fit", "visits.csv", "-t", "rich", "--order", "day", "--epochs", "3", "--folds", "3")
    assert status == 0
    assert "for testing" in out


def _start_fit(folder, *arguments, **environment):  # noqa: F811
    return subprocess.Popen(
        [sys.executable, "-m", "rosenblatt", "fit", "people.csv", "-t", "rich", *arguments],
        cwd=folder, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_so_far(run, folder):  # noqa: F811
    process = _start_fit(folder, "--minutes", "2", *FAST[2:], "--epochs", "100", "--checkpoint", "state")
    checkpoint = folder / "state" / "search.jsonl"  # written whenever trials have reached a rung
    wait_until(lambda: checkpoint.exists() or process.poll() is not None, description="the first rung")
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "stopped early: the best trials so far are kept" in out
    assert load_model(folder / "people.rosenblatt").metadata.interrupted
    before = len((folder / "people.trials.jsonl").read_text().splitlines())
    assert (folder / "state").exists()
    further = ["--trials", str(before + 2), *FAST[2:], "--epochs", "100", "--checkpoint", "state"]
    status, out, error = run("fit", "people.csv", "-t", "rich", *further)
    assert status == 0, error
    assert f"resuming the search in state (trials so far: {before})" in out


def test_the_live_view_shows_trials_score_speed_and_remaining_time(monkeypatch):
    from rosenblatt.tuning.progress import format_progress

    progress = SearchProgress(10, 2, 3, 1, 3, 1, 20, 0.25, 5000, 2.0, 7.0)
    trials, speed = format_progress(progress, "loss")
    assert trials == "10 of 20 trials: 2 running, 3 paused, 1 stopped, 3 finished, 1 diverged"
    assert speed == "best loss 0.25, 2,500 network-steps/s, 7 s left"
    assert format_progress(progress, "roc_auc")[1].startswith("best roc_auc 0.25")
    empty = SearchProgress(0, 0, 0, 0, 0, 0, None, None, 0, 0.0, None)
    assert format_progress(empty, "loss") == (
        "compiling the training loop (once per installation)",
        "0 network-steps/s",
    )
