"""Train a model further on rows that arrive in parts (`partial_fit`)."""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.fit import collect_networks, divergence_error, make_members
from rosenblatt.models.metadata import ModelMetadata
from rosenblatt.models.model import Model
from rosenblatt.models.prepared import WeightScale, concatenate_data, encode_frame, make_rows, resolve_spec
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member, load_parameters, new_member, set_rows
from rosenblatt.training.population import train
from rosenblatt.training.rows import Rows

MAX_RECORDED_EPOCHS = 100  # batches whose training losses are kept, so that a call takes as long as the first


class IncrementalTrainer:
    """Trains networks on one batch of rows after another, for one epoch each, without validation rows.

    The encoder is that of `model`, whose networks are trained further, or is fitted on the first batch. The scale and
    the limits of a regression target, and the weights of classes, follow all rows so far. The learning rate is
    constant.
    """

    def __init__(
        self, spec: Spec, schema: Schema, target: Target, first_batch: Dataset, model: Model | None = None
    ) -> None:
        self._spec, self._schema = spec, schema
        self._target = model.target if model else target
        resolved_spec = model.resolved_spec if model else resolve_spec(spec, first_batch, target)
        constant_schedules = dict.fromkeys(("schedule", "dropout_schedule", "weight_decay_schedule"), "constant")
        self._resolved_spec = resolved_spec.replace(folds=1, **constant_schedules)
        is_tagging = target.task == "tagging"
        self._encoder = (
            model.encoder
            if model
            else Encoder.fit(
                first_batch.frame,
                self._resolved_spec.data,
                columns=first_batch.columns,
                never_truncate=is_tagging,
            )
        )
        frame, y, weight = concatenate_data(first_batch, None)
        rows = make_rows(self._target, self._encoder, encode_frame(self._encoder, frame), y, weight)
        self._members = list(make_members(self._resolved_spec, self._encoder, self._target, first_batch, rows, None))
        self._n_rows, self._weights = 0, WeightScale(self._resolved_spec, self._target)
        if model:
            self._members = [
                self._resume_member(network, index, rows) for index, network in enumerate(model.trials[0].networks)
            ]
            self._n_rows = model.metadata.rows

    def _resume_member(self, network: TrainedNetwork, index: int, rows: Rows) -> Member:
        """Make a member that starts with the parameters of a network; its rows are set for each batch."""
        no_rows, seed, architecture = np.arange(0), (self._resolved_spec.training.seed, index), network.architecture
        if architecture.kind == "perceptron":  # with unused hidden units again
            architecture = build_dense(self._resolved_spec.network, self._encoder.width, self._target.n_outputs)
        member = new_member(self._resolved_spec, architecture, self._target.loss, no_rows, no_rows, seed, rows)
        load_parameters(member, network.architecture, network.theta)
        return member

    def partial_fit(self, data: Dataset, threads: int | None = None) -> Model:
        """Train for one epoch on these rows and return the model; it is unchanged if a member diverges.

        Raises DivergedError.
        """
        backup = [member.copy() for member in self._members], self._target, deepcopy(self._weights)
        try:
            self._train(data, threads)
        except BaseException:
            self._members, self._target, self._weights = backup
            raise
        self._n_rows += len(data.y)
        networks = collect_networks(self._members, self._resolved_spec, interrupted=False)
        metadata = ModelMetadata(rows=self._n_rows, interrupted=False, members=len(self._members), failures=())
        trial = TrainedTrial(self._resolved_spec, self._encoder, self._target, networks)
        return Model(self._spec, self._schema, (trial,), metadata)

    def _train(self, data: Dataset, threads: int | None) -> None:
        frame, y, weight = concatenate_data(data, None)
        if self._n_rows and self._target.task == "regression":
            self._extend_target(y)
        weight = self._weights.scale(y, weight)
        rows = make_rows(self._target, self._encoder, encode_frame(self._encoder, frame), y, weight)
        for member in self._members:
            set_rows(member, np.arange(len(y)), rows)
            member.drop_records(MAX_RECORDED_EPOCHS - 1)
            member.epochs, member.finished = member.n_epochs + 1, False  # new rows may need training again
        for _ in train(self._members, rows, threads=threads):
            pass
        failures = [member.failure for member in self._members if member.failure]
        if failures:
            raise divergence_error(self._resolved_spec, failures)

    def _extend_target(self, y: np.ndarray) -> None:
        """Scale the target by all values so far, without a change of what the networks predict (PopArt).

        Source: van Hasselt et al. 2016, Learning values across many orders of magnitude.
        """
        old, new = self._target, self._target.extend(y, self._n_rows)
        scale, shift = np.divide(old.scale, new.scale), np.subtract(old.center, new.center) / new.scale
        if new.loss != "poisson":
            for member in self._members:
                member.rescale_outputs(scale, shift)
        self._target = new
