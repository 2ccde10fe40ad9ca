"""Refuse to use Polars in a forked process that lacks its threads, where it would wait for them for ever.

A fork copies only the thread that calls it. Polars starts its threads once, when it first needs them; a child that was
forked before starts its own.
"""

from __future__ import annotations

import os
from pathlib import Path

from rosenblatt.errors import TableError

_THREADS = Path("/proc/self/task")  # Linux: a folder for each thread of this process


class _PolarsThreads:
    """What this process knows about the threads of Polars."""

    def __init__(self) -> None:
        self.is_used = False  # whether this process may have started them
        self.is_lost = False  # whether they stayed behind in the parent of this process
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)

    def _before_fork(self) -> None:
        try:
            names = [(folder / "comm").read_text().strip() for folder in _THREADS.iterdir()]
        except OSError:  # another system, or a thread that has just ended
            return
        self.is_used = any(name.removeprefix("polars-").isdigit() for name in names)

    def _after_fork(self) -> None:
        self.is_lost, self.is_used = self.is_lost or self.is_used, False


_threads = _PolarsThreads()


def require_polars() -> None:
    """Check that Polars can be used, before a table is read or converted with it.

    Raises TableError in a process that was forked from one with Polars' threads.
    """
    if _threads.is_lost:
        raise TableError(
            "This process was forked from one that had used Polars, whose threads a fork does not copy, so it can only "
            "use arrays and frames of numbers. Convert the table to numbers, or start processes with multiprocessing's "
            "method spawn or forkserver."
        )
    _threads.is_used = True
