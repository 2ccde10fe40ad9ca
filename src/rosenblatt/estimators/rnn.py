"""scikit-learn estimators of recurrent networks, for sequences and texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import polars as pl

from rosenblatt.data.dataset import Data
from rosenblatt.data.media.columns import as_medium, steps_column
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.tagging import check_tags, step_counts, unit_of_tags
from rosenblatt.data.tasks.target import Target, class_numbers
from rosenblatt.errors import TableError
from rosenblatt.estimators.base import ProbableClassifier, Regressor
from rosenblatt.estimators.inputs import of_numpy
from rosenblatt.estimators.media import _OfMedia
from rosenblatt.estimators.parameters import with_hyperparameters
from rosenblatt.spec.fields import OVER_TIME
from rosenblatt.spec.spec import Spec


class _OfSequences(_OfMedia):
    _kind = "rnn"

    def _medium(self, X: Any) -> pl.Series:
        """Arrays (n, T) or (n, T, C), a list of arrays (T,) or (T, C) of unequal lengths, or of strings."""
        rows = list(X)
        if rows and all(isinstance(row, str) for row in rows):
            return as_medium(pl.Series("text", rows), "text")
        found = []
        for number, row in enumerate(rows):
            try:
                steps: np.ndarray = np.asarray(row, np.float32)
            except (ValueError, TypeError):
                steps = np.empty((0, 0, 0, 0))
            if steps.ndim not in (1, 2):
                raise TableError(
                    f"X must hold sequences (T,) or (T, channels) of numbers, or texts, but row {number} is none: "
                    f"{str(row)[:60]!r}."
                )
            found.append(np.asarray(steps.reshape(len(steps), -1) if steps.size else np.empty((0, 1)), np.float32))
        channels = {row.shape[1] for row in found if len(row)}
        if len(channels) > 1:
            raise TableError(f"X holds sequences of {sorted(channels)} channels. Give all the same.")
        return steps_column("sequence", found, channels.pop() if channels else 1)


@with_hyperparameters("rnn", without=OVER_TIME | {"target_transform"})
class RNNClassifier(_OfSequences, ProbableClassifier):
    """Recurrent networks for classes of sequences or texts.

    X is (n, T) or (n, T, channels), a list of arrays (T,) or (T, channels) of unequal lengths, or of strings; or a
    frame with columns of such, of paths of images, of numbers and of categories (strings that are to be categories must
    have that type). After `fit`: `model_`, `classes_`, `n_iter_`.

    >>> X = ["aab", "ba", "bbba", "b", "abab", "bb"] * 10
    >>> RNNClassifier(members=1, epochs=60, recurrent_width=8).fit(X, [x[-1] for x in X]).predict(["abb", "bba"])
    array(['b', 'a'], dtype='<U1')
    """


@with_hyperparameters("rnn", without=OVER_TIME | {"class_weight", "class_balance", "label_smoothing"})
class RNNRegressor(_OfSequences, Regressor):
    """Recurrent networks for values of sequences or texts. X is as `RNNClassifier` takes it."""


@with_hyperparameters("rnn", without=OVER_TIME | {"target_transform", "class_weight", "class_balance"})
class RNNTagger(_OfSequences):
    """Recurrent networks that tag each step of a sequence, or each character or word of a text.

    X is as `RNNClassifier` takes it; y holds for each row as many tags as it has steps. After `fit`: `model_`,
    `classes_`, `n_iter_`.
    """

    _tasks = ("tagging",)

    def predict(self, X: Any) -> list[np.ndarray]:
        """The tags (T,) of each row."""
        tags, lengths = self.model_.label(self._decoded(X)), self._lengths(X)
        return [row[:many] for row, many in zip(tags, lengths, strict=True)]

    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """The probabilities of each step's tags, (T, classes) for each row."""
        decoded, lengths = self._decoded(X), self._lengths(X)
        return [row[:many] for row, many in zip(decoded, lengths, strict=True)]

    def score(self, X: Any, y: Any) -> float:
        """The share of steps whose tag is right. Raises TableError where a row has another number of tags."""
        said, truth = self.predict(X), [np.asarray(_tags(row)) for row in y]
        check_tags(np.array([len(row) for row in truth]), np.array([len(row) for row in said]), "steps")
        return float(np.concatenate([tags == row for tags, row in zip(truth, said, strict=True)]).mean())

    def _lengths(self, X: Any) -> np.ndarray:
        """Steps of each row; a row of none has none."""
        typed = self.model_.schema.read(self._frame(X, reset=False))
        return step_counts(typed, self.model_.chosen.data.tokens)

    def _numbers(self, y: Any, n: int, known: bool = False) -> np.ndarray:
        rows = [np.asarray(of_numpy(row)).ravel() for row in map(_tags, y)]
        if len(rows) != n:
            raise TableError(f"X has {n} rows, but y {len(rows)}. Give each row its tags.")
        if not known:
            self.classes_ = np.unique(np.concatenate(rows))
            if len(self.classes_) < 2:
                raise TableError(
                    f"y holds one tag only, {self.classes_.tolist()}; two or more are needed to learn from."
                )
        numbers = np.full((n, max(1, *(len(row) for row in rows))), -1.0)
        for place, row in enumerate(rows):
            numbers[place, : len(row)] = class_numbers(row, self.classes_)
        return numbers

    def _suited(self, spec: Spec, data: Data) -> Spec:
        """Texts are cut so that each token has its tag."""
        return spec.replace(tokens=unit_of_tags(cast("pl.DataFrame", data.frame), data.y, spec.data.tokens))

    def _validation(self, frame: Any, answers: Sequence[Any], schema: Schema, spec: Spec) -> Data:
        data = super()._validation(frame, answers, schema, spec)
        unit_of_tags(cast("pl.DataFrame", data.frame), data.y, spec.data.tokens)
        return data

    def _target(self, numbers: np.ndarray, spec: Spec) -> Target:
        return Target(names=("y",), task="tagging", labels=tuple(self.classes_.tolist())).taught_by(spec, numbers)


def _tags(row: Any) -> Any:
    return list(row) if isinstance(row, str) else row
