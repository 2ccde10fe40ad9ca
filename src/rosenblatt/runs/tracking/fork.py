"""Work in child processes: reset objects after a fork, and write what is queued before a task ends.

A forked child has no threads of its parent, and cannot use its locks and database connections.

`os.register_at_fork` is the only hook that also sees `os.fork`, and it cannot be removed; it is installed when the
first run begins, and afterwards does nothing once no run is active.
"""

from __future__ import annotations

import multiprocessing
import os
import weakref
from collections.abc import Callable
from functools import cache
from multiprocessing import connection
from typing import Any, NoReturn, Protocol


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


def is_child() -> bool:
    """Whether multiprocessing has started this process."""
    return multiprocessing.parent_process() is not None


def flush_after_tasks(flush: Callable[[], object]) -> None:
    """Call `flush` in this child process before it sends a result to another process, and before `os._exit`.

    A pool may end its workers once it has all results, and gives them no time to write.
    """
    pipe: Any = connection.Connection  # every queue and pool sends its results through such a pipe
    send, leave = pipe._send_bytes, os._exit  # noqa: SLF001 - `send` and `send_bytes` may be bound before the fork

    def flush_and_send(self: Any, content: Any) -> None:
        flush()
        send(self, content)

    def flush_and_exit(status: int) -> NoReturn:
        flush()
        leave(status)

    pipe._send_bytes = flush_and_send  # noqa: SLF001
    os._exit = flush_and_exit
