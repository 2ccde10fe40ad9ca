"""The process of a trial on a machine: it calls the function, and hands out what the function records."""

from __future__ import annotations

import io
import os
import pickle
import re
import sys
import tarfile
import threading
import time
from pathlib import Path

import cloudpickle
import pytest

from rosenblatt.errors import RunError, StorageError
from rosenblatt.runs.capture.snapshot import fingerprint_data
from rosenblatt.runs.tracking import relayed_run
from rosenblatt.tuning import trial_process
from rosenblatt.tuning.attempts import Attempt
from rosenblatt.tuning.trial_messages import FunctionBundle, unpack_report
from rosenblatt.tuning.trial_outbox import Outbox
from rosenblatt.tuning.trial_process import TrialProcess

ATTEMPT = Attempt(3, 0, 1)


@pytest.fixture
def process(tmp_path, monkeypatch):
    """A process for trials, with the state of the interpreter restored afterwards."""
    for name in (*trial_process.THREAD_VARIABLES, "ROSENBLATT_STORE"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    monkeypatch.setattr(trial_process.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(trial_process.tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    process = TrialProcess(1, "cpu")
    yield process
    process.close()


def load(process, function, files=(), **options):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    bundle = FunctionBundle(cloudpickle.dumps(function), sys.version_info[:2], archive.getvalue(), **options)
    process.load([], [0], pickle.dumps(bundle.__dict__))


def train(process, **params):
    process.submit([ATTEMPT], [pickle.dumps((params, "run-3", "exp"))])


def collect_all(process):
    """All reports of the trial, up to its end."""
    reports = []
    while not reports or reports[-1].end is None:
        collection = process.collect(0.05)
        assert collection.error is None, collection.error
        if collection.content:
            reports.append(unpack_report(collection.content)[0])
            assert reports[-1].attempt == ATTEMPT
    assert collection.attempts == [ATTEMPT]
    return reports


def test_points_output_and_the_returned_number_are_reported(process):
    def function(params, run):
        print("width", params["width"])
        run.log({"loss": 2.0})
        run.log({"loss": 1.0})
        return 5

    process = TrialProcess(1, "cpu")  # with the streams of this phase of the test
    load(process, function)
    train(process, width=8)
    reports = collect_all(process)
    points = [point for report in reports for point in report.points if "loss" in point[1]]
    assert points == [(0, {"loss": 2.0}), (1, {"loss": 1.0})]
    assert "width 8\n" in "".join(text for report in reports for _, text in report.output)
    assert (reports[-1].end.result, reports[-1].end.error, reports[-1].end.was_stopped) == (5.0, "", False)
    process.close()


def test_an_exception_is_reported_with_its_traceback_and_the_next_trial_runs(process):
    def function(params, run):
        if params["fails"]:
            sys.exit("no disk")

    load(process, function)
    train(process, fails=True)
    reports = collect_all(process)
    assert reports[-1].end.error == "SystemExit: no disk"
    assert "in function" in "".join(text for report in reports for _, text in report.output)
    train(process, fails=False)
    assert collect_all(process)[-1].end.error == ""


@pytest.mark.parametrize("is_early", [True, False])
def test_a_stop_reaches_the_trial_also_if_it_comes_before_it(process, is_early):
    def function(params, run):
        run.log({"loss": 1.0})
        while not run.should_stop:
            time.sleep(0.01)

    load(process, function)
    if is_early:
        process.stop(ATTEMPT, "worse")
    train(process)
    if not is_early:
        assert unpack_report(process.collect(0.0).content)[0].end is None
        process.stop(Attempt(3, 0, 7), "another attempt")
        process.stop(ATTEMPT, "worse")
    assert collect_all(process)[-1].end.was_stopped


def test_closing_asks_the_trial_to_stop_and_removes_its_files(process, tmp_path):
    def function(params, run):
        while not run.should_stop:
            time.sleep(0.01)

    load(process, function, [("rows.csv", b"1")])
    train(process)
    (folder,) = tmp_path.glob("rosenblatt-trials-*")
    assert (folder / "files/rows.csv").read_bytes() == b"1"
    assert process.close().attempts == [ATTEMPT]
    assert not folder.exists()


def test_the_function_works_in_the_folder_of_its_project_and_imports_its_modules(process):
    def function(params, run):
        from module_of_project import VALUE

        return VALUE + int(Path("rows.csv").read_text())

    files = [("src/module_of_project.py", b"VALUE = 40"), ("work/rows.csv", b"2")]
    load(process, function, files, folder="work", module_folders=("src",))
    train(process)
    assert collect_all(process)[-1].end.result == 42


def test_folders_of_processes_that_were_killed_are_removed_and_others_stay(process, tmp_path):
    abandoned = tmp_path / "rosenblatt-trials-abandoned"
    abandoned.mkdir()
    (abandoned / "lock").touch()
    load(process, len)
    (own,) = set(tmp_path.glob("rosenblatt-trials-*"))
    assert own != abandoned
    trial_process._WorkFolder().remove()
    assert own.exists()


def test_the_threads_of_libraries_are_limited_to_the_cores_of_the_process(process, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    load(process, lambda params, run: int(os.environ["OMP_NUM_THREADS"]))
    train(process)
    assert collect_all(process)[-1].end.result == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"python": (2, 7)}, "but the search runs with Python 2.7"),
        ({"data": {"/no/such/file": "hash"}}, "The data '/no/such/file' cannot be read"),
        ({"data": {__file__: "hash"}}, "differs from that of the machine that started the search"),
        ({"function": b"cno_such_module\nf\n."}, "No module named 'no_such_module'.*python=PATH in the file of hosts"),
    ],
)
def test_a_machine_that_cannot_train_says_why_once(process, options, message):
    bundle = {"function": pickle.dumps(len), "python": sys.version_info[:2], "archive": empty_archive()} | options
    process.load([], [0], pickle.dumps(bundle))
    name, text = process.collect(0.0).error
    assert name == "ClusterError"
    assert re.search(message, text)
    assert process.close().error is None


def empty_archive():
    file = io.BytesIO()
    tarfile.open(fileobj=file, mode="w").close()
    return file.getvalue()


def test_data_that_the_machines_share_is_compared_by_its_hash(process):
    load(process, lambda params, run: 1.0, data={__file__: fingerprint_data(__file__).hash})
    train(process)
    assert collect_all(process)[-1].end.result == 1.0


def test_a_run_refuses_what_cannot_leave_the_machine(process, tmp_path, monkeypatch):
    monkeypatch.setattr(relayed_run, "MAX_FILE_BYTES", 10)
    run = relayed_run.RelayedRun("run", "exp", {}, Outbox().begin(ATTEMPT))
    with pytest.raises(StorageError, match=r"'large' has 0 MB; a trial on a machine of a cluster can record files"):
        run.log_bytes("large", b"\0" * 11)
    with pytest.raises(StorageError, match="cannot be stored as an artifact: No such file"):
        run.log_artifact(tmp_path / "none")
    with pytest.raises(RunError, match="cannot be passed to another process"):
        pickle.dumps(run)


def test_hyperparameters_that_cannot_be_loaded_fail_their_trial(process):
    load(process, lambda params, run: 1.0)
    process.submit([ATTEMPT], [b"cno_such_module\nf\n."])
    assert (
        "its hyperparameters cannot be loaded on the machine: ModuleNotFoundError" in collect_all(process)[-1].end.error
    )
    train(process)
    assert collect_all(process)[-1].end.result == 1.0


def test_what_a_thread_of_an_earlier_trial_records_is_not_of_a_later_one(process):
    go, done = threading.Event(), threading.Event()

    def function(params, run):
        def log_late():
            go.wait()
            run.log({"loss": 7.0})
            run.log_bytes("late", b"7")
            run.tag(late="yes")
            run.log_curve("late", [7.0])
            done.set()

        if params["is_first"]:
            threading.Thread(target=log_late, daemon=True).start()
        else:
            go.set()
            done.wait()
            run.log({"loss": 1.0})

    process._function = function  # with the events of this test, which cannot be pickled
    train(process, is_first=True)
    collect_all(process)
    train(process, is_first=False)
    reports = collect_all(process)
    assert [values for report in reports for _, values in report.points if "loss" in values] == [{"loss": 1.0}]
    assert not any(report.files or report.batches or report.curves for report in reports)
