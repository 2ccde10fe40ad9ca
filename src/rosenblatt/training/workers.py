"""Worker threads, their work queue and message queue."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

from rosenblatt.data.cores import cores

POLL_INTERVAL_S = 0.2  # seconds between checks for an interrupt while waiting for messages
Work = Callable[[np.ndarray], Any]
"""A work item: called with the stop flag (1,), which ends it within a batch; its result is put into the queue."""


class MessageQueue:
    """Messages of worker threads, and the flag that stops them."""

    latency_s = 0.0  # seconds from the end of a work item until a worker without waiting items has the next one

    def __init__(self) -> None:
        self.stop = np.zeros(1, np.uint8)
        self._messages = SimpleQueue[Any]()

    def put(self, message: Any) -> None:
        """Add a message."""
        self._messages.put(message)

    def get(self, timeout: float = POLL_INTERVAL_S) -> Any:
        """Return the next message. Raises Empty after `timeout` seconds, and any exception of a worker."""
        message = self._messages.get(timeout=timeout)
        if isinstance(message, BaseException):
            raise message
        return message

    def drain(self) -> list[Any]:
        """Return all messages that are waiting."""
        return [self.get(0) for _ in range(self._messages.qsize())]


class WorkerPool(MessageQueue):
    """Worker threads, one per core by default, that run work items in order."""

    def __init__(self, threads: int | None = None) -> None:
        super().__init__()
        self.threads = threads or cores()
        self._work = SimpleQueue[Work | None]()
        self._workers = [Thread(target=self._run_worker, daemon=True) for _ in range(self.threads)]
        for worker in self._workers:
            worker.start()

    def submit(self, work: Work) -> None:
        """Add a work item."""
        self._work.put(work)

    def close(self) -> None:
        """Stop all work within a batch, wait for it, and skip what has not begun."""
        self.stop[0] = 1
        for _ in self._workers:
            self._work.put(None)
        for worker in self._workers:
            worker.join()

    def _run_worker(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self.put(None if self.stop[0] else work(self.stop))
            except BaseException as error:  # noqa: BLE001 - `get` raises it again
                self.put(error)
