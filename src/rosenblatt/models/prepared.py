"""Encoded rows and targets, cached for all trials that encode them alike."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.encoding.encoder import MAX_BLOCK_VALUES, Encoder
from rosenblatt.data.free_memory import free_memory
from rosenblatt.data.media.columns import EncodedInputs, media_kinds
from rosenblatt.data.sparse import is_sparse, stack_sparse
from rosenblatt.data.splits import Fold, validation_folds
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError, TableError, format_list
from rosenblatt.models.compatibility import check_compatibility, check_inputs
from rosenblatt.models.folds import limit_folds
from rosenblatt.models.model import csr_parts
from rosenblatt.networks.deep import DeepArchitecture, build_deep
from rosenblatt.networks.dense import DenseArchitecture, build_dense
from rosenblatt.networks.layers import InputSpec
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.fields import DEEP_KINDS, class_label_text
from rosenblatt.spec.spec import Spec
from rosenblatt.training.compiled.encoding import MatrixEncoder
from rosenblatt.training.population import EpochScorer
from rosenblatt.training.rows import DenseRows, MediaRows, Rows, SparseRows

if TYPE_CHECKING:
    from scipy.sparse import csr_array

ScorerFactory = Callable[[Target, np.ndarray, np.ndarray | None], EpochScorer]
"""Makes the scorer of an epoch from the target, y and weights of all rows (training rows, then validation rows)."""


class PreparedData:
    """Rows of a fit, encoded once for all trials whose hyperparameters need the same encoding.

    Args:
        data: training rows.
        make_target: makes the target for a spec, which decides on the loss and its transformation.
        validation: rows to choose the best epochs on, instead of folds of `data`.
        splits: training and validation rows of each fold, instead of random folds of `data`.
        encoder: the encoder of all trials, instead of one that is fitted on `data`.
    """

    def __init__(
        self,
        data: Dataset,
        make_target: Callable[[Spec], Target],
        validation: Dataset | None = None,
        splits: list[Fold] | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        self._encoder = encoder
        self.data, self.validation, self.splits, self._make_target = data, validation, splits, make_target
        self.frame, self.y, self.weight = concatenate_data(data, validation)
        self._encodings: dict[str, tuple[Encoder, np.ndarray | csr_array | EncodedInputs]] = {}
        self._rows: dict[tuple[str, str, str], Rows] = {}
        self._targets: dict[str, Target] = {}

    def resolve(self, spec: Spec, available_cores: int = 1) -> Spec:
        """Resolve every "auto" of the spec; its networks share the available cores.

        Raises SpecError if hyperparameters cannot be combined with each other or with the task.
        """
        resolved_spec = resolve_spec(spec, self.data, self.target(spec), available_cores)
        if self.validation is not None or self.splits is not None:
            return resolved_spec
        return limit_folds(spec, resolved_spec, self.data, self.target(spec))

    def target(self, spec: Spec) -> Target:
        """Return the target for networks of this spec. Raises SpecError if the loss does not fit the task."""
        training = spec.training
        loss_settings = training.loss, training.multiclass, training.logit_adjustment
        key = f"{spec.data.target_transform} {spec.network} {loss_settings}"
        if key not in self._targets:
            self._targets[key] = self._make_target(spec)
        return self._targets[key]

    def encoder(self, resolved_spec: Spec) -> Encoder:
        """Return the encoder of a resolved spec, fitted on the training rows."""
        return self._encoding(resolved_spec)[0]

    def rows(self, resolved_spec: Spec) -> Rows:
        """Return the encoded training rows, followed by the validation rows; their weights have mean 1.

        Trials with the same encoding get the same object, so that they can be trained in one stack.
        """
        target = self.target(resolved_spec)
        key = (
            encoding_key(resolved_spec),
            target.model_dump_json(exclude={"logit_adjustment"}),
            str(resolved_spec.training.class_weight),
        )
        if key not in self._rows:
            weight = WeightScale(resolved_spec, target).scale(self.y, self.weight)
            self._rows[key] = make_rows(target, *self._encoding(resolved_spec), self.y, weight)
        return self._rows[key]

    def _encoding(self, resolved_spec: Spec) -> tuple[Encoder, np.ndarray | csr_array | EncodedInputs]:
        key = encoding_key(resolved_spec)
        if key not in self._encodings:
            encoder = self._encoder or Encoder.fit(
                self.data.frame,
                resolved_spec.data,
                columns=self.data.columns,
                never_truncate=self.target(resolved_spec).task == "tagging",
            )
            if not encoder.width and not encoder.media_encodings:
                raise TableError("No usable input column: all values of every column are unique.")
            self._encodings[key] = encoder, encode_frame(encoder, self.frame)
        return self._encodings[key]

    @property
    def given_weight(self) -> np.ndarray | None:
        """Weights (n,) of all rows, or None if none are given."""
        is_weighted = any(part is not None and part.weight is not None for part in (self.data, self.validation))
        return self.weight if is_weighted else None

    @property
    def bytes(self) -> int:
        """Memory of all encodings, in bytes."""
        return sum(x.nbytes for _, x in self._encodings.values() if isinstance(x, np.ndarray | EncodedInputs))

    def evict_except(self, keys: set[str]) -> None:
        """Drop encodings other than these (see `encoding_key`); they are computed again when needed."""
        self._rows = {key: rows for key, rows in self._rows.items() if key[0] in keys}
        self._encodings = {key: encoding for key, encoding in self._encodings.items() if key in keys}

    def folds(self, k: int, repeats: int, seed: int) -> list[Fold]:
        """Return training and validation rows of each fold: k folds, repeated with other random splits."""
        n, data = len(self.data.y), self.data
        if self.splits is not None:
            return self.splits
        if self.validation is not None:
            return [Fold(np.arange(n), np.arange(n, n + len(self.validation.y)))]
        return validation_folds(n, k, repeats, seed, data.stratify_by, data.groups, data.order)


def encoding_key(resolved_spec: Spec) -> str:
    """Return a key that is equal for specs with the same encoding."""
    return resolved_spec.data.model_dump_json()


def resolve_spec(spec: Spec, data: Dataset, target: Target, available_cores: int = 1) -> Spec:
    """Resolve every "auto" of a spec for these training rows; its networks share the available cores.

    Raises:
        TableError: if there is no input column.
        SpecError: if hyperparameters cannot be combined with each other, with the rows or with the task.
    """
    if data.frame.shape[1] == 0:
        raise TableError("No usable input column: all are constant, identifiers, free text, or ignored.")
    _check_implementation(spec, is_sparse=is_sparse(data.frame) and not data.columns)
    media, n_numeric = media_kinds(data.frame), data.frame.shape[1]
    if isinstance(data.frame, pl.DataFrame):
        n_numeric = sum(dtype == pl.Float64 for dtype in data.frame.dtypes)
    check_inputs(spec, media, target)
    resolved_spec = resolve_auto(
        spec,
        len(data.y),
        n_numeric,
        has_text="text" in media and target.task != "language",
        loss=target.loss,
        available_cores=available_cores,
        cpu_precision=_fastest_cpu_precision,
    )
    check_compatibility(spec, resolved_spec, target)
    return resolved_spec


def _check_implementation(spec: Spec, *, is_sparse: bool) -> None:
    """Raise SpecError if the network cannot be trained on sparse rows, or needs PyTorch, which is missing."""
    kind = spec.network.kind
    if is_sparse and (kind != "perceptron" or spec.network.perceptron_rule == "kernel"):
        network_label = {"perceptron": "kernel perceptrons", "mlp": "multilayer perceptrons"}.get(kind, kind)
        raise SpecError(
            f"Sparse matrices can be used with perceptrons, but not with {network_label}. Use a dense array or another "
            "network."
        )
    if (kind in DEEP_KINDS or spec.training.device != "cpu") and find_spec("torch") is None:
        network_label = f"kind {kind}" if kind in DEEP_KINDS else f"device {spec.training.device}"
        raise SpecError(
            f"{network_label} needs PyTorch, which is not installed. Install it: pip install 'rosenblatt[torch]'."
        )


def _fastest_cpu_precision() -> str:
    from rosenblatt.training.torch.engine import fastest_cpu_precision  # imports PyTorch

    return fastest_cpu_precision()


def build_architecture(
    spec: Spec, encoder: Encoder, target: Target, member: int
) -> DenseArchitecture | DeepArchitecture:
    """Build the architecture of a member from a resolved spec."""
    if spec.network.kind not in DEEP_KINDS:
        return build_dense(spec.network, encoder.width, target.n_outputs, member)
    media = tuple(InputSpec(*encoding.input_shape) for encoding in encoder.media_encodings)
    flip_averaging = bool(spec["flip"]) and any(medium.kind == "image" for medium in media)
    return build_deep(
        spec.network, media, encoder.width, target.n_outputs, is_per_step=target.is_per_step,
        flip_averaging=flip_averaging, member=member,
    )  # fmt: skip


def encode_frame(
    encoder: Encoder, frame: pl.DataFrame | np.ndarray | csr_array
) -> np.ndarray | csr_array | EncodedInputs:
    """Encode rows as a matrix (n, F) float32; sparse matrices are returned as they are if the encoder has no columns.

    Raises TableError if a sparse matrix has too many rows and columns for the memory.
    """
    if isinstance(frame, np.ndarray):
        return MatrixEncoder(encoder.encodings).encode(frame)
    if isinstance(frame, pl.DataFrame):
        return encoder.encode(frame)
    return frame if encoder.n_sparse_columns else _encode_sparse(encoder, frame)


def _encode_sparse(encoder: Encoder, matrix: csr_array) -> np.ndarray:
    """Encode a sparse matrix as the dense one, (n, F) float32, a block of rows at a time."""
    (n, n_columns), available = matrix.shape, free_memory()
    if 4 * n * encoder.width > available:
        raise TableError(
            f"X is a sparse matrix of {n:,} x {n_columns:,}, which takes {4 * n * encoder.width / 2**30:,.1f} GiB as "
            f"the dense matrix that these networks need, but {available / 2**30:,.1f} GiB of memory are free. Use "
            "fewer columns (SelectKBest, TruncatedSVD), partial_fit with fewer rows at a time, or a Perceptron, which "
            "needs no dense matrix."
        )
    x, matrix_encoder = np.empty((n, encoder.width), np.float32), MatrixEncoder(encoder.encodings)
    step = MAX_BLOCK_VALUES // n_columns + 1
    for start in range(0, n, step):
        x[start : start + step] = matrix_encoder.encode(matrix[start : start + step].toarray())
    return x


def make_rows(
    target: Target, encoder: Encoder, x: np.ndarray | csr_array | EncodedInputs, y: np.ndarray, weight: np.ndarray
) -> Rows:
    """Make the rows that an engine trains on, with encoded targets; see `WeightScale` for their weights."""
    t, weight = target.encode(y), weight.astype(np.float32)
    if isinstance(x, EncodedInputs):
        return MediaRows(x.x, x.media, t, weight)
    return SparseRows(*csr_parts(x), t, weight) if is_sparse(x) else DenseRows(x, t, weight, encoder.spans)


class WeightScale:
    """Multiplies the weights of rows by those of their classes, and divides them by the mean.

    For rows that arrive in parts, frequencies of classes and the mean are those of all rows so far.
    """

    def __init__(self, spec: Spec, target: Target) -> None:
        self._class_weights = _class_weights(spec, target)
        self._counts = np.zeros(len(target.labels))
        self._sum, self._n = 0.0, 0

    def scale(self, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Scale the weights (n,) of rows with targets y."""
        if self._class_weights is not None:
            classes, class_weights = y.astype(int), self._class_weights
            self._counts += np.bincount(classes, minlength=len(self._counts))
            if isinstance(class_weights, str):
                class_weights = self._counts.sum() / (len(self._counts) * np.maximum(self._counts, 1))
            weight = weight * class_weights[classes]
        self._sum, self._n = self._sum + weight.sum(), self._n + len(weight)
        return weight / (self._sum / self._n)


def concatenate_data(data: Dataset, validation: Dataset | None) -> tuple[Any, np.ndarray, np.ndarray]:
    """Concatenate training and validation rows: frame, y (n, ...) and weights (n,)."""
    parts = [data] if validation is None else [data, validation]
    weights = [np.ones(len(part.y)) if part.weight is None else np.asarray(part.weight, float) for part in parts]
    frames: list[Any] = [part.frame for part in parts]
    concatenate = pl.concat if isinstance(data.frame, pl.DataFrame) else np.concatenate
    return (
        stack_sparse(frames) if is_sparse(data.frame) else concatenate(frames) if len(frames) > 1 else frames[0],
        _concatenate_targets([part.y for part in parts]),
        np.concatenate(weights),
    )


def _concatenate_targets(targets: list[np.ndarray]) -> np.ndarray:
    """Concatenate targets; those of steps (n, T) are padded with -1 to the longest."""
    if targets[0].ndim == 2:
        max_length = max(part.shape[1] for part in targets)
        targets = [np.pad(part, ((0, 0), (0, max_length - part.shape[1])), constant_values=-1) for part in targets]
    return np.concatenate(targets)


def _class_weights(spec: Spec, target: Target) -> np.ndarray | Literal["balanced"] | None:
    """Weights of the classes, if there are some. Raises SpecError for tasks without classes and unknown classes."""
    weights = spec.training.class_weight
    if weights is None:
        return None
    if target.task not in ("binary", "multiclass"):
        raise SpecError(
            f"class_weight needs a task with classes, but the task is {target.task}. Use sample weights instead."
        )
    if weights == "balanced":
        return "balanced"
    labels = [class_label_text(label) for label in target.labels]
    unknown = [label for label in weights if label not in labels]
    if unknown:
        raise SpecError(f"class_weight names {format_list(unknown)}, but the classes are {format_list(labels)}.")
    return np.array([weights.get(label, 1.0) for label in labels])
