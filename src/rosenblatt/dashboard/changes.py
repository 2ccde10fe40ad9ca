"""Changes of runs by the page: tags, notes, delete, stop and resume, by the functions of the commands."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import delete

from rosenblatt.dashboard.details import RunQuery, check_run
from rosenblatt.dashboard.endpoints import ApiRequest
from rosenblatt.errors import RunError
from rosenblatt.runs.stop import stop_run
from rosenblatt.runs.store.locations import store_name
from rosenblatt.runs.store.records import NOTE_PREFIX, RecordBatch
from rosenblatt.runs.store.schema import run_metadata, tags
from rosenblatt.runs.store.store import Store

MAX_RUNS = 500  # of a request
_processes = list[subprocess.Popen[bytes]]()  # of resumed searches, so that Python waits for those that have ended
RESUME_TIMEOUT_S = 5.0  # after which a command that still runs has begun


class TagRequest(ApiRequest):
    """A tag or a note of a run; null removes it."""

    run: str
    name: str = Field(min_length=1, max_length=500)
    value: str | None = Field(max_length=100_000)


class RunsRequest(ApiRequest):
    """Some runs."""

    runs: list[str] = Field(min_length=1, max_length=MAX_RUNS)


class Change(BaseModel):
    """What was done."""

    message: str


class Deletion(BaseModel):
    """What deleting runs would delete, or has deleted."""

    runs: int
    trials: int
    child_runs: int
    running: int = Field(description="Of the runs, those that still run; what they record from now on is ignored.")


def set_tag(store: Store, request: TagRequest) -> Change:
    """Set or remove a tag. Raises RunError if there is no such run."""
    check_run(store, request.run)
    if request.value is None:
        is_tag = (tags.c.run == request.run, tags.c.name == request.name)
        with store.writing() as connection:
            connection.execute(delete(tags).where(*is_tag))
        return Change(message=f"Removed the tag {request.name}.")
    batch = RecordBatch()
    batch.add_tag(request.run, request.name, request.value)
    store.write(batch)
    return Change(message=f"Set the tag {request.name}.")


def set_note(store: Store, request: TagRequest) -> Change:
    """Set or remove a note. Raises RunError if there is no such run."""
    check_run(store, request.run)
    name = f"{NOTE_PREFIX}{request.name}"
    if request.value is None:
        is_note = (run_metadata.c.run == request.run, run_metadata.c.name == name)
        with store.writing() as connection:
            connection.execute(delete(run_metadata).where(*is_note))
        return Change(message=f"Removed the note {request.name}.")
    batch = RecordBatch()
    batch.add_metadata(request.run, name, request.value)
    store.write(batch)
    return Change(message=f"Set the note {request.name}.")


def count_deletion(store: Store, request: RunsRequest) -> Deletion:
    """Count what deleting runs would delete, so that a user can confirm it."""
    descendants = store.descendants(request.runs)
    kinds = [kind for run, kind in descendants.items() if run not in request.runs]
    states = [store.load_state(run)[0] for run in request.runs]
    n_trials = kinds.count("trial")
    return Deletion(
        runs=sum(state != "" for state in states), trials=n_trials, child_runs=len(kinds) - n_trials,
        running=states.count("running"),
    )  # fmt: skip


def delete_runs(store: Store, request: RunsRequest) -> Deletion:
    """Delete runs with their trials and child runs."""
    deletion = count_deletion(store, request)
    store.delete(request.runs)
    return deletion


def stop(store: Store, request: RunQuery) -> Change:
    """Stop a run whose process is on this machine. Raises RunError."""
    process = stop_run(store, request.run)
    return Change(message=f"Process {process} was asked to stop, as by Ctrl-C; its runs end when it does.")


def resume(store: Store, request: RunQuery) -> Change:
    """Resume an interrupted search by its command, which goes on when the dashboard ends. Raises RunError."""
    check_run(store, request.run)
    command = [sys.executable, "-m", "rosenblatt", "runs", "resume", request.run]
    env = os.environ | {
        "ROSENBLATT_STORE": store_name(store.url)
    }  # with the password, which others would see as argument
    with tempfile.TemporaryFile() as output:
        process: Any = subprocess.Popen(  # noqa: S603 - our own command
            command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            status = process.wait(RESUME_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _processes.append(process)
            return Change(message=f"The search {request.run} goes on, as process {process.pid}.")
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
    if status:
        raise RunError(lines[-1] if lines else f"The command ended with status {status}.")
    return Change(message=lines[-1] if lines else "The search has finished.")
