"""Train a model further on rows that arrive in parts (`partial_fit`)."""

from __future__ import annotations

import numpy as np

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.fit import collect_networks, divergence_error, make_members
from rosenblatt.models.metadata import ModelMetadata
from rosenblatt.models.model import Model, TrainedNetwork, TrainedTrial
from rosenblatt.models.prepared import concatenate_data, encode_frame, make_rows, resolve_spec
from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member, load_parameters, new_member, set_rows
from rosenblatt.training.population import train
from rosenblatt.training.rows import Rows


class IncrementalTrainer:
    """Trains networks on one batch of rows after another, for one epoch each, without validation rows.

    The encoder and the target are those of `model`, whose networks are trained further, or are fitted on the first
    batch. The learning rate is constant.
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
            else Encoder.fit(first_batch.frame, self._resolved_spec.data, never_truncate=is_tagging)
        )
        frame, y, weight = concatenate_data(first_batch, None)
        rows = make_rows(self._resolved_spec, self._target, encode_frame(self._encoder, frame), y, weight)
        self._members = list(make_members(self._resolved_spec, self._encoder, self._target, first_batch, rows, None))
        self._n_rows = 0
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
        frame, y, weight = concatenate_data(data, None)
        rows = make_rows(self._resolved_spec, self._target, encode_frame(self._encoder, frame), y, weight)
        for member in self._members:
            set_rows(member, np.arange(len(y)), rows)
            member.epochs, member.finished = len(member.history) + 1, False  # new rows may need training again
        backup = [member.copy() for member in self._members]
        for _ in train(self._members, rows, threads=threads):
            pass
        failures = [member.failure for member in self._members if member.failure]
        if failures:
            self._members = backup
            raise divergence_error(self._resolved_spec, failures)
        self._n_rows += len(y)
        networks = collect_networks(self._members, self._resolved_spec, interrupted=False)
        metadata = ModelMetadata(rows=self._n_rows, interrupted=False, members=len(self._members), failures=())
        trial = TrainedTrial(self._resolved_spec, self._encoder, self._target, networks)
        return Model(self._spec, self._schema, (trial,), metadata)
