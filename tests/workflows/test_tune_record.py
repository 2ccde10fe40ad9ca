"""The record of a search over a training function: which trials a resumed search takes over."""

from __future__ import annotations

from contextlib import closing

import pytest

from rosenblatt.runs.store.queries import find_runs, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.start import RESUME
from rosenblatt.spec.dimensions import choice, integer, log_uniform, uniform
from rosenblatt.spec.scoring import Direction
from rosenblatt.workflows.tune_record import TuneRecord, TuneTrial

SPACE = {
    "x": uniform(-1.0, 1.0),
    "lr": log_uniform(1e-5, 1.0),
    "layers": integer(1, 8),
    "kind": choice(1, "a", (2, 3), True, None),
}


def begin(space=SPACE, metric="loss", experiment="", store=None):
    record = TuneRecord(space, metric, Direction.MINIMIZE, experiment, store)
    record.begin([], False, {})
    return record


def train(record, number, params, state="finished", reason=None):
    """Record a trial that has logged one loss; returns it."""
    trial = TuneTrial(number, params, record.new_run_id(number))
    run = record.begin_trial(trial)
    run.log({"loss": float(number)}, step=3)
    run.finish(state, reason)
    return trial


@pytest.fixture
def interrupted(work_folder, monkeypatch):
    """Return a function that interrupts a search, so that the next one resumes it."""

    def interrupt(record):
        record.end(None, "stopped", "interrupted")
        monkeypatch.setenv(RESUME, record.run.id)

    return interrupt


@pytest.mark.parametrize("kind", [1, "a", (2, 3), True, None])
def test_values_of_trials_are_as_before_the_interruption(interrupted, kind):
    record = begin()
    params = {"x": -0.1, "lr": 1e-5 / 3, "layers": 3, "kind": kind}
    trial = train(record, 0, params)
    interrupted(record)
    resumed = begin().resumed_trial(0)
    assert resumed.params == params
    assert [type(value) for value in resumed.params.values()] == [type(value) for value in params.values()]
    assert (resumed.run, resumed.score, resumed.curve) == (trial.run, 0.0, {3: 0.0})


@pytest.mark.parametrize(
    ("state", "reason", "is_resumed"),
    [
        ("finished", None, True),
        ("stopped", "not among the best at step 3", True),
        ("stopped", "interrupted", False),
        ("stopped", "time limit", False),
        ("stopped", "ended by SIGTERM", False),
        ("failed", "ValueError: x", False),
    ],
)
def test_trials_that_did_not_end_by_themselves_are_trained_again(interrupted, state, reason, is_resumed):
    record = begin()
    train(record, 0, {"x": 0.5})
    train(record, 1, {"x": 0.1}, state, reason)
    interrupted(record)
    resumed = begin()
    assert resumed.run.id == record.run.id
    assert resumed.resumed_trial(0) is not None
    assert (resumed.resumed_trial(1) is not None) == is_resumed
    assert resumed.new_run_id(1) == f"{record.run.id}-{2 if is_resumed else 1}"


@pytest.mark.parametrize(
    "other", [{"space": {**SPACE, "x": uniform(-1.0, 2.0)}}, {"metric": "accuracy"}, {"experiment": "another"}]
)
def test_another_search_does_not_resume_it(interrupted, other):
    record = begin()
    train(record, 0, {"x": 0.5})
    interrupted(record)
    assert begin(**other).run.id != record.run.id
    assert begin().run.id == record.run.id


def test_trials_of_another_source_stay_in_the_store_but_do_not_count(interrupted, work_folder, monkeypatch, capsys):
    script = work_folder / "search.py"
    script.write_text("x = 1\n")
    monkeypatch.setattr("rosenblatt.workflows.tune_record.main_script", lambda: script)
    record = begin()
    train(record, 0, {"x": 0.5})
    interrupted(record)
    script.write_text("x = 2\n")
    resumed = begin()
    assert resumed.resumed_trial(0) is None
    assert resumed.new_run_id(0) == f"{record.run.id}-1"
    assert "'search.py'. Its 1 trial stay" in capsys.readouterr().err.replace("stays", "stay")


def test_the_best_trial_is_recorded(work_folder):
    record = begin()
    best = train(record, 0, {"x": 0.5})
    best.score = 0.0
    record.end(best, "finished", None)
    with closing(Store(record.run.url)) as store:
        details = run_details(store, record.run.id)
        assert [run.id for run in find_runs(store, parent=record.run.id)] == [best.run]
    assert (details.best["run"], details.metrics["loss"].last, details.metric) == (best.run, 0.0, "loss")


def test_without_a_store_nothing_is_taken_over(work_folder):
    record = begin(store="none")
    trial = train(record, 0, {"x": 0.5})
    assert record.finished_trial(trial.params) is None
    assert record.resumed_trial(0) is None
    assert not (work_folder / ".rosenblatt").exists()
