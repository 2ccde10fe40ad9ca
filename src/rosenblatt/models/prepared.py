"""Encoded rows and targets, cached for all trials that encode them alike."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_array, issparse, vstack

from rosenblatt.data.dataset import Data
from rosenblatt.data.encoding.encoder import Encoder
from rosenblatt.data.media.columns import Inputs, kinds_of_media
from rosenblatt.data.splits import Fold, validation_folds
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError, TableError, listed
from rosenblatt.models.compatibility import check, check_media
from rosenblatt.models.model import csr_parts
from rosenblatt.networks.deep import Deep, build_deep
from rosenblatt.networks.dense import Architecture, build
from rosenblatt.networks.layers import Medium
from rosenblatt.spec.defaults import DEEP, resolve
from rosenblatt.spec.fields import class_name
from rosenblatt.spec.spec import Spec
from rosenblatt.training.population import Score
from rosenblatt.training.rows import MediaRows, Rows, SparseRows, Table

ScoreOf = Callable[[Target, np.ndarray], Score]
"""From the target and all y (training, then validation rows) to what scores an epoch."""


class Prepared:
    """The rows of a fit in each of the forms that hyperparameters ask for, made once each.

    Args:
        target_of: makes of a spec what is to be predicted, as it is put to the network.
        validation: rows to choose the best epochs on, instead of parts of `data`.
        splits: which rows to learn from and which to validate on, instead of folds of our own.
    """

    def __init__(
        self,
        data: Data,
        target_of: Callable[[Spec], Target],
        validation: Data | None = None,
        splits: list[Fold] | None = None,
    ) -> None:
        self.data, self.validation, self.splits, self._target_of = data, validation, splits, target_of
        self.frame, self.y, self.weight = _together(data, validation)
        self._encoded: dict[str, tuple[Encoder, np.ndarray | csr_array | Inputs]] = {}
        self._rows: dict[tuple[str, str, str], Table] = {}
        self._targets: dict[str, Target] = {}

    def resolved(self, spec: Spec) -> Spec:
        """The spec with all chosen that is "auto". Raises SpecError where it cannot be combined with the task."""
        return _resolved(spec, self.data, self.target(spec))

    def target(self, spec: Spec) -> Target:
        """What is to be predicted, as a network of this spec is taught it. Raises SpecError."""
        training = spec.training
        how = training.loss, training.multiclass, training.class_balance
        key = f"{spec.data.target_transform} {spec.network} {how}"
        if key not in self._targets:
            self._targets[key] = self._target_of(spec)
        return self._targets[key]

    def encoder(self, chosen: Spec) -> Encoder:
        """How a network of this resolved spec is given the rows."""
        return self._form(chosen)[0]

    def rows(self, chosen: Spec) -> Table:
        """All rows, to learn from and to validate on, as the engine takes them; their weights have the mean 1.

        Trials that are given the same rows share them, so that they can be trained as one.
        """
        target = self.target(chosen)
        key = form_of(chosen), target.model_dump_json(exclude={"balance"}), str(chosen.training.class_weight)
        if key not in self._rows:
            self._rows[key] = _rows(chosen, target, self._form(chosen)[1], self.y, self.weight)
        return self._rows[key]

    def _form(self, chosen: Spec) -> tuple[Encoder, np.ndarray | csr_array | Inputs]:
        key = form_of(chosen)
        if key not in self._encoded:
            encoder = Encoder.learn(self.data.frame, chosen.data, whole=self.target(chosen).task == "tagging")
            if not encoder.width and not encoder.perceived:
                raise TableError("No column is left to learn from: no value of any of them comes twice.")
            self._encoded[key] = encoder, _encoded(encoder, self.frame)
        return self._encoded[key]

    @property
    def bytes(self) -> int:
        """The memory of all forms."""
        return sum(x.nbytes for _, x in self._encoded.values() if isinstance(x, np.ndarray | Inputs))

    def keep_only(self, forms: set[str]) -> None:
        """Forget the others; they are made again where they are asked for."""
        self._rows = {key: rows for key, rows in self._rows.items() if key[0] in forms}
        self._encoded = {key: form for key, form in self._encoded.items() if key in forms}

    def folds(self, k: int, repeats: int, seed: int) -> list[Fold]:
        """Which rows to learn from and which to validate on, in turn."""
        n, data = len(self.data.y), self.data
        if self.splits is not None:
            return self.splits
        if self.validation is not None:
            return [Fold(np.arange(n), np.arange(n, n + len(self.validation.y)))]
        return validation_folds(n, k, repeats, seed, data.like, data.groups, data.order)


def form_of(chosen: Spec) -> str:
    """What the encoded rows of this spec depend on."""
    return chosen.data.model_dump_json()


def _resolved(spec: Spec, data: Data, target: Target) -> Spec:
    """The spec with all chosen that is "auto", where it can be combined with the task."""
    if data.frame.shape[1] == 0:
        raise TableError("No column is left to learn from: all are constant, identifiers, free text, or left out.")
    sparse, numeric = issparse(data.frame), data.frame.shape[1]
    if isinstance(data.frame, pl.DataFrame):
        numeric = sum(dtype == pl.Float64 for dtype in data.frame.dtypes)
    if sparse and (spec.network.kind != "perceptron" or spec.network.rule == "kernel"):
        what = "kernel perceptrons" if spec.network.kind == "perceptron" else "multilayer perceptrons"
        raise SpecError(f"Perceptrons learn from sparse matrices, {what} do not. Make it dense, or choose another.")
    kind = spec.network.kind
    if (kind in DEEP or spec.training.device != "cpu") and find_spec("torch") is None:
        what = f"kind {kind}" if kind in DEEP else f"device {spec.training.device}"
        raise SpecError(f"{what} needs PyTorch, which is not installed. Install it: pip install 'rosenblatt[torch]'.")
    media = kinds_of_media(data.frame)
    check_media(spec, media, target)
    chosen = resolve(spec, len(data.y), numeric, of_texts="text" in media and target.task != "language")
    halves = kind == "cnn" or (kind == "rnn" and chosen.network.cell == "lstm")
    if halves and spec.training.device == "cpu" and spec.training.precision == "auto":
        from rosenblatt.training.torch.engine import precision_of_cpu

        chosen = chosen.replace(precision=precision_of_cpu())
    if spec.training.label_smoothing == "auto" and "cross_entropy" not in target.loss:
        chosen = chosen.replace(label_smoothing=0.0)
    check(spec, chosen, target)
    return chosen


def architecture_of(spec: Spec, encoder: Encoder, target: Target, member: int) -> Architecture | Deep:
    """The architecture of a member by its number, from a resolved spec."""
    if spec.network.kind not in DEEP:
        return build(spec.network, encoder.width, target.n_outputs, member)
    media = tuple(Medium(*one.medium) for one in encoder.perceived)  # type: ignore[arg-type]
    mirrored = bool(spec["flip"]) and any(medium.kind == "image" for medium in media)
    return build_deep(
        spec.network, media, encoder.width, target.n_outputs, each_step=target.each_step, mirrored=mirrored,
        member=member,
    )  # fmt: skip


def _encoded(encoder: Encoder, frame: pl.DataFrame | np.ndarray | csr_array) -> np.ndarray | csr_array | Inputs:
    """The (n, F) matrix of the rows; sparse ones stay as they are."""
    return frame if issparse(frame) else encoder.encode(frame)


def _rows(spec: Spec, target: Target, x: np.ndarray | csr_array | Inputs, y: np.ndarray, weight: np.ndarray) -> Table:
    """The rows as the engine takes them; weights have the mean 1."""
    weight = weight * _class_weights(spec, target, y)
    t, weight = target.encode(y), (weight / weight.mean()).astype(np.float32)
    if isinstance(x, Inputs):
        return MediaRows(x.x, x.media, t, weight)
    return SparseRows(*csr_parts(x), t, weight) if issparse(x) else Rows(x, t, weight)


def _together(data: Data, validation: Data | None) -> tuple[Any, np.ndarray, np.ndarray]:
    """The rows to learn from, then those to validate on."""
    parts = [data] if validation is None else [data, validation]
    weights = [np.ones(len(part.y)) if part.weight is None else np.asarray(part.weight, float) for part in parts]
    frames: list[Any] = [part.frame for part in parts]
    join = pl.concat if isinstance(data.frame, pl.DataFrame) else np.concatenate
    return (
        vstack(frames, format="csr") if issparse(data.frame) else join(frames) if len(frames) > 1 else frames[0],
        _below([part.y for part in parts]),
        np.concatenate(weights),
    )


def _below(answers: list[np.ndarray]) -> np.ndarray:
    """Answers of rows, one part below the other; those of steps (n, T) filled up with -1 to as many as there are."""
    if answers[0].ndim == 2:
        longest = max(part.shape[1] for part in answers)
        answers = [np.pad(part, ((0, 0), (0, longest - part.shape[1])), constant_values=-1) for part in answers]
    return np.concatenate(answers)


def _class_weights(spec: Spec, target: Target, y: np.ndarray) -> np.ndarray | float:
    """Each row's weight by its class."""
    weights = spec.training.class_weight
    if weights is None:
        return 1.0
    if target.task not in ("binary", "multiclass"):
        raise SpecError(f"class_weight weighs classes, but the task is {target.task}. Use sample weights instead.")
    if weights == "balanced":
        counts = np.bincount(y.astype(int), minlength=len(target.labels))
        return (len(y) / (len(target.labels) * np.maximum(counts, 1)))[y.astype(int)]
    labels = [class_name(label) for label in target.labels]
    unknown = [label for label in weights if label not in labels]
    if unknown:
        raise SpecError(f"class_weight names {listed(unknown)}, but the classes are {listed(labels)}.")
    return np.array([weights.get(label, 1.0) for label in labels])[y.astype(int)]
