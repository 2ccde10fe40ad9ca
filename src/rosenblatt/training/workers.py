"""Worker threads, their work queue and message queue."""

from __future__ import annotations

import os
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

POLL_INTERVAL_S = 0.2  # seconds after which the thread that waits for records looks whether it was interrupted
Work = Callable[[np.ndarray], Any]
"""What a thread does: it is given the flag (1,) that stops it within a batch; what it returns is told."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class MessageQueue:
    """What threads tell, and whoever waits for them hears; the flag that stops them."""

    def __init__(self) -> None:
        self.stop = np.zeros(1, np.uint8)
        self._messages = SimpleQueue[Any]()

    def put(self, message: Any) -> None:
        """Put something where `get` hears it."""
        self._messages.put(message)

    def get(self, timeout: float = POLL_INTERVAL_S) -> Any:
        """What was told or returned next. Raises Empty after so many seconds, and what a thread raised."""
        message = self._messages.get(timeout=timeout)
        if isinstance(message, BaseException):
            raise message
        return message

    def drain(self) -> list[Any]:
        """What was told until now."""
        return [self.get(0) for _ in range(self._messages.qsize())]


class WorkerPool(MessageQueue):
    """Plain threads, one a core, that do what they are given, first come first served."""

    def __init__(self, threads: int | None = None) -> None:
        super().__init__()
        self.threads = threads or cores()
        self._work = SimpleQueue[Work | None]()
        self._workers = [Thread(target=self._run_worker, daemon=True) for _ in range(self.threads)]
        for worker in self._workers:
            worker.start()

    def submit(self, work: Work) -> None:
        """Have a thread do this."""
        self._work.put(work)

    def close(self) -> None:
        """Stop all work within a batch, and wait until it has ended; what is not begun is left out."""
        self.stop[0] = 1
        for _ in self._workers:
            self._work.put(None)
        for worker in self._workers:
            worker.join()

    def _run_worker(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self.put(None if self.stop[0] else work(self.stop))
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that listens
                self.put(error)
