"""In: a spec, rows to learn from, and what is asked of them. Out: a trained model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from rosenblatt.data.dataset import Data
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.splits import Fold, deal
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import DivergedError, StoppedEarlyError
from rosenblatt.models.model import Model, TrainedNetwork, TrainedTrial
from rosenblatt.models.prepared import Prepared, ScoreOf, architecture_of
from rosenblatt.spec.defaults import DEEP, cores_for
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member, Record, new_member
from rosenblatt.training.population import train
from rosenblatt.training.rows import Table
from rosenblatt.training.workers import cores

Watch = Callable[[Record], None]


def learn(
    spec: Spec,
    schema: Schema,
    target: Target,
    data: Data,
    *,
    validation: Data | None = None,
    score: ScoreOf | None = None,
    watch: Callable[[Spec, int], Watch] | None = None,
    threads: int | None = None,
) -> Model:
    """Train a population on `data` and keep it as a model.

    Args:
        validation: rows to choose the best epochs on; without them, each member spares a part of `data`.
        score: makes what scores an epoch; else the loss does.
        watch: told the chosen spec and the number of members, gives what is called with each epoch's record.
        threads: cores to use; all by default. The result does not depend on it, but for that of convolutional and
            recurrent networks, where `cores` is left to be chosen: on more cores sums are rounded otherwise.

    Raises:
        SpecError: for hyperparameters that cannot be combined with the task.
        TableError: if no column can be learnt from.
        DivergedError: if no member ended in finite numbers.
        StoppedEarlyError: if interrupted before an epoch was over. Interrupted later, the best epochs so far are kept
            and the model's fact "interrupted" is true.
    """
    prepared = Prepared(data, lambda _: target, validation)
    chosen = prepared.resolved(spec)
    if spec.training.cores == "auto" and spec.network.kind in DEEP:
        chosen = chosen.replace(cores=cores_for(chosen, len(data.y), threads or cores()))
    encoder, rows = prepared.encoder(chosen), prepared.rows(chosen)
    members = list(_members(chosen, encoder, target, data, rows, None if validation is None else len(validation.y)))
    told = watch(chosen, len(members)) if watch else None
    interrupted = False
    with closing(train(members, rows, score(target, prepared.y) if score else None, threads)) as records:
        try:
            for record in records:
                if told:
                    told(record)
        except KeyboardInterrupt:
            interrupted = True
    facts: dict[str, Any] = {
        "rows": len(data.y),
        "interrupted": interrupted,
        "members": len(members),
        "failures": [member.failure for member in members if member.failure],
    }
    trial = TrainedTrial(chosen, encoder, target, _trained(members, chosen, interrupted))
    return Model(spec, schema, (trial,), facts)


def _members(
    spec: Spec, encoder: Encoder, target: Target, data: Data, table: Table, validation: int | None
) -> Iterator[Member]:
    """New members: each spares another fold of the rows, in a new deal of them when all folds had their turn."""
    n, k = len(data.y), min(spec["folds"], len(data.y))
    everything, dealt = np.arange(n), list[Fold]()
    for index in range(spec["members"]):
        seed = (spec.training.seed, index)
        if validation is not None:
            spared, rows = np.arange(n, n + validation), everything
        elif k == 1:
            spared, rows = everything[:0], everything
        else:
            if index % k == 0:
                dealt = deal(n, k, int(np.random.default_rng(seed).integers(2**63)), data.like, data.groups, data.order)
            rows, spared = dealt[index % k]
        architecture = architecture_of(spec, encoder, target, index)
        yield new_member(spec, architecture, target.loss, rows, spared, seed, table)


def _trained(members: list[Member], spec: Spec, interrupted: bool) -> tuple[TrainedNetwork, ...]:
    """What the members learnt; raises where none of them did."""
    networks = tuple(trained_network(member) for member in members if member.trained)
    if not networks and interrupted:
        raise StoppedEarlyError("Training was stopped before the first epoch was over: there is nothing to keep yet.")
    if not networks:
        raise _diverged(spec, [member.failure for member in members])
    return networks


def _diverged(spec: Spec, failures: list[str]) -> DivergedError:
    return DivergedError(
        f"Training ended in numbers that are not finite: {failures[0]}. Choose a smaller learning_rate than "
        f"{spec.training.learning_rate:g}, or a clip_norm such as 1."
    )


def trained_network(member: Member) -> TrainedNetwork:
    """What a member learnt, in its best epoch."""
    losses = tuple(record.loss for record in member.history)
    scores = tuple(record.score for record in member.history) if member.validation.size else ()
    return TrainedNetwork(*member.kept(), member.best_epoch, losses, scores)
