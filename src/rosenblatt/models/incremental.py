"""Train a model further on rows that arrive in parts (`partial_fit`)."""

from __future__ import annotations

import numpy as np

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.fit import _collect_networks, _divergence_error, _make_members
from rosenblatt.models.metadata import ModelMetadata
from rosenblatt.models.model import Model, TrainedNetwork, TrainedTrial
from rosenblatt.models.prepared import _concatenate, _encode_frame, _make_rows, _resolve
from rosenblatt.networks.dense import build_dense
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member, load_parameters, new_member, set_rows
from rosenblatt.training.population import train
from rosenblatt.training.rows import Rows


class IncrementalTrainer:
    """A model that learns from one batch of rows after another, an epoch each; none is spared for validation.

    How numbers are scaled, which categories there are, and how targets are spread is that of `model`, whose networks
    learn on, or else learnt from the first batch. The learning rate is constant.
    """

    def __init__(
        self, spec: Spec, schema: Schema, target: Target, first_batch: Dataset, model: Model | None = None
    ) -> None:
        self._spec, self._schema = spec, schema
        self._target = model.target if model else target
        resolved_spec = model.resolved_spec if model else _resolve(spec, first_batch, target)
        constant_schedules = dict.fromkeys(("schedule", "dropout_schedule", "weight_decay_schedule"), "constant")
        self._resolved_spec = resolved_spec.replace(folds=1, **constant_schedules)
        is_tagging = target.task == "tagging"
        self._encoder = (
            model.encoder
            if model
            else Encoder.fit(first_batch.frame, self._resolved_spec.data, never_truncate=is_tagging)
        )
        frame, y, weight = _concatenate(first_batch, None)
        rows = _make_rows(self._resolved_spec, self._target, _encode_frame(self._encoder, frame), y, weight)
        self._members = list(_make_members(self._resolved_spec, self._encoder, self._target, first_batch, rows, None))
        self._n_rows = 0
        if model:
            self._members = [
                self._resume_member(network, index, rows) for index, network in enumerate(model.trials[0].networks)
            ]
            self._n_rows = model.metadata.rows

    def _resume_member(self, network: TrainedNetwork, index: int, rows: Rows) -> Member:
        """A member that starts from what a network learnt; its rows come with each batch."""
        no_rows, seed, architecture = np.arange(0), (self._resolved_spec.training.seed, index), network.architecture
        if architecture.kind == "perceptron":  # with room for more hidden units
            architecture = build_dense(self._resolved_spec.network, self._encoder.width, self._target.n_outputs)
        member = new_member(self._resolved_spec, architecture, self._target.loss, no_rows, no_rows, seed, rows)
        load_parameters(member, network.architecture, network.theta)
        return member

    def partial_fit(self, data: Dataset, threads: int | None = None) -> Model:
        """One epoch over these rows; the model so far. Raises DivergedError."""
        frame, y, weight = _concatenate(data, None)
        rows = _make_rows(self._resolved_spec, self._target, _encode_frame(self._encoder, frame), y, weight)
        for member in self._members:
            set_rows(member, np.arange(len(y)), rows)
            member.epochs, member.finished = len(member.history) + 1, False  # a stream may bring what is new
        backup = [member.copy() for member in self._members]
        for _ in train(self._members, rows, threads=threads):
            pass
        failures = [member.failure for member in self._members if member.failure]
        if failures:
            self._members = backup
            raise _divergence_error(self._resolved_spec, failures)
        self._n_rows += len(y)
        networks = _collect_networks(self._members, self._resolved_spec, interrupted=False)
        metadata = ModelMetadata(rows=self._n_rows, interrupted=False, members=len(self._members), failures=())
        trial = TrainedTrial(self._resolved_spec, self._encoder, self._target, networks)
        return Model(self._spec, self._schema, (trial,), metadata)
