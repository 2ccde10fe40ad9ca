"""A trained model: everything needed to predict, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from rosenblatt.data.cores import cores
from rosenblatt.data.encoding.encoder import CHUNK_ROWS, Encoder
from rosenblatt.data.media.columns import EncodedInputs, media_kinds
from rosenblatt.data.readers.frames import as_frame, as_matrix, column_names, is_frame
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.sparse import is_sparse
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import TableError
from rosenblatt.models.cell_encoder import CellEncoder, Cells
from rosenblatt.models.export.methods import ExportMethods
from rosenblatt.models.metadata import ModelMetadata
from rosenblatt.models.trained import TrainedNetwork, TrainedTrial
from rosenblatt.models.training_rows import TrainingRows
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec
from rosenblatt.training.rows import DenseRows, MediaRows, Rows, SparseRows

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ModelTask = Task | Literal["forecasting"]
_EncodedTables = Sequence[np.ndarray | EncodedInputs]  # one for each trial
MIN_PARALLEL_PRODUCTS = 20_000_000  # products of a prediction from which several threads are faster than one
MAX_CHUNK_VALUES = 2**19  # encoded numbers of the rows that a thread predicts at a time
MAX_CELL_ROWS = 4096  # rows up to which a frame is encoded cell by cell
MEDIA_CHUNK_ROWS = 512  # rows with images, sequences or texts that are encoded at once


@dataclass(frozen=True)
class Model(ExportMethods):
    """A trained model, as immutable plain data.

    After a search it may be an ensemble of several trials, in order of descending weight.
    """

    spec: Spec  # as the user set it
    schema: Schema
    trials: tuple[TrainedTrial, ...]
    metadata: ModelMetadata = field(default_factory=ModelMetadata)
    training_rows: TrainingRows | None = None  # by which training rows are recognized; None if they were not hashed

    @property
    def resolved_spec(self) -> Spec:
        """The hyperparameters of the first trial, without "auto"."""
        return self.trials[0].resolved_spec

    @property
    def encoder(self) -> Encoder:
        """The encoder of the first trial."""
        return self.trials[0].encoder

    @property
    def target(self) -> Target:
        """The target of the first trial; names, task and classes are equal for all trials."""
        return self.trials[0].target

    @property
    def task(self) -> ModelTask:
        """The task of the target, or "forecasting" if the model predicts the next steps of a time series."""
        return "forecasting" if self.metadata.windows else self.target.task

    @property
    def networks(self) -> tuple[TrainedNetwork, ...]:
        """The networks of all trials."""
        return tuple(network for trial in self.trials for network in trial.networks)

    def trial_for_network(self, network: int) -> TrainedTrial:
        """Return the trial of a network, given the number of the network from 0."""
        return [trial for trial in self.trials for _ in trial.networks][network]

    def predict(self, table: Any) -> np.ndarray:
        """Predict rows of a Polars or pandas frame or an array, with the columns the model was trained on.

        Returns classes (n,), labels as zeros and ones (n, labels), or values (n,) or (n, targets). Raises TableError if
        the table does not fit the model.
        """
        return self.label(self.predict_raw(self._rows(table)))

    def predict_proba(self, table: Any) -> np.ndarray:
        """Predict the probability of each class or label, (n, classes or labels).

        Raises TableError if the table does not fit the model or the model gives no probabilities.
        """
        self.check_probabilities()
        return self.predict_raw(self._rows(table))

    def check_probabilities(self) -> None:
        """Raise TableError if the networks give no probabilities."""
        if self.target.task == "regression" or self.target.output_type == "sums":
            output = "predicts values" if self.target.task == "regression" else "gives weighted sums"
            raise TableError(f"This model {output}, so it has no probabilities. Use predict.")

    def label(self, raw_predictions: np.ndarray) -> np.ndarray:
        """Convert raw predictions to classes, labels or values, as `predict` returns them."""
        predictions = self.target.to_predictions(raw_predictions)
        if self.target.labels:
            return self.target.label_array[predictions]
        return predictions[:, 0] if self.target.task == "regression" and predictions.shape[1] == 1 else predictions

    def predict_raw(self, frame: pl.DataFrame | np.ndarray | csr_array, threads: int | None = None) -> np.ndarray:
        """Return the mean prediction of the networks, (n, classes, labels or values) float64.

        Probabilities of classes and labels (of a perceptron: weighted sums of its units), or values. The prediction for
        a row does not depend on the other rows, to the last bit. Raises TableError if the rows do not fit the model.
        """
        if self.encoder.n_sparse_columns:
            return self._predict_sparse(_to_sparse(frame) if isinstance(frame, np.ndarray) else frame)
        if not isinstance(frame, pl.DataFrame) and self.schema.is_numeric:
            return self.predict_typed(self.schema.read_matrix(frame), threads)
        if is_sparse(frame):
            frame = frame.toarray()
        if isinstance(frame, np.ndarray):
            frame = as_frame(frame, [column.name for column in self.schema.columns])
        encoded = self._encode_cells(frame)
        if encoded is None:
            return self.predict_typed(self.schema.read(frame), threads)
        return self._predict_chunks(frame.height, lambda rows: [x[rows] for x in encoded], threads)

    def predict_cells(self, columns: Mapping[str, Cells], n: int, threads: int | None = None) -> np.ndarray | None:
        """Predict n rows as `predict_raw`, from the cells of all input columns, without a frame.

        Returns None if there are many rows, infinite numbers, or columns of other kinds than plain numbers, categories
        and booleans. Then `predict_raw` is to be called with a frame.
        """
        if n > MAX_CELL_ROWS or not all(encoder.is_possible for encoder in self._cell_encoders.values()):
            return None
        encoded = self._for_each_trial({k: e.encode_cells(columns, n) for k, e in self._cell_encoders.items()})
        return None if encoded is None else self._predict_chunks(n, lambda rows: [x[rows] for x in encoded], threads)

    def _predict_sparse(self, frame: pl.DataFrame | csr_array) -> np.ndarray:
        """Predict as `predict_raw`, with networks that take sparse rows as they are."""
        if isinstance(frame, pl.DataFrame) or frame.shape[1] != self.encoder.n_sparse_columns:
            kind = "a table" if isinstance(frame, pl.DataFrame) else "a sparse matrix"
            raise TableError(
                f"The model was trained on a sparse matrix of {self.encoder.n_sparse_columns} columns, but this is "
                f"{kind} of {frame.shape[1]}. Use rows of that form."
            )
        empty = np.empty((0, 1), np.float32)
        rows = SparseRows(*csr_parts(frame), empty, empty[:, 0])
        return self._weighted_mean([trial.predict_encoded(rows, frame.shape[0]) for trial in self.trials])

    def predict_typed(self, typed: pl.DataFrame | np.ndarray | csr_array, threads: int | None = None) -> np.ndarray:
        """Predict as `predict_raw`, for rows as `Schema.read` returns them."""
        has_media = bool(media_kinds(typed))
        return self._predict_chunks(typed.shape[0], lambda rows: self.encode(typed[rows]), threads, has_media=has_media)

    def _predict_chunks(
        self, n: int, encode: Callable[[slice], _EncodedTables], threads: int | None, *, has_media: bool = False
    ) -> np.ndarray:
        """Predict n rows, some at a time; `encode` encodes a slice of them for each trial."""
        n = max(n, 1)
        if has_media:
            threads, chunk_rows = threads or cores(), MEDIA_CHUNK_ROWS
        elif n * sum(network.theta.size for network in self.networks) < MIN_PARALLEL_PRODUCTS:
            threads, chunk_rows = 1, CHUNK_ROWS
        else:
            threads = threads or cores()
            max_rows = min(CHUNK_ROWS, MAX_CHUNK_VALUES // max(trial.encoder.width for trial in self.trials) + 1)
            chunk_rows = ceil(n / (threads * ceil(n / (threads * max_rows))))  # as many for each thread

        def predict_chunk(start: int) -> np.ndarray:
            return self.predict_encoded(encode(slice(start, start + chunk_rows)))

        starts = range(0, n, chunk_rows)
        if threads == 1 or len(starts) == 1:
            return _concatenate_predictions([predict_chunk(start) for start in starts])
        with ThreadPoolExecutor(threads) as pool:
            return _concatenate_predictions(list(pool.map(predict_chunk, starts)))

    def encode(self, typed: pl.DataFrame | np.ndarray | csr_array) -> list[np.ndarray | EncodedInputs]:
        """Encode rows, as `Schema.read` returns them, for each trial: (n, F) float32."""
        encoded = {k: self.trials[k].encode(typed) for k in {*self._encoders}}
        return [encoded[k] for k in self._encoders]

    def _encode_cells(self, frame: pl.DataFrame) -> list[np.ndarray] | None:
        """Encode a table as read, as `encode` does; None if it has many rows, or columns of other types than words."""
        if frame.height > MAX_CELL_ROWS:
            return None
        return self._for_each_trial({k: encoder.encode(frame) for k, encoder in self._cell_encoders.items()})

    def _for_each_trial(self, encoded: Mapping[int, np.ndarray | None]) -> list[np.ndarray] | None:
        """The rows of each trial, given those of each encoder; None if one encoder has none."""
        tables = [x for k in self._encoders if (x := encoded[k]) is not None]
        return tables if len(tables) == len(self.trials) else None

    @cached_property
    def _cell_encoders(self) -> dict[int, CellEncoder]:
        return {k: CellEncoder(self.schema, self.trials[k].encoder) for k in {*self._encoders}}

    @cached_property
    def _encoders(self) -> list[int]:
        """For each trial, the number of the first trial with the same encoder."""
        return [next(k for k, other in enumerate(self.trials) if other.encoder == t.encoder) for t in self.trials]

    def predict_encoded(self, encoded_tables: _EncodedTables) -> np.ndarray:
        """Predict as `predict_raw`, for rows as `encode` returns them."""
        predictions = [
            trial.predict_encoded(to_engine_rows(x), len(x))
            for trial, x in zip(self.trials, encoded_tables, strict=True)
        ]
        return self._weighted_mean(predictions)

    def _rows(self, table: Any) -> pl.DataFrame | np.ndarray | csr_array:
        """Convert a table to rows for `predict_raw`: to a matrix if its columns are numbers. Raises as `as_frame`."""
        if is_sparse(table):
            return _to_sparse(table)
        if is_frame(table):
            names, inputs = column_names(table), [column.name for column in self.schema.input_columns]
            has_inputs = names == inputs or (inputs and {*inputs} <= {*table.columns})
            is_matrix = has_inputs and self.schema.is_numeric
            matrix = as_matrix(table if names == inputs else table[inputs]) if is_matrix else None
        else:
            matrix = as_matrix(table)
        return as_frame(table) if matrix is None else matrix

    def _weighted_mean(self, predictions: list[np.ndarray]) -> np.ndarray:
        if len(predictions) == 1:
            return predictions[0]
        total = np.zeros_like(predictions[0])
        for trial, prediction in zip(self.trials, predictions, strict=True):
            total += trial.weight * prediction
        return total

    def __getstate__(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}

    def with_metadata(self, **fields: Any) -> Model:
        """Return a copy of the model with these fields of its metadata replaced."""
        return replace(self, metadata=self.metadata.with_fields(**fields))


def to_engine_rows(x: np.ndarray | EncodedInputs) -> Rows:
    """Convert encoded rows to the rows of an engine, without targets."""
    empty = np.empty((0, 1), np.float32)
    if isinstance(x, EncodedInputs):
        return MediaRows(x.x, x.media, np.zeros((len(x), 1), np.float32), np.ones(len(x), np.float32))
    return DenseRows(x, empty, empty[:, 0])


def _concatenate_predictions(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenate predictions of consecutive rows; those of steps (n, T, K) are padded to the longest."""
    if parts[0].ndim == 3:
        max_length = max(part.shape[1] for part in parts)
        parts = [np.pad(part, ((0, 0), (0, max_length - part.shape[1]), (0, 0))) for part in parts]
    return np.concatenate(parts)


def _to_sparse(table: Any) -> csr_array:
    from scipy.sparse import csr_array  # takes 0.2 s to import

    return csr_array(table)


def csr_parts(matrix: csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values, column numbers and row starts of a sparse matrix."""
    return matrix.data.astype(np.float32), matrix.indices.astype(np.uint32), matrix.indptr.astype(np.int64)
