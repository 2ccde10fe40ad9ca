"""Train a model further on rows that arrive in parts (`partial_fit`)."""

from __future__ import annotations

import numpy as np

from rosenblatt.data.dataset import Data
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.models.fit import _diverged, _members, _trained
from rosenblatt.models.model import Model, TrainedNetwork, TrainedTrial
from rosenblatt.models.prepared import _encoded, _resolved, _rows, _together
from rosenblatt.networks.dense import build
from rosenblatt.spec.spec import Spec
from rosenblatt.training.member import Member, go_on, new_member, take
from rosenblatt.training.population import train
from rosenblatt.training.rows import Table


class Stream:
    """A model that learns from one batch of rows after another, an epoch each; none is spared for validation.

    How numbers are scaled, which categories there are, and how targets are spread is that of `model`, whose networks
    learn on, or else learnt from the first batch. The learning rate is constant.
    """

    def __init__(self, spec: Spec, schema: Schema, target: Target, first: Data, model: Model | None = None) -> None:
        self._spec, self._schema = spec, schema
        self._target = model.target if model else target
        chosen = model.chosen if model else _resolved(spec, first, target)
        constant = dict.fromkeys(("schedule", "dropout_schedule", "weight_decay_schedule"), "constant")
        self._chosen = chosen.replace(folds=1, **constant)
        whole = target.task == "tagging"
        self._encoder = model.encoder if model else Encoder.learn(first.frame, self._chosen.data, whole=whole)
        frame, y, weight = _together(first, None)
        rows = _rows(self._chosen, self._target, _encoded(self._encoder, frame), y, weight)
        self._members = list(_members(self._chosen, self._encoder, self._target, first, rows, None))
        self._rows = 0
        if model:
            self._members = [
                self._going_on(network, index, rows) for index, network in enumerate(model.trials[0].networks)
            ]
            self._rows = model.facts["rows"]

    def _going_on(self, network: TrainedNetwork, index: int, rows: Table) -> Member:
        """A member that starts from what a network learnt; its rows come with each batch."""
        none, seed, architecture = np.arange(0), (self._chosen.training.seed, index), network.architecture
        if architecture.kind == "perceptron":  # with room for more hidden units
            architecture = build(self._chosen.network, self._encoder.width, self._target.n_outputs)
        member = new_member(self._chosen, architecture, self._target.loss, none, none, seed, rows)
        go_on(member, network.architecture, network.theta)
        return member

    def learn(self, data: Data, threads: int | None = None) -> Model:
        """One epoch over these rows; the model so far. Raises DivergedError."""
        frame, y, weight = _together(data, None)
        rows = _rows(self._chosen, self._target, _encoded(self._encoder, frame), y, weight)
        for member in self._members:
            take(member, np.arange(len(y)), rows)
            member.epochs, member.ended = len(member.history) + 1, False  # a stream may bring what is new
        before = [member.copy() for member in self._members]
        for _ in train(self._members, rows, threads=threads):
            pass
        failures = [member.failure for member in self._members if member.failure]
        if failures:
            self._members = before
            raise _diverged(self._chosen, failures)
        self._rows += len(y)
        networks = _trained(self._members, self._chosen, interrupted=False)
        facts = {"rows": self._rows, "interrupted": False, "members": len(self._members), "failures": []}
        trial = TrainedTrial(self._chosen, self._encoder, self._target, networks)
        return Model(self._spec, self._schema, (trial,), facts)
