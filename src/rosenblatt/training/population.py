"""In: members, and the rows they learn from. Out: a record of every epoch of every member; the members are trained.

One plain thread a core takes the next work, a member and some epochs, which it trains in calls that hold no lock,
scored on its validation rows after each epoch. Members may differ in everything; what becomes of one depends on nothing
but itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from queue import Empty
from typing import cast

import numpy as np

from rosenblatt.training.backend import Engine, engine_of
from rosenblatt.training.compiled.dispatch import start_step_compiler
from rosenblatt.training.compiled.early_stopping import BEST_EPOCH, BEST_SCORE, FAILED, PARAMETERS
from rosenblatt.training.member import Member, Record
from rosenblatt.training.rows import MediaRows, Rows, Table
from rosenblatt.training.workers import Crew, Work, cores

GLANCE = 0.05  # seconds after which a member reports, where nothing is to be done between its epochs

Score = Callable[[np.ndarray, np.ndarray], float]
"""From a member's outputs (n, K) for some rows, and their numbers (n,), to a score; higher is better."""


def train(
    members: Sequence[Member], rows: Table, score: Score | None = None, threads: int | None = None
) -> Generator[Record, None, None]:
    """Train all members; yield a record for each epoch, as it ends.

    Whoever stops iterating, or is interrupted meanwhile, stops the training within a batch: what the members had learnt
    by then is in them. Without `score`, the best epoch is that of the lowest validation loss.
    """
    if members[0].spec.training.device != "cpu":
        yield from _train_on_device(members, rows, score)
        return
    if any(member.spec.network.kind == "mlp" for member in members):
        start_step_compiler(rows.weight.dtype.name)
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


def _train_on_device(members: Sequence[Member], rows: Table, score: Score | None) -> Generator[Record, None, None]:
    """Train members of one shape as one, on the device they ask for; yields as `train` does."""
    from rosenblatt.training.torch.lanes import by_shape, device_of, train_lanes

    device, crew = device_of(members[0].spec.training.device), Crew(1)
    number = {id(member): index for index, member in enumerate(members)}

    def work(stop: np.ndarray) -> None:
        for group in by_shape(members):
            waiting = iter(group[1:])

            def following(_: object, waiting: Iterator[Member] = waiting) -> Member | None:
                return next(waiting, None)

            def told(member: Member, loss: float, validated: tuple[np.ndarray, float] | None) -> bool:
                record = noted(member, loss, validated, score)
                if record is not None:
                    is_last = member.ended or record.epoch == member.epochs
                    crew.tell(record._replace(member=number[id(member)], last=is_last))
                return record is not None and not record.last and not member.ended and record.epoch < member.epochs

            table = cast("Rows | MediaRows", rows)
            train_lanes(group[0], table, device, len(group), following, told, stop)

    try:
        crew.give(work)
        while True:
            try:
                record = crew.listen()
            except Empty:
                continue
            if record is None:
                return
            yield record
    finally:
        crew.close()


def noted(
    member: Member, loss: float, validated: tuple[np.ndarray, float] | None, score: Score | None
) -> Record | None:
    """The record of an epoch that a member has learnt, its best epoch kept; None where it failed."""
    epoch = len(member.history) + 1
    if not np.isfinite(loss):
        member.fail(f"the training loss is {loss} in epoch {epoch}")
        return None
    value = judge(member, epoch, lambda: validated or (np.empty(0), np.nan), score)
    if member.failure:
        return None
    record = Record(0, epoch, loss, value)
    member.history.append(record)
    member.ended = member.validation.size > 0 and epoch - member.best_epoch >= member.spec["patience"]
    return record


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
    value = judge(member, before + done, engine.validate if done else None, score)
    if member.failure:
        return []
    waited = member.validation.size > 0 and before + done - member.best_epoch >= member.spec["patience"]
    member.ended = done == epochs and (engine.converged() or waited)
    return [Record(0, before + k + 1, float(losses[k]), value) for k in range(done)]


def judge(
    member: Member, epoch: int, validate: Callable[[], tuple[np.ndarray, float]] | None, score: Score | None
) -> float:
    """The score of a member after an epoch, NaN where it has none; its best epoch is kept, or why it failed."""
    if not np.isfinite(member.current).all():
        member.fail(f"parameters are not finite numbers after epoch {epoch}")
        return np.nan
    value = np.nan
    if member.validation.size > 0 and validate:
        outputs, loss = validate()
        if not np.isfinite(outputs).all():
            member.fail(f"predictions are not finite numbers after epoch {epoch}")
            return np.nan
        value = -loss if score is None else score(outputs, member.validation)
    if (
        validate and not value < member.best_score
    ):  # the latest of equals has learnt most; no score is no reason to stop
        member.best, member.best_epoch = member.current.copy(), epoch
        member.best_score = member.best_score if np.isnan(value) else value
    return value
