"""scikit-learn estimator that forecasts time series with a recurrent network."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from rosenblatt.data.dataset import Data
from rosenblatt.data.readers.frames import as_frame, is_frame
from rosenblatt.data.tasks.forecasting import Windows
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import TableError, listed
from rosenblatt.estimators.base import Network
from rosenblatt.estimators.parameters import threads_of, with_hyperparameters
from rosenblatt.models.model import Model
from rosenblatt.spec.spec import Spec

TIME, SERIES = "(time)", "(series)"  # columns of series that are given without a table


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
