"""Any script is recorded from outside, and made again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from rosenblatt.errors import RunError
from rosenblatt.runs.compare import verdict
from rosenblatt.runs.launch import Launch, launch, params_of
from rosenblatt.runs.store.queries import all_curves, details, find_runs, output_of
from rosenblatt.runs.store.store import Store
from rosenblatt.workflows.reproduce import reproduce

SCRIPT = """
import argparse, pathlib, random, sys
from parts import model
import rosenblatt

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--seed", type=int, default=0)
asked = parser.parse_args()
random.seed(asked.seed)
rows = [float(line) for line in open(pathlib.Path(__file__).parent / "data.csv")]
pathlib.Path("out.txt").write_text("written first")
pathlib.Path("out.txt").read_text()
with rosenblatt.track() as run:
    for step in range(5):
        run.log({"loss": asked.lr * model.SCALE * sum(rows) + random.random()}, step=step)
print("done"); print("careful", file=sys.stderr)
"""


@pytest.fixture
def project(here, capsys):
    (here / "parts").mkdir()
    (here / "train.py").write_text(SCRIPT)
    (here / "parts" / "__init__.py").write_text("")
    (here / "parts" / "model.py").write_text("SCALE = 2\n")
    (here / "data.csv").write_text("1.5\n2.5\n")
    return here


@pytest.fixture
def store(project):
    found = Store(f"sqlite:///{project}/.rosenblatt/runs.db")
    yield found
    found.close()


def run(*words, target="train.py", **more):
    status, found = launch(Launch(target, words, **more))
    assert status == 0
    return found.id


def test_a_script_is_recorded_with_its_arguments_metrics_output_modules_and_data(project, store, capsys):
    known = details(store, run("--lr", "0.1"))
    assert (known["state"], known["kind"], known["experiment"], known["exit_status"]) == (
        "finished",
        "script",
        "train",
        0,
    )
    assert known["params"]["lr"]["value"] == "0.1"
    assert known["metrics"]["loss"]["step"] == 4
    assert set(known["source"]["files"]) == {"train.py", "parts/__init__.py", "parts/model.py"}
    assert [one["name"] for one in known["data_read"]] == ["data.csv"]
    assert output_of(store, known["id"]) == [("stdout", "done\n"), ("stderr", "careful\n")]
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("done\n", "careful\n")


def test_a_script_that_fails_keeps_its_status_and_its_traceback(project, store):
    (project / "bad.py").write_text("import sys\nprint('so far')\nraise ValueError('wrong')")
    status, found = launch(Launch("bad.py", ()))
    assert status == 1
    known = details(store, found.id)
    assert (known["state"], known["reason"]) == ("failed", "exit status 1")
    assert "ValueError: wrong" in "".join(words for _, words in output_of(store, found.id))


def test_a_script_that_is_killed_is_told_by_its_signal(project, store):
    (project / "killed.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    status, found = launch(Launch("killed.py", ()))
    assert status == 137
    assert details(store, found.id)["reason"] == "ended by SIGKILL"


def test_ctrl_c_is_the_scripts_to_handle(project, store):
    (project / "slow.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)")
    command = [sys.executable, "-m", "rosenblatt", "run", "slow.py"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "here\n"
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode in (1, 130)
    assert find_runs(store)[0]["state"] in ("stopped", "failed")


def test_a_script_that_is_not_there_is_told_with_the_nearest(project):
    with pytest.raises(RunError, match=r"There is no script 'trian.py'\. Did you mean 'train.py'"):
        launch(Launch("trian.py", ()))


def test_a_module_is_run_as_python_does_it(project, store):
    (project / "parts" / "__main__.py").write_text("import sys\nprint('args', sys.argv[1:], __name__)")
    assert output_of(store, run("x", target="parts", is_module=True)) == [("stdout", "args ['x'] __main__\n")]


@pytest.mark.slow
def test_reuse_runs_again_only_what_is_touched(project, store):
    first = [run("--lr", lr) for lr in ("0.1", "0.2")]
    (project / "more.csv").write_text("1\n")

    def again(lr):
        return launch(Launch("train.py", ("--lr", lr)), reuse=True)[1]

    found = [again(lr) for lr in ("0.1", "0.2")]
    assert [one.id for one in found] == first
    assert all(one.reused for one in found)
    assert not again("0.3").reused
    (project / "data.csv").write_text("1.5\n2.6\n")
    assert not again("0.1").reused
    assert again("0.1").reused
    (project / "parts" / "model.py").write_text("SCALE = 3\n")
    assert not again("0.1").reused


def test_arguments_become_hyperparameters():
    words = [
        "--lr",
        "1e-3",
        "--fast",
        "--layers=[64, 32]",
        "--name",
        "a b",
        "-n",
        "-5",
        "model.depth=3",
        "file.csv",
        "--no-x",
    ]
    expected = {"lr": 1e-3, "fast": True, "layers": [64, 32], "name": "a b", "n": -5, "model.depth": 3, "no-x": True}
    assert params_of(words) == expected


def test_a_run_comes_out_identical_from_a_fresh_folder(project, store):
    first = run("--lr", "0.1")
    (project / "train.py").write_text("raise SystemExit('this is not what ran')")
    said = []
    found = reproduce(store, first, said.append)
    assert found["verdict"] == "identical"
    assert "restored" in said[0]
    assert details(store, found["run"])["reproduces"] == first


def test_one_change_at_a_time_is_named_as_the_cause(project, store, monkeypatch):
    first = run("--lr", "0.1")
    (project / "data.csv").write_text("1.5\n2.50001\n")
    said = []
    found = reproduce(store, first, said.append)
    assert found["verdict"] == "within tolerance"
    assert 0 < found["furthest"] < 1e-3
    assert list(found["causes"]) == ["data"]
    assert any("data differs" in line for line in said)
    (project / "data.csv").write_text("9\n2.5\n")
    found = reproduce(store, first, said.append)
    assert found["verdict"] == "differs"
    assert found["first"]["step"] == 0
    assert found["first"]["what"].startswith("loss: 1.64")
    assert "data" in found["causes"]


def test_results_that_hang_on_chance_differ_without_a_cause(project, store):
    (project / "chance.py").write_text(
        "import os, rosenblatt\nwith rosenblatt.track() as run:\n"
        "    for step in range(9):\n"
        "        run.log({'loss': 1.0 if step < 3 else float(int.from_bytes(os.urandom(4), 'big'))})"
    )
    found = reproduce(store, run(target="chance.py"), lambda _: None)
    assert found["verdict"] == "differs"
    assert found["first"]["step"] >= 3
    assert found["causes"] == {}


def test_the_load_of_the_machine_is_seen(project, store):
    (project / "busy.py").write_text("import time\nend = time.time() + 2.5\nwhile time.time() < end: sum(range(1000))")
    found = all_curves(store, run(target="busy.py"))
    assert found["system/cpu percent"].values.max() > 0
    assert found["system/memory bytes"].values.max() > 5e6


def test_what_is_printed_comes_through_while_the_script_runs(project):
    """The script prints its second line only after the test has read the first one."""
    (project / "slow.py").write_text(
        """
import pathlib, sys, time
print("first")
end = time.monotonic() + 60
while not pathlib.Path("read").exists():
    if time.monotonic() > end: sys.exit("nobody read the first line")
    time.sleep(0.02)
print("second")
time.sleep(600)  # until it is terminated
"""
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "rosenblatt", "run", "slow.py"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "first\n"
    (project / "read").touch()
    assert process.stdout.readline() == "second\n"
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 143


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
def test_a_script_sees_a_terminal_where_there_is_one(project, store):

    (project / "screen.py").write_text("import os, sys\nprint(sys.stdout.isatty(), os.isatty(2), '\\rover')\n")
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "rosenblatt", "run", "screen.py"]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE)
    _, error = process.communicate(timeout=30)
    os.close(theirs)
    assert process.returncode == 0, error.decode()
    assert os.read(ours, 1000) == b"True False \rover\r\n"
    os.close(ours)
    assert output_of(store, find_runs(store)[0]["id"]) == [("stdout", "over\n")]


def test_another_source_is_named_as_the_cause(project, store):
    first = run("--lr", "0.1")
    (project / "parts" / "model.py").write_text("SCALE = 3\n")
    found = verdict(store, first, run("--lr", "0.1"), 1e-3)
    assert found["verdict"] == "differs"
    assert set(found["causes"]) == {"source"}
