"""Reproduce a recorded run from its own source in a fresh folder, and compare the results; resume a search."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from rosenblatt.errors import Notify, RunError
from rosenblatt.runs.capture.environment import capture_environment, list_packages
from rosenblatt.runs.capture.snapshot import fingerprint_path
from rosenblatt.runs.capture.source import restore
from rosenblatt.runs.compare import compare_results, diff_dicts
from rosenblatt.runs.launch import LaunchRequest, launch
from rosenblatt.runs.store.artifacts import fetch
from rosenblatt.runs.store.filters import STALE_SECONDS
from rosenblatt.runs.store.queries import changed_files, find_run, find_runs, load_params, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.spec.defaults import MACHINE_DEPENDENT
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.workflows.fit_request import run_fit_request
from rosenblatt.workflows.recorder import Recorder
from rosenblatt.workflows.request import RESUME, FitRequest

TOLERANCE = 1e-3
MAX_COPIED_BYTES = 1_000_000_000  # bytes of a file of data that is copied beside the source; larger ones are linked


def reproduce(store: Store, run_name: str, notify: Notify = print, *, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """Make a run again, and say how near the results come: see `compare_results`; `run` is the new one.

    Raises RunError for runs that only their program can make again.
    """
    run_id = find_run(store, run_name)
    details = run_details(store, run_id)
    if details["kind"] == "trial":
        notify(f"{run_id} is a trial: its whole search is made again")
        new_id = _rerun(store, details["parent"], notify)
        compared_id = f"{new_id}-{details['number']}"
    else:
        new_id = compared_id = _rerun(store, run_id, notify)
    return {"run": new_id, **compare_results(store, run_id, compared_id, tolerance)}


def _rerun(store: Store, run_id: str, notify: Notify) -> str:
    details = run_details(store, run_id)
    for line in _environment_changes(details):
        notify(line)
    if "request" in details:
        return _rerun_fit(store, run_id, details, notify)
    launch_record = details.get("launch") or _find_script(details)
    if launch_record:
        return _rerun_script(store, run_id, details, launch_record, notify)
    raise RunError(
        f"Run {run_id} was not made by a script, but by {' '.join(details.get('command', []))!r}, which alone can make "
        "it again."
    )


def _find_script(details: dict[str, Any]) -> dict[str, Any] | None:
    """The script that a run of a program of its own was made by, as `launch` records it; None for a notebook."""
    argv = details.get("arguments") or [""]
    is_module = argv[0] == "-m" and len(argv) > 1
    if not is_module and not argv[0].endswith(".py"):
        return None
    target, *arguments = argv[1:] if is_module else argv
    return {"target": target, "arguments": arguments, "is_module": is_module, "data": []}


def _environment_changes(details: dict[str, Any]) -> list[str]:
    """What is not as it was, before anything is run."""
    recorded, current = (details.get("environment") or {}).get("packages", {}), list_packages()
    changed = [
        f"{name} {recorded[name]} -> {current.get(name, 'missing')}"
        for name in recorded
        if recorded[name] != current.get(name)
    ]
    messages = [f"packages differ: {', '.join(changed[:8])}{' ...' if len(changed) > 8 else ''}"] if changed else []
    variables = (details.get("environment") or {}).get("variables", {})
    changed_variables = diff_dicts(variables, capture_environment()["variables"])
    messages += [
        f"the environment variable {name} was {was!r}, and is {current_value!r}"
        for name, (was, current_value) in changed_variables.items()
    ]
    for data_file in details.get("data") or ():
        try:
            is_same = fingerprint_path(Path(data_file["path"]))["hash"] == data_file["hash"]
        except OSError:
            is_same = False
        if not is_same:
            messages.append(f"data differs: {data_file['path']} is not what it was")
    changed_paths = changed_files({"data_read": details.get("data_read", ())})
    messages += [f"data differs: {path} is not what it was" for path in changed_paths]
    return messages


def _rerun_fit(store: Store, run_id: str, details: dict[str, Any], notify: Notify) -> str:
    request = FitRequest.from_json(details["request"])
    values = load_params(store, [run_id])[run_id]
    if values.get("kind") in DEEP_KINDS:  # what was chosen by the machine stays as it was
        machine_values = {
            name: values[name] for name in MACHINE_DEPENDENT if request.spec[name] == "auto" and name in values
        }
        request = replace(request, spec=request.spec.replace(**machine_values))
    recorder = Recorder.for_request(
        request, details["experiment"], name=f"{run_id} again", store=_store_location(store)
    )
    recorder.reproduces = run_id
    run_fit_request(recorder, notify)
    assert recorder.run is not None  # noqa: S101 - there is a store
    return recorder.run.id


def _rerun_script(
    store: Store, run_id: str, details: dict[str, Any], launch_record: dict[str, Any], notify: Notify
) -> str:
    """Restore the source in a fresh folder, copy the data that lay beside it, and run the script there."""
    source = details["source"]
    source_folder = Path(tempfile.mkdtemp(prefix=f"rosenblatt-{run_id}-")) / "source"
    restore(source, source_folder, fetch)
    notify(f"source: restored in {source_folder}")
    root = Path(source["root"])
    for data_file in [*(details.get("data") or ()), *(details.get("data_read") or ())]:
        path = Path(data_file["path"])
        if path.is_relative_to(root) and path.exists():
            copied_path = source_folder / path.relative_to(root)
            if not copied_path.exists():
                copied_path.parent.mkdir(parents=True, exist_ok=True)
                if path.is_file() and path.stat().st_size <= MAX_COPIED_BYTES:  # the script may write to it
                    shutil.copy2(path, copied_path)
                else:
                    copied_path.symlink_to(path)
    folder = Path(details["folder"])
    working_folder = source_folder / folder.relative_to(root) if folder.is_relative_to(root) else source_folder
    working_folder.mkdir(parents=True, exist_ok=True)
    target = launch_record["target"]
    if Path(target).is_absolute() and Path(target).is_relative_to(root):
        target = str(source_folder / Path(target).relative_to(root))
    request = LaunchRequest(
        target,
        tuple(launch_record["arguments"]),
        launch_record["is_module"],
        details["experiment"],
        f"{run_id} again",
        data=tuple(launch_record["data"]),
        folder=str(working_folder),
    )
    status, launched_run = launch(request, store=_store_location(store), metadata={"reproduces": run_id})
    if status:
        notify(f"the script ended with exit status {status}")
    return launched_run.id


def resume(store: Store, run_name: str, notify: Notify = print) -> int:
    """Go on with the newest search of an experiment (or with one run) that did not come to its end: its exit status.

    Raises RunError where there is none.
    """
    runs = find_runs(store, include_trials=False)
    matches = [run for run in runs if run_name in (run["experiment"], run["id"], run["name"])]
    matches = matches or [run for run in runs if run["id"].startswith(run_name)]
    if not matches:
        raise RunError(f"There is no experiment and no run {run_name!r}. `rosenblatt runs` lists them.")
    unfinished = [
        run for run in matches if run["kind"] == "search" and run["state"] in ("lost", "stopped", "failed", "running")
    ]
    if not unfinished:
        raise RunError(f"No search of {run_name!r} was interrupted: there is nothing to go on with.")
    newest = unfinished[0]
    details = run_details(store, newest["id"])
    if newest["state"] == "running" and _may_be_alive(details):
        raise RunError(
            f"The search {newest['id']} was heard of less than {STALE_SECONDS:.0f} s ago, from process "
            f"{details['process']} on {details['machine']}: it still runs."
        )
    arguments = _without_store(details["arguments"])
    notify(f"going on with {newest['id']} in {details['folder']}: {' '.join(arguments)}")
    env = os.environ | {RESUME: newest["id"], "ROSENBLATT_STORE": _store_location(store)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=details["folder"], env=env, check=False).returncode  # noqa: S603 - its own command


def _may_be_alive(details: dict[str, Any]) -> bool:
    """Whether the process of a run that was heard of lately may be alive: of other machines that is not known."""
    return details.get("machine") != socket.gethostname() or psutil.pid_exists(details.get("process", -1))


def _without_store(arguments: list[str]) -> list[str]:
    """A command line without its store, which is told otherwise, since a password in it is not recorded."""
    remaining: list[str] = []
    for argument in arguments:
        if remaining[-1:] == ["--store"]:
            remaining.pop()
        elif not argument.startswith("--store="):
            remaining.append(argument)
    return remaining


def _store_location(store: Store) -> str:
    return store.url.removeprefix("sqlite:///")
