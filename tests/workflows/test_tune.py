"""Training functions of anybody's are searched, stopped early, recorded, and gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

import rosenblatt
from rosenblatt.errors import SpecError
from rosenblatt.runs.store.queries import details, find_runs
from rosenblatt.runs.store.store import Store
from rosenblatt.spec.dimensions import choice, log_uniform, uniform
from tests.waiting import wait_until

SPACE = {
    "x": uniform(-2.0, 2.0),
    "activation": choice("relu", "gelu"),
    "beta1": uniform(0.8, 0.99, when={"activation": ["gelu"]}),
}


def bowl(params, run):
    """Its least value is at x = 1 with gelu, and comes nearer with each epoch."""
    for epoch in range(9):
        run.log({"val_loss": (params["x"] - 1) ** 2 + (params["activation"] == "relu") + 1 / (epoch + 1)}, step=epoch)
        if run.should_stop:
            return


@pytest.fixture
def store(own_store):
    found = Store(f"sqlite:///{own_store}/runs.db")
    yield found
    found.close()


def search(train=bowl, space=SPACE, **more):
    return rosenblatt.search(train, space, **{"trials": 25, "metric": "val_loss", "progress": False} | more)


def test_the_best_is_found_and_every_trial_recorded(store):
    found = search(experiment="bowl")
    assert found.direction == "minimize"
    assert found.best.score == pytest.approx((found.best_params["x"] - 1) ** 2 + 1 / 9)
    assert abs(found.best_params["x"] - 1) < 0.5
    assert found.best_params["activation"] == "gelu"
    trials = find_runs(store, of=found.run, sort="metrics.val_loss.min")
    assert len(trials) == 25
    assert trials[0]["id"] == found.best.run
    known = details(store, found.best.run)
    assert float(known["params"]["x"]["value"]) == found.best_params["x"]
    assert known["metrics"]["val_loss"]["step"] == 8
    assert details(store, found.run)["best"]["number"] == found.best.number


def test_conditions_hold_and_names_mean_only_what_the_user_says(store):
    for trial in search(trials=15).trials:
        assert ("beta1" in trial.params) == (trial.params["activation"] == "gelu")


def test_equal_seeds_give_equal_searches(store):
    one, other = search(trials=8, seed=4), search(trials=8, seed=4)
    assert [trial.params for trial in one.trials] == [trial.params for trial in other.trials]
    assert search(trials=8, seed=5).trials[0].params != one.trials[0].params


@pytest.mark.parametrize("stopping", ["asha", "median"])
def test_worse_trials_are_told_to_stop(store, stopping):
    found = search(stopping=stopping, sampler="random", trials=30)
    states = [trial.state for trial in found.trials]
    assert 3 < states.count("stopped") < 29
    assert found.best.state == "finished"
    stopped = next(trial for trial in found.trials if trial.state == "stopped")
    assert len(stopped.curve) < 9
    assert details(store, stopped.run)["state"] == "stopped"


def test_what_a_function_returns_is_its_score(store):
    found = search(lambda params, run: params["x"] ** 2, metric="loss", direction="maximize")
    assert abs(found.best_params["x"]) > 1.5


def test_an_error_is_recorded_for_its_trial_and_stops_no_other(store):
    def fragile(params, run):
        if params["x"] > 0:
            raise ValueError("too large")
        bowl(params, run)

    found = search(fragile)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert failed
    assert found.best.params["x"] <= 0
    assert details(store, failed[0].run)["reason"] == "ValueError: too large"


def test_a_function_that_logs_nothing_is_told(store):
    found = search(lambda params, run: None, trials=3)
    with pytest.raises(SpecError, match="No trial logged a finite 'val_loss'"):
        _ = found.best


def test_an_empty_space_is_refused(store):
    with pytest.raises(SpecError, match="nothing to search"):
        search(space={})


def test_several_workers_share_the_trials(store):
    meeting = threading.Barrier(4)  # which four trials at a time must come to

    def meets(params, run):
        meeting.wait(timeout=30)
        return params["x"]

    found = search(meets, workers=4, trials=24)
    assert {trial.state for trial in found.trials} == {"finished"}
    assert sorted(trial.number for trial in found.trials) == list(range(24))


def test_reuse_trains_none_of_a_finished_search_and_all_where_a_row_changed(store, tmp_path):
    calls = []
    (tmp_path / "data.csv").write_text("1\n")

    def counted(params, run):
        calls.append(params)
        bowl(params, run)

    first = search(counted, trials=10, reuse=True, data=[tmp_path / "data.csv"])
    again = search(counted, trials=10, reuse=True, data=[tmp_path / "data.csv"])
    assert len(calls) == 10
    assert [trial.score for trial in again.trials] == [trial.score for trial in first.trials]
    assert all(trial.reused for trial in again.trials)
    (tmp_path / "data.csv").write_text("2\n")
    search(counted, trials=10, reuse=True, data=[tmp_path / "data.csv"])
    assert len(calls) == 20


def test_nothing_is_recorded_where_no_store_is_wanted(own_store):
    assert search(store="none", trials=3).best.score is not None
    assert not (own_store / "runs.db").exists()


@pytest.mark.slow
def test_a_killed_search_goes_on(here):
    (here / "tune.py").write_text(
        """
import os, time, rosenblatt
def train(params, run):
    with open("calls", "a") as file: file.write("x")
    if os.path.getsize("calls") == 10: time.sleep(600)  # until it is killed
    return (params["lr"] - 0.01) ** 2
found = rosenblatt.search(train, {"lr": rosenblatt.log_uniform(1e-4, 1e-1)}, trials=20)
print("best", found.best_params, len(found.trials))
"""
    )
    process = subprocess.Popen([sys.executable, "tune.py"], env=os.environ.copy())
    store = Store(f"sqlite:///{here}/.rosenblatt/runs.db")

    def nine_are_delivered():
        assert process.poll() is None, "the search ended before it was killed"
        return len(find_runs(store, "kind = trial and state = finished")) == 9

    try:
        wait_until(nine_are_delivered, description="nine finished trials in the store")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len((here / "calls").read_text()) == 10
    command = [sys.executable, "-m", "rosenblatt", "runs", "resume", "tune"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "20" in done.stdout
    assert len((here / "calls").read_text()) == 10 + 11  # the trial that was killed is trained again
    search_run = find_runs(store, trials=False)[0]
    assert search_run["state"] == "finished"
    store.close()


@pytest.mark.torch
def test_pytorch_is_tuned(store):
    torch = pytest.importorskip("torch")

    def train(params, run):
        torch.manual_seed(0)
        x = torch.linspace(-1, 1, 64)[:, None]
        model = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
        run.describe(model, optimizer)
        for epoch in range(20):
            loss = ((model(x) - 3 * x) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log({"loss": loss}, step=epoch)

    found = search(train, {"lr": log_uniform(1e-4, 1.0)}, metric="loss", trials=8)
    assert found.best_params["lr"] > 0.05
    assert details(store, found.best.run)["params"]["optimizer"]["value"] == "SGD"


def test_numbers_of_any_library_may_be_returned(store):
    import numpy as np

    assert search(lambda params, run: np.float32(params["x"] ** 2), metric="loss", trials=3).best.score >= 0


@pytest.mark.parametrize(
    ("more", "message"), [({"stopping": "ahsa"}, "Did you mean 'asha'"), ({"reduction": 1}, "at least 2")]
)
def test_wrong_settings_are_told(store, more, message):
    with pytest.raises(SpecError, match=message):
        search(**more)


def test_a_trial_that_exits_stops_no_other(store):
    def exits(params, run):
        if params["x"] > 0:
            sys.exit(3)
        bowl(params, run)

    found = search(exits)
    assert len(found.trials) == 25
    assert {"failed", "finished"} == {trial.state for trial in found.trials}


def test_of_two_searches_in_a_script_the_right_one_goes_on(store, monkeypatch):
    first = search(experiment="A", trials=3)
    second = search(experiment="B", trials=3)
    monkeypatch.setenv("ROSENBLATT_RESUME", second.run)
    assert search(experiment="A", trials=3).run not in (first.run, second.run)
    again = search(experiment="B", trials=5)
    assert again.run == second.run
    assert [trial.reused for trial in again.trials] == [True] * 3 + [False] * 2
    assert len(find_runs(store, of=second.run)) == 5


def test_a_search_that_goes_on_compares_with_the_trials_before(store, monkeypatch):
    first = search(experiment="C", trials=12, stopping="asha", sampler="random")
    monkeypatch.setenv("ROSENBLATT_RESUME", first.run)
    worst = {"x": 2.0, "activation": "relu"}
    monkeypatch.setattr("rosenblatt.workflows.tune.Sampler.ask", _after(12, worst))
    again = search(experiment="C", trials=13, stopping="asha", sampler="random")
    assert again.run == first.run
    assert again.trials[12].state == "stopped"
    assert len(again.trials[12].curve) == 1


def _after(number, values):
    """Proposals as they are, and then these values."""
    from rosenblatt.tuning.samplers import Sampler

    ask = Sampler.ask
    return lambda self, asked: dict(values) if asked >= number else ask(self, asked)
