"""In: members, and the rows they learn from. Out: a record of every epoch of every member; the members are trained.

One plain thread a core takes the next member, trains it some epochs in one call that holds no lock, and scores it on
its validation rows. Members may differ in everything; what becomes of one depends on nothing but itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from queue import Empty, SimpleQueue
from threading import Thread

import numpy as np

from rosenblatt.training.engine import Table, engine_of
from rosenblatt.training.member import Member, Record

LISTEN = 0.2  # seconds after which the thread that waits for records looks whether it was interrupted
GLANCE = 0.05  # seconds after which a member reports, where nothing is to be done between its epochs

Score = Callable[[np.ndarray, np.ndarray], float]
"""From a member's outputs (n, K) for some rows, and their numbers (n,), to a score; higher is better."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train(
    members: Sequence[Member], rows: Table, score: Score | None = None, threads: int | None = None
) -> Generator[Record, None, None]:
    """Train all members; yield a record for each epoch, as it ends.

    Whoever stops iterating, or is interrupted meanwhile, stops the training within a batch: what the members had learnt
    by then is in them. Without `score`, the best epoch is that of the lowest validation loss.
    """
    stop, records, waiting = (
        np.zeros(1, np.uint8),
        SimpleQueue[Record | BaseException | None](),
        iter(enumerate(members)),
    )

    def work() -> None:
        try:
            for index, member in waiting:
                for record in _train_member(index, member, rows, score, stop):
                    records.put(record)
                if stop[0]:
                    break
            records.put(None)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits for the records
            records.put(error)

    workers = [Thread(target=work, daemon=True) for _ in range(min(threads or cores(), len(members)))]
    try:
        for worker in workers:
            worker.start()
        working = len(workers)
        while working:
            try:
                record = records.get(timeout=LISTEN)
            except Empty:
                continue
            if isinstance(record, BaseException):
                raise record
            if record is None:
                working -= 1
            else:
                yield record
    finally:
        stop[0] = 1
        for worker in workers:
            worker.join()


def _train_member(index: int, member: Member, rows: Table, score: Score | None, stop: np.ndarray) -> Iterator[Record]:
    """Train one member until its epochs or its patience are used up, keeping the best epoch."""
    engine, patience = engine_of(member, rows), member.spec["patience"]
    validates, some = member.validation.size > 0, 1
    while len(member.history) < member.epochs:
        before, started = len(member.history), time.perf_counter()
        losses = np.zeros(min(some, member.epochs - before))
        done = engine.learn(losses, stop)
        if done < losses.size and not stop[0] and not np.isfinite(losses[done]):
            member.failure = f"the training loss is {losses[done]} in epoch {before + done + 1}"
            return
        if not np.isfinite(member.current).all():
            member.failure = f"parameters are not finite numbers after epoch {before + done}"
            return
        value = np.nan
        if validates and done:
            outputs, loss = engine.validate()
            if not np.isfinite(outputs).all():
                member.failure = f"predictions are not finite numbers after epoch {before + done}"
                return
            value = -loss if score is None else score(outputs, member.validation)
        records = [Record(index, before + k + 1, float(losses[k]), value) for k in range(done)]
        member.history += records
        if (
            done and not value < member.best_score
        ):  # the latest of equals has learnt most; no score is no reason to stop
            member.best, member.best_epoch = member.current.copy(), before + done
            member.best_score = member.best_score if np.isnan(value) else value
        ended = engine.converged() or (validates and before + done - member.best_epoch >= patience)
        for record in records:
            yield record._replace(last=record.epoch == member.epochs or (ended and record is records[-1]))
        if ended or done < losses.size:
            return
        if not validates and member.spec.training.schedule != "plateau":
            some = max(1, int(GLANCE / (time.perf_counter() - started) * done))
