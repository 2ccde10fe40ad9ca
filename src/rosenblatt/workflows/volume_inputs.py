"""Volumes as inputs of commands: which version is read, as it is recorded with a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rosenblatt.data.volumes.locations import is_volume
from rosenblatt.data.volumes.query.language import parse_query
from rosenblatt.data.volumes.requirements import require_volumes
from rosenblatt.errors import RosenblattError
from rosenblatt.runs.recorded import InputFile
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS
from rosenblatt.workflows.request import VOLUME_FIELDS, FitRequest

if TYPE_CHECKING:
    from rosenblatt.data.table import Table
    from rosenblatt.data.volumes.volume import Volume

SHUFFLED_TOGETHER = HYPERPARAMETERS["shuffle_window_gb"].default * 1e9  # bytes that are shuffled as a whole by default


def open_version(name: str) -> Volume:
    """Open a version of a volume. Raises VolumeError."""
    require_volumes()
    from rosenblatt.data.volumes.volume import volume

    return volume(name)


def read_volume(name: str, query: str = "") -> Table:
    """Read a version of a volume, or the samples that a query selects, as a table. Raises VolumeError.

    Images are read when they are needed.
    """
    from rosenblatt.data.volumes.table import to_table

    opened = open_version(name)
    notes = list[str]()
    selected = opened.query(query, notes.append) if query else opened
    table = to_table(selected)
    n_bytes = selected.n_bytes
    if n_bytes > SHUFFLED_TOGETHER:
        notes.append(
            f"{n_bytes / 1e9:,.3g} GB are read while training, and shuffled a part at a time (--shuffle-window-gb)"
        )
    if not selected.selection:
        return replace(table, notes=(*notes, *table.notes))
    note = f"selected {len(selected):,} of {selected.commit.n_samples:,} samples of {selected.name}: {query}"
    return replace(table, notes=(note, *notes, *table.notes))


def pin_versions(request: FitRequest) -> FitRequest:
    """Replace names of volumes by the root and number of the version, which stay the same when data is added.

    Raises VolumeError if a version does not exist, and QueryError if the query is invalid.
    """
    pinned = {}
    for role in VOLUME_FIELDS:
        name = getattr(request, role)
        if name and is_volume(name):
            opened = open_version(name)
            query = request.query if role == "table" else ""
            pinned[role] = (opened.find_version(parse_query(query)) if query else opened).uri
    return request.model_copy(update=pinned)


def describe_input(name: str, role: str) -> InputFile:
    """What is recorded of a version that a run reads: its address, and the root as the hash of its content."""
    opened = open_version(name)
    return InputFile(name=role, path=opened.uri, hash=opened.root, bytes=opened.commit.n_bytes)


def has_version_changed(file: InputFile) -> bool:
    """Whether a recorded version is lost, or its log was rewritten."""
    try:
        return open_version(file.path).root != file.hash
    except RosenblattError:
        return True
