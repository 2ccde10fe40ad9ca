"""Work in child processes: reset objects after a fork, and write what is queued before a task ends.

A forked child has no threads of its parent, and cannot use its locks and database connections. A fork waits for threads
that write: what they have begun, an import for example, would never end in the child.

`os.register_at_fork` is the only hook that also sees `os.fork`, and it cannot be removed; it is installed when the
first run begins, and afterwards does nothing once no run is active.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import weakref
from collections.abc import Callable
from functools import cache
from multiprocessing import connection
from typing import Any, NoReturn, Protocol

FORK_TIMEOUT_S = 5.0  # seconds that a fork waits for a thread that works


class Forkable(Protocol):
    """An object that can be used in a forked child after `reset_in_child`."""

    def reset_in_child(self) -> None:
        """Replace everything that a child process must not share with its parent."""


class Lockable(Protocol):
    """An object whose lock a thread holds as long as it works."""

    lock: threading.RLock


_objects: weakref.WeakSet[Forkable] = weakref.WeakSet()
_workers: weakref.WeakSet[Lockable] = weakref.WeakSet()
_forking = threading.local()  # `held`: objects whose locks this thread holds while it forks


def reset_after_fork(obj: Forkable) -> None:
    """Call `obj.reset_in_child()` in every child process forked from now on, as long as the object exists."""
    _install()
    _objects.add(obj)


def wait_before_fork(worker: Lockable) -> None:
    """Hold the lock of an object, as long as it exists, while this process forks."""
    _install()
    _workers.add(worker)


@cache
def _install() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold_all, after_in_parent=_release_all, after_in_child=_reset_all)


def _hold_all() -> None:
    _forking.held = [worker for worker in list(_workers) if worker.lock.acquire(timeout=FORK_TIMEOUT_S)]


def _release_all() -> None:
    for worker in _forking.held:
        worker.lock.release()


def _reset_all() -> None:
    for obj in list(_objects):
        obj.reset_in_child()
    for worker in _workers - set(_forking.held):  # a thread of the parent holds the lock
        worker.lock = threading.RLock()
    _release_all()


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
