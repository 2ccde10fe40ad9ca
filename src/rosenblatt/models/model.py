"""In: what was learnt. Out: a model: all that is needed to predict, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_array, issparse

from rosenblatt.data.encoding.encoder import CHUNK, Encoder
from rosenblatt.data.media.columns import Inputs, has_media
from rosenblatt.data.readers.frames import as_frame
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import TableError
from rosenblatt.networks.deep import Deep
from rosenblatt.networks.dense import Architecture
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import outputs
from rosenblatt.training.rows import MediaRows, Rows, SparseRows, Table
from rosenblatt.training.workers import cores

MEDIA_CHUNK = 512  # rows with images, sequences or texts that are encoded at a time


@dataclass(frozen=True)
class TrainedNetwork:
    """One trained member: what it is, what it learnt, and how that went."""

    architecture: Architecture | Deep
    theta: np.ndarray  # (n_parameters,) float32
    best_epoch: int  # whose parameters these are, counted from 1
    losses: tuple[float, ...]  # of each epoch, on the training rows as they were met
    scores: tuple[float, ...]  # of each epoch, on the validation rows; empty where there are none

    @property
    def dense(self) -> Architecture:
        """The architecture of a perceptron or a multilayer perceptron. Raises TableError for others."""
        if not isinstance(self.architecture, Architecture):
            raise TableError(f"A network of kind {self.architecture.kind} is no chain of dense layers.")
        return self.architecture


@dataclass(frozen=True)
class TrainedTrial:
    """What was learnt with one set of hyperparameters: networks whose predictions are averaged."""

    chosen: Spec  # with all that was "auto" chosen
    encoder: Encoder
    target: Target
    networks: tuple[TrainedNetwork, ...]
    weight: float = 1.0  # its share in what the model says; those of all trials add up to 1
    number: int = 0  # in the search it comes from

    def decoded(self, table: Table, n: int) -> np.ndarray:
        """The mean of what the networks say of the n rows of an encoded table, as `Model.decoded`."""
        said = [
            self.target.decode(outputs(network.architecture, self.target.loss, network.theta, table, np.arange(n)))
            for network in self.networks
        ]
        return np.mean(said, axis=0)


@dataclass(frozen=True)
class Model:
    """A trained model: its parts are plain data, and it is not changed any more.

    After a search it may be an ensemble of several trials, the one of the largest weight first.
    """

    spec: Spec  # as asked
    schema: Schema
    trials: tuple[TrainedTrial, ...]
    facts: dict[str, Any] = field(default_factory=dict)  # where it comes from and how good it is, as JSON

    @property
    def chosen(self) -> Spec:
        """The hyperparameters of the first trial, with all that was "auto" chosen."""
        return self.trials[0].chosen

    @property
    def encoder(self) -> Encoder:
        """How the first trial's networks are given a table."""
        return self.trials[0].encoder

    @property
    def target(self) -> Target:
        """What is predicted: names, task and classes are those of all trials."""
        return self.trials[0].target

    @property
    def networks(self) -> tuple[TrainedNetwork, ...]:
        """The networks of all trials."""
        return tuple(network for trial in self.trials for network in trial.networks)

    def trial_of(self, network: int) -> TrainedTrial:
        """The trial of a network by its number, from 0."""
        return [trial for trial in self.trials for _ in trial.networks][network]

    def predict(self, table: Any) -> np.ndarray:
        """What the model says of each row of a table: Polars, pandas or an array, with the columns it learnt from.

        The class (n,), labels that hold as zeros and ones (n, labels), or values (n,) or (n, targets). Raises
        TableError where the table does not fit.
        """
        return self.label(self.decoded(rows_of(table)))

    def predict_proba(self, table: Any) -> np.ndarray:
        """The probability of each class or label, (n, classes or labels). Raises TableError as `predict` does."""
        self.check_probabilities()
        return self.decoded(rows_of(table))

    def check_probabilities(self) -> None:
        """Raise TableError where the networks give no probabilities."""
        if self.target.task == "regression" or self.target.answers == "sums":
            what = "predicts values" if self.target.task == "regression" else "gives weighted sums"
            raise TableError(f"This model {what}, so it has no probabilities. Use predict.")

    def label(self, decoded: np.ndarray) -> np.ndarray:
        """What is predicted, from the mean of what the networks say."""
        decided = self.target.decide(decoded)
        if self.target.labels:
            return np.asarray(self.target.labels)[decided]
        return decided[:, 0] if self.target.task == "regression" and decided.shape[1] == 1 else decided

    def decoded(self, frame: pl.DataFrame | np.ndarray | csr_array, threads: int | None = None) -> np.ndarray:
        """The mean of what the networks say of the rows of a table, (n, classes, labels or values) float64.

        Probabilities for classes and labels (weighted sums of a perceptron's units), else values. What is said of a row
        is the same to the last bit, whatever rows stand beside it. Raises TableError where they do not fit.
        """
        if self.encoder.sparse and isinstance(frame, np.ndarray):
            frame = csr_array(frame)
        elif not self.encoder.sparse and isinstance(frame, csr_array):
            frame = frame.toarray()
        if isinstance(frame, np.ndarray):
            plain = all(trial.encoder.is_plain for trial in self.trials)
            return self.decoded_typed(frame if plain else self.schema.read(as_frame(frame)), threads)
        if isinstance(frame, pl.DataFrame) and not self.encoder.sparse:
            return self.decoded_typed(self.schema.read(frame), threads)
        if isinstance(frame, pl.DataFrame) or frame.shape[1] != self.encoder.sparse:
            learnt = f"a sparse matrix of {self.encoder.sparse} columns" if self.encoder.sparse else "a table"
            came = f"{'a table' if isinstance(frame, pl.DataFrame) else 'a sparse matrix'} of {frame.shape[1]}"
            raise TableError(f"The model learnt from {learnt}, but this is {came}. Give it rows of that kind.")
        nothing = np.empty((0, 1), np.float32)
        rows = SparseRows(*csr_parts(frame), nothing, nothing[:, 0])
        return self._weighed([trial.decoded(rows, frame.shape[0]) for trial in self.trials])

    def decoded_typed(self, typed: pl.DataFrame | np.ndarray, threads: int | None = None) -> np.ndarray:
        """`decoded` for a table that the schema has read."""

        rows = MEDIA_CHUNK if has_media(typed) else CHUNK

        def chunk(start: int) -> np.ndarray:
            return self.decoded_rows(self.encoded(typed[start : start + rows]))

        with ThreadPoolExecutor(threads or cores()) as pool:
            return _joined(list(pool.map(chunk, range(0, max(len(typed), 1), rows))))

    def encoded(self, typed: pl.DataFrame | np.ndarray) -> list[np.ndarray | Inputs]:
        """What each trial's networks are given of a table that the schema has read: (n, F) float32, one a trial."""
        known: list[tuple[Encoder, np.ndarray | Inputs]] = []
        for trial in self.trials:
            x = next((x for encoder, x in known if encoder == trial.encoder), None)
            known.append((trial.encoder, trial.encoder.encode(typed) if x is None else x))
        return [x for _, x in known]

    def decoded_rows(self, encoded: Sequence[np.ndarray | Inputs]) -> np.ndarray:
        """`decoded` for rows as `encoded` makes them."""
        said = [trial.decoded(table_of(x), len(x)) for trial, x in zip(self.trials, encoded, strict=True)]
        return self._weighed(said)

    def _weighed(self, said: list[np.ndarray]) -> np.ndarray:
        if len(said) == 1:
            return said[0]
        total = np.zeros_like(said[0])
        for trial, values in zip(self.trials, said, strict=True):
            total += trial.weight * values
        return total

    def with_facts(self, **facts: Any) -> Model:
        """This model, with more known of it."""
        return replace(self, facts={**self.facts, **facts})


def table_of(x: np.ndarray | Inputs) -> Table:
    """Encoded rows without answers, as the engine takes them."""
    nothing = np.empty((0, 1), np.float32)
    if isinstance(x, Inputs):
        return MediaRows(x.x, x.media, np.zeros((len(x), 1), np.float32), np.ones(len(x), np.float32))
    return Rows(x, nothing, nothing[:, 0])


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """What is said of one part of the rows after the other; answers for steps are as many as the longest row has."""
    if parts[0].ndim == 3:
        longest = max(part.shape[1] for part in parts)
        parts = [np.pad(part, ((0, 0), (0, longest - part.shape[1]), (0, 0))) for part in parts]
    return np.concatenate(parts)


def rows_of(table: Any) -> pl.DataFrame | csr_array:
    """A frame of a table or an array; a sparse matrix by rows. Raises TableError, TypeError as `as_frame` does."""
    return csr_array(table) if issparse(table) else as_frame(table)


def csr_parts(matrix: csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, columns and starts of the rows."""
    return matrix.data.astype(np.float32), matrix.indices.astype(np.uint32), matrix.indptr.astype(np.int64)
