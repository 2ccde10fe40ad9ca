"""Tests of what the page can change: tags, notes, delete, stop and resume."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rosenblatt.dashboard import changes
from rosenblatt.dashboard.changes import (
    RunsRequest,
    TagRequest,
    count_deletion,
    delete_runs,
    resume,
    set_note,
    set_tag,
    stop,
)
from rosenblatt.dashboard.details import RunQuery
from rosenblatt.errors import RunError
from rosenblatt.runs.store.queries import find_runs, run_details
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store

LOOP = """
import sys, time
from rosenblatt.runs.tracking.run import track
with track("loop", store=sys.argv[1]) as run:
    print("ready", flush=True)
    for _ in range(1000):
        time.sleep(0.05)
"""


@pytest.fixture
def changed(tmp_path: Path):
    with closing(Store(f"sqlite:///{tmp_path / 'runs.db'}")) as store:
        batch = RecordBatch()
        batch.add_run("search", "e", "", "search", state="finished")
        batch.add_run("trial", "e", "", "trial", parent="search")
        batch.add_run("child", "e", "", "track", parent="search")
        store.write(batch)
        yield store


def test_tags_and_notes_are_set_and_removed(changed: Store):
    set_tag(changed, TagRequest(run="search", name="team", value="blue"))
    set_note(changed, TagRequest(run="search", name="remark", value="ok"))
    details = run_details(changed, "search")
    assert (details.tags, details.notes) == ({"team": "blue"}, {"remark": "ok"})
    set_tag(changed, TagRequest(run="search", name="team", value=None))
    set_note(changed, TagRequest(run="search", name="remark", value=None))
    details = run_details(changed, "search")
    assert (details.tags, details.notes) == ({}, {})
    with pytest.raises(RunError, match="There is no run"):
        set_tag(changed, TagRequest(run="nobody", name="team", value="blue"))


def test_a_deletion_is_counted_before_and_removes_trials_and_child_runs(changed: Store):
    request = RunsRequest(runs=["search", "gone"])
    before = count_deletion(changed, request)
    assert (before.runs, before.trials, before.child_runs, before.running) == (1, 1, 1, 0)
    assert len(find_runs(changed)) == 3
    assert delete_runs(changed, request) == before
    assert find_runs(changed) == []


def test_stopping_a_run_ends_its_process_as_ctrl_c_does(tmp_path: Path):
    command = [sys.executable, "-c", LOOP, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with closing(Store(f"sqlite:///{tmp_path / 'runs.db'}")) as store:
            run = find_runs(store)[0].id
            assert str(process.pid) in stop(store, RunQuery(run=run)).message
            process.wait(30)
            assert find_runs(store)[0].state == "stopped"
            with pytest.raises(RunError, match="does not run"):
                stop(store, RunQuery(run=run))


def test_a_run_of_another_machine_is_not_stopped(changed: Store):
    batch = RecordBatch()
    batch.add_run("elsewhere", "e", "", "fit", owner=f"0123456789ab:{os.getpid()}:1:x")
    changed.write(batch)
    with pytest.raises(RunError, match="not on this machine"):
        stop(changed, RunQuery(run="elsewhere"))


@pytest.mark.slow
def test_a_search_that_cannot_be_resumed_says_why(changed: Store, monkeypatch):
    monkeypatch.setattr(changes, "RESUME_TIMEOUT_S", 60.0)
    with pytest.raises(RunError, match="nothing to resume"):
        resume(changed, RunQuery(run="search"))
