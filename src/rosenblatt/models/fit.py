"""Train the networks of a spec on a data set and return a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.splits import Fold, make_folds
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import DivergedError, TrainingInterruptedError
from rosenblatt.models.metadata import ModelMetadata
from rosenblatt.models.model import Model, TrainedNetwork, TrainedTrial
from rosenblatt.models.prepared import PreparedData, ScorerFactory, build_architecture
from rosenblatt.spec.defaults import cores_per_network
from rosenblatt.spec.fields import DEEP_KINDS
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import EpochRecord, Member, new_member
from rosenblatt.training.population import train
from rosenblatt.training.rows import Rows
from rosenblatt.training.workers import cores

EpochCallback = Callable[[EpochRecord], None]


def fit_model(
    spec: Spec,
    schema: Schema,
    target: Target,
    data: Dataset,
    *,
    validation: Dataset | None = None,
    scorer_factory: ScorerFactory | None = None,
    watch: Callable[[Spec, int], EpochCallback] | None = None,
    threads: int | None = None,
) -> Model:
    """Train a population on `data` and keep it as a model.

    Args:
        validation: rows to choose the best epochs on; without them, each member spares a part of `data`.
        scorer_factory: makes what scores an epoch; else the loss does.
        watch: told the chosen spec and the number of members, gives what is called with each epoch's record.
        threads: cores to use; all by default. The result does not depend on it, but for that of convolutional and
            recurrent networks, where `cores` is left to be chosen: on more cores sums are rounded otherwise.

    Raises:
        SpecError: for hyperparameters that cannot be combined with the task.
        TableError: if no column can be learnt from.
        DivergedError: if no member ended in finite numbers.
        TrainingInterruptedError: if interrupted before an epoch was over. Interrupted later, the best epochs so far
            are kept and the model's metadata "interrupted" is true.
    """
    prepared = PreparedData(data, lambda _: target, validation)
    resolved_spec = prepared.resolve(spec)
    if spec.training.cores == "auto" and spec.network.kind in DEEP_KINDS:
        resolved_spec = resolved_spec.replace(cores=cores_per_network(resolved_spec, len(data.y), threads or cores()))
    encoder, rows = prepared.encoder(resolved_spec), prepared.rows(resolved_spec)
    members = list(
        _make_members(resolved_spec, encoder, target, data, rows, None if validation is None else len(validation.y))
    )
    on_epoch_end = watch(resolved_spec, len(members)) if watch else None
    interrupted = False
    with closing(
        train(members, rows, scorer_factory(target, prepared.y) if scorer_factory else None, threads)
    ) as records:
        try:
            for record in records:
                if on_epoch_end:
                    on_epoch_end(record)
        except KeyboardInterrupt:
            interrupted = True
    failures = tuple(member.failure for member in members if member.failure)
    metadata = ModelMetadata(rows=len(data.y), interrupted=interrupted, members=len(members), failures=failures)
    trial = TrainedTrial(resolved_spec, encoder, target, _collect_networks(members, resolved_spec, interrupted))
    return Model(spec, schema, (trial,), metadata)


def _make_members(
    spec: Spec, encoder: Encoder, target: Target, data: Dataset, table: Rows, n_validation: int | None
) -> Iterator[Member]:
    """New members: each spares another fold of the rows, in a new deal of them when all folds had their turn."""
    n, k = len(data.y), min(spec["folds"], len(data.y))
    all_rows, folds = np.arange(n), list[Fold]()
    for index in range(spec["members"]):
        seed = (spec.training.seed, index)
        if n_validation is not None:
            validation_rows, train_rows = np.arange(n, n + n_validation), all_rows
        elif k == 1:
            validation_rows, train_rows = all_rows[:0], all_rows
        else:
            if index % k == 0:
                folds = make_folds(
                    n, k, int(np.random.default_rng(seed).integers(2**63)), data.stratify_by, data.groups, data.order
                )
            train_rows, validation_rows = folds[index % k]
        architecture = build_architecture(spec, encoder, target, index)
        yield new_member(spec, architecture, target.loss, train_rows, validation_rows, seed, table)


def _collect_networks(members: list[Member], spec: Spec, interrupted: bool) -> tuple[TrainedNetwork, ...]:
    """What the members learnt; raises where none of them did."""
    networks = tuple(trained_network(member) for member in members if member.is_trained)
    if not networks and interrupted:
        raise TrainingInterruptedError(
            "Training was stopped before the first epoch was over: there is nothing to keep yet."
        )
    if not networks:
        raise _divergence_error(spec, [member.failure for member in members])
    return networks


def _divergence_error(spec: Spec, failures: list[str]) -> DivergedError:
    return DivergedError(
        f"Training ended in numbers that are not finite: {failures[0]}. Choose a smaller learning_rate than "
        f"{spec.training.learning_rate:g}, or a clip_norm such as 1."
    )


def trained_network(member: Member) -> TrainedNetwork:
    """What a member learnt, in its best epoch."""
    losses = tuple(record.loss for record in member.history)
    scores = tuple(record.score for record in member.history) if member.validation.size else ()
    return TrainedNetwork(*member.best_network(), member.best_epoch, losses, scores)
