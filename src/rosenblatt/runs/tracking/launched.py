"""The run of a script under `rosenblatt run`, as its processes see it.

The first `track` in the process of the script writes to this run. Runs that begin later, or in processes that the
script starts, are its children.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from rosenblatt.runs.store.locations import store_key

_VARIABLE = "ROSENBLATT_RUN"
NO_REUSE = "ROSENBLATT_NO_REUSE"  # environment variable of a script that is reproduced


@dataclass(frozen=True)
class LaunchedRun:
    """The run of a script, the owner under which its process writes to it, and the process that started the script."""

    run: str
    owner: str
    launcher: int  # 0 once the script writes to the run

    def environment(self, url: str) -> dict[str, str]:
        """The environment variable that tells the processes of the script of its run in a store."""
        return {_VARIABLE: f"{self.run} {self.owner} {self.launcher} {store_key(url)}"}


def may_reuse() -> bool:
    """Whether this process may take over earlier runs: not if it reproduces one of them."""
    return NO_REUSE not in os.environ


def find_launched_run(url: str | None) -> LaunchedRun | None:
    """Find the run of the script that started this process, if it is in this store."""
    fields = os.environ.get(_VARIABLE, "").split(" ")
    if url is None or len(fields) != 4 or fields[3] != store_key(url):
        return None
    return LaunchedRun(fields[0], fields[1], int(fields[2]))


def claim_launched_run(url: str | None) -> LaunchedRun | None:
    """Like `find_launched_run`, but only once, and only in the process of the script itself."""
    launched_run = find_launched_run(url)
    if url is None or launched_run is None or launched_run.launcher != os.getppid():
        return None
    os.environ.update(replace(launched_run, launcher=0).environment(url))
    return launched_run
