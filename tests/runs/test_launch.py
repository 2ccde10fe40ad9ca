"""Scripts are recorded without changes to them, and reproduced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from rosenblatt.errors import RunError
from rosenblatt.runs.launch import LaunchRequest, _end_state, launch, parse_params
from rosenblatt.runs.store.queries import find_runs, load_all_curves, load_output, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.verdict import compare_results
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
def project(work_folder, capsys):
    (work_folder / "parts").mkdir()
    (work_folder / "train.py").write_text(SCRIPT)
    (work_folder / "parts" / "__init__.py").write_text("")
    (work_folder / "parts" / "model.py").write_text("SCALE = 2\n")
    (work_folder / "data.csv").write_text("1.5\n2.5\n")
    return work_folder


@pytest.fixture
def store(project):
    opened = Store(f"sqlite:///{project}/.rosenblatt/runs.db")
    yield opened
    opened.close()


def launch_script(*arguments, target="train.py", **options):
    status, run = launch(LaunchRequest(target, arguments, **options))
    assert status == 0
    return run.id


def test_a_script_is_recorded_with_its_arguments_metrics_output_modules_and_data(project, store, capsys):
    details = run_details(store, launch_script("--lr", "0.1"))
    assert (details.state, details.kind, details.experiment, details.exit_status) == (
        "finished",
        "script",
        "train",
        0,
    )
    assert details.params["lr"].value == "0.1"
    assert details.metrics["loss"].step == 4
    assert set(details.source.files) == {"train.py", "parts/__init__.py", "parts/model.py"}
    assert [entry.name for entry in details.data_read] == ["data.csv"]
    assert load_output(store, details.id) == [("stdout", "done\n"), ("stderr", "careful\n")]
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("done\n", "careful\n")


def test_a_script_that_fails_keeps_its_status_and_its_traceback(project, store):
    (project / "bad.py").write_text("import sys\nprint('so far')\nraise ValueError('wrong')")
    status, run = launch(LaunchRequest("bad.py", ()))
    assert status == 1
    details = run_details(store, run.id)
    assert (details.state, details.reason) == ("failed", "exit status 1")
    assert "ValueError: wrong" in "".join(text for _, text in load_output(store, run.id))


def test_the_exception_that_ended_the_run_of_a_failed_script_is_its_reason(project, store):
    (project / "bad.py").write_text("import rosenblatt\nwith rosenblatt.track():\n    raise ValueError('wrong')")
    status, run = launch(LaunchRequest("bad.py", ()))
    details = run_details(store, run.id)
    assert (status, details.state, details.reason) == (1, "failed", "ValueError: wrong")


def test_the_signal_that_killed_a_script_is_recorded(project, store):
    (project / "killed.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    status, run = launch(LaunchRequest("killed.py", ()))
    assert status == 137
    assert run_details(store, run.id).reason == "ended by SIGKILL"


TRACKED = """
import multiprocessing, rosenblatt
def work(arguments):
    run, fold = arguments
    run.log_curve(f"fold{fold}", [float(step) for step in range(100)])
if __name__ == "__main__":
    with rosenblatt.track(params={"lr": 0.1}, tags={"kind": "nightly"}) as run:
        print("begun")
        for step in range(50):
            run.log({"loss": 1.0 / (step + 1)}, step=step)
            run.flush()
        run.note("comment", "a note")
        run.log_bytes("model.bin", b"weights")
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            pool.map(work, [(run, 0), (run, 1)])
        run.log({"loss": 0.0}, step=50)
"""


@pytest.mark.slow
def test_a_tracked_script_keeps_all_its_records_under_rosenblatt_run(project, store):
    (project / "tracked.py").write_text(TRACKED)
    command = [sys.executable, "-m", "rosenblatt", "run", "--name", "both", "tracked.py"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, "ignored" in result.stderr) == (0, False), result.stderr
    details = run_details(store, find_runs(store)[0].id)
    assert (details.kind, details.state, details.name) == ("script", "finished", "both")
    assert len(find_runs(store)) == 1
    assert (details.params["lr"].value, details.tags["kind"]) == ("0.1", "nightly")
    assert (details.notes["comment"], list(details.artifacts)) == ("a note", ["model.bin"])
    assert load_output(store, details.id)[0] == ("stdout", "begun\n")
    curves = load_all_curves(store, details.id)
    sizes = {name: curve.values.size for name, curve in curves.items() if not name.startswith("system")}
    assert sizes == {"loss": 51, "fold0": 100, "fold1": 100}
    assert [file.name for file in details.data_read] == []  # the files of the store are no data


CLEAN_UP = """
import sys, time, IMPORTED
try:
    print("here", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)  # a second signal would end this
    print("cleaned up")
    raise
"""


@pytest.mark.parametrize("imported", ["os", "numpy"])
@pytest.mark.parametrize("kill", [os.killpg, os.kill], ids=["group", "launcher"])
def test_a_script_handles_ctrl_c_itself(project, store, kill, imported):
    (project / "slow.py").write_text(CLEAN_UP.replace("IMPORTED", imported))
    command = [sys.executable, "-m", "rosenblatt", "run", "slow.py"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "here\n"
    kill(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert (out, process.returncode) == ("cleaned up\n", 130)
    assert find_runs(store)[0].state == "stopped"


@pytest.mark.usefixtures("default_hangup_signal")
@pytest.mark.parametrize("kill", [os.killpg, os.kill], ids=["group", "launcher"])
def test_a_script_is_stopped_if_the_terminal_is_closed(project, store, kill):
    (project / "slow.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(60)")
    command = [sys.executable, "-m", "rosenblatt", "run", "slow.py"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout.readline() == "here\n"
    kill(process.pid, signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP
    assert (find_runs(store)[0].state, find_runs(store)[0].reason) == ("stopped", "ended by SIGHUP")


def test_ctrl_c_while_the_end_of_a_script_is_recorded_does_not_lose_it(project, store, monkeypatch):
    (project / "end.py").write_text("raise SystemExit(3)")

    def end_state(run, status):
        os.kill(os.getpid(), signal.SIGINT)
        return _end_state(run, status)

    monkeypatch.setattr("rosenblatt.runs.launch._end_state", end_state)
    status, run = launch(LaunchRequest("end.py", ()))
    assert status == 3
    assert run_details(store, run.id).reason == "exit status 3"


def test_ctrl_c_before_a_script_runs_stops_its_run(project, store, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    (project / "end.py").write_text("pass")
    monkeypatch.setattr("rosenblatt.runs.launch._run_script", interrupt)
    with pytest.raises(KeyboardInterrupt):
        launch(LaunchRequest("end.py", ()))
    assert [run.state for run in find_runs(store)] == ["stopped"]


def test_a_script_may_end_its_run_as_failed(project, store):
    (project / "bad.py").write_text("import rosenblatt\nrosenblatt.track().finish('failed', 'bad data')")
    launch_script(target="bad.py")
    assert (find_runs(store)[0].state, find_runs(store)[0].reason) == ("failed", "bad data")


def test_a_missing_script_is_an_error_with_a_suggestion(project):
    with pytest.raises(RunError, match=r"There is no script 'trian.py'\. Did you mean 'train.py'"):
        launch(LaunchRequest("trian.py", ()))


def test_a_module_is_run_as_by_python(project, store):
    (project / "parts" / "__main__.py").write_text("import sys\nprint('args', sys.argv[1:], __name__)")
    assert load_output(store, launch_script("x", target="parts", is_module=True)) == [
        ("stdout", "args ['x'] __main__\n")
    ]


@pytest.mark.slow
def test_reuse_runs_only_scripts_with_changed_inputs(project, store):
    first = [launch_script("--lr", lr) for lr in ("0.1", "0.2")]
    (project / "more.csv").write_text("1\n")

    def launch_reusing(lr):
        return launch(LaunchRequest("train.py", ("--lr", lr)), reuse=True)[1]

    reused = [launch_reusing(lr) for lr in ("0.1", "0.2")]
    assert [run.id for run in reused] == first
    assert all(run.reused for run in reused)
    assert not launch_reusing("0.3").reused
    (project / "data.csv").write_text("1.5\n2.6\n")
    assert not launch_reusing("0.1").reused
    assert launch_reusing("0.1").reused
    (project / "parts" / "model.py").write_text("SCALE = 3\n")
    assert not launch_reusing("0.1").reused


@pytest.mark.parametrize(
    ("arguments", "params"),
    [
        (["--layer", "3", "--layer", "5"], {"layer": [3, 5]}),
        (["--tag=a", "--tag", "b", "--tag=c"], {"tag": ["a", "b", "c"]}),
        (["x=1", "x=2"], {"x": [1, 2]}),
        (["--shift", "-1", "--shift", "-2.5"], {"shift": [-1, -2.5]}),
        (["-v", "-v"], {"v": [True, True]}),
        (["--layers=[1, 2]", "--layers=[3]"], {"layers": [[1, 2], [3]]}),
        (["--cache", "--no-cache"], {"cache": True, "no-cache": True}),
    ],
)
def test_several_values_of_an_option_are_kept(arguments, params):
    assert parse_params(arguments) == params


def test_arguments_become_hyperparameters():
    arguments = [
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
    assert parse_params(arguments) == expected


def test_a_run_is_reproduced_identically_in_a_new_folder(project, store):
    first = launch_script("--lr", "0.1")
    (project / "train.py").write_text("raise SystemExit('this is not what ran')")
    messages = []
    reproduction = reproduce(store, first, messages.append)
    result = reproduction.result
    assert result.verdict == "identical"
    assert "restored" in messages[0]
    assert run_details(store, reproduction.run).reproduces == first


def test_changed_data_are_the_cause_of_different_results(project, store, monkeypatch):
    first = launch_script("--lr", "0.1")
    (project / "data.csv").write_text("1.5\n2.50001\n")
    messages = []
    reproduction = reproduce(store, first, messages.append)
    result = reproduction.result
    assert result.verdict == "within tolerance"
    assert 0 < result.max_difference < 1e-3
    assert list(result.causes) == ["data"]
    assert any("data differs" in line for line in messages)
    (project / "data.csv").write_text("9\n2.5\n")
    reproduction = reproduce(store, first, messages.append)
    result = reproduction.result
    assert result.verdict == "differs"
    assert result.first_difference.step == 0
    assert result.first_difference.description.startswith("loss: 1.64")
    assert "data" in result.causes


def test_random_results_differ_without_a_cause(project, store):
    (project / "chance.py").write_text(
        "import os, rosenblatt\nwith rosenblatt.track() as run:\n"
        "    for step in range(9):\n"
        "        run.log({'loss': 1.0 if step < 3 else float(int.from_bytes(os.urandom(4), 'big'))})"
    )
    reproduction = reproduce(store, launch_script(target="chance.py"), lambda _: None)
    result = reproduction.result
    assert result.verdict == "differs"
    assert result.first_difference.step >= 3
    assert result.causes == {}


def test_the_load_of_the_machine_is_recorded(project, store):
    (project / "busy.py").write_text("import time\nend = time.time() + 2.5\nwhile time.time() < end: sum(range(1000))")
    curves = load_all_curves(store, launch_script(target="busy.py"))
    assert curves["system/cpu percent"].values.max() > 0
    assert curves["system/memory bytes"].values.max() > 5e6


def test_output_is_printed_while_the_script_runs(project):
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
def test_a_script_may_print_colors_on_a_terminal_and_writes_to_a_pipe(project, store):
    (project / "screen.py").write_text("import os, sys\nprint(sys.stdout.isatty(), os.environ.get('FORCE_COLOR'))\n")
    parent_fd, child_fd = os.openpty()
    command = [sys.executable, "-m", "rosenblatt", "run", "screen.py"]
    process = subprocess.Popen(command, stdout=child_fd, stderr=subprocess.PIPE)
    _, error = process.communicate(timeout=30)
    os.close(child_fd)
    assert process.returncode == 0, error.decode()
    assert os.read(parent_fd, 1000) == b"False 1\r\n"
    os.close(parent_fd)
    assert load_output(store, find_runs(store)[0].id) == [("stdout", "False 1\n")]


def test_the_output_of_a_script_is_recorded_if_there_is_no_standard_output(project, store, monkeypatch):
    (project / "hello.py").write_text("print('hello')\n")
    monkeypatch.setattr(sys, "stdout", None)  # as in a process that starts with it closed
    status, run = launch(LaunchRequest("hello.py", ()))
    assert status == 0
    assert load_output(store, run.id) == [("stdout", "hello\n")]


def test_changed_source_is_the_cause_of_different_results(project, store):
    first = launch_script("--lr", "0.1")
    (project / "parts" / "model.py").write_text("SCALE = 3\n")
    result = compare_results(store, first, launch_script("--lr", "0.1"), 1e-3)
    assert result.verdict == "differs"
    assert set(result.causes) == {"source"}
