"""In: members, and the rows they learn from. Out: a record of every epoch of every member; the members are trained.

One plain thread a core takes the next member, trains it an epoch in one call that holds no lock, and scores it on the
member's validation rows. Members may differ in everything; what becomes of one depends on nothing but itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from rosenblatt.networks.activations import ACTIVATIONS
from rosenblatt.networks.architectures import Architecture, first_parameters
from rosenblatt.spec import Spec
from rosenblatt.training import dense
from rosenblatt.training.losses import LOSSES, mean_loss
from rosenblatt.training.optimizers import OPTIMIZERS
from rosenblatt.training.perceptron import train_perceptron
from rosenblatt.training.schedules import SCHEDULES

BLOCK = 64  # rows predicted at a time

Score = Callable[[np.ndarray, np.ndarray], float]
"""From a member's outputs (n, K) for some rows, and their numbers (n,), to a score; higher is better."""


class Record(NamedTuple):
    """What is known after one epoch of one member."""

    member: int
    epoch: int  # counted from 1
    loss: float  # mean over the training rows, as they were met
    score: float  # on the validation rows; NaN where there are none
    last: bool = False  # whether the member is done


@dataclass
class Member:
    """One network of a population, how it learns, and how far it has come."""

    architecture: Architecture
    shape: dense.Shape
    recipe: dense.Recipe
    state: dense.State
    validation: np.ndarray  # (n,) the rows its epochs are scored on, none of them in state.order
    epochs: int
    patience: int
    best: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))  # parameters of the best epoch
    best_epoch: int = 0
    best_score: float = -np.inf
    history: list[Record] = field(default_factory=list)
    diverged: bool = False

    @property
    def trained(self) -> bool:
        """Whether there are parameters worth keeping."""
        return self.best_epoch > 0


def new_member(
    spec: Spec, architecture: Architecture, loss: str, rows: np.ndarray, validation: np.ndarray, seed: Sequence[int]
) -> Member:
    """A member that has not learnt yet. `spec` is resolved; `rows` (n,) and `validation` are numbers of rows."""
    training, rng = spec.training, np.random.default_rng(seed)
    theta = first_parameters(architecture, spec.network.initializer, rng)
    state = dense.State(
        theta,
        np.zeros_like(theta),
        np.zeros_like(theta),
        rows.astype(np.int64),
        rng.integers(2**63, size=1, dtype=np.uint64),
        np.zeros(1, np.int64),
    )
    n_batches = -(-rows.size // spec["batch_size"])
    recipe = dense.Recipe(
        optimizer=OPTIMIZERS[training.optimizer],
        learning_rate=spec["learning_rate"],
        schedule=SCHEDULES[training.schedule],
        steps=n_batches * spec["epochs"],
        beta1=training.beta1,
        beta2=training.beta2,
        weight_decay=spec["weight_decay"],
        input_dropout=training.input_dropout,
        dropout=spec["dropout"],
        label_smoothing=training.label_smoothing,
        clip_norm=training.clip_norm,
        batch_size=spec["batch_size"],
    )
    shape = shape_of(architecture, loss)
    return Member(architecture, shape, recipe, state, validation, spec["epochs"], spec["patience"])


def shape_of(architecture: Architecture, loss: str) -> dense.Shape:
    """The architecture as the compiled code takes it."""
    return dense.Shape(
        np.array(architecture.sizes, np.int64),
        np.array(architecture.starts, np.int64),
        ACTIVATIONS[architecture.activation],
        LOSSES[loss],
    )


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def train(
    members: Sequence[Member], rows: dense.Rows, score: Score | None = None, threads: int | None = None
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
    with threadpool_limits(1, user_api="blas"):
        try:
            for worker in workers:
                worker.start()
            working = len(workers)
            while working:
                record = records.get()
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


def _train_member(
    index: int, member: Member, rows: dense.Rows, score: Score | None, stop: np.ndarray
) -> Iterator[Record]:
    """Train one member epoch by epoch, until its epochs or its patience are used up, keeping the best."""
    is_perceptron = member.architecture.kind == "perceptron"
    learn = train_perceptron if is_perceptron else dense.train
    losses, t, weight = np.empty(1), rows.t[member.validation], rows.weight[member.validation]
    outputs = np.empty((member.validation.size, member.architecture.sizes[-1]), rows.x.dtype)
    for epoch in range(len(member.history) + 1, member.epochs + 1):
        finished = learn(member.shape, member.recipe, member.state, rows, 1, losses, stop)
        if not finished:
            member.diverged = not stop[0]
            return
        record = Record(index, epoch, float(losses[0]), np.nan)
        if member.validation.size:
            dense.predict(member.shape, member.state.theta, rows.x, member.validation, outputs, BLOCK)
            if score is None:
                record = record._replace(score=-mean_loss(member.shape.loss, outputs, t, weight))
            else:
                record = record._replace(score=score(outputs, member.validation))
        if not np.isfinite(outputs).all():
            member.diverged = True
            return
        member.history.append(record)
        if not record.score < member.best_score:  # the latest of equals has learnt most; no score is no reason to stop
            member.best, member.best_epoch = member.state.theta.copy(), epoch
            member.best_score = member.best_score if np.isnan(record.score) else record.score
        converged = is_perceptron and record.loss == 0  # no mistakes: the rule changes nothing any more
        patient = not member.validation.size or epoch - member.best_epoch < member.patience
        done = converged or not patient
        yield record._replace(last=done or epoch == member.epochs)
        if done:
            return


def outputs(shape: dense.Shape, theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """A network's outputs (n, K) for all rows of x (n, F)."""
    out = np.empty((len(x), int(shape.sizes[-1])), x.dtype)
    dense.predict(shape, theta, x, np.arange(len(x)), out, BLOCK)
    return out
