"""Find a finished run with equal inputs, and say why others cannot be reused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from sqlalchemy import select

from rosenblatt.errors import StoreUnavailableError
from rosenblatt.runs.capture.inputs import describe_variable, hash_variable
from rosenblatt.runs.capture.source import Source
from rosenblatt.runs.recorded import InputFile
from rosenblatt.runs.startup.audit.paths import hash_names
from rosenblatt.runs.store.artifacts import has_changed
from rosenblatt.runs.store.queries import load_metadata
from rosenblatt.runs.store.schema import runs
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.stored_model import StoredModel

MAX_CANDIDATES = 20  # newest runs of an identity whose inputs are checked


class RecordedInputs(StoredModel):
    """What a run read, as far as it is checked before the run is reused; fields as in `RunDetails`."""

    data_read: tuple[InputFile, ...] = ()
    modules: tuple[InputFile, ...] = ()
    listings: tuple[InputFile, ...] = ()
    variables_read: dict[str, str] = {}
    unseen: tuple[str, ...] = ()
    source: Source = Source()


class ReusableRun(NamedTuple):
    """A run to reuse, or None and the reason why the newest run of the identity is not reused."""

    id: str | None
    reason: str


def find_reusable_run(url: str, identity: str) -> ReusableRun:
    """Find the newest finished run of an identity whose inputs are unchanged and were all seen."""
    query = select(runs.c.id).where(runs.c.identity == identity, runs.c.state == "finished")
    try:
        with closing(Store(url)) as store:
            with store.reading() as connection:
                ids = list(connection.execute(query.order_by(runs.c.started.desc()).limit(MAX_CANDIDATES)).scalars())
            reasons = list[str]()
            for run_id in ids:
                reason = find_obstacle(store, run_id)
                if not reason:
                    return ReusableRun(run_id, "")
                reasons.append(reason)
    except StoreUnavailableError as error:
        return ReusableRun(None, str(error))
    return ReusableRun(None, reasons[0] if reasons else "no finished run has the same code, options, data and packages")


def find_obstacle(store: Store, run_id: str) -> str:
    """The first reason why a run cannot be reused; empty if there is none."""
    return next(_obstacles(store, run_id), "")


def _obstacles(store: Store, run_id: str) -> Iterator[str]:
    """The reasons why a run cannot be reused, those first that can be found fast."""
    metadata, damaged = load_metadata(store, run_id, list(RecordedInputs.model_fields))
    try:
        inputs = RecordedInputs.model_validate(metadata)
    except ValidationError:
        damaged = list(metadata)
    if damaged:
        yield f"run {run_id} was recorded by another version"
        return
    yield from (f"run {run_id} cannot be reused: it used {phrase}" for phrase in inputs.unseen)
    for name, digest in inputs.variables_read.items():
        if hash_variable(name, run_id) != digest:
            yield f"{describe_variable(name)} has changed since run {run_id}"
    for listing in inputs.listings:
        if names_changed(listing):
            yield f"the names in {_short(listing.path)} have changed since run {run_id}"
    files = [(file.path, file.hash) for file in (*inputs.modules, *inputs.data_read)]
    files += inputs.source.stored_files()
    for path, digest in files:
        if has_changed(Path(path), digest):
            yield f"{_short(path)} has changed since run {run_id}"


def names_changed(listing: InputFile) -> bool:
    """Whether a folder that a script listed has other names now."""
    try:
        return hash_names(listing.path, listing.name) != listing.hash
    except OSError:
        return listing.hash != ""


def _short(path: str) -> str:
    """A path relative to the working folder, if it is below it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
