"""In: members, and the rows they learn from. Out: a record of every epoch of every member; the members are trained.

One plain thread a core takes the next work, a member and some epochs, which it trains in calls that hold no lock,
scored on its validation rows after each epoch. Members may differ in everything; what becomes of one depends on nothing
but itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import numpy as np

from rosenblatt.training.engine import Engine, Table, engine_of
from rosenblatt.training.member import Member, Record
from rosenblatt.training.watched import BEST_EPOCH, BEST_SCORE, FAILED, PARAMETERS

LISTEN = 0.2  # seconds after which the thread that waits for records looks whether it was interrupted
GLANCE = 0.05  # seconds after which a member reports, where nothing is to be done between its epochs

Score = Callable[[np.ndarray, np.ndarray], float]
"""From a member's outputs (n, K) for some rows, and their numbers (n,), to a score; higher is better."""
Work = Callable[[np.ndarray], Any]
"""What a thread does: it is given the flag (1,) that stops it within a batch; what it returns is told."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Crew:
    """Plain threads, one a core, that do what they are given, first come first served."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or cores()
        self.stop = np.zeros(1, np.uint8)
        self._work = SimpleQueue[Work | None]()
        self._told = SimpleQueue[Any]()
        self._workers = [Thread(target=self._labor, daemon=True) for _ in range(self.threads)]
        for worker in self._workers:
            worker.start()

    def give(self, work: Work) -> None:
        """Have a thread do this."""
        self._work.put(work)

    def tell(self, what: Any) -> None:
        """Put something where `listen` hears it."""
        self._told.put(what)

    def listen(self, timeout: float = LISTEN) -> Any:
        """What was told or returned next. Raises Empty after so many seconds, and what a thread raised."""
        told = self._told.get(timeout=timeout)
        if isinstance(told, BaseException):
            raise told
        return told

    def heard(self) -> list[Any]:
        """What was told until now."""
        return [self.listen(0) for _ in range(self._told.qsize())]

    def close(self) -> None:
        """Stop all work within a batch, and wait until it has ended; what is not begun is left out."""
        self.stop[0] = 1
        for _ in self._workers:
            self._work.put(None)
        for worker in self._workers:
            worker.join()

    def _labor(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self.tell(None if self.stop[0] else work(self.stop))
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that listens
                self.tell(error)


def train(
    members: Sequence[Member], rows: Table, score: Score | None = None, threads: int | None = None
) -> Generator[Record, None, None]:
    """Train all members; yield a record for each epoch, as it ends.

    Whoever stops iterating, or is interrupted meanwhile, stops the training within a batch: what the members had learnt
    by then is in them. Without `score`, the best epoch is that of the lowest validation loss.
    """
    crew = Crew(min(threads or cores(), len(members)))

    def work(index: int, member: Member) -> Work:
        def do(stop: np.ndarray) -> None:
            for record in advance(member, rows, score, stop):
                crew.tell(record._replace(member=index))

        return do

    try:
        for index, member in enumerate(members):
            crew.give(work(index, member))
        working = len(members)
        while working:
            try:
                record = crew.listen()
            except Empty:
                continue
            if record is None:
                working -= 1
            else:
                yield record
    finally:
        crew.close()


def advance(
    member: Member, rows: Table, score: Score | None, stop: np.ndarray, until: int | None = None
) -> Iterator[Record]:
    """Train one member until its epochs, or `until` of them, or its patience are used up, keeping the best epoch."""
    engine = engine_of(member, rows)
    until, some = member.epochs if until is None else min(until, member.epochs), 1
    at_once = engine.watched if score is None else None
    while len(member.history) < until and not member.ended:
        before, started = len(member.history), time.perf_counter()
        asked = min(some, until - before)
        records = _watched(member, at_once, asked, stop) if at_once else _learnt(member, engine, asked, score, stop)
        done = len(records)
        member.history += records
        for record in records:
            is_last = member.ended and record is records[-1] and not member.failure
            yield record._replace(last=record.epoch == member.epochs or is_last)
        if done < asked:
            return
        if at_once or (member.validation.size == 0 and member.spec.training.schedule != "plateau"):
            some = max(1, int(GLANCE / (time.perf_counter() - started) * done))


def _watched(member: Member, train: Callable[..., int], epochs: int, stop: np.ndarray) -> list[Record]:
    """Some epochs of a multilayer perceptron whose score is its loss; fewer where it ended."""
    before, losses, scores = len(member.history), np.zeros(epochs), np.zeros(epochs)
    marks = np.array([member.best_score, member.best_epoch, 0.0])
    best = member.best.copy() if member.trained else np.empty_like(member.state.theta)
    done = train(losses, scores, best, marks, stop)
    if marks[BEST_EPOCH] > member.best_epoch:
        member.best, member.best_score, member.best_epoch = best, float(marks[BEST_SCORE]), int(marks[BEST_EPOCH])
    if done < epochs and not stop[0] and not np.isfinite(losses[done]):
        member.fail(f"the training loss is {losses[done]} in epoch {before + done + 1}")
    elif marks[FAILED]:
        what = "parameters" if marks[FAILED] == PARAMETERS else "predictions"
        member.fail(f"{what} are not finite numbers after epoch {before + done}")
        done -= 1
    elif done and before + done - member.best_epoch >= member.spec["patience"]:
        member.ended = True
    return [Record(0, before + k + 1, float(losses[k]), float(scores[k])) for k in range(done)]


def _learnt(member: Member, engine: Engine, epochs: int, score: Score | None, stop: np.ndarray) -> list[Record]:
    """Some epochs of any member, scored after the last; fewer where it ended."""
    before, losses = len(member.history), np.zeros(epochs)
    done = engine.learn(losses, stop)
    if done < epochs and not stop[0] and not np.isfinite(losses[done]):
        member.fail(f"the training loss is {losses[done]} in epoch {before + done + 1}")
        return []
    if not np.isfinite(member.current).all():
        member.fail(f"parameters are not finite numbers after epoch {before + done}")
        return []
    value, validates = np.nan, member.validation.size > 0
    if validates and done:
        outputs, loss = engine.validate()
        if not np.isfinite(outputs).all():
            member.fail(f"predictions are not finite numbers after epoch {before + done}")
            return []
        value = -loss if score is None else score(outputs, member.validation)
    if done and not value < member.best_score:  # the latest of equals has learnt most; no score is no reason to stop
        member.best, member.best_epoch = member.current.copy(), before + done
        member.best_score = member.best_score if np.isnan(value) else value
    stopped = engine.converged() or (validates and before + done - member.best_epoch >= member.spec["patience"])
    member.ended = done == epochs and stopped
    return [Record(0, before + k + 1, float(losses[k]), value) for k in range(done)]
