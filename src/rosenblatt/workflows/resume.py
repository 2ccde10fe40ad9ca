"""Resume an interrupted search with its own command."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rosenblatt.errors import Notify, RunError
from rosenblatt.models.atomic_write import write_file
from rosenblatt.models.model_file import load_model
from rosenblatt.runs.recorded import ScriptCall
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.details import RunDetails, RunRecord
from rosenblatt.runs.store.filters import STALE_SECONDS
from rosenblatt.runs.store.locations import LOCAL_PLACE, STORE_FOLDER, database_file, is_sqlite_file, store_name
from rosenblatt.runs.store.owners import end_dead_runs
from rosenblatt.runs.store.queries import find_runs, run_details
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.start import RESUME, RESUME_PLACE
from rosenblatt.tuning.checkpoints import JOURNAL
from rosenblatt.workflows.recorded_call import check_user, fill_masked, find_call
from rosenblatt.workflows.recorded_results import MODEL_FILE


def resume(
    store: Store,
    run_name: str,
    notify: Notify = print,
    secrets: Mapping[str, str] | None = None,
    ask_secret: Callable[[str], str] | None = None,
    confirm: Callable[[str], bool] | None = None,
    on: str | None = None,
) -> int:
    """Resume the newest unfinished search of an experiment, or one run; returns the exit status of its command.

    A finished search whose model file is missing is not run again: the file is written from the store. `secrets`,
    `ask_secret` and `confirm` are as in `ReproduceOptions`; `on` is where to train, by default where it was.

    Raises:
        RunError: If there is none, it still runs, or its command cannot be started again.
    """
    end_dead_runs(store)
    newest = _find_resumable(store, run_name)
    run = run_details(store, newest.id)
    if newest.kind == "fit" or newest.state == "finished":
        check_user(store, run, confirm, f"Write its model to {run.output!r}")
        _write_model(store, run, notify)
        return 0
    if newest.state == "running":
        raise RunError(
            f"The search {newest.id} still runs: process {run.process} on {run.machine} gave a sign of life less than "
            f"{STALE_SECONDS:.0f} s ago."
        )
    if run.request is None:
        find_call(run)  # raises RunError for a notebook
    check_user(store, run, confirm)
    folder, arguments = _locate(store, run)
    _check_state(store, run)
    arguments, variables = (arguments, {}) if on is None else _move_to(on, run, arguments)
    call = ScriptCall(target="", arguments=arguments)
    notify(f"resuming {newest.id} in {folder}: {' '.join(call.arguments)}")
    call, _ = fill_masked(run, call, secrets or {}, ask_secret, notify)
    env = os.environ | variables | {RESUME: newest.id, "ROSENBLATT_STORE": store_name(store.url)}
    command = [sys.executable, *call.arguments]
    status = subprocess.run(command, cwd=folder, env=env, check=False).returncode  # noqa: S603 - its own command
    if status == 0 and run.request is None and run_details(store, run.id).state != "finished":
        notify(
            f"the search {run.id} was not resumed: its command has no search of the same experiment, space and metric "
            f"any more. Its trials stay as they were (rosenblatt runs --of {run.id})."
        )
    return status


def _find_resumable(store: Store, run_name: str) -> RunRecord:
    """The newest search that was interrupted, or run whose model file was not written."""
    runs = find_runs(store, include_trials=False)
    matches = [run for run in runs if run_name in (run.experiment, run.id, run.name)]
    matches = matches or [run for run in runs if run.id.startswith(run_name)]
    if not matches:
        raise RunError(f"There is no experiment and no run {run_name!r}. `rosenblatt runs` lists them.")
    for run in matches:
        is_unfinished_search = run.kind == "search" and run.state != "finished"
        has_ended_fit = run.kind in ("fit", "search") and run.state != "running"
        if is_unfinished_search or (has_ended_fit and _lacks_file(run_details(store, run.id))):
            return run
    raise RunError(f"No search of {run_name!r} was interrupted, so there is nothing to resume.")


def _lacks_file(run: RunDetails) -> bool:
    """Whether the model of a run is in the store, but not where its command had to write it."""
    return bool(run.output) and MODEL_FILE in run.artifacts and not Path(run.output).exists()


def _write_model(store: Store, run: RunDetails, notify: Notify) -> None:
    """Write the model of a run from the store to the file that its command had to write. Raises StorageError."""
    model = run.artifacts[MODEL_FILE]
    with tempfile.TemporaryDirectory() as folder:
        Artifacts(store.url, store).fetch(model.hash, model.root, Path(folder) / MODEL_FILE)
        write_file(run.output, (Path(folder) / MODEL_FILE).read_bytes(), check=load_model)
    notify(f"model: {run.output}, written from the store, because run {run.id} had trained it but not written its file")


def _locate(store: Store, run: RunDetails) -> tuple[Path, tuple[str, ...]]:
    """Find the working folder and the arguments of a run, also if its project was moved with its store.

    Raises RunError if the folder is gone.
    """
    arguments, old_folder = _without_store(run.arguments), Path(run.folder)
    if old_folder.is_dir():
        return old_folder, tuple(arguments)
    database = database_file(store.url)
    if is_sqlite_file(store.url) and database.parent.name == STORE_FOLDER:
        new_root = database.parent.parent
        for old_root in (*reversed(old_folder.parents), old_folder):
            folder = new_root / old_folder.relative_to(old_root)
            if folder.is_dir():
                return folder, tuple(_move(argument, old_root, new_root) for argument in arguments)
    raise RunError(
        f"The folder {run.folder}, in which the search {run.id} ran, does not exist. Restore it, or start the command "
        "again in another folder."
    )


def _move(argument: str, old_root: Path, new_root: Path) -> str:
    """An argument of a command line, in the new folder if it is a path in the old one."""
    path = Path(argument)
    return str(new_root / path.relative_to(old_root)) if path.is_relative_to(old_root) else argument


def _check_state(store: Store, run: RunDetails) -> None:
    """Raise RunError if the trials of a search of `fit` are in the store, but its state is on another machine.

    Raises StorageError if the bucket that may have it cannot be read.
    """
    if (
        run.request is None
        or not run.trials
        or any(argument.partition("=")[0] == "--checkpoint" for argument in run.arguments)
    ):
        return
    artifacts = Artifacts(store.url, store)
    folder, bucket = artifacts.states_folder / run.id, artifacts.state_bucket(run.id)
    is_in_bucket = bucket is not None and any(name == JOURNAL for name, _ in bucket.list_files())
    if not is_in_bucket and not (folder / JOURNAL).exists():
        raise RunError(
            f"The state of the search {run.id} is not in {folder}, so it would begin again. Resume it on the machine "
            f"{run.machine}, where it ran. For later searches, set ROSENBLATT_ARTIFACTS to a folder or bucket that the "
            "machines share: then each of them can resume a search."
        )


def _move_to(place: str, run: RunDetails, arguments: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Command line and environment variables of a search for another place to train; scripts read a variable."""
    place = str(Path(place).absolute()) if Path(place).is_file() else place
    if run.request is None:
        return arguments, {RESUME_PLACE: place}
    names = ("--on", "--nodes-per-network") if place == LOCAL_PLACE else ("--on",)
    return (*_without(arguments, *names), "--on", place), {}


def _without_store(arguments: tuple[str, ...]) -> list[str]:
    """Remove `--store` from a command line: the environment names the store, with the password that is not recorded."""
    return _without(arguments, "--store")


def _without(arguments: Sequence[str], *names: str) -> list[str]:
    """Remove options with their values from a command line."""
    remaining: list[str] = []
    for argument in arguments:
        if remaining and remaining[-1] in names:
            remaining.pop()
        elif argument.partition("=")[0] not in names or "=" not in argument:
            remaining.append(argument)
    return remaining
