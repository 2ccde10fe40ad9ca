"""Batches of the requests that wait at the same time, predicted by one thread for each model.

A batch is taken as soon as the thread is free. It waits for further requests only while some are being received, and
at most `MAX_WAIT_S`, so that a request that comes alone is predicted at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Any

MAX_WAIT_S = 0.002  # that a request waits for others
_END = None  # in the queue


@dataclass(frozen=True)
class Job:
    """A request that waits, and where its result goes."""

    request: Any
    n_rows: int
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop

    def deliver(self, result: Any) -> None:
        """Give the result, or an exception, to the request, unless it waits no longer; called by its event loop."""
        if self.future.done():
            return
        if isinstance(result, BaseException):
            self.future.set_exception(result)
        else:
            self.future.set_result(result)


class Batcher:
    """A thread that answers requests, several at a time.

    Args:
        answer: called in the thread with the requests of a batch; returns the result of each, or its exception.
        max_rows: number of rows from which a batch takes no further request.

    Attributes:
        n_receiving: number of requests that have begun and are not submitted yet.
    """

    def __init__(self, answer: Callable[[Sequence[Any]], Sequence[Any]], max_rows: int) -> None:
        self._answer, self._max_rows, self.n_receiving = answer, max_rows, 0
        self._is_closed = False
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Announce a request while it is being received and checked; called by the event loop."""
        self.n_receiving += 1
        try:
            yield
        finally:
            self.n_receiving -= 1

    async def submit(self, request: Any, n_rows: int) -> Any:
        """Wait for the result of a request. Raises what `answer` gives for it."""
        if self._is_closed:  # the model was replaced while the request was being received
            (result,) = await asyncio.to_thread(self._answer, [request])
            if isinstance(result, BaseException):
                raise result
            return result
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._queue.put(Job(request, n_rows, future, loop))
        return await future

    def close(self) -> None:
        """Let the thread end when all that waits is answered; later requests are answered one by one, by others."""
        self._is_closed = True
        self._queue.put(_END)

    def _run(self) -> None:
        is_open = True
        while is_open:
            first = self._queue.get()
            if first is _END:
                return
            jobs, is_open = self._collect(first)
            jobs = [job for job in jobs if not job.future.cancelled()]
            if jobs:
                self._answer_jobs(jobs)

    def _collect(self, first: Job) -> tuple[list[Job], bool]:
        """The jobs of a batch, and whether further ones may come."""
        jobs, n_rows, deadline = [first], first.n_rows, monotonic() + MAX_WAIT_S
        while n_rows < self._max_rows:
            wait = deadline - monotonic() if self.n_receiving else 0.0
            try:
                job = self._queue.get(timeout=wait) if wait > 0 else self._queue.get_nowait()
            except Empty:
                return jobs, True
            if job is _END:
                return jobs, False
            jobs.append(job)
            n_rows += job.n_rows
        return jobs, True

    def _answer_jobs(self, jobs: Sequence[Job]) -> None:
        try:
            results: Sequence[Any] = self._answer([job.request for job in jobs])
        except BaseException as error:  # noqa: BLE001 - also panics of Polars: no request may wait forever
            results = [error] * len(jobs)
        pairs = list(zip(jobs, results, strict=True))
        for loop in {job.loop for job in jobs}:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(_deliver, [pair for pair in pairs if pair[0].loop is loop])


def _deliver(pairs: Sequence[tuple[Job, Any]]) -> None:
    for job, result in pairs:
        job.deliver(result)
