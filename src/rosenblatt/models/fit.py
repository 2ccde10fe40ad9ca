"""Train the networks of a spec on a data set and return a model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from itertools import cycle

import numpy as np

from rosenblatt.data.cores import cores
from rosenblatt.data.dataset import Dataset
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.splits import Fold, make_folds
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import DivergedError, SpecError, TrainingInterruptedError, format_count, join_names
from rosenblatt.models.metadata import ModelMetadata
from rosenblatt.models.model import Model
from rosenblatt.models.prepared import PreparedData, ScorerFactory, build_architecture
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.spec.scoring import scoring_direction
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.early_stopping import epochs_to_wait
from rosenblatt.training.member import EpochRecord, Member, last_improvement, load_parameters, new_member
from rosenblatt.training.population import EpochScorer, train
from rosenblatt.training.rows import Rows

EpochCallback = Callable[[EpochRecord], None]
TrainMembers = Callable[[Sequence[Member], Rows, EpochScorer | None, int | None], Generator[EpochRecord, None, None]]
"""Trains all members on this machine or others, as `population.train`."""


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
    """Train the members of a spec on `data`; the model averages them.

    Args:
        spec: hyperparameters.
        schema: types of the columns of `data`.
        target: the target of `data`.
        data: training rows.
        validation: rows to choose the best epochs on; by default each member holds out a fold of `data`.
        scorer_factory: makes the scorer of an epoch; by default the validation loss is used.
        watch: called with the resolved spec and the number of members; returns what is called with the record of each
            epoch.
        threads: number of threads; by default one per core. The result does not depend on it, except that of
            convolutional and recurrent networks with `cores` auto, whose sums are rounded differently.

    Raises:
        SpecError: if hyperparameters cannot be combined with each other or with the task.
        TableError: if there is no usable input column.
        DivergedError: if every member diverged.
        TrainingInterruptedError: if training is interrupted during the first epoch. After later interruptions the best
            epochs so far are kept, and the metadata of the model say so.
    """
    prepared = PreparedData(data, lambda _: target, validation)
    return fit_prepared(spec, schema, prepared, scorer_factory, watch, threads)


def fit_further(
    spec: Spec,
    model: Model,
    data: Dataset,
    *,
    validation: Dataset | None = None,
    scorer_factory: ScorerFactory | None = None,
    watch: Callable[[Spec, int], EpochCallback] | None = None,
    threads: int | None = None,
) -> Model:
    """Train as `fit_model`, from the networks of a model, with its encoder and target.

    Raises as `fit_model`, and SpecError if the spec differs in its sections network or data, or in its loss.
    """
    changed = [name for name in ("network", "data") if getattr(spec, name) != getattr(model.spec, name)]
    changed += ["training.loss"] * (spec.training.loss != model.spec.training.loss)
    if changed:
        raise SpecError(
            f"warm_start continues the networks of the previous fit, but {join_names(changed)} of the spec changed. "
            "Set warm_start to False."
        )
    target = model.target.with_loss(spec, data.y)
    prepared = PreparedData(data, lambda _: target, validation, encoder=model.encoder)
    return fit_prepared(spec, model.schema, prepared, scorer_factory, watch, threads, model.trials[0])


def fit_prepared(
    spec: Spec,
    schema: Schema,
    prepared: PreparedData,
    scorer_factory: ScorerFactory | None,
    watch: Callable[[Spec, int], EpochCallback] | None,
    threads: int | None,
    start: TrainedTrial | None = None,
    train: TrainMembers = train,
) -> Model:
    """Train members on prepared rows as `fit_model`, with a `train` of the caller.

    They start with the networks of the trial `start`, if there is one.
    """
    data, validation, target = prepared.data, prepared.validation, prepared.target(spec)
    resolved_spec = prepared.resolve(spec, threads or cores())
    if start:
        resolved_spec = resolved_spec.model_copy(update={"network": start.resolved_spec.network})
    encoder, rows = prepared.encoder(resolved_spec), prepared.rows(resolved_spec)
    members = list(
        make_members(resolved_spec, encoder, target, data, rows, None if validation is None else len(validation.y))
    )
    if start:
        for member, network in zip(members, cycle(start.networks), strict=False):
            load_parameters(member, network.architecture, network.theta)
    on_epoch_end = watch(resolved_spec, len(members)) if watch else None
    interrupted = False
    epoch_scorer = scorer_factory(target, prepared.y, prepared.given_weight) if scorer_factory else None
    with closing(train(members, rows, epoch_scorer, threads)) as records:
        try:
            for record in records:
                if on_epoch_end:
                    on_epoch_end(record)
        except KeyboardInterrupt:
            interrupted = True
    failures = tuple(member.failure for member in members if member.failure)
    metadata = ModelMetadata(rows=len(data.y), interrupted=interrupted, members=len(members), failures=failures)
    trial = TrainedTrial(resolved_spec, encoder, target, collect_networks(members, resolved_spec, interrupted))
    return Model(spec, schema, (trial,), metadata)


def make_members(
    spec: Spec, encoder: Encoder, target: Target, data: Dataset, table: Rows, n_validation: int | None
) -> Iterator[Member]:
    """Make new members, each with another validation fold; the rows are split anew after every k members."""
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


def collect_networks(members: list[Member], spec: Spec, interrupted: bool) -> tuple[TrainedNetwork, ...]:
    """Return the trained networks. Raises DivergedError or TrainingInterruptedError if there are none."""
    networks = tuple(trained_network(member) for member in members if member.is_trained)
    if not networks and interrupted:
        raise TrainingInterruptedError(
            "Training was interrupted during the first epoch, so there is no model yet. Let it finish an epoch."
        )
    if not networks:
        raise divergence_error(spec, [member.failure for member in members])
    return networks


def divergence_error(spec: Spec, failures: list[str]) -> DivergedError:
    """Return the error for members that all diverged, with advice."""
    return DivergedError(
        f"Training diverged to values that are not finite: {failures[0]}. Choose a smaller learning_rate than "
        f"{spec.training.learning_rate:g}, or a clip_norm such as 1."
    )


def trained_network(member: Member) -> TrainedNetwork:
    """Return the network of a member at its best epoch."""
    losses = tuple(record.loss for record in member.history)
    scores = tuple(record.score for record in member.history) if member.validation.size else ()
    return TrainedNetwork(*member.best_network(), member.best_epoch, losses, scores)


def has_converged(model: Model) -> bool:
    """Whether the validation score of at least half of the networks stopped improving before the last epoch.

    Networks without validation rows and `tol`, or whose patience is set to all epochs, are trained for as long as the
    user says.
    """
    epochs, patience, factor = (model.resolved_spec[name] for name in ("epochs", "patience", "patience_factor"))
    improved_epochs = [_improved_epoch(network, model.resolved_spec) for network in model.networks]
    n_improving = sum(
        network.n_epochs == epochs < improved + epochs_to_wait(improved, patience, factor)
        for network, improved in zip(model.networks, improved_epochs, strict=True)
        if improved is not None
    )
    stops_early = patience < epochs or (model.spec.network.kind == "mlp" and model.spec.training.patience == "auto")
    return not stops_early or 2 * n_improving <= len(improved_epochs) - improved_epochs.count(None)


def _improved_epoch(network: TrainedNetwork, spec: Spec) -> int | None:
    """The last epoch that counts as an improvement for early stopping; None if the network is trained to the end."""
    tol, direction = spec.training.tol, scoring_direction(spec.training.scoring)
    if network.scores:
        scores = [direction.to_maximize(score) for score in network.scores]
        return last_improvement(scores, tol) if tol > 0 else network.best_epoch
    return last_improvement([-loss for loss in network.losses], tol) if tol > 0 else None


def describe_undefined_scores(model: Model) -> list[str]:
    """Describe networks without a validation score to choose their best epoch by, and single epochs without one."""
    is_defined = [np.isfinite(network.scores) for network in model.networks if network.scores]
    scoring, descriptions = model.spec.training.scoring, []
    n_unscored = sum(not epochs.any() for epochs in is_defined)
    if n_unscored:
        networks = f"{n_unscored:,} of {format_count(len(model.networks), 'network')}"
        descriptions.append(f"{scoring} cannot be known from the validation rows of {networks}: the last epoch is used")
    scored = [epochs for epochs in is_defined if epochs.any()]
    n_epochs, n_undefined = sum(map(len, scored)), sum(int((~epochs).sum()) for epochs in scored)
    if n_undefined:
        epochs = f"{n_undefined:,} of {format_count(n_epochs, 'epoch')}"
        descriptions.append(f"{scoring} is not a finite number after {epochs}, which are not chosen as the best")
    return descriptions
