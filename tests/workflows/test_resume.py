"""Interrupted commands are resumed: searches go on, and models that were trained are written."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from click.testing import CliRunner

from rosenblatt.cli.exit_status import ExitStatus
from rosenblatt.cli.main import cli
from rosenblatt.errors import ModelFileError, RunError, StorageError
from rosenblatt.models.model_file import load_model
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.queries import find_runs, run_details
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from rosenblatt.workflows.resume import _check_state, _move_to, resume
from tests.data.volumes.servers import BUCKET, s3_settings

SEARCH = ["fit", "people.csv", "-t", "rich", "--trials", "3", "--epochs", "2", "--hidden-sizes", "4"]
COMMAND = """
import os, signal, sys
from rosenblatt.cli.main import main
from rosenblatt.models.model_file_checker import ModelFileChecker
from rosenblatt.workflows import fit, recorder

def kill(*_): os.kill(os.getpid(), signal.SIGKILL)

ModelFileChecker.__init__ = ModelFileChecker.close = lambda self: None  # its new process takes most of the time
ModelFileChecker.check = lambda self, *_: None
point = os.environ.get("KILL_AT")
if point == "before the file": fit.save = kill
if point == "during the check": ModelFileChecker.check = kill
if point == "after the file": recorder.Recorder.finish = kill
main()
"""


@pytest.fixture
def store(work_folder, people):
    people.write_csv("people.csv")
    (work_folder / "command.py").write_text(COMMAND)
    (work_folder / ".rosenblatt").mkdir()
    opened = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    yield opened
    opened.close()


def run_command(*arguments, kill_at=""):
    env = os.environ | {"KILL_AT": kill_at}
    return subprocess.run(
        [sys.executable, "command.py", *arguments], env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("search", "before the file"),
        ("search", "after the file"),
        ("fit", "before the file"),
        ("fit", "during the check"),
    ],
)
def test_a_command_killed_while_it_writes_its_model_is_resumed(store, work_folder, kind, point):
    arguments = SEARCH if kind == "search" else [*SEARCH[:4], "--epochs", "2", "--folds", "2"]
    assert run_command(*arguments, kill_at=point).returncode == -signal.SIGKILL
    run = find_runs(store, f"kind = {kind}")[0]
    model = work_folder / "people.rosenblatt"
    assert model.exists() == (point == "after the file")
    messages = []
    assert resume(store, "people", messages.append) == 0
    assert load_model(model).metadata.rows == 240
    if kind == "search":
        assert run_details(store, run.id).state == "finished"
    if point == "during the check":
        return  # nothing differs from a kill before the file any more
    model.unlink()
    assert resume(store, run.id, messages.append) == 0  # from the store
    assert load_model(model).metadata.rows == 240
    assert "written from the store" in messages[-1]


def invoke(*arguments):
    return CliRunner().invoke(cli, list(arguments), obj=ExitStatus())


@pytest.fixture
def stopped_search(store, same_process_check, monkeypatch):
    """The id of a search that was interrupted."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rosenblatt.workflows.fit.save", interrupt)
        invoke(*SEARCH)
    return find_runs(store, "kind = search")[0].id


def test_a_model_that_cannot_be_written_is_in_the_store(store, same_process_check, monkeypatch):
    def fail(*_):
        raise StorageError("The disk is full.")

    monkeypatch.setattr("rosenblatt.workflows.fit.save", fail)
    result = invoke(*SEARCH[:4], "--epochs", "2", "--folds", "2")
    run = find_runs(store)[0]
    expected = (
        f"The disk is full. The model is in the store: `rosenblatt runs show {run.id} --artifact model.rosenblatt`"
    )
    assert str(result.exception).startswith(expected)
    assert (run.state, "model.rosenblatt" in run_details(store, run.id).artifacts) == ("failed", True)


@pytest.fixture
def unwritten_model(store, same_process_check, monkeypatch):
    """The id of a fit whose model is in the store, but not in its file."""

    def fail(*_):
        raise StorageError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr("rosenblatt.workflows.fit.save", fail)
        invoke(*SEARCH[:4], "--epochs", "2")
    return find_runs(store)[0].id


def test_a_model_is_written_where_another_user_says_only_if_that_is_confirmed(store, unwritten_model, work_folder):
    path = work_folder / "startup.pth"
    batch = RecordBatch()
    batch.add_metadata(unwritten_model, "output", str(path))
    batch.add_metadata(unwritten_model, "user", "mallory")
    store.write(batch)
    with pytest.raises(RunError, match=r"by the user mallory, .* Write its model to '.*startup.pth' as .* --yes"):
        resume(store, unwritten_model)
    assert not path.exists()
    resume(store, unwritten_model, confirm=lambda question: str(path) in question)
    load_model(path)


def test_only_a_model_is_written(store, unwritten_model, work_folder):
    content = Artifacts(store.url, store).store_bytes(b"import os")
    batch = RecordBatch()
    batch.add_artifact(unwritten_model, "model.rosenblatt", "model", *content)
    store.write(batch)
    with pytest.raises(ModelFileError, match="is not a Rosenblatt model"):
        resume(store, unwritten_model)
    assert not (work_folder / "model.rosenblatt").exists()


def test_a_fit_is_resumed_where_it_was_or_on_another_place(work_folder):
    run = SimpleNamespace(request={"table": "people.csv"})
    command = ("-m", "rosenblatt", "fit", "people.csv", "--on", "lab", "--nodes-per-network=2", "-t", "rich")
    base = ("-m", "rosenblatt", "fit", "people.csv", "-t", "rich")
    assert _move_to("lab2", run, command) == ((*base[:4], "--nodes-per-network=2", *base[4:], "--on", "lab2"), {})
    assert _move_to("local", run, command) == ((*base, "--on", "local"), {})
    (work_folder / "hosts.txt").touch()
    assert _move_to("hosts.txt", run, (*base, "--on=lab")) == ((*base, "--on", str(work_folder / "hosts.txt")), {})


SCRIPT = """
import os, pathlib, rosenblatt
def train(params, run):
    run.log({"loss": params["x"]})
    run.flush()
    if not os.path.exists("hosts.txt"):
        os.kill(os.getpid(), 9)
place = "hosts.txt" if os.path.exists("hosts.txt") else None
rosenblatt.tune(train, {"x": rosenblatt.uniform(0, 1)}, trials=2, experiment="moved", on=place)
"""


@pytest.mark.slow
def test_a_search_of_a_script_is_resumed_where_the_script_says_or_on_another_place(work_folder, capfd):
    (work_folder / "t.py").write_text(SCRIPT)
    assert subprocess.run([sys.executable, "t.py"], check=False).returncode == -signal.SIGKILL
    (work_folder / "hosts.txt").write_text("no host\n")

    store = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    assert resume(store, "moved") == 1
    assert "hosts.txt" in capfd.readouterr().err
    assert resume(store, "moved", on="local") == 0, capfd.readouterr().err
    (search,) = find_runs(store, "kind = search")
    assert (search.state, len(find_runs(store, parent=search.id))) == ("finished", 2)
    store.close()


def test_the_place_local_is_this_machine(store, same_process_check):
    result = invoke(*SEARCH[:4], "--epochs", "2", "--folds", "2", "--on", "local")
    assert result.exception is None
    assert "checked: a new process predicts the same" in result.output


def test_a_search_whose_state_is_on_another_machine_does_not_begin_again(store, stopped_search):
    shutil.rmtree(Path(store.url.removeprefix("sqlite:///")).parent / "state")
    with pytest.raises(
        RunError, match=rf"The state of the search {stopped_search} is not in .*, so it would begin again"
    ):
        resume(store, "people")
    assert run_details(store, stopped_search).trials == 3


def test_machines_that_share_a_folder_share_the_states_of_searches(store, same_process_check, monkeypatch, tmp_path):
    monkeypatch.setenv("ROSENBLATT_ARTIFACTS", str(tmp_path / "shared"))

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rosenblatt.workflows.fit.save", interrupt)
        invoke(*SEARCH)
    (run,) = find_runs(store, "kind = search")
    assert (tmp_path / "shared" / store.id / "state" / run.id / "search.jsonl").exists()
    monkeypatch.setenv("ROSENBLATT_RESUME", run.id)
    assert "(trials so far: 3)" in invoke(*SEARCH).output


def test_any_machine_resumes_from_the_bucket_of_the_team(
    store, work_folder, same_process_check, monkeypatch, s3_server
):
    pytest.importorskip("obstore", reason="obstore is not installed: pip install 'rosenblatt[objects]'")
    for name, value in s3_settings(s3_server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ROSENBLATT_ARTIFACTS", f"s3://{BUCKET}/team")

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("rosenblatt.workflows.fit.save", interrupt)
        invoke(*SEARCH)
    (run,) = find_runs(store, "kind = search")
    assert run_details(store, run.id).trials == 3
    bucket = Artifacts(store.url, store).state_bucket(run.id)
    assert "search.jsonl" in {name for name, _ in bucket.list_files()}
    shutil.rmtree(work_folder / ".rosenblatt" / "state")  # another machine has none
    _check_state(store, run_details(store, run.id))
    monkeypatch.setenv("ROSENBLATT_RESUME", run.id)
    output = invoke(*SEARCH).output
    assert "the state of the search comes from the bucket of ROSENBLATT_ARTIFACTS" in output
    assert "(trials so far: 3)" in output
    assert run_details(store, run.id).state == "finished"
    assert not list(bucket.list_files())  # of a search that is complete


def test_other_options_begin_another_search(store, stopped_search, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_RESUME", stopped_search)
    result = invoke(*SEARCH, "--dropout", "0.5")
    assert f"the search {stopped_search} is not resumed, because dropout changed; this is a new search" in result.output
    assert len(find_runs(store, "kind = search")) == 2
    assert run_details(store, stopped_search).state == "stopped"


def test_a_larger_budget_resumes_the_search(store, stopped_search, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_RESUME", stopped_search)
    result = invoke(*SEARCH[:-6], "--trials", "4", *SEARCH[-4:])
    assert "not resumed" not in result.output
    assert [run.id for run in find_runs(store, "kind = search")] == [stopped_search]
    assert run_details(store, stopped_search).trials == 4


def test_a_search_whose_rows_have_changed_is_not_resumed(store, stopped_search, monkeypatch):
    pl.read_csv("people.csv").with_columns(noise=pl.col("noise") + 1).write_csv("people.csv")
    monkeypatch.setenv("ROSENBLATT_RESUME", stopped_search)
    result = invoke(*SEARCH)
    assert isinstance(result.exception, RunError)
    assert "have changed since the search" in str(result.exception)
    assert run_details(store, stopped_search).state == "stopped"
