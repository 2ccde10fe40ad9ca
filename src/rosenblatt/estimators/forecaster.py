"""scikit-learn estimator that forecasts time series with a recurrent network."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.metrics import r2_score
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.polars_threads import require_polars
from rosenblatt.data.readers.frames import as_frame, is_frame
from rosenblatt.data.tasks.forecasting import WindowTransform
from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import TableError, collect_messages, format_list
from rosenblatt.estimators.base import BaseNetworkEstimator
from rosenblatt.estimators.media import as_rows
from rosenblatt.estimators.parameters import add_hyperparameters, resolve_n_jobs
from rosenblatt.models.model import Model
from rosenblatt.spec.spec import Spec

TIME, SERIES = "(time)", "(series)"  # columns added to series that are passed without a table


@add_hyperparameters(
    "rnn", exclude={"class_weight", "logit_adjustment", "label_smoothing", "target_transform", "warm_start"}
)
class RNNForecaster(BaseNetworkEstimator):
    """Population of recurrent networks that forecast the next `horizon` steps of time series.

    X is one series (T,), several series of equal length (n, T), a list of series, or a frame with one series per
    column. With `time`, X is a frame with one row per time, and y is the name of the column to forecast. Such a frame
    may hold several series, named by the column `series`. Its columns `known_covariates` are known in advance; their
    rows continue after the last value of y.

    Attributes:
        model_: the fitted `Model`.
        windows_: the fitted `WindowTransform`, which turns series into windows.
        n_iter_: number of epochs of the network that was trained longest.

    Examples:
        >>> from rosenblatt import RNNForecaster
        >>> series = [abs(step % 7 - 3) for step in range(200)]
        >>> forecaster = RNNForecaster(horizon=3, members=1, epochs=20, recurrent_width=16).fit(series)
        >>> forecaster.predict().round()
        array([[1., 2., 3.]])
    """

    _kind = "rnn"
    _tasks = ("forecasting",)

    def fit(self, X: Any, y: str | None = None) -> Self:  # type: ignore[override]
        """Train on series.

        Args:
            X: series, see the class.
            y: name of the column to forecast, if `time` is set.

        Raises:
            SpecError: if a hyperparameter is invalid (a ValueError).
            TableError: if the series cannot be used (a ValueError).
            KeyboardInterrupt: after Ctrl-C. If at least one epoch was complete, the estimator is fitted with the best
                epochs.
        """
        spec, target = self._spec(), "value"
        if spec.data.time:
            if not isinstance(y, str) or not is_frame(X) or y not in X.columns:
                raise TableError("With time, X must be a frame and y the name of the column to forecast.")
            frame, target = as_frame(X), y
        else:
            frame, spec = _series_to_frame(X), spec.replace(time=TIME, series=SERIES)
        self.windows_ = WindowTransform.fit(frame, target, spec.data, ())
        with collect_messages(warnings.warn) as messages:
            rows = self.windows_.training_rows(frame, messages)
        schema, y_encoded = self.windows_.input_schema(rows), self._encode_target(rows, rows.height)
        self._training_frame = frame
        return self._fit_model(spec, schema, Dataset(schema.read(rows), y_encoded), windows=self.windows_)

    def predict(self, X: Any = None) -> np.ndarray:
        """Forecast the next steps of each series.

        Args:
            X: series in the form passed to `fit`; by default those passed to `fit`.

        Returns:
            (n, horizon) values.

        Raises:
            TableError: if a series is too short.
        """
        check_is_fitted(self)
        if X is None and not hasattr(self, "_training_frame"):
            raise TableError("The training series are not saved in the model file. Pass the series to forecast as X.")
        frame = self._training_frame if X is None else self._to_series_frame(X)
        rows = self.windows_.forecast_rows(frame)
        if self.windows_.series:
            too_short = set(frame[self.windows_.series].cast(pl.String).fill_null("")) - set(rows["name"])
            if too_short:
                raise TableError(
                    f"These series are too short to forecast: {format_list(sorted(too_short))}. Remove them."
                )
        return self._predict_windows(rows)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Compute R2 of forecasts.

        Args:
            X: series in the form passed to `fit`.
            y: (n, horizon) true values of the next steps; by default all windows of X are scored.
            sample_weight: not used.
        """
        check_is_fitted(self)
        if y is not None:
            return float(r2_score(np.asarray(y, float).ravel(), self.predict(X).ravel()))
        with collect_messages(warnings.warn) as messages:
            rows = self.windows_.training_rows(self._to_series_frame(X), messages)
        y_true = self.windows_.inverse_transform(rows, self._encode_target(rows, rows.height))
        return float(r2_score(y_true.ravel(), self._predict_windows(rows).ravel()))

    def _predict_windows(self, windows: pl.DataFrame) -> np.ndarray:
        return self.windows_.inverse_transform(windows, self.model_.predict_raw(windows, resolve_n_jobs(self.n_jobs)))

    def _to_series_frame(self, X: Any) -> pl.DataFrame:
        """Convert series to a frame with one row per time, unless they already are such a frame."""
        return as_frame(X) if is_frame(X) and self.windows_.time.name in X.columns else _series_to_frame(X)

    def _encode_target(self, y: Any, n: int, keep_classes: bool = False) -> np.ndarray:
        return np.asarray(y.select(self.windows_.target_columns).to_numpy())

    def _target(self, y_encoded: np.ndarray, spec: Spec) -> Target:
        names = tuple(self.windows_.target_columns)
        return Target.fit_regression(names, y_encoded, "none", spec.training.loss).with_loss(spec, y_encoded)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = False
        tags.input_tags.one_d_array = True
        tags.input_tags.sparse = False
        return tags

    def _load_model(self, model: Model, path: str | Path) -> None:
        super()._load_model(model, path)
        assert model.metadata.windows is not None  # noqa: S101 - checked by the task
        self.windows_ = model.metadata.windows
        if self.windows_.time.name == TIME:
            self.set_params(time="", series="")
        del self.n_features_in_, self.feature_names_in_  # of windows, which users do not pass


def _series_to_frame(X: Any) -> pl.DataFrame:
    """Convert series to a table with one row per time. Raises TableError if they are not series of numbers."""
    require_polars()
    if is_frame(X):
        series_list: list[Any] = [X[name] for name in X.columns]
    else:
        X = as_rows(X)
        series_list = [X] if len(X) and np.ndim(next(iter(X))) == 0 else list(X)
    arrays = []
    for index, series in enumerate(series_list):
        try:
            values = np.asarray(series, np.float64)
        except (ValueError, TypeError):
            values = np.empty((0, 0))
        if values.ndim != 1:
            raise TableError(
                f"X must be a series of numbers (T,), or several of them, but series {index} is {str(series)[:60]!r}."
            )
        arrays.append(values)
    if not arrays:
        raise TableError("X holds no series. Give at least one.")
    lengths = [len(values) for values in arrays]
    return pl.DataFrame(
        {
            TIME: np.concatenate([np.arange(length, dtype=np.float64) for length in lengths]),
            SERIES: np.repeat([str(index) for index in range(len(arrays))], lengths),
            "value": pl.Series(np.concatenate(arrays)).fill_nan(None),
        }
    )
