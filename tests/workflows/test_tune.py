"""`rosenblatt.tune`: searching, early stopping, recording and resuming of training functions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing

import psutil
import pytest

import rosenblatt
from rosenblatt.errors import RunError, SpecError
from rosenblatt.runs.store.queries import find_reused_trials, find_runs, load_all_curves, run_details
from rosenblatt.runs.store.schema import runs
from rosenblatt.runs.store.store import Store
from rosenblatt.spec.dimensions import choice, integer, log_uniform, uniform
from rosenblatt.workflows.resume import resume
from tests.waiting import wait_until

SPACE = {
    "x": uniform(-2.0, 2.0),
    "activation": choice("relu", "gelu"),
    "beta1": uniform(0.8, 0.99, when={"activation": ["gelu"]}),
}


def bowl(params, run):
    """A loss whose minimum is at x = 1 with gelu, and which decreases with each epoch."""
    for epoch in range(9):
        run.log({"val_loss": (params["x"] - 1) ** 2 + (params["activation"] == "relu") + 1 / (epoch + 1)}, step=epoch)
        if run.should_stop:
            return


@pytest.fixture
def store(own_store):
    store = Store(f"sqlite:///{own_store}/runs.db")
    yield store
    store.close()


def search(train=bowl, space=SPACE, **options):
    return rosenblatt.tune(train, space, **{"trials": 25, "metric": "val_loss", "progress": False} | options)


def test_the_best_trial_is_near_the_optimum_and_every_trial_is_recorded(store):
    result = search(experiment="bowl")
    assert result.direction == "minimize"
    assert result.best.score == pytest.approx((result.best_params["x"] - 1) ** 2 + 1 / 9)
    assert abs(result.best_params["x"] - 1) < 0.5
    assert result.best_params["activation"] == "gelu"
    trials = find_runs(store, parent=result.run, sort="metrics.val_loss.min")
    assert len(trials) == 25
    assert trials[0].id == result.best.run
    details = run_details(store, result.best.run)
    assert float(details.params["x"].value) == result.best_params["x"]
    assert details.metrics["val_loss"].step == 8
    assert run_details(store, result.run).best["number"] == result.best.number


def test_conditions_of_user_defined_names_hold(store):
    for trial in search(trials=15).trials:
        assert ("beta1" in trial.params) == (trial.params["activation"] == "gelu")


def test_equal_seeds_give_equal_searches(store):
    first, second = search(trials=8, seed=4), search(trials=8, seed=4)
    assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]
    assert search(trials=8, seed=5).trials[0].params != first.trials[0].params


@pytest.mark.parametrize("stopping", ["asha", "median"])
def test_worse_trials_are_stopped(store, stopping):
    result = search(stopping=stopping, sampler="random", trials=30)
    states = [trial.state for trial in result.trials]
    assert 3 < states.count("stopped") < 29
    assert result.best.state == "finished"
    stopped = next(trial for trial in result.trials if trial.state == "stopped")
    assert len(stopped.curve) < 9
    assert run_details(store, stopped.run).state == "stopped"


def test_the_return_value_of_the_function_is_its_score(store):
    result = search(lambda params, run: params["x"] ** 2, metric="loss", direction="maximize")
    assert abs(result.best_params["x"]) > 1.5


def test_an_error_is_recorded_for_its_trial_and_stops_no_other(store):
    def fragile(params, run):
        if params["x"] > 0:
            raise ValueError("too large")
        bowl(params, run)

    result = search(fragile)
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert failed
    assert result.best.params["x"] <= 0
    assert run_details(store, failed[0].run).reason == "ValueError: too large"


def test_a_function_that_logs_nothing_raises_an_error(store):
    result = search(lambda params, run: None, trials=3)
    with pytest.raises(SpecError, match="No trial logged a finite 'val_loss'"):
        _ = result.best


def test_an_empty_space_is_rejected(store):
    with pytest.raises(SpecError, match="space must have at least one dimension"):
        search(space={})


def test_a_search_that_runs_out_of_combinations_says_so(store, capsys):
    result = search(lambda params, run: params["n"], {"n": integer(1, 4)}, trials=10)
    assert sorted(trial.params["n"] for trial in result.trials) == [1, 2, 3, 4]
    assert "4 of 10 trials: the space has no further combination" in capsys.readouterr().err


def test_several_workers_share_the_trials(store):
    barrier = threading.Barrier(4)  # which four trials must reach at the same time

    def train_together(params, run):
        barrier.wait(timeout=30)
        return params["x"]

    result = search(train_together, workers=4, trials=24)
    assert {trial.state for trial in result.trials} == {"finished"}
    assert sorted(trial.number for trial in result.trials) == list(range(24))


def test_reuse_takes_over_finished_trials_unless_the_data_changed(store, tmp_path):
    calls = []
    (tmp_path / "data.csv").write_text("1\n")

    def train_counted(params, run):
        calls.append(params)
        bowl(params, run)

    first = search(train_counted, trials=10, reuse=True, data=[tmp_path / "data.csv"])
    second = search(train_counted, trials=10, reuse=True, data=[tmp_path / "data.csv"])
    assert len(calls) == 10
    assert [trial.score for trial in second.trials] == [trial.score for trial in first.trials]
    assert all(trial.reused for trial in second.trials)
    (tmp_path / "data.csv").write_text("2\n")
    search(train_counted, trials=10, reuse=True, data=[tmp_path / "data.csv"])
    assert len(calls) == 20


def test_nothing_is_recorded_without_a_store(own_store):
    assert search(store="none", trials=3).best.score is not None
    assert not (own_store / "runs.db").exists()


@pytest.mark.slow
def test_a_killed_search_is_resumed(work_folder, capfd):
    (work_folder / "tune.py").write_text(
        """
import os, time, rosenblatt
def train(params, run):
    with open("calls", "a") as file: file.write("x")
    if os.path.getsize("calls") == 10: time.sleep(600)  # until it is killed
    return (params["lr"] - 0.01) ** 2
found = rosenblatt.tune(train, {"lr": rosenblatt.log_uniform(1e-4, 1e-1)}, trials=20)
print("best", found.best_params, len(found.trials))
"""
    )
    process = subprocess.Popen([sys.executable, "tune.py"], env=os.environ.copy())
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")

    def has_nine_trials():
        assert process.poll() is None, "the search ended before it was killed"
        is_in_tenth = (work_folder / "calls").exists() and (work_folder / "calls").stat().st_size == 10
        return is_in_tenth and len(find_runs(store, "kind = trial and state = finished")) == 9

    try:
        wait_until(has_nine_trials, description="nine finished trials in the store, and a call for the tenth")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len((work_folder / "calls").read_text()) == 10
    assert resume(store, "tune") == 0
    assert "20" in capfd.readouterr().out
    assert len((work_folder / "calls").read_text()) == 10 + 11  # the trial that was killed is trained again
    search_run = find_runs(store, include_trials=False)[0]
    assert search_run.state == "finished"
    store.close()


SLOW_TRIALS = """
import os, rosenblatt, time
calls = []
def train(params, run):
    calls.append(params)
    while len(calls) == 3 and not os.path.exists("suspended"): time.sleep(0.02)
    for epoch in range(4):
        run.log({"loss": (params["x"] - 1) ** 2 + 1 / (epoch + 1)}, step=epoch)
        if run.should_stop:
            return
search = rosenblatt.tune(train, {"x": rosenblatt.uniform(-3, 3)}, trials=6, experiment="slow", progress=False)
print([round(trial.score, 9) for trial in search.trials])
"""


@pytest.fixture
def suspended_search(work_folder):
    """A process in the midst of a search, suspended, and the store, which has had no sign of life of it for long."""
    (work_folder / "slow.py").write_text(SLOW_TRIALS)
    (work_folder / ".rosenblatt").mkdir()
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    process = start("slow.py")
    wait_until(lambda: len(find_runs(store, "kind = trial and state = finished")) >= 2, description="two trials")
    with store.writing() as connection:  # which the process would keep others from, suspended while it writes
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, description="the suspension")
        connection.execute(runs.update().values(heartbeat=runs.c.heartbeat - 500))
    (work_folder / "suspended").touch()
    yield process, store
    process.kill()
    process.communicate()
    store.close()


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy()
    )


def resume_in_process():
    return start("-m", "rosenblatt", "runs", "resume", "slow")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be suspended here")
def test_a_suspended_search_that_was_resumed_elsewhere_stops_when_it_wakes(suspended_search, capfd):
    process, store = suspended_search
    assert resume(store, "slow") == 0
    scores, errors = capfd.readouterr()
    trials = {trial.id: trial.state for trial in find_runs(store, "kind = trial")}
    process.send_signal(signal.SIGCONT)
    process_output, process_errors = process.communicate()
    assert (len(trials), set(trials.values())) == (6, {"finished"}), errors
    assert (process.returncode, process_output) == (1, "")
    assert "RunError: Another process has resumed run" in process_errors
    assert {trial.id: trial.state for trial in find_runs(store, "kind = trial")} == trials
    assert find_runs(store, "kind = search")[0].state == "finished"
    assert {len(load_all_curves(store, trial)["loss"].values) for trial in trials} == {4}
    best_score = run_details(store, find_runs(store, "kind = search")[0].id).best["score"]
    assert round(best_score, 9) == min(json.loads(scores.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be suspended here")
def test_of_two_processes_that_resume_a_search_one_does_and_the_other_says_why_not(suspended_search, work_folder):
    _, store = suspended_search
    (work_folder / "suspended").unlink()  # for which the third trial of a process waits
    processes = [resume_in_process() for _ in range(2)]
    wait_until(lambda: any(process.poll() is not None for process in processes), description="the end of one process")
    (work_folder / "suspended").touch()
    errors = {process.communicate()[1]: process.returncode for process in processes}
    assert sorted(errors.values()) == [0, 1], errors
    message = next(text for text, status in errors.items() if status)
    assert "sign of life less than 60 s ago" in message
    assert "Traceback" not in message
    assert sorted(trial.number for trial in find_runs(store, "kind = trial")) == [0, 1, 2, 3, 4, 5]


def move_killed_search(process, store, folder):
    """Kill a search and move its project; returns the new folder."""
    process.kill()
    process.wait()
    store.close()
    return folder.rename(folder.with_name("moved"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be suspended here")
def test_a_search_is_resumed_after_its_project_was_moved(suspended_search, work_folder, monkeypatch, capfd):
    moved = move_killed_search(*suspended_search, work_folder)
    monkeypatch.chdir(moved)
    with closing(Store(f"sqlite:///{moved}/.rosenblatt/runs.db")) as store:
        assert resume(store, "slow") == 0
        assert "changed since" not in capfd.readouterr().err
        assert find_runs(store, "kind = search")[0].state == "finished"
        assert len(find_runs(store, "kind = trial")) == 6
    assert not work_folder.exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be suspended here")
def test_a_search_whose_folder_is_gone_is_not_resumed(suspended_search, work_folder, monkeypatch):
    moved = move_killed_search(*suspended_search, work_folder)
    (moved / ".rosenblatt").rename(moved / "runs")
    with closing(Store(f"sqlite:///{moved}/runs/runs.db")) as store, pytest.raises(RunError, match="does not exist"):
        resume(store, "slow")


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

    result = search(train, {"lr": log_uniform(1e-4, 1.0)}, metric="loss", trials=8)
    assert result.best_params["lr"] > 0.05
    assert run_details(store, result.best.run).params["optimizer"].value == "SGD"


def test_numbers_of_any_library_may_be_returned(store):
    import numpy as np

    assert search(lambda params, run: np.float32(params["x"] ** 2), metric="loss", trials=3).best.score >= 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stopping": "ahsa"}, "Did you mean 'asha'"),
        ({"reduction_factor": 1}, "at least 2"),
        ({"direction": "minimise"}, "Did you mean 'minimize'"),
        ({"sampler": "tpee"}, "sampler must be"),
    ],
)
def test_wrong_settings_are_rejected(store, options, message):
    with pytest.raises(SpecError, match=message):
        search(**options)


def test_a_trial_that_exits_stops_no_other(store):
    def exiting(params, run):
        if params["x"] > 0:
            sys.exit(3)
        bowl(params, run)

    result = search(exiting)
    assert len(result.trials) == 25
    assert {"failed", "finished"} == {trial.state for trial in result.trials}


def test_of_two_searches_in_a_script_the_right_one_is_resumed(store, monkeypatch):
    first = search(experiment="A", trials=3)
    second = search(experiment="B", trials=3)
    monkeypatch.setenv("ROSENBLATT_RESUME", second.run)
    assert search(experiment="A", trials=3).run not in (first.run, second.run)
    resumed = search(experiment="B", trials=5)
    assert resumed.run == second.run
    assert [trial.reused for trial in resumed.trials] == [True] * 3 + [False] * 2
    assert len(find_runs(store, parent=second.run)) == 5


def test_a_resumed_search_compares_with_the_trials_before(store, monkeypatch):
    first = search(experiment="C", trials=12, stopping="asha", sampler="random")
    monkeypatch.setenv("ROSENBLATT_RESUME", first.run)
    worst = {"x": 2.0, "activation": "relu"}
    monkeypatch.setattr("rosenblatt.workflows.tune_search.Sampler.ask", _ask_until(12, worst))
    resumed = search(experiment="C", trials=13, stopping="asha", sampler="random")
    assert resumed.run == first.run
    assert resumed.trials[12].state == "stopped"
    assert len(resumed.trials[12].curve) == 1


KILLED = """
import os, time, rosenblatt
FACTOR = 1
def train(params, run):
    for epoch in range(3):
        run.log({"loss": FACTOR * params["x"] ** 2 + 1 / (epoch + 1)}, step=epoch)
    if FACTOR == 1 and int(run.id.rpartition("-")[2]) >= 3:
        run.flush()
        os.kill(os.getpid(), 9)
result = rosenblatt.tune(train, {"x": rosenblatt.uniform(-1, 1), "kind": rosenblatt.choice(1, "a", True)}, trials=5)
print("best", result.best.run, [trial.reused for trial in result.trials])
"""


@pytest.mark.slow
@pytest.mark.parametrize("has_repository", [False, True])
def test_trials_of_a_source_that_was_changed_before_a_resume_do_not_count(work_folder, has_repository, capfd):
    script = work_folder / "t.py"
    script.write_text(KILLED)
    if has_repository:
        subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([sys.executable, "t.py"], check=False)
    script.write_text(KILLED.replace("FACTOR = 1", "FACTOR = 10"))
    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    resume(store, "t")
    output, errors = capfd.readouterr()
    assert "interrupted: 't.py'. Its 3 trials stay in the store, but do not count" in errors
    trials = find_runs(store, "kind = trial", "number")
    assert [trial.number for trial in trials] == list(range(8))
    assert {len(load_all_curves(store, trial.id)["loss"].steps) for trial in trials} == {3}
    details = run_details(store, trials[0].parent)
    assert details.state == "finished"
    assert details.best["run"] in {trial.id for trial in trials[3:]}
    assert f"best {details.best['run']} {[False] * 5}" in output
    store.close()


def test_finished_trials_count_after_a_resume_whatever_is_proposed(store, monkeypatch):
    space = {"x": uniform(-1.0, 1.0), "kind": choice(1, "a", (2, 3), True)}
    first = search(lambda params, run: params["x"], space, experiment="D", trials=4, seed=1)
    monkeypatch.setenv("ROSENBLATT_RESUME", first.run)
    resumed = search(lambda params, run: params["x"], space, experiment="D", trials=6, seed=2)  # other proposals
    assert [trial.reused for trial in resumed.trials] == [True] * 4 + [False] * 2
    assert [trial.params["x"] for trial in resumed.trials[:4]] == [trial.params["x"] for trial in first.trials]
    assert len(find_runs(store, parent=first.run)) == 6


def _ask_until(number, values):
    """The proposals of the sampler up to a number of trials, then these values."""
    from rosenblatt.tuning.samplers import Sampler

    ask = Sampler.ask
    return lambda self, number_asked: dict(values) if number_asked >= number else ask(self, number_asked)


class Clock:
    """Stands for the module `time` of a search; an hour is over as soon as a trial says so."""

    now = 0.0

    def __getattr__(self, name):
        return getattr(time, name)

    def monotonic(self):
        return self.now

    def pass_an_hour(self):
        self.now = 3600.0


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in ("tune_search", "tune_record"):
        monkeypatch.setattr(f"rosenblatt.workflows.{module}.time", clock)
    return clock


@pytest.mark.parametrize("workers", [1, 3])
def test_running_trials_are_asked_to_stop_at_the_end_of_the_time(store, clock, workers):
    have_logged = threading.Barrier(workers, clock.pass_an_hour, timeout=60)

    def train_until_stopped(params, run):
        run.log({"val_loss": params["x"] ** 2}, step=0)
        assert not run.should_stop
        have_logged.wait()
        assert run.should_stop
        run.log({"val_loss": 100.0}, step=1)

    result = search(train_until_stopped, workers=workers, minutes=30)
    assert len(result.trials) == workers
    assert {(trial.state, trial.reason) for trial in result.trials} == {("stopped", "time limit")}
    assert result.best.score == min(trial.params["x"] ** 2 for trial in result.trials)
    assert run_details(store, result.run).state == "finished"
    assert run_details(store, result.best.run).reason == "time limit"


def test_a_trial_without_a_score_at_the_end_of_the_time_has_not_failed(store, clock):
    def train_in_vain(params, run):
        clock.pass_an_hour()
        assert run.should_stop

    result = search(train_in_vain, minutes=30)
    assert [(trial.state, trial.reason) for trial in result.trials] == [("stopped", "time limit")]


def test_a_trial_that_never_asks_whether_to_stop_is_finished(store, clock):
    result = search(lambda params, run: clock.pass_an_hour() or 1.0, minutes=30)
    assert [trial.state for trial in result.trials] == ["finished"]


def test_reused_trials_are_counted_and_searches_that_do_not_match_are_not_named(store, capsys, monkeypatch):
    # this process has read what other tests need
    monkeypatch.setattr("rosenblatt.workflows.tune_record.watch_inputs", lambda *_: dict)
    search(bowl, trials=3, seed=1)  # without reuse=True: what it read is not known
    first = search(bowl, trials=3, seed=2, reuse=True)
    assert capsys.readouterr().err == ""
    second = search(bowl, trials=3, seed=2, reuse=True)
    assert capsys.readouterr().err == "reused: 3 trials of earlier searches\n"
    assert run_details(store, second.run).notes == {"reused": "3 trials of earlier searches"}
    reused = find_reused_trials(store, second.run)
    assert reused == sorted(trial.run for trial in first.trials)
    assert find_runs(store, parent=second.run) == []
    assert {run.id for run in find_runs(store, parent=second.run, reused_trials=reused)} == set(reused)
    search(bowl, trials=3, seed=1, reuse=True)
    assert capsys.readouterr().err.startswith("not reused: ")
    assert not any(trial.reused for trial in first.trials)


def test_a_dimension_that_is_none_is_named(store):
    with pytest.raises(SpecError, match=r"Expected a dimension such as rosenblatt.uniform\(0, 1\) .* for 'x'"):
        search(bowl, space={"x": (0, 1)})


def test_trials_that_ran_at_the_end_of_the_time_are_trained_again_after_a_resume(store, monkeypatch, clock):
    first = search(lambda params, run: clock.pass_an_hour() or float(run.should_stop), minutes=30)
    monkeypatch.setenv("ROSENBLATT_RESUME", first.run)
    resumed = search(lambda params, run: 2.0, trials=2)
    assert resumed.run == first.run
    assert [(trial.state, trial.reused, trial.score) for trial in resumed.trials] == [("finished", False, 2.0)] * 2


REUSING = """
import functools, os, sys, rosenblatt
SCALE = float(sys.stdin.readline())
def train(params, run):
    from model import loss
    run.log({"loss": SCALE * loss(params["x"])})
result = rosenblatt.tune(train, {"x": rosenblatt.uniform(-3, 3)}, trials=2, reuse=True)
print([trial.reused for trial in result.trials])
"""


@pytest.mark.slow
def test_trials_are_reused_only_if_modules_and_constants_of_the_function_are_the_same(work_folder):
    (work_folder / "search.py").write_text(REUSING)
    (work_folder / "model.py").write_text("def loss(x): return x ** 2\n")

    def reuses(scale="1"):
        command = [sys.executable, "search.py"]
        return "True" in subprocess.run(command, capture_output=True, text=True, check=True, input=scale).stdout

    assert not reuses()
    assert reuses()
    assert not reuses("2")
    (work_folder / "model.py").write_text("def loss(x): return 1000 + x ** 2\n")
    assert not reuses()
    assert reuses()
