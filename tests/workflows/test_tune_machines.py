"""`rosenblatt.tune` on machines: what trials record, restarts, stops, and the end of the cluster."""

from __future__ import annotations

import os
import re
import runpy
import signal
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from queue import SimpleQueue

import pytest

import rosenblatt
from rosenblatt.errors import ClusterError
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.queries import find_runs, load_all_curves, load_output, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.spec.dimensions import choice, uniform
from rosenblatt.tuning import ray_trial_workers, ray_workers
from rosenblatt.tuning.trial_messages import (
    LocalTurn,
    ReceivedReport,
    TrialEnd,
    TrialFailure,
    TrialReport,
    TrialRestart,
)
from rosenblatt.workflows import tune_machines
from rosenblatt.workflows.tune_machines import MachineTrainer
from rosenblatt.workflows.tune_search import FunctionSearch
from rosenblatt.workflows.tune_settings import TuneSettings
from tests.tuning.test_ray_workers import LocalCluster
from tests.workflows.test_tune import Clock

SPACE = {"x": uniform(-1.0, 1.0)}


@pytest.fixture
def store(own_store):
    store = Store(f"sqlite:///{own_store}/runs.db")
    yield store
    store.close()


@pytest.fixture
def cluster(tmp_path, work_folder, own_store, monkeypatch):
    """A cluster of two machines with one core each, which are threads of its driver."""
    monkeypatch.setenv("ROSENBLATT_STORE", str(own_store))
    cluster = LocalCluster(tmp_path, a=1, b=1)
    cluster.place = "lab"
    monkeypatch.syspath_prepend(str(work_folder))

    @contextmanager
    def open_cluster(on, notify):
        assert on == cluster.place
        yield cluster.connection()

    monkeypatch.setattr("rosenblatt.cluster.open.open_cluster", open_cluster)
    return cluster


def search(train, space=SPACE, **options):
    return rosenblatt.tune(train, space, **{"on": "lab", "trials": 6, "metric": "loss", "progress": False} | options)


def printed_text(store, run):
    return "".join(text for _, text in load_output(store, run))


def square(params, run):
    for epoch in range(3):
        run.log({"loss": params["x"] ** 2 + 1 / (epoch + 1)}, step=epoch)


def test_trials_are_trained_on_machines_and_recorded_here(cluster, store, capsys):
    result = search(square)
    assert [trial.state for trial in result.trials] == ["finished"] * 6
    assert result.best.score == pytest.approx(min(trial.params["x"] ** 2 for trial in result.trials) + 1 / 3)
    trials = find_runs(store, parent=result.run)
    assert sorted(trial.number for trial in trials) == list(range(6))
    assert {len(load_all_curves(store, trial.id)["loss"].values) for trial in trials} == {3}
    assert {run_details(store, trial.id).host for trial in trials} <= {"a", "b"}
    messages = capsys.readouterr().err
    assert "rosenblatt: sending 0 files of" in messages
    assert "training on 2 machines of cluster test with 2 processes: 'a' and 'b'" in messages


def record_all(params, run):
    from helper import NAME

    print("printed by", NAME)
    run.log({"loss": 1.0})
    run.log_curve("long", [1.0, 2.0, 3.0])
    run.set_params({"width": 8})
    run.tag(who="ana")
    run.note("remark", Path("rows.csv").read_text())
    Path("notes.txt").write_text("from there")
    run.log_artifact("notes.txt")
    run.log_bytes("blob", b"\0" * 5)
    assert run.flush()


def test_all_that_a_trial_records_comes_back(cluster, store, work_folder, tmp_path):
    cluster.set(a=1)
    (work_folder / "helper.py").write_text("NAME = 'helper'")
    (work_folder / "rows.csv").write_text("1,2")
    result = search(record_all, trials=1, data=["rows.csv"])
    assert [trial.reason for trial in result.trials] == [""]
    run = result.best.run
    details = run_details(store, run)
    assert details.params["width"].value == "8"
    assert details.tags == {"who": "ana"}
    assert details.notes == {"remark": "1,2"}
    assert list(load_all_curves(store, run)["long"].values) == [1.0, 2.0, 3.0]
    assert "printed by helper" in printed_text(store, run)
    Artifacts(store.url, store).fetch(details.artifacts["notes.txt"].hash, "", tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "from there"
    assert details.artifacts["blob"].bytes == 5
    assert not (work_folder / "notes.txt").exists()


@pytest.mark.slow
def test_the_example_of_the_documentation_runs_as_written(cluster, store, work_folder, monkeypatch, capsys):
    document = (Path(__file__).parents[2] / "docs/cluster.md").read_text()
    (code,) = re.findall(r"```python\n# search.py\n(.*?)```", document, re.DOTALL)
    (work_folder / "search.py").write_text(code)
    assert 'on="hosts.txt"' in code
    cluster.place = "hosts.txt"
    runpy.run_path("search.py", run_name="__main__")
    output = capsys.readouterr()
    assert re.match(r"\{'lr': 0\.\d+\}\n", output.out)
    assert "sending 1 file of" in output.err
    (search,) = find_runs(store, "kind = search")
    trials = find_runs(store, parent=search.id)
    assert len(trials) == 50
    assert {trial.state for trial in trials} <= {"finished", "stopped"}


@pytest.mark.slow_cluster
def test_an_error_is_recorded_for_its_trial_with_its_traceback(cluster, store):
    def fragile(params, run):
        if params["x"] > 0:
            raise ValueError("too large")
        square(params, run)

    result = search(fragile)
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert failed
    assert {trial.reason for trial in failed} == {"ValueError: too large"}
    assert "in fragile" in printed_text(store, failed[0].run)
    assert {trial.state for trial in result.trials if trial.params["x"] <= 0} == {"finished"}


@pytest.mark.slow_cluster
def test_a_returned_number_is_the_score_and_params_keep_their_types(cluster, store):
    space = {"kind": choice((1, 2), None, True, "a")}
    result = search(lambda params, run: len(repr(params["kind"])), space, trials=4, sampler="grid", metric="loss")
    assert {trial.params["kind"]: trial.score for trial in result.trials} == {(1, 2): 6, None: 4, True: 4, "a": 3}


@pytest.mark.slow_cluster
def test_trials_that_are_not_among_the_best_are_stopped_on_their_machine(cluster, store):
    def slow(params, run):
        for epoch in range(1000):
            run.log({"loss": params["x"]}, step=epoch)
            if run.should_stop:
                return
            time.sleep(0.01)
            if params["x"] < 0 and epoch == 3:
                return

    result = search(slow, stopping="asha", sampler="random", trials=8)
    stopped = [trial for trial in result.trials if trial.state == "stopped"]
    assert stopped
    assert all(trial.reason.startswith("not among the best") for trial in stopped)
    assert result.best.state == "finished"


class MachineLoss:
    """Loses a machine once a trial has logged there."""

    def __init__(self, cluster, monkeypatch, act):
        self._act, self._is_done = act, False
        record = tune_machines._record

        def record_and_act(run, report, contents):
            record(run, report, contents)
            if report.points and not self._is_done:
                self._is_done = True
                self._act()

        monkeypatch.setattr(tune_machines, "_record", record_and_act)


def wait_for_file(params, run):
    """A trial that ends once a file is there."""
    run.log({"loss": params["x"]}, step=0)
    while not Path(params["file"]).exists():
        time.sleep(0.05)
    run.log({"loss": params["x"] - 1}, step=1)


@pytest.mark.slow_cluster
def test_a_trial_of_a_lost_machine_starts_again_and_counts_once(cluster, store, tmp_path, monkeypatch, capsys):
    file = tmp_path / "go"

    def lose_machine():
        cluster.set(b=1)
        threading.Timer(3.0, file.touch).start()

    MachineLoss(cluster, monkeypatch, lose_machine)
    result = search(wait_for_file, SPACE | {"file": choice(str(file))}, trials=4, stopping="median")
    assert [trial.state for trial in result.trials] == ["finished"] * 4
    trials = find_runs(store, parent=result.run)
    assert sorted(trial.number for trial in trials) == list(range(4))
    for trial in trials:
        assert list(load_all_curves(store, trial.id)["loss"].steps) == [0, 1]
    assert "a: the machine was lost; it is not used any more, and 1 trial moved" in capsys.readouterr().err


@pytest.mark.slow_cluster
def test_a_trial_whose_process_dies_again_and_again_fails_with_the_reason(cluster, store):
    space = {"kind": choice("poison", "fine")}
    result = search(lambda params, run: 1.0, space, trials=2, sampler="grid", metric="loss")
    states = {trial.params["kind"]: (trial.state, trial.reason[:38]) for trial in result.trials}
    assert states["fine"] == ("finished", "")
    assert states["poison"] == ("failed", "3 processes that trained it ended, the")
    assert {run.state for run in find_runs(store, parent=result.run)} == {"finished", "failed"}


@pytest.mark.slow_cluster
def test_processes_that_die_for_all_trials_end_the_search(cluster, store):
    with pytest.raises(ClusterError, match="The processes of trials end on all machines"):
        search(lambda params, run: 1.0, {"poison": uniform(0, 1)}, trials=20)
    (record,) = find_runs(store, "kind = search")
    assert record.state == "failed"


@pytest.mark.slow_cluster
def test_a_lost_cluster_is_replaced_by_this_machine(cluster, store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ray_workers, "RECONNECT_DELAYS_S", (0.0,))
    file, workers = tmp_path / "go", []
    constructor = ray_trial_workers.RayTrialWorkers.__init__

    def remember(self, *arguments):
        workers.append(self)
        constructor(self, *arguments)

    def lose_cluster():
        workers[0]._connection = cluster.connection("nowhere")
        os.kill(workers[0]._driver._process.pid, signal.SIGKILL)
        file.touch()

    monkeypatch.setattr(ray_trial_workers.RayTrialWorkers, "__init__", remember)
    MachineLoss(cluster, monkeypatch, lose_cluster)
    result = search(wait_for_file, SPACE | {"file": choice(str(file))}, trials=4)
    assert [trial.state for trial in result.trials] == ["finished"] * 4
    trials = find_runs(store, parent=result.run)
    assert [list(load_all_curves(store, trial.id)["loss"].steps) for trial in trials] == [[0, 1]] * 4
    assert "the search continues on this machine (1 thread)" in capsys.readouterr().err


def wait_for_stop(params, run):
    """A trial that ends only when it is asked to."""
    run.log({"loss": 1.0}, step=0)
    while not run.should_stop:
        time.sleep(0.05)


@pytest.mark.slow_cluster
def test_ctrl_c_stops_the_trials_and_a_resumed_search_trains_them_again(cluster, store, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    MachineLoss(cluster, monkeypatch, interrupt)
    first = search(wait_for_stop, trials=3, experiment="c")
    assert {trial.reason for trial in first.trials} == {"interrupted"}
    assert {run.state for run in find_runs(store, parent=first.run)} == {"stopped"}
    monkeypatch.setenv("ROSENBLATT_RESUME", first.run)
    resumed = search(square, trials=3, experiment="c")
    assert resumed.run == first.run
    assert [trial.state for trial in resumed.trials] == ["finished"] * 3
    assert len(find_runs(store, parent=first.run)) == 3


@pytest.mark.slow_cluster
def test_a_function_that_a_machine_cannot_load_ends_the_search_with_the_reason(cluster, store):
    with pytest.raises(ClusterError, match="The training function cannot be loaded"):
        search(UnloadableFunction())


class UnloadableFunction:
    def __call__(self, params, run):
        return 1.0

    def __reduce__(self):
        return __import__, ("no_such_module_here",)


# The trainer alone, with workers that report what a test says


class ScriptedWorkers:
    """Workers whose trials report what a function of a test says when they are submitted and asked to stop."""

    def __init__(self, on_submit, on_stop=None, threads=2):
        self._on_submit, self._on_stop, self.threads = on_submit, on_stop, threads
        self.messages, self.items, self.is_closed = SimpleQueue(), [], False

    def submit(self, item):
        self.items.append(item)
        self._on_submit(self, item)

    def get(self, timeout):
        message = self.messages.get(timeout=timeout)
        if isinstance(message, BaseException):
            raise message
        return message

    def stop_trial(self, item, reason):
        if self._on_stop:
            self._on_stop(self, item, reason)

    def close(self):
        self.is_closed = True

    def report(self, item, losses=(), contents=(), **records):
        points = [(step, {"loss": loss}) for step, loss in enumerate(losses)]
        report = TrialReport(attempt=(item.number, 0, 1), points=points, **records)
        self.messages.put(ReceivedReport(item, "lab1", report, list(contents)))


def scripted_search(on_submit, on_stop=None, *, train=square, threads=2, **options):
    """Run a search with scripted workers; returns its result, the workers, and the messages."""
    values = {field.name: None for field in fields(TuneSettings)} | {
        "trials": 3, "metric": "loss", "direction": "auto", "sampler": "random", "stopping": "none",
        "reduction_factor": 2, "seed": 0, "experiment": "", "data": (), "reuse": False, "progress": False,
        "cores_per_trial": 1, "gpus_per_trial": 0, "on": "lab",
    }  # fmt: skip
    search = FunctionSearch(SPACE, TuneSettings(**values | options))
    workers, messages = ScriptedWorkers(on_submit, on_stop, threads), []
    result = search.run(train, MachineTrainer(train, search, workers, messages.append, options.get("workers")))
    assert workers.is_closed
    return result, workers, messages


def curves(store, result):
    return [load_all_curves(store, trial.run)["loss"].values.tolist() for trial in result.trials]


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for module in ("tune_search", "tune_record"):
        monkeypatch.setattr(f"rosenblatt.workflows.{module}.time", clock)
    return clock


def end_at_stop(workers, item, _reason):
    workers.report(item, end=TrialEnd(was_stopped=True))


def test_a_report_is_recorded_with_its_end(store):
    def on_submit(workers, item):
        workers.report(item, [3.0, 2.0], output=[("stdout", f"trial {item.number}\n")])
        workers.report(item, files=[("blob", "file", 2)], contents=[b"xy"], curves=[("long", [1.0, 2.0], [0, 5])])
        workers.report(item, end=TrialEnd(result=item.number, peak_memory=5_000, seeds={"torch": 7}))

    result, workers, messages = scripted_search(on_submit)
    assert [(trial.state, trial.score) for trial in result.trials] == [("finished", min(2.0, n)) for n in range(3)]
    assert curves(store, result) == [[3.0, 2.0, float(n)] for n in range(3)]
    details = run_details(store, result.trials[1].run)
    assert (details.host, details.artifacts["blob"].bytes, details.seeds) == ("lab1", 2, {"torch": 7})
    assert list(load_all_curves(store, details.id)["long"].steps) == [0, 5]
    assert printed_text(store, details.id) == "trial 1\n"
    assert [item.params for item in workers.items] == [trial.params for trial in result.trials]
    assert messages == []


def test_a_trial_that_starts_again_counts_from_there(store):
    def on_submit(workers, item):
        workers.report(item, [-9.0, -9.0, -9.0])
        workers.messages.put(TrialRestart(item))
        workers.report(item, [float(item.number)], end=TrialEnd())

    result, _, _ = scripted_search(on_submit)
    assert [(trial.state, trial.score) for trial in result.trials] == [("finished", float(n)) for n in range(3)]
    assert curves(store, result) == [[0.0], [1.0], [2.0]]
    assert len(find_runs(store, parent=result.run)) == 3


def test_a_trial_that_fails_on_its_machine_stops_no_other(store):
    def on_submit(workers, item):
        if item.number == 0:
            workers.messages.put(TrialFailure(item, "3 processes ended"))
        else:
            workers.report(item, [1.0], end=TrialEnd(error="ValueError: x" if item.number == 1 else ""))

    result, _, _ = scripted_search(on_submit)
    ends = [("failed", "3 processes ended"), ("failed", "ValueError: x"), ("finished", "")]
    assert [(trial.state, trial.reason) for trial in result.trials] == ends


def test_trials_of_a_lost_cluster_are_trained_here_one_at_a_time(store):
    def on_submit(workers, item):
        workers.threads = 1
        workers.report(item, [-9.0])
        workers.messages.put(TrialRestart(item))
        workers.messages.put(LocalTurn(item))

    result, _, _ = scripted_search(on_submit, train=lambda params, run: 5.0)
    assert curves(store, result) == [[5.0]] * 3


def test_a_trial_that_is_not_among_the_best_is_asked_to_stop(store):
    reasons = {}

    def on_submit(workers, item):
        workers.report(item, [float(item.number)], end=None if item.number else TrialEnd())

    def on_stop(workers, item, reason):
        reasons[item.number] = reason
        end_at_stop(workers, item, reason)

    result, _, _ = scripted_search(on_submit, on_stop, stopping="asha", trials=2)
    assert reasons == {1: "not among the best at step 0"}
    assert [(trial.state, trial.reason) for trial in result.trials] == [("finished", ""), ("stopped", reasons[1])]


def test_running_trials_are_asked_to_stop_at_the_end_of_the_time(store, clock):
    def on_submit(workers, item):
        workers.report(item, [1.0])
        if item.number == 1:
            clock.pass_an_hour()

    result, _, _ = scripted_search(on_submit, end_at_stop, minutes=30)
    ends = {(trial.state, trial.reason, trial.score) for trial in result.trials}
    assert ends == {("stopped", "time limit", 1.0)}
    assert len(result.trials) == 2


def test_ctrl_c_ends_trials_also_those_that_do_not_return(store, monkeypatch):
    monkeypatch.setattr(tune_machines, "STOP_TIMEOUT_S", 0.3)

    def on_submit(workers, item):
        workers.report(item, [1.0])
        if item.number == 1:
            workers.messages.put(KeyboardInterrupt())

    def on_stop(workers, item, reason):
        if item.number == 0:
            end_at_stop(workers, item, reason)

    result, _, _ = scripted_search(on_submit, on_stop)
    assert [(trial.state, trial.reason) for trial in result.trials] == [("stopped", "interrupted")] * 2
    assert {run.state for run in find_runs(store, parent=result.run)} == {"stopped"}


def test_records_of_other_runs_are_refused(store):
    def on_submit(workers, item):
        line = f'{{"rows": {{"tags": [{{"run": "{item.run[:-1]}0", "name": "a", "value": "b"}}]}}}}'
        workers.report(item, [1.0], batches=[line], end=TrialEnd())

    result, _, messages = scripted_search(on_submit, threads=1)
    assert [run_details(store, trial.run).tags for trial in result.trials] == [{"a": "b"}, {}, {}]
    refusal = "some of what it recorded is lost: a machine sent records of other runs than that of the trial"
    assert messages == [f"trial {number}: {refusal}" for number in (1, 2)]
    assert {trial.state for trial in result.trials} == {"finished"}


@pytest.mark.parametrize(("threads", "workers", "expected"), [(4, None, 4), (4, 3, 3), (2, 9, 2)])
def test_as_many_trials_are_trained_at_a_time_as_there_is_room_for(store, threads, workers, expected):
    running, largest = [], []

    def on_submit(_workers, item):
        running.append(item)

    class Counted(ScriptedWorkers):
        def get(self, timeout):
            largest.append(len(running))
            self.report(running.pop(), [1.0], end=TrialEnd())
            return super().get(timeout)

    with pytest.MonkeyPatch.context() as context:
        context.setattr(sys.modules[__name__], "ScriptedWorkers", Counted)
        scripted_search(on_submit, threads=threads, workers=workers, trials=8)
    assert max(largest) == expected
