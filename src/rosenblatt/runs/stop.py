"""Stop a running run: its process on this machine gets the signal of Ctrl-C, and ends the run itself."""

from __future__ import annotations

import os
import signal

from sqlalchemy import select

from rosenblatt.errors import RunError
from rosenblatt.runs.store.owners import is_alive_here, owner_process
from rosenblatt.runs.store.schema import runs
from rosenblatt.runs.store.store import Store


def stop_run(store: Store, run: str) -> int:
    """Send the signal of Ctrl-C to the process of a run; a search ends with its best trials so far.

    Args:
        store: The store.
        run: The id of the run. All runs of its process stop with it.

    Returns:
        The number of the process.

    Raises:
        RunError: If the run does not run, or its process is not on this machine.
    """
    with store.reading() as connection:
        row = connection.execute(select(runs.c.state, runs.c.owner).where(runs.c.id == run)).first()
    if row is None:
        raise RunError(f"There is no run {run!r}. `rosenblatt runs` lists them.")
    if row.state != "running":
        raise RunError(f"Run {run} does not run, so that it cannot be stopped; its state is {row.state}.")
    if not is_alive_here(row.owner):
        raise RunError(f"The process of run {run} is not on this machine. Stop it where it runs.")
    process = owner_process(row.owner)
    try:
        os.kill(process, signal.SIGINT)
    except OSError as error:
        raise RunError(f"Process {process} of run {run} cannot be stopped: {error.strerror}.") from error
    return process
