"""Reset objects in forked child processes, where their threads, locks and database connections do not work.

`os.register_at_fork` is the only hook that also sees `os.fork`, and it cannot be removed; it is installed when the
first run begins, and afterwards does nothing once no run is active.
"""

from __future__ import annotations

import os
import weakref
from functools import cache
from typing import Protocol


class Forkable(Protocol):
    """An object that can be used in a forked child after `reset_in_child`."""

    def reset_in_child(self) -> None:
        """Replace everything that a child process must not share with its parent."""


_objects: weakref.WeakSet[Forkable] = weakref.WeakSet()


def reset_after_fork(obj: Forkable) -> None:
    """Call `obj.reset_in_child()` in every child process forked from now on, as long as the object exists."""
    _install()
    _objects.add(obj)


@cache
def _install() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_reset_all)


def _reset_all() -> None:
    for obj in list(_objects):
        obj.reset_in_child()
