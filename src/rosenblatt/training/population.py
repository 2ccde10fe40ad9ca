"""Training of a population of members: in worker threads on a CPU, or in stacks on a device.

One thread per core takes the next work item, a member and a number of epochs, and trains it without holding the GIL;
the member is scored on its validation rows after each epoch. Members may differ in all hyperparameters, and the
result of one does not depend on the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from queue import Empty
from typing import cast

import numpy as np

from rosenblatt.data.cores import cores
from rosenblatt.training.backend import MemberTrainer, make_trainer
from rosenblatt.training.compiled.dispatch import start_step_compiler
from rosenblatt.training.compiled.early_stopping import BEST_EPOCH, BEST_LOSS, FAILURE, PARAMETERS, EarlyStopping
from rosenblatt.training.member import EpochRecord, Member
from rosenblatt.training.rows import DenseRows, MediaRows, Rows
from rosenblatt.training.workers import Work, WorkerPool

REPORT_INTERVAL_S = 0.05  # seconds between reports of a member whose epochs need no Python in between

EpochScorer = Callable[[np.ndarray, np.ndarray], float]
"""Compute a validation score from a member's outputs (n, K) for table rows with these indices (n,)."""


def train(
    members: Sequence[Member], rows: Rows, scorer: EpochScorer | None = None, threads: int | None = None
) -> Generator[EpochRecord, None, None]:
    """Train all members; yield a record after each epoch of a member.

    Stopping the iteration, or an interrupt, stops training within a batch; everything trained so far is kept. Without a
    scorer, which must fit `spec.training.scoring`, the best epoch is the one with the lowest validation loss.
    """
    if members[0].spec.training.device != "cpu":
        yield from _train_on_device(members, rows, scorer)
        return
    if any(member.spec.network.kind == "mlp" for member in members):
        start_step_compiler(rows.weight.dtype.name)
    pool = WorkerPool(min(threads or cores(), len(members)))

    def work(index: int, member: Member) -> Work:
        def run(stop: np.ndarray) -> None:
            for record in train_member(member, rows, scorer, stop):
                pool.put(record._replace(member=index))

        return run

    try:
        for index, member in enumerate(members):
            pool.submit(work(index, member))
        n_running = len(members)
        while n_running:
            try:
                record = pool.get()
            except Empty:
                continue
            if record is None:
                n_running -= 1
            else:
                yield record
    finally:
        pool.close()


def _train_on_device(
    members: Sequence[Member], rows: Rows, score: EpochScorer | None
) -> Generator[EpochRecord, None, None]:
    """Train members with equal stack keys together, on the device of their spec; yield records as `train`."""
    from rosenblatt.training.torch.lanes import find_device, group_by_stack_key, train_lanes

    device, pool = find_device(members[0].spec.training.device), WorkerPool(1)
    indices = {id(member): index for index, member in enumerate(members)}

    def work(stop: np.ndarray) -> None:
        for group in group_by_stack_key(members):
            remaining = iter(group[1:])

            def next_member(_: object, remaining: Iterator[Member] = remaining) -> Member | None:
                return next(remaining, None)

            def on_epoch_end(member: Member, loss: float, validation_result: tuple[np.ndarray, float] | None) -> bool:
                record = record_epoch(member, loss, validation_result, score)
                if record is not None:
                    is_last = member.finished or record.epoch == member.epochs
                    pool.put(record._replace(member=indices[id(member)], last=is_last))
                return record is not None and not record.last and not member.finished and record.epoch < member.epochs

            table = cast("DenseRows | MediaRows", rows)
            train_lanes(group[0], table, device, len(group), next_member, on_epoch_end, stop)

    try:
        pool.submit(work)
        while True:
            try:
                record = pool.get()
            except Empty:
                continue
            if record is None:
                return
            yield record
    finally:
        pool.close()


def record_epoch(
    member: Member, loss: float, validation_result: tuple[np.ndarray, float] | None, score: EpochScorer | None
) -> EpochRecord | None:
    """Record a trained epoch, and keep the member's best epoch; return None if the member failed."""
    epoch = member.n_epochs + 1
    if not np.isfinite(loss):
        member.fail(f"the training loss is {loss} in epoch {epoch}")
        return None
    epoch_score = evaluate_epoch(member, epoch, lambda: validation_result or (np.empty(0), np.nan), score)
    if member.failure:
        return None
    record = EpochRecord(0, epoch, loss, epoch_score)
    member.history.append(record)
    member.finished = member.is_out_of_patience
    return record


def train_member(
    member: Member,
    rows: Rows,
    score: EpochScorer | None,
    stop: np.ndarray,
    target_epochs: int | None = None,
    trainer: MemberTrainer | None = None,
) -> Iterator[EpochRecord]:
    """Train a member until its epochs, `target_epochs` or its patience are exhausted; keep its best epoch.

    The trainer is by default that of the member's engine on this machine.
    """
    target_epochs, epochs_per_call = member.epochs if target_epochs is None else min(target_epochs, member.epochs), 1
    if member.finished or member.n_epochs >= target_epochs:
        return  # a finished member may have no training state, which a trainer needs
    if not member.state.theta.size:  # compiled code would read beyond its arrays
        raise ValueError("the training state of this network was released, so that it cannot be trained further")
    trainer = trainer or make_trainer(member, rows)
    train_validated = trainer.train_epochs_with_validation if score is None else None
    while member.n_epochs < target_epochs and not member.finished:
        start_epoch, start_time = member.n_epochs, time.perf_counter()
        n_epochs = min(epochs_per_call, target_epochs - start_epoch)
        records = (
            _train_epochs_with_validation(member, train_validated, n_epochs, stop)
            if train_validated
            else _train_epochs(member, trainer, n_epochs, score, stop)
        )
        n_completed_epochs = len(records)
        member.history += records
        member.finished |= n_completed_epochs > 0 and member.is_out_of_patience
        for record in records:
            is_last = member.finished and record is records[-1] and not member.failure
            yield record._replace(last=record.epoch == member.epochs or is_last)
        if n_completed_epochs < n_epochs:
            return
        if train_validated or not (member.stops_early or member.spec.training.schedule == "plateau"):
            epochs_per_call = max(1, int(REPORT_INTERVAL_S / (time.perf_counter() - start_time) * n_completed_epochs))


def _train_epochs_with_validation(
    member: Member, train: Callable[..., int], epochs: int, stop: np.ndarray
) -> list[EpochRecord]:
    """Train epochs of a multilayer perceptron scored by its loss; return the records of the finished ones."""
    n_trained, losses, validation_losses = member.n_epochs, np.zeros(epochs), np.zeros(epochs)
    best = member.best.copy() if member.is_trained else np.empty_like(member.state.theta)
    record = np.array([member.best_score, member.best_epoch, member.improved_epoch, 0.0])
    patience = member.spec["patience"], member.spec["patience_factor"], member.spec.training.tol
    early_stopping = EarlyStopping(best, record, n_trained, *patience)
    n_finished = train(losses, validation_losses, early_stopping, stop)
    if record[BEST_EPOCH] > member.best_epoch:
        member.best, member.best_score, member.best_epoch = best, float(record[BEST_LOSS]), int(record[BEST_EPOCH])
    if n_finished < epochs and not stop[0] and not np.isfinite(losses[n_finished]):
        member.fail(f"the training loss is {losses[n_finished]} in epoch {n_trained + n_finished + 1}")
    elif record[FAILURE]:
        kind = "parameters" if record[FAILURE] == PARAMETERS else "predictions"
        member.fail(f"{kind} are not finite numbers after epoch {n_trained + n_finished}")
        n_finished -= 1
    return [EpochRecord(0, n_trained + k + 1, float(losses[k]), float(validation_losses[k])) for k in range(n_finished)]


def _train_epochs(
    member: Member, trainer: MemberTrainer, epochs: int, score: EpochScorer | None, stop: np.ndarray
) -> list[EpochRecord]:
    """Train epochs of any member, with a score after the last; return the records of the finished ones."""
    n_trained, losses = member.n_epochs, np.zeros(epochs)
    n_finished = trainer.train_epochs(losses, stop)
    if n_finished < epochs and not stop[0] and not np.isfinite(losses[n_finished]):
        member.fail(f"the training loss is {losses[n_finished]} in epoch {n_trained + n_finished + 1}")
        return []
    value = evaluate_epoch(member, n_trained + n_finished, trainer.validate if n_finished else None, score)
    if member.failure:
        return []
    member.finished = n_finished == epochs and trainer.converged()
    return [EpochRecord(0, n_trained + k + 1, float(losses[k]), value) for k in range(n_finished)]


def evaluate_epoch(
    member: Member, epoch: int, validate: Callable[[], tuple[np.ndarray, float]] | None, score: EpochScorer | None
) -> float:
    """Return a member's validation score after an epoch (NaN if it has none); keep its best epoch, or record a failure.

    Without a scorer the score is the validation loss.
    """
    if not np.isfinite(member.inference_parameters).all():
        member.fail(f"parameters are not finite numbers after epoch {epoch}")
        return np.nan
    value = np.nan
    if member.validation.size > 0 and validate:
        outputs, loss = validate()
        if not np.isfinite(outputs).all():
            member.fail(f"predictions are not finite numbers after epoch {epoch}")
            return np.nan
        value = loss if score is None else score(outputs, member.validation)
    # Ties go to the later epoch. An epoch without a score is the best only as long as none has a score.
    is_worse = np.isnan(value) or member.direction.is_better(member.best_score, value)
    if validate and (np.isnan(member.best_score) or not is_worse):
        member.best, member.best_epoch, member.best_score = member.inference_parameters.copy(), epoch, value
    return value
