"""Trained networks, and the networks of a trial with their encoder, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.media.columns import EncodedInputs
from rosenblatt.data.sparse import is_sparse
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import TableError
from rosenblatt.networks.deep import DeepArchitecture
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.spec.spec import Spec
from rosenblatt.training.backend import predict
from rosenblatt.training.compiled.encoding import MatrixEncoder
from rosenblatt.training.compiled.prediction import NetworkStack, can_stack
from rosenblatt.training.rows import DenseRows, Rows

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network: architecture, parameters and training curves."""

    architecture: DenseArchitecture | DeepArchitecture
    theta: np.ndarray  # (n_parameters,) float32
    best_epoch: int  # epoch of the parameters, from 1
    losses: tuple[float, ...]  # training loss of each epoch; of a network trained in parts, of the last ones
    scores: tuple[float, ...]  # validation score of each epoch; empty without validation rows

    @property
    def n_epochs(self) -> int:
        """Number of epochs of its training."""
        return max(len(self.losses), self.best_epoch)

    @property
    def dense(self) -> DenseArchitecture:
        """The architecture of a perceptron or multilayer perceptron. Raises TableError for other kinds."""
        if not isinstance(self.architecture, DenseArchitecture):
            raise TableError(
                f"This needs a network of dense layers, but the kind of this network is {self.architecture.kind}."
            )
        return self.architecture


@dataclass(frozen=True)
class TrainedTrial:
    """Networks trained with one set of hyperparameters; their predictions are averaged."""

    resolved_spec: Spec  # without "auto"
    encoder: Encoder
    target: Target
    networks: tuple[TrainedNetwork, ...]
    weight: float = 1.0  # in the ensemble; the weights of all trials add up to 1
    number: int = 0  # in the search

    def encode(self, typed: pl.DataFrame | np.ndarray | csr_array) -> np.ndarray | EncodedInputs:
        """Encode rows, as `Schema.read` or `Schema.read_matrix` returns them: (n, F) float32."""
        if is_sparse(typed):
            typed = typed.toarray()
        return self._matrix_encoder.encode(typed) if isinstance(typed, np.ndarray) else self.encoder.encode(typed)

    def predict_encoded(self, rows: Rows, n: int) -> np.ndarray:
        """Return the mean prediction of the networks for n encoded rows, as `Model.predict_raw`."""
        if self._stack and isinstance(rows, DenseRows):
            outputs = self._stack.predict(rows.x[:n])
        else:
            loss, index = self.target.loss, np.arange(n)
            outputs = np.stack([predict(net.architecture, loss, net.theta, rows, index) for net in self.networks])
        predictions = self.target.decode(outputs.reshape(len(self.networks) * n, *outputs.shape[2:]))
        predictions = predictions.reshape(len(self.networks), n, *predictions.shape[1:])
        total = predictions[0].copy()
        for prediction in predictions[1:]:  # in this order for any number of rows, unlike a sum by NumPy
            total += prediction
        return total / len(predictions)

    @cached_property
    def _matrix_encoder(self) -> MatrixEncoder:
        """The encoder of a matrix, prepared for compiled code."""
        return MatrixEncoder(self.encoder.encodings)

    @cached_property
    def _stack(self) -> NetworkStack | None:
        """The networks, prepared for compiled code; None if they are of another kind."""
        networks = [(net.architecture, net.theta) for net in self.networks if can_stack(net.architecture)]
        return (
            NetworkStack(networks, self.target.loss, self.encoder.spans)
            if len(networks) == len(self.networks)
            else None
        )

    def __getstate__(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}  # without what compiled code needs
