"""Runs have one owner at a time, which processes of any machine respect."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from rosenblatt.runs.store.owners import end_dead_runs, has_died, new_owner
from rosenblatt.runs.store.queries import find_runs, load_all_curves
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.schema import runs

LIVE = """
import sys, time, rosenblatt
run = rosenblatt.track("live", store=sys.argv[1])
run.log({"before": 1.0}, step=0)
run.flush()
print(run.id, flush=True)
sys.stdin.readline()
run.log({"after": 2.0}, step=1)
run.finish("failed", "the first process")
"""
TAKE_OVER = """
import sys
from rosenblatt.runs.tracking.run import Run
from rosenblatt.runs.tracking.start import RunStart
run = Run(sys.argv[1], sys.argv[2], "live", {})
print("ready", flush=True)
sys.stdin.readline()
run.begin(RunStart("track"), resumed=True)
run.log({"resumed": 3.0}, step=0)
run.flush()
print("owner", flush=True)
sys.stdin.readline()
run.finish()
"""


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], text=True, env=os.environ.copy(),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def end_lease(store):
    with store.writing() as connection:
        connection.execute(runs.update().values(heartbeat=runs.c.heartbeat - 500))


@pytest.fixture
def live_run(store):
    """A process that writes a run, and the id of the run."""
    process = start(LIVE, store.url)
    yield process, process.stdout.readline().strip()
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be suspended here")
def test_records_of_a_suspended_process_whose_run_was_taken_over_are_ignored(store, live_run):
    process, run = live_run
    process.send_signal(signal.SIGSTOP)
    end_lease(store)
    other = start(TAKE_OVER, store.url, run)
    other.stdin.write("\n")
    other.stdin.flush()
    assert [other.stdout.readline().strip() for _ in range(2)] == ["ready", "owner"]
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate("\n")
    assert f"run {run} was taken over by another process while it was written" in errors
    assert errors.count("taken over") == 1
    other.communicate("\n")
    record = find_runs(store)[0]
    assert (record.state, record.reason) == ("finished", None)
    curves = {name: curve.values.tolist() for name, curve in load_all_curves(store, run).items()}
    assert {name: values for name, values in curves.items() if not name.startswith("system")} == {
        "before": [1.0],
        "resumed": [3.0],
    }


@pytest.mark.slow
def test_of_several_processes_one_takes_over_a_run(store, live_run):
    process, run = live_run
    process.kill()
    process.wait()
    end_lease(store)
    others = [start(TAKE_OVER, store.url, run) for _ in range(3)]
    for other in others:
        assert other.stdout.readline().strip() == "ready"
    for other in others:
        other.stdin.write("\n")
        other.stdin.flush()
    answers = [other.stdout.readline().strip() for other in others]
    errors = [other.communicate("\n")[1] for other in others]
    assert sorted(answers) == ["", "", "owner"], errors
    assert sum("Another process runs" in text for text in errors) == 2


def test_a_run_of_a_live_process_is_not_taken_over(store, live_run):
    _, run = live_run
    assert not store.take_over(run, "another")
    end_lease(store)
    assert store.take_over(run, "another")
    assert not store.take_over(run, "a third")
    assert store.take_over(run, "another")  # the answer to the first request may have been lost


def test_runs_of_a_killed_process_of_this_machine_are_ended(store, live_run):
    process, run = live_run
    assert end_dead_runs(store) == 0
    process.kill()
    process.wait()
    assert end_dead_runs(store) == 1
    record = find_runs(store)[0]
    assert (record.id, record.state, record.reason) == (run, "failed", "it ended without finishing")


@pytest.mark.parametrize("token", [None, "", "another-machine:1:1:aa", "another-machine:999999999:1:aa"])
def test_processes_of_other_machines_are_never_called_dead(token):
    assert not has_died(token)


def test_a_process_is_told_from_a_later_one_of_its_number():
    machine, pid, start_time, random = new_owner().split(":")
    assert not has_died(f"{machine}:{pid}:{start_time}:{random}")
    assert has_died(f"{machine}:{pid}:{int(float(start_time)) + 1}:{random}")


def test_clocks_of_other_machines_do_not_count(store):
    batch = RecordBatch()
    batch.add_run("ahead", "e", "", "track")
    batch.rows["runs"][0]["heartbeat"] += 86_400
    batch.add_run("behind", "e", "", "track")
    batch.rows["runs"][1]["heartbeat"] -= 86_400
    store.write(batch, is_alive=True)
    assert {run.id for run in find_runs(store, "state = running")} == {"ahead", "behind"}
