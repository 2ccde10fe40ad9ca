"""The clusters of this user, in files of their own: what runs where, to find it again and to take it down."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rosenblatt.cluster.node_state import ProcessId
from rosenblatt.cluster.nodes import Node
from rosenblatt.errors import ClusterError, Notify, did_you_mean, format_list
from rosenblatt.runs.store.locations import state_home

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class ClusterRecord(BaseModel):
    """A cluster that this user started.

    Attributes:
        cluster_id: random; each process of the cluster carries it.
        created: seconds since 1970.
        head: address and port of the head; "" while the cluster starts.
        nodes: the head first.
        owner: the process that the cluster ends with; None if the cluster stays.
        machine: of the owner, since several machines may share this user's folders.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    cluster_id: str
    created: float
    head: str = ""
    nodes: tuple[Node, ...]
    owner: ProcessId | None = None
    machine: str = Field(default_factory=socket.gethostname)

    @property
    def is_abandoned(self) -> bool:
        """Whether it should have ended with a process of this machine that was killed."""
        return self.owner is not None and self.machine == socket.gethostname() and not self.owner.is_running()


def records_folder() -> Path:
    """The folder of all records, which only this user can read."""
    folder = state_home() / "clusters"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


def check_name(name: str) -> None:
    """Raise ClusterError if a name cannot be that of a cluster."""
    if not NAME.fullmatch(name):
        raise ClusterError(
            f"{name!r} cannot be the name of a cluster. Use up to 64 letters, digits, dots, dashes and underscores."
        )


def add_record(record: ClusterRecord) -> None:
    """Write the record of a new cluster. Raises ClusterError if there is one of its name."""
    path = _path(record.name)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ClusterError(
            f"There is a cluster {record.name!r} already. Take it down with `rosenblatt cluster down {record.name}`, "
            "or choose another --name."
        ) from None
    with os.fdopen(descriptor, "w") as file:
        file.write(record.model_dump_json())


def update_record(record: ClusterRecord) -> None:
    """Replace the record of a cluster."""
    path = _path(record.name)
    temporary = path.with_suffix(f".{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(record.model_dump_json())
    temporary.replace(path)


def remove_record(name: str) -> None:
    """Remove the record of a cluster that has ended."""
    _path(name).unlink(missing_ok=True)


def list_records(notify: Notify = print) -> list[ClusterRecord]:
    """All recorded clusters, by name; says which records cannot be read."""
    records = []
    for path in sorted(records_folder().glob("*.json")):
        try:
            records.append(read_record(path.stem))
        except ClusterError as error:
            notify(str(error))
    return records


def read_record(name: str) -> ClusterRecord:
    """Read the record of a cluster. Raises ClusterError if there is none, or it cannot be read."""
    check_name(name)
    try:
        return ClusterRecord.model_validate_json(_path(name).read_text())
    except FileNotFoundError:
        names = [path.stem for path in sorted(records_folder().glob("*.json"))]
        running = f" There are {format_list(names)}." if names else " None is up."
        raise ClusterError(f"There is no cluster {name!r}.{did_you_mean(name, names)}{running}") from None
    except ValidationError:
        raise ClusterError(
            f"The record of the cluster {name!r}, {str(_path(name))!r}, cannot be read. It was written by another "
            "version of Rosenblatt: take the cluster down with that version."
        ) from None


def _path(name: str) -> Path:
    return records_folder() / f"{name}.json"
