"""Base classes of the scikit-learn estimators.

The constructor arguments are hyperparameters of `rosenblatt.spec`, which `__init__` only stores. The names of fitted
attributes end in an underscore.
"""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer_names
from sklearn.utils import Tags, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, column_or_1d, validate_data

from rosenblatt.data.dataset import Dataset
from rosenblatt.data.readers.frames import as_frame, as_matrix, column_names, is_frame
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.tasks.forecasting import WindowTransform
from rosenblatt.data.tasks.target import LOSSES_OF_SUMS, Target, class_indices
from rosenblatt.errors import SpecError, TableError, format_list
from rosenblatt.estimators.inputs import (
    Frame,
    check_sample_weight,
    check_validation_rows,
    fill_masked,
    is_text_array,
    make_dataset,
    reject_dates,
    schema_from_frame,
    to_numpy_dtype,
)
from rosenblatt.estimators.parameters import resolve_n_jobs, resolve_random_state
from rosenblatt.models.atomic_write import write_file
from rosenblatt.models.fit import describe_undefined_scores, fit_further, fit_model, has_converged
from rosenblatt.models.incremental import IncrementalTrainer
from rosenblatt.models.model import Model
from rosenblatt.models.model_file import load_model, to_bytes
from rosenblatt.models.scorers import make_epoch_scorer
from rosenblatt.spec.spec import Spec
from rosenblatt.training.progress import training_progress

_SCIKIT_LEARN_PARAMETERS = {"n_jobs", "random_state", "scoring", "verbose", "warm_start"}  # with no such name in a spec


class BaseNetworkEstimator(BaseEstimator, metaclass=ABCMeta):
    """Base class of all estimators: checks the input, trains a population and predicts with its mean."""

    _kind = "mlp"
    _tasks: tuple[str, ...] = ()  # tasks of the models that `load` accepts
    _keeps_sparse = False  # whether networks take sparse rows as they are, instead of encoded as dense ones
    _trainer: IncrementalTrainer | None = None
    model_: Model

    def fit(self, X: Any, y: Any, sample_weight: Any = None, validation: Sequence[Any] | None = None) -> Self:
        """Train on rows and their targets.

        Args:
            X: (n, features) array, pandas or Polars frame, or sparse matrix. Columns may hold numbers, strings,
                categories, booleans or dates, with missing values. A sparse matrix gives the result of the dense one,
                and takes 4 bytes per row and column as well, unless perceptrons take it as it is.
            y: (n,) classes or values, (n, labels) zeros and ones, or (n, targets) values.
            sample_weight: (n,) weights; rows with weight 0 are ignored.
            validation: (X, y) or (X, y, sample_weight), used to choose the best epochs instead of parts of X.

        Raises:
            SpecError: if a hyperparameter is invalid (a ValueError).
            TableError: if the rows cannot be used (a ValueError).
            KeyboardInterrupt: after Ctrl-C. If at least one epoch was complete, the estimator is fitted with the best
                epochs.
        """
        self._check_target(y)
        is_warm = self.warm_start and hasattr(self, "model_")
        frame = self._frame(X, reset=not is_warm)
        schema, spec = (
            self.model_.schema if is_warm else schema_from_frame(frame, X, keeps_sparse=self._keeps_sparse),
            self._spec(),
        )
        data, validation_data = self._dataset(frame, schema, y, sample_weight, keep_classes=is_warm), None
        if validation is not None:
            validation_frame = self._frame(validation[0], reset=False, schema=schema)
            check_validation_rows(frame, validation_frame)
            validation_data = self._dataset(validation_frame, schema, *validation[1:], keep_classes=True)
        return self._fit_model(self._adapt_spec(spec, data, validation_data), schema, data, validation_data)

    def _fit_model(
        self,
        spec: Spec,
        schema: Schema,
        data: Dataset,
        validation: Dataset | None = None,
        windows: WindowTransform | None = None,
    ) -> Self:
        """Train and store the model. Raises as `fit` does."""
        with training_progress(self.verbose) as callback:
            options: dict[str, Any] = {
                "validation": validation,
                "scorer_factory": make_epoch_scorer(self.scoring),
                "watch": callback,
                "threads": resolve_n_jobs(self.n_jobs),
            }
            if getattr(self, "warm_start", False) and hasattr(self, "model_"):
                model = fit_further(spec, self.model_, data, **options)
            else:
                model = fit_model(spec, schema, self._target(data.y, spec), data, **options)
        self.model_, self._trainer = model.with_metadata(windows=windows), None
        self._set_fitted_attributes()
        unused_columns = [encoding.column for encoding in model.encoder.tabular_encodings if not encoding.feature_names]
        if unused_columns:
            warnings.warn(
                f"Columns not used, because each of their values occurs only once: {format_list(unused_columns)}.",
                UserWarning,
                stacklevel=3,
            )
        if not model.metadata.interrupted and not has_converged(model):
            warnings.warn(
                f"Training reached the maximum of {model.resolved_spec['epochs']:,} epochs before the validation score "
                "of most networks stopped improving. Increase epochs.",
                ConvergenceWarning,
                stacklevel=3,
            )
        for description in describe_undefined_scores(model):
            warnings.warn(f"{description}.", UserWarning, stacklevel=3)
        if model.metadata.interrupted:
            raise KeyboardInterrupt("Training was interrupted. The estimator is fitted with the best epochs so far.")
        return self

    def _check_target(self, y: Any) -> None:
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")

    def save(self, path: str | Path) -> None:
        """Write the model to one file, which `load` and `rosenblatt predict` read.

        Raises:
            StorageError: if the file cannot be written.
        """
        check_is_fitted(self)
        write_file(path, to_bytes(self.model_))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a fitted estimator from a model file.

        Raises:
            ModelFileError: if the file is not a model file, is damaged or has another version.
            TableError: if the model is of another kind or task.
        """
        estimator = cls()
        model = load_model(path)
        estimator._load_model(model, path)
        return estimator

    def _load_model(self, model: Model, path: str | Path) -> None:
        if model.spec.network.kind != self._kind or model.task not in self._tasks:
            raise TableError(
                f"{str(path)!r} holds a model of kind {model.spec.network.kind} for {model.task}, which "
                f"{type(self).__name__} cannot load. Use rosenblatt.load_model."
            )
        names = self.get_params().keys() - _SCIKIT_LEARN_PARAMETERS
        self.set_params(**{name: model.spec[name] for name in names}, random_state=model.spec.training.seed)
        scoring = model.spec.training.scoring  # a function is not saved in the file
        self.set_params(scoring=scoring if scoring == "loss" or scoring in get_scorer_names() else "loss")
        self.model_ = model
        columns = [column.name for column in model.schema.columns]
        self.n_features_in_ = model.encoder.n_sparse_columns or len(columns)
        if columns != [f"x{i}" for i in range(len(columns))]:  # the names of array columns
            self.feature_names_in_ = np.asarray(columns, object)
        if model.target.labels:
            self.classes_ = model.target.label_array
        elif model.task == "multilabel":
            self.classes_ = np.arange(len(model.target.names))
        self._multilabel = model.task == "multilabel"
        self._set_fitted_attributes()

    def _set_fitted_attributes(self) -> None:
        self.n_iter_ = max(network.n_epochs for network in self.model_.networks)
        self.n_outputs_ = self.model_.target.n_outputs

    def _spec(self) -> Spec:
        params = self.get_params(deep=False)
        hyperparameters = {name: value for name, value in params.items() if name not in _SCIKIT_LEARN_PARAMETERS}
        scoring = self.scoring
        name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", type(scoring).__name__)
        if name == "loss" and scoring != "loss":
            raise SpecError('A scoring function must not be named "loss", which is the validation loss. Rename it.')
        seed = resolve_random_state(self.random_state)
        return Spec.from_hyperparameters(kind=self._kind, seed=seed, scoring=name, **hyperparameters)

    def _adapt_spec(self, spec: Spec, data: Dataset, validation: Dataset | None) -> Spec:
        """Adjust the spec to the training and validation rows."""
        return spec

    def _frame(self, X: Any, *, reset: bool, schema: Schema | None = None) -> Frame:
        """Check X as scikit-learn does and convert it to a matrix if it holds numbers, else to a frame.

        Args:
            X: rows, as in `fit`.
            reset: as in scikit-learn's `validate_data`.
            schema: that of the training rows, unless `reset`; by default that of the model.
        """
        schema = None if reset else schema or self.model_.schema
        if is_frame(X):
            if reset or [*X.columns] != self._feature_names:
                column_names(X)
                validate_data(self, X, skip_check_array=True, reset=reset)
            if len(X) == 0:
                raise TableError("X holds no rows. Give at least one.")
            return _convert_frame(X, schema, by_position=not hasattr(self, "feature_names_in_"))
        if not reset and self._is_valid_array(X):
            return np.asarray(X, np.float64)
        X = fill_masked(X)
        is_text = is_text_array(X)
        array = validate_data(
            self,
            X,
            reset=reset,
            dtype=None if is_text else "numeric",
            ensure_all_finite=False if is_text else "allow-nan",
            accept_sparse="csr" if get_tags(self).input_tags.sparse else False,
        )
        if issparse(array):
            return _canonical(csr_array(array))
        matrix = as_matrix(array)
        names = None if schema is None else [column.name for column in schema.columns]
        return as_frame(array, names) if matrix is None else matrix

    @property
    def _feature_names(self) -> list[str] | None:
        names = getattr(self, "feature_names_in_", None)
        return None if names is None else names.tolist()

    def _is_valid_array(self, X: Any) -> bool:
        """Whether X is an array in which scikit-learn's checks, which take longer than to predict it, find nothing."""
        is_matrix = type(X) is np.ndarray and X.ndim == 2 and X.dtype.kind in "biuf" and len(X) > 0
        has_width = is_matrix and X.shape[1] == self.n_features_in_ and self._feature_names is None
        return has_width and not np.isinf(X).any()

    def _dataset(
        self, frame: Any, schema: Schema, y: Any, sample_weight: Any = None, *, keep_classes: bool = False
    ) -> Dataset:
        """Training rows in the form that the engine takes, without rows of weight 0."""
        y_encoded = self._encode_target(y, frame.shape[0], keep_classes)
        return make_dataset(frame, schema, y_encoded, check_sample_weight(sample_weight, frame.shape[0]))

    @abstractmethod
    def _encode_target(self, y: Any, n: int, keep_classes: bool = False) -> np.ndarray:
        """Check and encode y for `Target`; `keep_classes` encodes by the classes that are set already."""

    @abstractmethod
    def _target(self, y_encoded: np.ndarray, spec: Spec) -> Target:
        """Fit the encoding of the target to the training rows."""

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, *, keep_classes: bool = False) -> Self:
        is_first_batch = not hasattr(self, "model_")
        frame = self._frame(X, reset=is_first_batch)
        schema = schema_from_frame(frame, X, keeps_sparse=self._keeps_sparse) if is_first_batch else self.model_.schema
        data = self._dataset(frame, schema, y, sample_weight, keep_classes=keep_classes)
        if self._trainer is None:
            spec = self._spec()
            previous_model = None if is_first_batch else self.model_
            self._trainer = IncrementalTrainer(spec, schema, self._target(data.y, spec), data, previous_model)
        self.model_ = self._trainer.partial_fit(data, resolve_n_jobs(self.n_jobs))
        self._set_fitted_attributes()
        return self

    def _predict_raw(self, X: Any) -> np.ndarray:
        if not hasattr(self, "model_"):  # which is faster than scikit-learn's check
            check_is_fitted(self)
        return self.model_.predict_raw(self._frame(X, reset=False), resolve_n_jobs(self.n_jobs))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
        tags.target_tags.required = True
        tags.non_deterministic = False
        return tags


def _canonical(matrix: csr_array) -> csr_array:
    """The matrix with sorted column numbers, each of which occurs once in a row."""
    if matrix.has_canonical_format:
        return matrix
    matrix = matrix.copy()
    matrix.sum_duplicates()
    return matrix


def _convert_frame(X: Any, schema: Schema | None, *, by_position: bool) -> Frame:
    """Convert a frame to a matrix if its columns, which must be those of the schema if there is one, are numbers.

    Columns have the names of the schema, or its order if the training rows had no names.
    """
    names = column_names(X)
    expected = names if schema is None else [column.name for column in schema.columns]
    if by_position and len(names) == len(expected):
        names = expected
    is_matrix = names == expected and (schema is None or schema.is_numeric)
    matrix = as_matrix(X) if is_matrix else None
    if matrix is not None:
        return matrix
    frame = as_frame(X)
    return frame if frame.columns == names else frame.rename(dict(zip(frame.columns, names, strict=True)))


class Classifier(ClassifierMixin, BaseNetworkEstimator):
    """Base class of classifiers, for two or more classes or for several labels at once."""

    _tasks = ("binary", "multiclass", "multilabel")

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class (n,) of each row, or zeros and ones (n, labels)."""
        predictions = self._predict_raw(X)
        return self.model_.label(predictions)

    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the scores by which classes are predicted.

        Returns:
            (n,) for two classes, positive for the second class; otherwise (n, classes), highest for the predicted
            class, or (n, labels), positive for the predicted labels. They are weighted sums of a perceptron and of the
            losses hinge and perceptron; otherwise log odds, or log probabilities of more than two classes.
        """
        predictions = self._predict_raw(X)
        return self.model_.target.to_decision(predictions)

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Train for one epoch on a batch of rows.

        Training continues from the current networks if the estimator is fitted. Otherwise the encodings (scaling, bins,
        categories) are fitted to the first batch. No rows are held out for validation, and the learning rate is
        constant.

        Args:
            X: (n, features) rows, as in `fit`.
            y: (n,) classes or (n, labels) zeros and ones.
            classes: all classes that will occur, the same in every call; by default those of the first batch.
            sample_weight: (n,) weights. These and `class_weight` are relative to all rows so far, not to the batch.

        Raises:
            TableError: if the rows or the classes do not fit those of earlier batches.
            DivergedError: if training diverges; the estimator then stays as it was.
        """
        is_first_batch = not hasattr(self, "model_")
        if is_first_batch:
            reject_dates(y, "classes are words or numbers. Convert them to text.")
            multilabel = np.ndim(y) == 2 and np.shape(y)[1] > 1
            self._set_classes(y if multilabel or classes is None or not len(classes) else classes, multilabel)
        if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            given = format_list(np.unique(classes).tolist()) or "nothing"
            origin = "of the columns of y" if is_first_batch else "of the training so far"
            raise TableError(
                f"classes holds {given}, but the classes {origin} are "
                f"{format_list(self.classes_.tolist())}. Pass the same classes in every call, or none."
            )
        return self._partial_fit(X, y, sample_weight, keep_classes=True)

    def _set_classes(self, y: Any, multilabel: bool) -> None:
        self.classes_ = np.arange(np.shape(y)[-1]) if multilabel else unique_labels(y)
        self._multilabel = multilabel
        if len(self.classes_) < 2 and not multilabel:
            raise TableError(f"y contains only one class, {self.classes_.tolist()[0]!r}. Give at least two classes.")

    def _encode_target(self, y: Any, n: int, keep_classes: bool = False) -> np.ndarray:
        """Encode y as class indices (n,), or as zeros and ones (n, labels)."""
        reject_dates(y, "classes are words or numbers. Convert them to text.")
        y = y.toarray() if issparse(y) else to_numpy_dtype(y)
        is_float = np.asarray(y).dtype.kind == "f"
        y = check_array(y, ensure_2d=False, dtype=None, input_name="y", ensure_all_finite=is_float)
        if y.dtype == object and any(value is None or value != value for value in y.ravel()):  # noqa: PLR0124 - NaN
            raise TableError("y contains missing values. Remove these rows.")
        check_classification_targets(y)
        target_type = type_of_target(y, input_name="y")
        if target_type == "multiclass-multioutput":
            raise TableError("y has several columns with more than two classes each. Fit one estimator per column.")
        multilabel = target_type == "multilabel-indicator"
        if not multilabel:
            y = column_or_1d(y, warn=True)
        check_consistent_length(np.empty(n), y)
        if not keep_classes:
            self._set_classes(y, multilabel)
        return np.asarray(y, np.float64) if multilabel else class_indices(y, self.classes_)

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


def has_probabilities(estimator: Any) -> bool:
    """Whether the networks of an estimator predict probabilities: not those of the losses hinge and perceptron."""
    if estimator.__sklearn_is_fitted__():
        return estimator.model_.target.output_type == "probabilities"
    return estimator.loss not in LOSSES_OF_SUMS


class ProbabilisticClassifier(Classifier):
    """Base class of classifiers whose networks predict probabilities, unless the loss is hinge or perceptron."""

    @available_if(has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class (n, classes), or of each label (n, labels)."""
        return self._predict_raw(X)

    @available_if(has_probabilities)
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithms of the probabilities, shaped like them; -inf for a probability of 0."""
        with np.errstate(divide="ignore"):
            return np.log(self._predict_raw(X))


class Regressor(RegressorMixin, BaseNetworkEstimator):
    """Base class of regressors, for one target or several at once."""

    _tasks = ("regression",)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the values, (n,) or (n, targets) like the y of `fit`."""
        values = self._predict_raw(X)
        return values[:, 0] if self._y_is_1d else values

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train for one epoch on a batch of rows.

        Training continues from the current networks if the estimator is fitted. Otherwise the encodings (scaling, bins,
        categories) are fitted to the first batch. The scale of y and the limits of predictions follow all values so
        far. No rows are held out for validation, and the learning rate is constant.

        Args:
            X: (n, features) rows, as in `fit`.
            y: (n,) or (n, targets) values.
            sample_weight: (n,) weights, relative to all rows so far, not to the batch.

        Raises:
            TableError: if the rows do not fit those of earlier batches.
            DivergedError: if training diverges; the estimator then stays as it was.
        """
        return self._partial_fit(X, y, sample_weight)

    def _encode_target(self, y: Any, n: int, keep_classes: bool = False) -> np.ndarray:
        reject_dates(y, "a regressor predicts numbers. Convert them to numbers.")
        values = check_array(to_numpy_dtype(y), ensure_2d=False, dtype=np.float64, input_name="y")
        if values.ndim == 2 and values.shape[1] == 1:
            values = column_or_1d(values, warn=True)
        check_consistent_length(np.empty(n), values)
        if not keep_classes:
            self._y_is_1d = values.ndim == 1
        return values.reshape(n, -1)

    def _target(self, y_encoded: np.ndarray, spec: Spec) -> Target:
        n_targets = y_encoded.shape[1]
        names = tuple(f"y{i}" for i in range(n_targets)) if n_targets > 1 else ("y",)
        target = Target.fit_regression(names, y_encoded, spec.data.target_transform, spec.training.loss)
        return target.with_loss(spec, y_encoded)

    def _load_model(self, model: Model, path: str | Path) -> None:
        super()._load_model(model, path)
        self._y_is_1d = len(model.target.names) == 1

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = True
        return tags
