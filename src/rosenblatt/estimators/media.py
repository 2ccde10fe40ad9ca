"""In: images, sequences or texts, with scikit-learn's conventions. Out: convolutional and recurrent estimators."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import polars as pl
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from rosenblatt.data.media.columns import as_medium, medium_of, steps_column
from rosenblatt.data.media.images import as_cell
from rosenblatt.data.readers.frames import as_frame, is_frame
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.schema.inference import medium_in
from rosenblatt.data.tasks.forecasting import Windows
from rosenblatt.data.tasks.tagging import check_tags, step_counts, unit_of_tags
from rosenblatt.data.tasks.target import Target, class_numbers
from rosenblatt.errors import TableError, listed
from rosenblatt.estimators.base import Network, ProbableClassifier, Regressor
from rosenblatt.estimators.inputs import of_numpy
from rosenblatt.estimators.parameters import OVER_TIME, threads_of, with_hyperparameters
from rosenblatt.models.fit import Data
from rosenblatt.models.model import Model
from rosenblatt.spec.spec import Spec

TIME, SERIES = "(time)", "(series)"  # columns of series that are given without a table


class _OfMedia(Network, ABC):
    """Rows that are images, sequences or texts, or frames with columns of such."""

    def _frame(self, X: Any, *, reset: bool) -> pl.DataFrame:
        frame = _with_media(as_frame(X)) if is_frame(X) else pl.DataFrame([self._medium(X)])
        if not frame.height:
            raise TableError("X holds no rows. Give at least one.")
        if reset:
            self.n_features_in_ = frame.width
            if is_frame(X):
                self.feature_names_in_ = np.asarray(frame.columns, object)
        return frame

    @abstractmethod
    def _medium(self, X: Any) -> pl.Series:
        """The rows as a typed column."""


def _with_media(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame with its images and texts marked as such: strings that are no paths of images are texts."""

    def typed(series: pl.Series) -> pl.Series:
        if medium_of(series.dtype):
            return series
        if medium_in(series) == "image":
            return as_medium(series, "image")
        return as_medium(series, "text") if series.dtype == pl.String else series

    return pl.DataFrame([typed(series) for series in frame])


class _OfImages(_OfMedia):
    _kind = "cnn"

    def _medium(self, X: Any) -> pl.Series:
        """Arrays (n, H, W) or (n, H, W, C), a list of arrays of any size, or of paths."""
        if isinstance(X, np.ndarray) and X.ndim not in (3, 4) and X.dtype.kind not in "OU":
            raise TableError(
                f"X must be images (n, height, width) or (n, height, width, channels), but its shape is {X.shape}. "
                "Reshape it."
            )
        cells = [str(one) if isinstance(one, str | Path) else as_cell(_pixels(one)) for one in X]
        if len({type(cell) for cell in cells}) > 1:
            raise TableError("X holds paths and arrays. Give one kind of them.")
        return pl.Series("image", cells).to_frame("image").to_struct("image")


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


@with_hyperparameters("cnn", without=OVER_TIME | {"target_transform"})
class CNNClassifier(_OfImages, ProbableClassifier):
    """Convolutional networks for classes of images.

    X is (n, height, width) or (n, height, width, channels), a list of images of any size, or of their paths; or a frame
    as `RNNClassifier` takes it. After `fit`: `model_`, `classes_`, `n_iter_`.
    """


@with_hyperparameters("cnn", without=OVER_TIME | {"class_weight", "class_balance", "label_smoothing"})
class CNNRegressor(_OfImages, Regressor):
    """Convolutional networks for values of images. X is as `CNNClassifier` takes it."""


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


@with_hyperparameters("rnn", without={"class_weight", "class_balance", "label_smoothing", "target_transform"})
class RNNForecaster(RegressorMixin, Network):
    """Recurrent networks that forecast the next `horizon` steps of series.

    X is a series (T,), several as rows of (n, T), a list of them, or a frame with one in each column. Or, with
    `time`, it is a frame with a row for each time and y the name of its column to forecast: there may be a column that
    tells several series apart (`series`), and some that are known in advance (`known`), whose rows go on after the
    last value of y. After `fit`: `model_`, `windows_`, `n_iter_`.

    >>> series = [abs(step % 7 - 3) for step in range(200)]
    >>> RNNForecaster(horizon=3, members=1, epochs=20, recurrent_width=16).fit(series).predict().round()
    array([[1., 2., 3.]])
    """

    _kind = "rnn"
    _tasks = ("forecasts",)

    def fit(self, X: Any, y: str | None = None) -> Self:  # type: ignore[override]
        """Learn from series.

        Raises:
            SpecError, TableError: (both ValueErrors) for hyperparameters or series that cannot be used.
            KeyboardInterrupt: after Ctrl-C; if an epoch was over by then, the estimator is fitted with the best so far.
        """
        spec, target = self._spec(), "value"
        if spec.data.time:
            if not isinstance(y, str) or not is_frame(X) or y not in X.columns:
                raise TableError("Where time is named, X must be a frame and y the name of its column to forecast.")
            frame, target = as_frame(X), y
        else:
            frame, spec = _lines(X), spec.replace(time=TIME, series=SERIES)
        self.windows_ = Windows.of(frame, target, spec.data, ())
        rows = self.windows_.rows(frame, warnings.warn)
        schema, answers = self.windows_.schema_of(rows), self._numbers(rows, rows.height)
        self._learnt_from = frame
        windows = self.windows_.model_dump(mode="json")
        return self._fitted(spec, schema, Data(schema.read(rows), answers), windows=windows)

    def predict(self, X: Any = None) -> np.ndarray:
        """The next steps (n, horizon) of these series, or of those it learnt from.

        Raises TableError where one is too short.
        """
        check_is_fitted(self)
        if X is None and not hasattr(self, "_learnt_from"):
            raise TableError("The series that were learnt from are not in the file. Give those to go on from.")
        frame = self._learnt_from if X is None else self._over_time(X)
        rows = self.windows_.last(frame, lambda _: None)
        if self.windows_.series:
            short = set(frame[self.windows_.series].cast(pl.String).fill_null("")) - set(rows["name"])
            if short:
                raise TableError(f"Too short to go on from are the series {listed(sorted(short))}. Leave them out.")
        return self._said(rows)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """R2 of the next steps y (n, horizon) of series X; without y, of all windows of X."""
        check_is_fitted(self)
        if y is not None:
            return float(r2_score(np.asarray(y, float).ravel(), self.predict(X).ravel()))
        rows = self.windows_.rows(self._over_time(X), warnings.warn)
        truth = self.windows_.in_units(rows, self._numbers(rows, rows.height))
        return float(r2_score(truth.ravel(), self._said(rows).ravel()))

    def _said(self, windows: pl.DataFrame) -> np.ndarray:
        return self.windows_.in_units(windows, self.model_.decoded(windows, threads_of(self.n_jobs)))

    def _over_time(self, X: Any) -> pl.DataFrame:
        """Series as they were given to `fit`: as a frame with a row for each time, or each alone."""
        return as_frame(X) if is_frame(X) and self.windows_.time.name in X.columns else _lines(X)

    def _numbers(self, y: Any, n: int, known: bool = False) -> np.ndarray:
        return np.asarray(y.select(self.windows_.answers).to_numpy())

    def _target(self, numbers: np.ndarray, spec: Spec) -> Target:
        return Target.of_values(tuple(self.windows_.answers), numbers, "none", spec.training.loss).taught_by(
            spec, numbers
        )

    def _adopt(self, model: Model, path: str | Path) -> None:
        super()._adopt(model, path)
        self.windows_ = Windows.model_validate(model.facts["windows"])
        if self.windows_.time.name == TIME:
            self.set_params(time="", series="")
        del self.n_features_in_, self.feature_names_in_  # those of windows, which nobody gives


def _lines(X: Any) -> pl.DataFrame:
    """Series as a table over time. Raises TableError for what is none."""
    if is_frame(X):
        rows: list[Any] = [X[name] for name in X.columns]
    else:
        rows = [X] if len(X) and np.ndim(next(iter(X))) == 0 else list(X)
    lines = []
    for number, row in enumerate(rows):
        try:
            line = np.asarray(row, np.float64)
        except (ValueError, TypeError):
            line = np.empty((0, 0))
        if line.ndim != 1:
            raise TableError(
                f"X must be a series of numbers (T,), or several of them, but series {number} is {str(row)[:60]!r}."
            )
        lines.append(line)
    if not lines:
        raise TableError("X holds no series. Give at least one.")
    lengths = [len(line) for line in lines]
    return pl.DataFrame(
        {
            TIME: np.concatenate([np.arange(many, dtype=np.float64) for many in lengths]),
            SERIES: np.repeat([str(number) for number in range(len(lines))], lengths),
            "value": pl.Series(np.concatenate(lines)).fill_nan(None),
        }
    )


def _tags(row: Any) -> Any:
    return list(row) if isinstance(row, str) else row


def _pixels(image: Any) -> np.ndarray:
    pixels = np.asarray(image)
    if pixels.ndim not in (2, 3) or pixels.dtype.kind not in "uifb":
        raise TableError(
            f"X must hold images (height, width) or (height, width, channels) of numbers, but one has the shape "
            f"{pixels.shape} and type {pixels.dtype}."
        )
    if pixels.dtype == bool:
        return pixels.astype(np.uint8)
    return pixels if pixels.dtype == np.uint8 else pixels.astype(np.float32)
