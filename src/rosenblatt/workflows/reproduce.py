"""In: a recorded run. Out: the same made again, from its own source in a fresh folder, and a verdict on the results."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from rosenblatt.errors import RunError
from rosenblatt.runs.capture.environment import environment, packages
from rosenblatt.runs.capture.snapshot import data_of
from rosenblatt.runs.capture.source import restore
from rosenblatt.runs.compare import differing, verdict
from rosenblatt.runs.launch import Launch, launch
from rosenblatt.runs.store.artifacts import fetch
from rosenblatt.runs.store.filters import SILENT
from rosenblatt.runs.store.queries import changed_files, details, find_runs, params_of, run_named
from rosenblatt.runs.store.store import Store
from rosenblatt.spec.defaults import BY_MACHINE, DEEP
from rosenblatt.workflows.fit_request import fit_asked
from rosenblatt.workflows.recorder import Recorder
from rosenblatt.workflows.request import RESUME, Asked

Say = Callable[[str], None]
TOLERANCE = 1e-3
COPIED = 1_000_000_000  # bytes of a file of data that is copied beside the source; larger ones are linked


def reproduce(store: Store, word: str, say: Say = print, *, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """Make a run again, and say how near the results come: see `comparing.verdict`; `run` is the new one.

    Raises RunError for runs that only their program can make again.
    """
    run = run_named(store, word)
    known = details(store, run)
    if known["kind"] == "trial":
        say(f"{run} is a trial: its whole search is made again")
        new = _again(store, known["parent"], say)
        again = f"{new}-{known['number']}"
    else:
        new = again = _again(store, run, say)
    return {"run": new, **verdict(store, run, again, tolerance)}


def _again(store: Store, run: str, say: Say) -> str:
    known = details(store, run)
    for line in _news(known):
        say(line)
    if "asked" in known:
        return _fit_again(store, run, known, say)
    asked = known.get("launched") or _script_of(known)
    if asked:
        return _launch_again(store, run, known, asked, say)
    raise RunError(
        f"Run {run} was not made by a script, but by {' '.join(known.get('command', []))!r}, which alone can make it "
        "again."
    )


def _script_of(known: dict[str, Any]) -> dict[str, Any] | None:
    """The script that a run of a program of its own was made by, as `launch` records it; None for a notebook."""
    words = known.get("arguments") or [""]
    is_module = words[0] == "-m" and len(words) > 1
    if not is_module and not words[0].endswith(".py"):
        return None
    target, *arguments = words[1:] if is_module else words
    return {"target": target, "arguments": arguments, "is_module": is_module, "data": []}


def _news(known: dict[str, Any]) -> list[str]:
    """What is not as it was, before anything is run."""
    was, now = (known.get("environment") or {}).get("packages", {}), packages()
    changed = [f"{name} {was[name]} -> {now.get(name, 'missing')}" for name in was if was[name] != now.get(name)]
    found = [f"packages differ: {', '.join(changed[:8])}{' ...' if len(changed) > 8 else ''}"] if changed else []
    variables = (known.get("environment") or {}).get("variables", {})
    others = differing(variables, environment()["variables"])
    found += [f"the environment variable {name} was {was!r}, and is {now!r}" for name, (was, now) in others.items()]
    for one in known.get("data") or ():
        try:
            same = data_of(Path(one["path"]))["hash"] == one["hash"]
        except OSError:
            same = False
        if not same:
            found.append(f"data differs: {one['path']} is not what it was")
    read = changed_files({"data_read": known.get("data_read", ())})
    found += [f"data differs: {path} is not what it was" for path in read]
    return found


def _fit_again(store: Store, run: str, known: dict[str, Any], say: Say) -> str:
    asked = Asked.from_json(known["asked"])
    values = params_of(store, [run])[run]
    if values.get("kind") in DEEP:  # what was chosen by the machine stays as it was
        there = {name: values[name] for name in BY_MACHINE if asked.spec[name] == "auto" and name in values}
        asked = replace(asked, spec=asked.spec.replace(**there))
    recorder = Recorder.of(asked, known["experiment"], name=f"{run} again", store=_place(store))
    recorder.reproduces = run
    fit_asked(recorder, say)
    assert recorder.run is not None  # noqa: S101 - there is a store
    return recorder.run.id


def _launch_again(store: Store, run: str, known: dict[str, Any], asked: dict[str, Any], say: Say) -> str:
    """Restore the source in a fresh folder, copy the data that lay beside it, and run the script there."""
    source = known["source"]
    fresh = Path(tempfile.mkdtemp(prefix=f"rosenblatt-{run}-")) / "source"
    restore(source, fresh, fetch)
    say(f"source: restored in {fresh}")
    root = Path(source["root"])
    for one in [*(known.get("data") or ()), *(known.get("data_read") or ())]:
        path = Path(one["path"])
        if path.is_relative_to(root) and path.exists():
            link = fresh / path.relative_to(root)
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                if path.is_file() and path.stat().st_size <= COPIED:  # the script may write to it
                    shutil.copy2(path, link)
                else:
                    link.symlink_to(path)
    folder = Path(known["folder"])
    inside = fresh / folder.relative_to(root) if folder.is_relative_to(root) else fresh
    inside.mkdir(parents=True, exist_ok=True)
    target = asked["target"]
    if Path(target).is_absolute() and Path(target).is_relative_to(root):
        target = str(fresh / Path(target).relative_to(root))
    again = Launch(
        target,
        tuple(asked["arguments"]),
        asked["is_module"],
        known["experiment"],
        f"{run} again",
        data=tuple(asked["data"]),
        folder=str(inside),
    )
    status, new = launch(again, store=_place(store), notes={"reproduces": run})
    if status:
        say(f"the script ended with exit status {status}")
    return new.id


def resume(store: Store, word: str, say: Say = print) -> int:
    """Go on with the newest search of an experiment (or with one run) that did not come to its end: its exit status.

    Raises RunError where there is none.
    """
    runs = find_runs(store, trials=False)
    found = [one for one in runs if word in (one["experiment"], one["id"], one["name"])]
    found = found or [one for one in runs if one["id"].startswith(word)]
    if not found:
        raise RunError(f"There is no experiment and no run {word!r}. `rosenblatt runs` lists them.")
    open_ones = [
        one for one in found if one["kind"] == "search" and one["state"] in ("lost", "stopped", "failed", "running")
    ]
    if not open_ones:
        raise RunError(f"No search of {word!r} was interrupted: there is nothing to go on with.")
    newest = open_ones[0]
    known = details(store, newest["id"])
    if newest["state"] == "running" and _may_run(known):
        raise RunError(
            f"The search {newest['id']} was heard of less than {SILENT:.0f} s ago, from process {known['process']} on "
            f"{known['machine']}: it still runs."
        )
    arguments = _without_store(known["arguments"])
    say(f"going on with {newest['id']} in {known['folder']}: {' '.join(arguments)}")
    env = os.environ | {RESUME: newest["id"], "ROSENBLATT_STORE": _place(store)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=known["folder"], env=env, check=False).returncode  # noqa: S603 - its own command


def _may_run(known: dict[str, Any]) -> bool:
    """Whether the process of a run that was heard of lately may be alive: of other machines that is not known."""
    return known.get("machine") != socket.gethostname() or psutil.pid_exists(known.get("process", -1))


def _without_store(arguments: list[str]) -> list[str]:
    """A command line without its store, which is told otherwise, since a password in it is not recorded."""
    kept: list[str] = []
    for word in arguments:
        if kept[-1:] == ["--store"]:
            kept.pop()
        elif not word.startswith("--store="):
            kept.append(word)
    return kept


def _place(store: Store) -> str:
    return store.url.removeprefix("sqlite:///")
