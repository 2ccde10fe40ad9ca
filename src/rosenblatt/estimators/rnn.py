"""scikit-learn estimators of recurrent networks, for sequences and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.media.columns import sequence_column, to_media_column
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.tagging import check_tags, step_counts, token_unit_for_tags
from rosenblatt.data.tasks.target import Target, class_indices
from rosenblatt.errors import TableError
from rosenblatt.estimators.base import ProbabilisticClassifier, Regressor
from rosenblatt.estimators.inputs import to_numpy_dtype
from rosenblatt.estimators.media import _MediaMixin
from rosenblatt.estimators.parameters import add_hyperparameters
from rosenblatt.spec.fields import FORECASTING_HYPERPARAMETERS
from rosenblatt.spec.spec import Spec


class _SequenceMixin(_MediaMixin):
    _kind = "rnn"

    def _to_media_column(self, X: Any) -> pl.Series:
        """Arrays (n, T) or (n, T, C), a list of arrays (T,) or (T, C) of unequal lengths, or of strings."""
        rows = list(X)
        if rows and all(isinstance(row, str) for row in rows):
            return to_media_column(pl.Series("text", rows), "text")
        sequences = []
        for index, row in enumerate(rows):
            try:
                steps: np.ndarray = np.asarray(row, np.float32)
            except (ValueError, TypeError):
                steps = np.empty((0, 0, 0, 0))
            if steps.ndim not in (1, 2):
                raise TableError(
                    f"X must hold sequences (T,) or (T, channels) of numbers, or texts, but row {index} is none: "
                    f"{str(row)[:60]!r}."
                )
            sequences.append(np.asarray(steps.reshape(len(steps), -1) if steps.size else np.empty((0, 1)), np.float32))
        channels = {row.shape[1] for row in sequences if len(row)}
        if len(channels) > 1:
            raise TableError(f"X holds sequences of {sorted(channels)} channels. Give all the same.")
        return sequence_column("sequence", sequences, channels.pop() if channels else 1)


@add_hyperparameters("rnn", exclude=FORECASTING_HYPERPARAMETERS | {"target_transform"})
class RNNClassifier(_SequenceMixin, ProbabilisticClassifier):
    """Recurrent networks for classes of sequences or texts.

    X is (n, T) or (n, T, channels), a list of arrays (T,) or (T, channels) of unequal lengths, or of strings; or a
    frame with columns of such, of paths of images, of numbers and of categories (strings that are to be categories must
    have that type). After `fit`: `model_`, `classes_`, `n_iter_`.

    >>> X = ["aab", "ba", "bbba", "b", "abab", "bb"] * 10
    >>> RNNClassifier(members=1, epochs=60, recurrent_width=8).fit(X, [x[-1] for x in X]).predict(["abb", "bba"])
    array(['b', 'a'], dtype='<U1')
    """


@add_hyperparameters(
    "rnn", exclude=FORECASTING_HYPERPARAMETERS | {"class_weight", "logit_adjustment", "label_smoothing"}
)
class RNNRegressor(_SequenceMixin, Regressor):
    """Recurrent networks for values of sequences or texts. X is as `RNNClassifier` takes it."""


@add_hyperparameters(
    "rnn", exclude=FORECASTING_HYPERPARAMETERS | {"target_transform", "class_weight", "logit_adjustment"}
)
class RNNTagger(_SequenceMixin):
    """Recurrent networks that tag each step of a sequence, or each character or word of a text.

    X is as `RNNClassifier` takes it; y holds for each row as many tags as it has steps. After `fit`: `model_`,
    `classes_`, `n_iter_`.
    """

    _tasks = ("tagging",)

    def predict(self, X: Any) -> list[np.ndarray]:
        """The tags (T,) of each row."""
        tags, lengths = self.model_.label(self._predict_raw(X)), self._lengths(X)
        return [row[:length] for row, length in zip(tags, lengths, strict=True)]

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """The probabilities of each step's tags, (T, classes) for each row."""
        probabilities, lengths = self._predict_raw(X), self._lengths(X)
        return [row[:length] for row, length in zip(probabilities, lengths, strict=True)]

    def score(self, X: Any, y: Any) -> float:
        """The share of steps whose tag is right. Raises TableError where a row has another number of tags."""
        y_pred, y_true = self.predict(X), [np.asarray(_tags(row)) for row in y]
        check_tags(np.array([len(row) for row in y_true]), np.array([len(row) for row in y_pred]), "steps")
        return float(np.concatenate([tags == row for tags, row in zip(y_true, y_pred, strict=True)]).mean())

    def _lengths(self, X: Any) -> np.ndarray:
        """Steps of each row; a row of none has none."""
        typed = self.model_.schema.read(self._frame(X, reset=False))
        return step_counts(typed, self.model_.resolved_spec.data.tokens)

    def _encode_target(self, y: Any, n: int, keep_classes: bool = False) -> np.ndarray:
        rows = [np.asarray(to_numpy_dtype(row)).ravel() for row in map(_tags, y)]
        if len(rows) != n:
            raise TableError(f"X has {n} rows, but y {len(rows)}. Give each row its tags.")
        if not keep_classes:
            self.classes_ = np.unique(np.concatenate(rows))
            if len(self.classes_) < 2:
                raise TableError(
                    f"y holds one tag only, {self.classes_.tolist()}; two or more are needed to learn from."
                )
        y_encoded = np.full((n, max(1, *(len(row) for row in rows))), -1.0)
        for index, row in enumerate(rows):
            y_encoded[index, : len(row)] = class_indices(row, self.classes_)
        return y_encoded

    def _adapt_spec(self, spec: Spec, data: Dataset) -> Spec:
        """Texts are cut so that each token has its tag."""
        return spec.replace(tokens=token_unit_for_tags(cast("pl.DataFrame", data.frame), data.y, spec.data.tokens))

    def _validation(self, frame: Any, y_and_weight: Sequence[Any], schema: Schema, spec: Spec) -> Dataset:
        data = super()._validation(frame, y_and_weight, schema, spec)
        token_unit_for_tags(cast("pl.DataFrame", data.frame), data.y, spec.data.tokens)
        return data

    def _target(self, y_encoded: np.ndarray, spec: Spec) -> Target:
        return Target(names=("y",), task="tagging", labels=tuple(self.classes_.tolist())).with_loss(spec, y_encoded)


def _tags(row: Any) -> Any:
    return list(row) if isinstance(row, str) else row
