"""scikit-learn estimators of recurrent networks, for sequences and texts."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import polars as pl
from sklearn.utils.metaestimators import available_if

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.media.columns import sequence_column, to_media_column
from rosenblatt.data.tasks.tagging import check_tags, step_counts, token_unit_for_tags
from rosenblatt.data.tasks.target import Target, class_indices
from rosenblatt.errors import TableError
from rosenblatt.estimators.base import ProbabilisticClassifier, Regressor, has_probabilities
from rosenblatt.estimators.inputs import to_numpy_dtype
from rosenblatt.estimators.media import _MediaMixin
from rosenblatt.estimators.parameters import NOT_FOR_CLASSIFIERS, NOT_FOR_REGRESSORS, add_hyperparameters
from rosenblatt.spec.spec import Spec


class _SequenceMixin(_MediaMixin):
    _kind = "rnn"

    def _to_media_column(self, X: Any) -> pl.Series:
        """Convert an array (n, T) or (n, T, C), a list of arrays (T,) or (T, C) of any length, or a list of strings."""
        rows = list(X)
        if rows and all(isinstance(row, str) for row in rows):
            return to_media_column(pl.Series("text", rows), "text")
        if rows and all(map(np.isscalar, rows)):
            raise TableError(
                "X must hold texts, or sequences (T,) or (T, channels) of numbers, but it is a single sequence. "
                "Reshape your data with X.reshape(1, -1)."
            )
        sequences = []
        for index, row in enumerate(rows):
            try:
                steps: np.ndarray = np.asarray(row, np.float32)
            except (ValueError, TypeError):
                steps = np.empty((0, 0, 0, 0))
            if steps.ndim not in (1, 2):
                raise TableError(
                    f"X must hold texts, or sequences (T,) or (T, channels) of numbers, but row {index} is "
                    f"{str(row)[:60]!r}."
                )
            sequences.append(np.asarray(steps.reshape(len(steps), -1) if steps.size else np.empty((0, 1)), np.float32))
        channels = {row.shape[1] for row in sequences if len(row)}
        if len(channels) > 1:
            raise TableError(
                f"X must hold sequences with equal numbers of channels, but they have {sorted(channels)} channels."
            )
        return sequence_column("sequence", sequences, channels.pop() if channels else 1)


@add_hyperparameters("rnn", exclude=NOT_FOR_CLASSIFIERS)
class RNNClassifier(_SequenceMixin, ProbabilisticClassifier):
    """Population of recurrent networks that classify sequences or texts.

    X is an array (n, T) or (n, T, channels), a list of arrays (T,) or (T, channels) of any length, or a list of
    strings. It may also be a frame with columns of sequences, texts, paths of image files, numbers and categories.
    Columns of strings are texts unless they have a categorical type.

    Attributes:
        model_: the fitted `Model`.
        classes_: (classes,) the classes, sorted.
        n_iter_: number of epochs of the network that was trained longest.

    Examples:
        >>> from rosenblatt import RNNClassifier
        >>> texts = ["aab", "ba", "bbba", "b", "abab", "bb"] * 10
        >>> last_letters = [text[-1] for text in texts]
        >>> classifier = RNNClassifier(members=1, epochs=60, recurrent_width=8).fit(texts, last_letters)
        >>> classifier.predict(["abb", "bba"])
        array(['b', 'a'], dtype='<U1')
    """


@add_hyperparameters("rnn", exclude=NOT_FOR_REGRESSORS)
class RNNRegressor(_SequenceMixin, Regressor):
    """Population of recurrent networks that predict numbers from sequences or texts.

    X is as for `RNNClassifier`. Several targets are predicted at once if y is (n, targets).

    Attributes:
        model_: the fitted `Model`.
        n_iter_: number of epochs of the network that was trained longest.

    Examples:
        >>> import numpy as np
        >>> from rosenblatt import RNNRegressor
        >>> sequences = [np.arange(n % 5 + 1.0) for n in range(20)]
        >>> regressor = RNNRegressor(members=1, epochs=1, recurrent_width=4)
        >>> regressor.fit(sequences, [sequence.mean() for sequence in sequences]).predict(sequences[:2]).shape
        (2,)
    """


@add_hyperparameters("rnn", exclude=NOT_FOR_CLASSIFIERS | {"class_weight", "logit_adjustment"})
class RNNTagger(_SequenceMixin):
    """Population of recurrent networks that predict a tag for each step of a sequence or token of a text.

    X is as for `RNNClassifier`. y holds one list of tags per row, with a tag for each step, character or word.

    Attributes:
        model_: the fitted `Model`.
        classes_: (classes,) the tags, sorted.
        n_iter_: number of epochs of the network that was trained longest.

    Examples:
        >>> from rosenblatt import RNNTagger
        >>> sequences, tags = [[1.0, -1.0], [2.0]] * 20, [["up", "down"], ["up"]] * 20
        >>> tagger = RNNTagger(members=1, epochs=20, recurrent_width=4, learning_rate=0.02).fit(sequences, tags)
        >>> tagger.predict([[-3.0, 2.0, 1.0]])
        [array(['down', 'up', 'up'], dtype='<U4')]
    """

    _tasks = ("tagging",)

    def predict(self, X: Any) -> list[np.ndarray]:
        """Predict the tags (T,) of each row."""
        raw_predictions, lengths = self._predict_raw(X), self._lengths(X)
        tags = self.model_.label(raw_predictions)
        return [row[:length] for row, length in zip(tags, lengths, strict=True)]

    @available_if(has_probabilities)
    def predict_proba(self, X: Any) -> list[np.ndarray]:
        """Predict the probabilities of the tags, (T, classes) for each row."""
        probabilities, lengths = self._predict_raw(X), self._lengths(X)
        return [row[:length] for row, length in zip(probabilities, lengths, strict=True)]

    def score(self, X: Any, y: Any) -> float:
        """Compute the fraction of steps whose tag is predicted correctly.

        Raises:
            TableError: if a row has more or fewer tags than steps.
        """
        y_pred, y_true = self.predict(X), [np.asarray(_tags(row)) for row in y]
        check_tags(np.array([len(row) for row in y_true]), np.array([len(row) for row in y_pred]), "steps")
        return float(np.concatenate([tags == row for tags, row in zip(y_true, y_pred, strict=True)]).mean())

    def _lengths(self, X: Any) -> np.ndarray:
        """Number of steps of each row."""
        typed = self.model_.schema.read(self._frame(X, reset=False))
        return step_counts(typed, self.model_.resolved_spec.data.tokens)

    def _encode_target(self, y: Any, n: int, keep_classes: bool = False) -> np.ndarray:
        rows = [np.asarray(to_numpy_dtype(row)).ravel() for row in map(_tags, y)]
        if len(rows) != n:
            raise TableError(f"y must hold a list of tags for each of the {n} rows of X, but it holds {len(rows)}.")
        if not keep_classes:
            self.classes_ = _unique_tags(rows)
            if len(self.classes_) < 2:
                raise TableError(f"y contains only one tag, {self.classes_.tolist()[0]!r}. Give at least two tags.")
        y_encoded = np.full((n, max(1, *(len(row) for row in rows))), -1.0)
        for index, row in enumerate(rows):
            y_encoded[index, : len(row)] = class_indices(row, self.classes_)
        return y_encoded

    def _adapt_spec(self, spec: Spec, data: Dataset, validation: Dataset | None) -> Spec:
        """Choose the token unit that gives each tag a token."""
        for dataset in filter(None, (data, validation)):
            frame = cast("pl.DataFrame", dataset.frame)
            spec = spec.replace(tokens=token_unit_for_tags(frame, dataset.y, spec.data.tokens))
        return spec

    def _target(self, y_encoded: np.ndarray, spec: Spec) -> Target:
        return Target(names=("y",), task="tagging", labels=tuple(self.classes_.tolist())).with_loss(spec, y_encoded)


def _unique_tags(rows: list[np.ndarray]) -> np.ndarray:
    """The tags (classes,), sorted. Raises TableError if they are neither all words nor all numbers or booleans."""
    rows = [row.astype(str) if all(isinstance(tag, str) for tag in row) else row for row in rows if row.size]
    kinds = {row.dtype.kind for row in rows}
    if not kinds:
        raise TableError("y contains no tags. Give each step one tag.")
    if not (kinds <= set("US") or kinds <= set("biuf")):
        raise TableError("The tags in y must be all words, or all numbers or booleans. Convert them to text.")
    return np.unique(np.concatenate(rows))


def _tags(row: Any) -> Any:
    return list(row) if isinstance(row, str) else row
