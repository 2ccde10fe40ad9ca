"""Reproduce a recorded run from its own source in a new folder, and compare the results; resume a search."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rosenblatt.errors import Notify, RunError
from rosenblatt.runs.capture.environment import Environment, capture_environment
from rosenblatt.runs.capture.snapshot import fingerprint_path
from rosenblatt.runs.capture.source import Source, restore
from rosenblatt.runs.compare import ResultComparison, compare_results, diff_dicts
from rosenblatt.runs.launch import LaunchRequest, launch
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.details import InputFile, RunDetails, RunRecord, ScriptCall
from rosenblatt.runs.store.filters import STALE_SECONDS
from rosenblatt.runs.store.owners import end_dead_runs
from rosenblatt.runs.store.queries import find_run, find_runs, has_changed, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.spec.defaults import MACHINE_DEPENDENT
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.workflows.fit_request import run_fit_request
from rosenblatt.workflows.recorder import Recorder
from rosenblatt.workflows.request import RESUME, FitRequest

TOLERANCE = 1e-3  # the relative difference up to which results count as equal
MAX_COPIED_BYTES = 1_000_000_000  # larger data files beside the source are linked instead of copied
MAX_LISTED_PACKAGES = 8  # in a message


@dataclass(frozen=True)
class Reproduction:
    """A run that repeats another one, and how close its results are."""

    run: str
    result: ResultComparison


def reproduce(store: Store, run_name: str, notify: Notify = print, *, tolerance: float = TOLERANCE) -> Reproduction:
    """Run a run again and compare the results.

    Args:
        store: The store.
        run_name: The run; for a trial its whole search is run.
        notify: Called with messages.
        tolerance: The relative difference up to which results count as equal.

    Raises:
        RunError: If the run was recorded by a program that cannot be started again from here, such as a notebook.
    """
    details = run_details(store, find_run(store, run_name))
    if details.kind == "trial" and details.parent:
        notify(f"{details.id} is a trial: its whole search is run again")
        new_id = _rerun(store, run_details(store, details.parent), notify)
        compared_id = f"{new_id}-{details.number}"
    else:
        new_id = compared_id = _rerun(store, details, notify)
    return Reproduction(new_id, compare_results(store, details.id, compared_id, tolerance))


def _rerun(store: Store, run: RunDetails, notify: Notify) -> str:
    """Run a run again in the present environment; returns the id of the new run."""
    messages = _environment_changes(run.environment) if run.environment else []
    messages += [f"data differs: {file.path} has changed or is gone" for file in _changed_data(run)]
    for message in messages:
        notify(message)
    if run.request is not None:
        return _rerun_fit(store, run, notify)
    call = run.launch or _find_script(run)
    if call and run.source:
        return _rerun_script(store, run, run.source, call, notify)
    raise RunError(
        f"Run {run.id} was not recorded by a script, but by {' '.join(run.command)!r}. Only that program can run it "
        "again."
    )


def _find_script(run: RunDetails) -> ScriptCall | None:
    """The script that recorded a run with `track`; None for a notebook or a prompt."""
    is_module = run.arguments[:1] == ("-m",)
    n_before = 2 if is_module else 1
    *_, target = run.arguments[:n_before] or ("",)
    if not is_module and not target.endswith(".py"):
        return None
    masked = tuple(i - n_before for i in run.masked_arguments)
    return ScriptCall(target=target, arguments=run.arguments[n_before:], masked=masked, is_module=is_module)


def _environment_changes(recorded: Environment) -> list[str]:
    current = capture_environment()
    packages = [
        f"{name} {version} -> {current.packages.get(name, 'missing')}"
        for name, version in recorded.packages.items()
        if version != current.packages.get(name)
    ]
    more = " ..." if len(packages) > MAX_LISTED_PACKAGES else ""
    messages = [f"packages differ: {', '.join(packages[:MAX_LISTED_PACKAGES])}{more}"] if packages else []
    return messages + [
        f"the environment variable {name} was {before!r}, and is {now!r}"
        for name, (before, now) in diff_dicts(recorded.variables, current.variables).items()
    ]


def _changed_data(run: RunDetails) -> list[InputFile]:
    changed = []
    for file in run.data:
        try:
            is_same = fingerprint_path(Path(file.path)).hash == file.hash
        except OSError:
            is_same = False
        if not is_same:
            changed.append(file)
    return changed + [file for file in run.data_read if has_changed(Path(file.path), file.hash)]


def _rerun_fit(store: Store, run: RunDetails, notify: Notify) -> str:
    request = FitRequest.from_json(run.request or {})
    if request.reads_standard_input:
        raise RunError(
            f"Run {run.id} read its table from standard input, which is not stored. Fit the table again from a file."
        )
    params = {name: param.value for name, param in run.params.items()}
    if params.get("kind") in DEEP_KINDS:  # values that depend on the machine stay as they were
        machine_values = {
            name: params[name] for name in MACHINE_DEPENDENT if request.spec[name] == "auto" and name in params
        }
        request = request.model_copy(update={"spec": request.spec.replace(**machine_values)})
    recorder = Recorder.for_request(request, run.experiment, name=f"{run.id} again", store=_store_location(store))
    recorder.reproduces = run.id
    run_fit_request(recorder, notify)
    assert recorder.run is not None  # noqa: S101 - there is a store
    return recorder.run.id


def _rerun_script(store: Store, run: RunDetails, source: Source, call: ScriptCall, notify: Notify) -> str:
    """Restore the source in a new folder, copy the data files that were beside it, and run the script there."""
    source_folder = Path(tempfile.mkdtemp(prefix=f"rosenblatt-{run.id}-")) / "source"
    restore(source, source_folder, Artifacts(store.url, store).fetch)
    notify(f"source: restored in {source_folder}")
    root = Path(source.root)
    _copy_data(run, root, source_folder)
    folder = Path(run.folder)
    working_folder = source_folder / folder.relative_to(root) if folder.is_relative_to(root) else source_folder
    working_folder.mkdir(parents=True, exist_ok=True)
    target = call.target
    if Path(target).is_absolute() and Path(target).is_relative_to(root):
        target = str(source_folder / Path(target).relative_to(root))
    request = LaunchRequest(
        target,
        call.arguments,
        call.is_module,
        run.experiment,
        f"{run.id} again",
        data=call.data,
        folder=str(working_folder),
    )
    status, launched_run = launch(request, store=_store_location(store), metadata={"reproduces": run.id})
    if status:
        notify(f"the script ended with exit status {status}")
    return launched_run.id


def _copy_data(run: RunDetails, root: Path, folder: Path) -> None:
    """Copy the data files of a run below the root of its source; the script may write to them."""
    for file in (*run.data, *run.data_read):
        path = Path(file.path)
        if not path.is_relative_to(root) or not path.exists():
            continue
        copied_path = folder / path.relative_to(root)
        if not copied_path.exists():
            copied_path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and path.stat().st_size <= MAX_COPIED_BYTES:
                shutil.copy2(path, copied_path)
            else:
                copied_path.symlink_to(path)


def resume(store: Store, run_name: str, notify: Notify = print) -> int:
    """Resume the newest unfinished search of an experiment, or one run; returns the exit status of its command.

    Raises:
        RunError: If there is none, or it still runs.
    """
    end_dead_runs(store)
    newest = _find_unfinished_search(store, run_name)
    run = run_details(store, newest.id)
    if newest.state == "running":
        raise RunError(
            f"The search {newest.id} still runs: process {run.process} on {run.machine} gave a sign of life less than "
            f"{STALE_SECONDS:.0f} s ago."
        )
    arguments = _without_store(run.arguments)
    notify(f"resuming {newest.id} in {run.folder}: {' '.join(arguments)}")
    env = os.environ | {RESUME: newest.id, "ROSENBLATT_STORE": _store_location(store)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=run.folder, env=env, check=False).returncode  # noqa: S603 - its own command


def _find_unfinished_search(store: Store, run_name: str) -> RunRecord:
    runs = find_runs(store, include_trials=False)
    matches = [run for run in runs if run_name in (run.experiment, run.id, run.name)]
    matches = matches or [run for run in runs if run.id.startswith(run_name)]
    if not matches:
        raise RunError(f"There is no experiment and no run {run_name!r}. `rosenblatt runs` lists them.")
    for run in matches:
        if run.kind == "search" and run.state in ("lost", "stopped", "failed", "running"):
            return run
    raise RunError(f"No search of {run_name!r} was interrupted, so there is nothing to resume.")


def _without_store(arguments: tuple[str, ...]) -> list[str]:
    """Remove `--store` from a command line: the environment names the store, with the password that is not recorded."""
    remaining: list[str] = []
    for argument in arguments:
        if remaining[-1:] == ["--store"]:
            remaining.pop()
        elif not argument.startswith("--store="):
            remaining.append(argument)
    return remaining


def _store_location(store: Store) -> str:
    return store.url.removeprefix("sqlite:///")
