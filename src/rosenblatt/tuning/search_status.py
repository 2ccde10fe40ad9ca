"""What a search does on a cluster, in a file on the head, so that it is seen without joining the cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

FOLDER_VARIABLE = "ROSENBLATT_SEARCHES"  # names the folder of the files, on the head
CONTROLLER_VARIABLE = "ROSENBLATT_CONTROLLER"  # says who searches, and what
MAX_AGE_S = 15.0  # of a file that is still written, about once a second


class MachineWork(BaseModel):
    """What a machine, or one of its GPUs, has to train.

    Attributes:
        address: of the machine in the network of the cluster.
        trials: numbers of the trials whose networks it trains, or will train next.
    """

    model_config = ConfigDict(frozen=True)

    address: str
    threads: int
    trials: tuple[int, ...]


class SearchStatus(BaseModel):
    """A search on a cluster.

    Attributes:
        controller: user, machine and process that search, and their command.
        started: seconds since 1970.
    """

    model_config = ConfigDict(frozen=True)

    controller: str
    started: float
    machines: tuple[MachineWork, ...]


class StatusFile:
    """The file of a driver; nothing is written unless the variables of this module are set."""

    def __init__(self) -> None:
        folder = os.environ.get(FOLDER_VARIABLE)
        self._path = Path(folder) / f"{os.getpid()}.json" if folder else None
        self._started = time.time()

    def write(self, machines: Sequence[MachineWork]) -> None:
        """Replace the content. A search goes on if the file cannot be written."""
        if self._path is None:
            return
        controller = os.environ.get(CONTROLLER_VARIABLE, "")
        status = SearchStatus(controller=controller, started=self._started, machines=tuple(machines))
        temporary = self._path.with_suffix(".new")
        with suppress(OSError):
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            temporary.write_text(status.model_dump_json())
            temporary.replace(self._path)

    def remove(self) -> None:
        """Remove the file at the end of the search."""
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()


def read_searches(folder: Path) -> tuple[SearchStatus, ...]:
    """The searches whose drivers write into a folder; files of drivers that were killed are left out."""
    searches = []
    for path in folder.glob("*.json"):
        with suppress(OSError, ValidationError):
            if time.time() - path.stat().st_mtime < MAX_AGE_S:
                searches.append(SearchStatus.model_validate_json(path.read_text()))
    return tuple(sorted(searches, key=lambda search: search.started))
