"""Runs of processes that a script under `rosenblatt run` starts, and runs that are handed to other processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rosenblatt.runs.launch import LaunchRequest, launch
from rosenblatt.runs.store.queries import count_child_runs, find_runs, load_all_curves, load_params
from rosenblatt.runs.store.store import Store

TRAIN = """
import sys, rosenblatt
lr = float(sys.argv[1])
with rosenblatt.track("sweep", name=f"lr{lr}", params={"lr": lr}) as run:
    for i in range(5): run.log({"loss": lr / (i + 1)}, step=i)
"""
START_TRAININGS = """
import subprocess, sys
for lr in ("0.1", "1", "10"): subprocess.run([sys.executable, "train.py", lr], check=True)
"""
START_PARALLEL = """
import subprocess, sys
trainings = [subprocess.Popen([sys.executable, "train.py", lr]) for lr in ("0.1", "1", "10")]
sys.exit(any(training.wait() for training in trainings))
"""
START_FORKED = """
import multiprocessing, rosenblatt
def train(lr):
    with rosenblatt.track("sweep", params={"lr": float(lr)}) as run: run.log({"loss": 1.0})
children = [multiprocessing.get_context("fork").Process(target=train, args=(lr,)) for lr in ("0.1", "1", "10")]
for child in children: child.start()
for child in children: child.join()
"""
TRACK_THREE_TIMES = """
import rosenblatt
for lr in (None, 0.1, 1, 10):
    with rosenblatt.track(params={"lr": float(lr)} if lr else {}) as run: run.log({"loss": 1.0})
"""
LAUNCH = """
import subprocess, sys
for lr in ("0.1", "1", "10"):
    subprocess.run([sys.executable, "-m", "rosenblatt", "run", "train.py", lr], check=True)
"""


@pytest.fixture
def store(work_folder):
    (work_folder / "train.py").write_text(TRAIN)
    opened = Store(f"sqlite:///{work_folder}/.rosenblatt/runs.db")
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "script",
    [
        START_TRAININGS,
        START_PARALLEL,
        START_FORKED,
        TRACK_THREE_TIMES,
        LAUNCH,
        "import rosenblatt\nrosenblatt.track()\n" + START_TRAININGS,
    ],
)
@pytest.mark.slow
def test_each_training_that_a_script_starts_is_a_run_of_its_own(store, work_folder, script):
    (work_folder / "sweep.py").write_text(script)
    status, run = launch(LaunchRequest("sweep.py", ()))
    assert status == 0
    children = find_runs(store, parent=run.id)
    assert count_child_runs(store, [run.id]) == {run.id: 3}
    params = load_params(store, [child.id for child in children])
    assert {values.get("lr", values.get("arg")) for values in params.values()} <= {"0.1", "1.0", "10.0", None}
    assert {child.state for child in find_runs(store)} == {"finished"}
    assert len(find_runs(store)) == 4


def test_a_run_in_another_store_has_no_parent(store, work_folder):
    (work_folder / "sweep.py").write_text("import rosenblatt\nrosenblatt.track(store='other').log({'loss': 1.0})\n")
    launch(LaunchRequest("sweep.py", ()))
    other = Store(f"sqlite:///{work_folder}/other/runs.db")
    assert [run.parent for run in find_runs(other)] == [None]
    other.close()
    assert [run.kind for run in find_runs(store)] == ["script"]


def test_a_child_run_of_a_deleted_script_is_recorded(store, work_folder):
    (work_folder / "sweep.py").write_text(
        "import subprocess, sys\nfrom rosenblatt.runs.store.store import Store\n"
        f"from rosenblatt.runs.store.queries import find_runs\nstore = Store({store.url!r})\n"
        "store.delete([run.id for run in find_runs(store)])\n"
        "subprocess.run([sys.executable, 'train.py', '0.1'], check=True)"
    )
    launch(LaunchRequest("sweep.py", ()))
    assert [(run.kind, run.parent) for run in find_runs(store)] == [("track", None)]


def test_child_runs_are_deleted_with_their_script(store, work_folder, run):
    (work_folder / "sweep.py").write_text(START_TRAININGS)
    launched_run = launch(LaunchRequest("sweep.py", ()))[1]
    status, out, _ = run("runs", "delete", launched_run.id, "--yes")
    assert (status, out) == (0, "deleted: 4\n")
    assert find_runs(store) == []


HAND_OVER = """
import concurrent.futures, multiprocessing, sys
import rosenblatt

def work(run, worker):
    for step in range(100): run.log({f"loss {worker}": float(step)})
    run.finish()
    return worker

if __name__ == "__main__":
    with rosenblatt.track("handed") as run:
        START
        run.log({"main": 1.0})
"""


@pytest.mark.parametrize(
    "start",
    [
        """
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=work, args=(run, i)) for i in range(2)]
        for worker in workers: worker.start()
        for worker in workers: worker.join()
        """,
        """
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            list(pool.map(work, [run] * 2, range(2)))
        """,
        """
        import joblib
        joblib.Parallel(2)(joblib.delayed(work)(run, i) for i in range(2))
        """,
        """
        context = multiprocessing.get_context("forkserver")
        with context.Pool(2) as pool: pool.starmap(work, [(run, i) for i in range(2)]); pool.close(); pool.join()
        """,
    ],
)
@pytest.mark.slow
def test_a_run_can_be_handed_to_other_processes(store, work_folder, start):
    (work_folder / "main.py").write_text(HAND_OVER.replace("        START\n", start.rstrip(" ")))
    subprocess.run([sys.executable, "main.py"], check=True)
    (run,) = find_runs(store)
    curves = load_all_curves(store, run.id)
    assert run.state == "finished"
    assert curves["main"].values.tolist() == [1.0]
    assert all(curves[f"loss {i}"].values.tolist() == list(range(100)) for i in range(2))
