"""Base classes of the scikit-learn estimators.

Their arguments are the hyperparameters of `rosenblatt.spec`; `__init__` only stores them, what is learnt ends in `_`.
"""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import get_scorer_names
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import (
    _check_sample_weight,
    check_array,
    check_consistent_length,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.readers.frames import as_frame, is_frame
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.target import Target, class_indices
from rosenblatt.errors import SpecError, TableError, format_list
from rosenblatt.estimators.inputs import (
    apply_schema,
    drop_zero_weight_rows,
    schema_from_frame,
    to_numpy_dtype,
    unify_frames,
)
from rosenblatt.estimators.parameters import resolve_n_jobs, resolve_random_state
from rosenblatt.models.atomic_write import write_file
from rosenblatt.models.fit import fit_model
from rosenblatt.models.incremental import IncrementalTrainer
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import load_model, to_bytes
from rosenblatt.models.scorers import make_epoch_scorer
from rosenblatt.spec.spec import Spec
from rosenblatt.training.progress import training_progress


class BaseNetworkEstimator(BaseEstimator, metaclass=ABCMeta):
    """What all our estimators share: rows in, a model learnt, rows predicted."""

    _kind = "mlp"
    _tasks: tuple[str, ...] = ()  # that a model which is loaded may have
    _trainer: IncrementalTrainer | None = None

    def fit(self, X: Any, y: Any, sample_weight: Any = None, validation: Sequence[Any] | None = None) -> Self:
        """Learn from rows X (n, features) and what is to be predicted y (n,) or (n, targets).

        Args:
            X: array, pandas or Polars frame; numbers, strings, categories, booleans, dates; missing values allowed.
            y: classes, zeros and ones of several labels, or values.
            sample_weight: (n,) weights of the rows; rows of weight 0 are left out.
            validation: (X, y) or (X, y, sample_weight) to choose the best epochs on, instead of parts of X.

        Raises:
            SpecError, TableError: (both ValueErrors) for hyperparameters or rows that cannot be used.
            KeyboardInterrupt: after Ctrl-C; if an epoch was over by then, the estimator is fitted with the best so far.
        """
        self._check_target(y)
        frame = self._frame(X, reset=True)
        validation_frame = None if validation is None else self._frame(validation[0], reset=False)
        frame, validation_frame = unify_frames(frame, validation_frame)
        schema = schema_from_frame(frame)
        spec, n = self._spec(), frame.shape[0]
        y_encoded, weight = self._encode_target(y, n), self._weight(sample_weight, n)
        data = drop_zero_weight_rows(apply_schema(frame, schema), y_encoded, weight)
        spec = self._adapt_spec(spec, data)
        validation_data = (
            None if validation is None else self._validation(validation_frame, validation[1:], schema, spec)
        )
        return self._fit_model(spec, schema, data, validation_data)

    def _fit_model(
        self, spec: Spec, schema: Schema, data: Dataset, validation_data: Dataset | None = None, **metadata: Any
    ) -> Self:
        """This estimator with a model learnt from the rows and these entries in its metadata. Raises as `fit` does."""
        with training_progress(self.verbose) as callback:
            model = fit_model(
                spec,
                schema,
                self._target(data.y, spec),
                data,
                validation=validation_data,
                scorer_factory=make_epoch_scorer(self.scoring),
                watch=callback,
                threads=resolve_n_jobs(self.n_jobs),
            )
        self.model_, self._trainer = model.with_metadata(**metadata), None
        self._set_fitted_attributes()
        unused_columns = [encoding.column for encoding in model.encoder.tabular_encodings if not encoding.feature_names]
        if unused_columns:
            warnings.warn(
                f"Nothing is learnt from {format_list(unused_columns)}: no value comes twice.",
                UserWarning,
                stacklevel=3,
            )
        if self.model_.metadata.interrupted:
            raise KeyboardInterrupt("stopped; the estimator is fitted with the best epochs so far")
        return self

    def _check_target(self, y: Any) -> None:
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")

    def save(self, path: str | Path) -> None:
        """Write the model to one file, which `rosenblatt predict` and `load` read. Raises StorageError."""
        check_is_fitted(self)
        write_file(path, to_bytes(self.model_))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """An estimator with the model of a file. Raises ModelFileError, also where the model is of another kind."""
        estimator = cls()
        model = load_model(path)
        estimator._load_model(model, path)
        return estimator

    def _load_model(self, model: Model, path: str | Path) -> None:
        task = model.task
        if model.spec.network.kind != self._kind or task not in self._tasks:
            raise TableError(
                f"{str(path)!r} holds a {model.spec.network.kind} for {task}, not a {type(self).__name__}."
            )
        self.set_params(
            **{
                name: model.spec["seed" if name == "random_state" else name]
                for name in self.get_params()
                if name not in ("n_jobs", "verbose", "scoring")
            }
        )
        scoring = model.spec.training.scoring  # a scorer that was a function is not in the file
        self.set_params(scoring=scoring if scoring == "loss" or scoring in get_scorer_names() else "loss")
        self.model_ = model
        names = [column.name for column in model.schema.columns]
        self.n_features_in_ = model.encoder.n_sparse_columns or len(names)
        if names != [f"x{i}" for i in range(len(names))]:  # those of an array
            self.feature_names_in_ = np.asarray(names, object)
        if model.target.labels:
            self.classes_ = np.asarray(model.target.labels)
        elif task == "multilabel":
            self.classes_ = np.arange(len(model.target.names))
        self._multilabel = task == "multilabel"
        self._set_fitted_attributes()

    def _set_fitted_attributes(self) -> None:
        """What other estimators of scikit-learn tell after a fit."""
        self.n_iter_ = max(len(network.losses) for network in self.model_.networks)
        self.n_outputs_ = self.model_.target.n_outputs

    def _spec(self) -> Spec:
        values = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name not in ("n_jobs", "verbose", "random_state", "scoring")
        }
        scoring = self.scoring
        name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", type(scoring).__name__)
        if name == "loss" and scoring != "loss":
            raise SpecError('A scoring function must not be named "loss", which is the validation loss. Rename it.')
        return Spec.from_hyperparameters(
            kind=self._kind, seed=resolve_random_state(self.random_state), scoring=name, **values
        )

    def _adapt_spec(self, spec: Spec, data: Dataset) -> Spec:
        """The spec, with what the rows say of it."""
        return spec

    def _frame(self, X: Any, *, reset: bool) -> pl.DataFrame | np.ndarray | csr_array:
        """The rows as a frame, checked as scikit-learn checks them; sparse ones by rows, where they are taken; an array
        of finite numbers as it is, for a perceptron, which learns from it in less time than it takes to convert it."""
        if is_frame(X):
            validate_data(self, X, skip_check_array=True, reset=reset)
            if len(X) == 0:
                raise TableError("X holds no rows. Give at least one.")
            return as_frame(X)
        dtype = getattr(np.asarray(X) if isinstance(X, list) else X, "dtype", None)
        is_text = getattr(dtype, "kind", "f") in "OUS"
        X_checked = validate_data(
            self,
            X,
            reset=reset,
            dtype=None if is_text else "numeric",
            ensure_all_finite=False if is_text else "allow-nan",
            accept_sparse="csr" if self._kind == "perceptron" else False,
        )
        if issparse(X_checked):
            if not np.isfinite(X_checked.data).all():
                raise TableError("The sparse matrix X holds NaN or infinite numbers. Leave such cells out of it.")
            return csr_array(X_checked)
        if self._kind == "perceptron" and self.numeric_encoding in (
            "auto",
            "none",
            "standard",
        ):  # nothing else is slower
            needs_frame = hasattr(self, "model_") and not reset and not self.model_.encoder.is_affine
            has_names = hasattr(self, "feature_names_in_")
            if not (needs_frame or has_names or is_text) and np.isfinite(X_checked).all():
                return X_checked
        return as_frame(X_checked, names=getattr(self, "feature_names_in_", None))

    def _validation(self, frame: Any, y_and_weight: Sequence[Any], schema: Schema, spec: Spec) -> Dataset:
        y, *optional_weight = y_and_weight
        weight = self._weight(optional_weight[0] if optional_weight else None, frame.shape[0])
        return drop_zero_weight_rows(
            apply_schema(frame, schema), self._encode_target(y, frame.shape[0], keep_classes=True), weight
        )

    @staticmethod
    def _weight(sample_weight: Any, n: int) -> np.ndarray | None:
        if sample_weight is None:
            return None
        return _check_sample_weight(sample_weight, np.empty((n, 1)), ensure_non_negative=True)

    @abstractmethod
    def _encode_target(self, y: Any, n: int, keep_classes: bool = False) -> np.ndarray:
        """What is to be predicted of n rows, as `Target` takes it; `keep_classes`: by classes that are set already."""

    @abstractmethod
    def _target(self, y_encoded: np.ndarray, spec: Spec) -> Target:
        """The target, learnt from the training rows."""

    def _partial_fit(self, X: Any, encode_target: Callable[[int], np.ndarray], sample_weight: Any) -> Self:
        """One epoch over a batch of a stream; `encode_target` encodes y for that many rows."""
        is_first_batch = not hasattr(self, "model_")
        frame = self._frame(X, reset=is_first_batch)
        y, weight = encode_target(frame.shape[0]), self._weight(sample_weight, frame.shape[0])
        schema = schema_from_frame(frame) if is_first_batch else self.model_.schema
        data = drop_zero_weight_rows(apply_schema(frame, schema), y, weight)
        if self._trainer is None:
            spec = self._spec()
            previous_model = None if is_first_batch else self.model_
            self._trainer = IncrementalTrainer(spec, schema, self._target(data.y, spec), data, previous_model)
        self.model_ = self._trainer.partial_fit(data, resolve_n_jobs(self.n_jobs))
        self._set_fitted_attributes()
        return self

    def _predict_raw(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self.model_.predict_raw(self._frame(X, reset=False), resolve_n_jobs(self.n_jobs))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = True
        tags.non_deterministic = False
        return tags


class _Classifier(ClassifierMixin, BaseNetworkEstimator):
    """Classes, or several labels at once."""

    _tasks = ("binary", "multiclass", "multilabel")

    def predict(self, X: Any) -> np.ndarray:
        """The class (n,) of each row, or zeros and ones (n, labels)."""
        predictions = self._predict_raw(X)
        return self.model_.label(predictions)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """One epoch over a batch of rows; `classes`, all there will be, is needed in the first call.

        Goes on from what `fit` learnt, if it was called. Else scaling, bins and categories are learnt from the first
        batch. No rows are spared for validation, and the learning rate is constant.
        """
        if not hasattr(self, "model_"):
            self._set_classes(y if classes is None else classes, np.ndim(y) == 2 and np.shape(y)[1] > 1)
        return self._partial_fit(X, lambda n: self._encode_target(y, n, keep_classes=True), sample_weight)

    def _set_classes(self, y: Any, multilabel: bool) -> None:
        self.classes_ = np.arange(np.shape(y)[-1]) if multilabel else unique_labels(y)
        self._multilabel = multilabel
        if len(self.classes_) < 2 and not multilabel:
            raise TableError(
                f"y holds one class only, {self.classes_.tolist()[0]!r}; two or more classes are needed to learn from."
            )

    def _encode_target(self, y: Any, n: int, keep_classes: bool = False) -> np.ndarray:
        """Class numbers (n,), or zeros and ones (n, labels)."""
        if hasattr(y, "toarray"):
            y = y.toarray()
        y = to_numpy_dtype(y)
        is_float = getattr(np.asarray(y).dtype, "kind", "") == "f"
        y = check_array(y, ensure_2d=False, dtype=None, input_name="y", ensure_all_finite=is_float)
        if y.dtype == object and any(value is None or value != value for value in y.ravel()):  # noqa: PLR0124 - NaN
            raise TableError("y holds missing values. Leave out the rows whose answer is not known.")
        check_classification_targets(y)
        target_type = type_of_target(y, input_name="y")
        if target_type == "multiclass-multioutput":
            raise TableError("y holds several columns of many classes each. Fit one estimator for each column.")
        multilabel = target_type == "multilabel-indicator"
        if not multilabel:
            y = column_or_1d(y, warn=True)
        check_consistent_length(np.empty(n), y)
        if not keep_classes:
            self._set_classes(y, multilabel)
        if multilabel:
            return np.asarray(y, np.float64)
        return class_indices(y, self.classes_)

    def _target(self, y_encoded: np.ndarray, spec: Spec) -> Target:
        if self._multilabel:
            names = tuple(f"y{i}" for i in range(y_encoded.shape[1]))
            return Target(names=names, task="multilabel").with_loss(spec, y_encoded)
        task = "binary" if len(self.classes_) == 2 else "multiclass"
        return Target(names=("y",), task=task, labels=tuple(self.classes_.tolist())).with_loss(spec, y_encoded)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags


class ProbabilisticClassifier(_Classifier):
    """Classifiers whose networks teach probabilities."""

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (n, classes), or of each label (n, labels).

        Raises TableError where the loss (hinge, perceptron) teaches no probabilities.
        """
        probabilities = self._predict_raw(X)
        self.model_.check_probabilities()
        return probabilities


class Regressor(RegressorMixin, BaseNetworkEstimator):
    """One value or several."""

    _tasks = ("regression",)

    def predict(self, X: Any) -> np.ndarray:
        """The values, (n,) or (n, targets) as y was."""
        values = self._predict_raw(X)
        return values[:, 0] if self._y_is_1d else values

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch over a batch of rows.

        Goes on from what `fit` learnt, if it was called. Else scaling, bins, categories and the spread of y are learnt
        from the first batch. No rows are spared for validation, and the learning rate is constant.
        """
        return self._partial_fit(X, lambda n: self._encode_target(y, n), sample_weight)

    def _encode_target(self, y: Any, n: int, keep_classes: bool = False) -> np.ndarray:
        if getattr(np.asarray(y).dtype, "kind", "") in "mM":
            raise TableError("y holds dates or times, but numbers were expected. Say what number of them is meant.")
        values = check_array(to_numpy_dtype(y), ensure_2d=False, dtype=np.float64, input_name="y")
        if values.ndim == 2 and values.shape[1] == 1:
            values = column_or_1d(values, warn=True)
        check_consistent_length(np.empty(n), values)
        if not keep_classes:
            self._y_is_1d = values.ndim == 1
        return values.reshape(n, -1)

    def _target(self, y_encoded: np.ndarray, spec: Spec) -> Target:
        names = tuple(f"y{i}" for i in range(y_encoded.shape[1])) if y_encoded.shape[1] > 1 else ("y",)
        return Target.fit_regression(names, y_encoded, spec.data.target_transform, spec.training.loss).with_loss(
            spec, y_encoded
        )

    def _load_model(self, model: Model, path: str | Path) -> None:
        super()._load_model(model, path)
        self._y_is_1d = len(model.target.names) == 1

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags
