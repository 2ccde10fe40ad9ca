"""Score a member's validation rows after each epoch with a scikit-learn scorer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import get_scorer, get_scorer_names

from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError, did_you_mean, ignore_warnings
from rosenblatt.models.metrics import auc, r2
from rosenblatt.training.population import EpochScorer

EPSILON = float(np.finfo(np.float64).eps)


class _FrozenEstimator(BaseEstimator):
    """A network as it is after an epoch, with the predictions for its validation rows already made."""

    def __init__(self, target: Target, outputs: np.ndarray, labels: np.ndarray) -> None:
        self._target, self._raw_predictions, self.classes_ = target, target.decode(outputs), labels

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, _: Any) -> np.ndarray:
        predictions = self._target.to_predictions(self._raw_predictions)
        if self._target.task == "regression":
            return predictions[:, 0] if predictions.shape[1] == 1 else predictions
        return predictions if self._target.task == "multilabel" else self.classes_[predictions]


class _ClassifierSnapshot(ClassifierMixin, _FrozenEstimator):
    def predict_proba(self, _: Any) -> np.ndarray:
        return self._raw_predictions


class _PerceptronSnapshot(ClassifierMixin, _FrozenEstimator):
    def decision_function(self, _: Any) -> np.ndarray:
        return self._raw_predictions[:, 1] if self._target.task == "binary" else self._raw_predictions


class _RegressorSnapshot(RegressorMixin, _FrozenEstimator):
    pass


def _mean_squared_error(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    return float(np.mean((y_true - y_pred) ** 2))


_REGRESSION_SCORERS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "r2": r2,
    "neg_mean_squared_error": lambda y, y_pred: -_mean_squared_error(y, y_pred),
    "neg_root_mean_squared_error": lambda y, y_pred: -math.sqrt(_mean_squared_error(y, y_pred)),
    "neg_mean_absolute_error": lambda y, y_pred: -float(np.mean(np.abs(y - y_pred))),
}
_BINARY_SCORERS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"roc_auc": auc}
_CLASSIFICATION_SCORERS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": lambda y, y_pred: float((y_pred.argmax(axis=1) == y).mean()),
    "balanced_accuracy": lambda y, y_pred: float(
        np.mean([(y_pred[y == k].argmax(axis=1) == k).mean() for k in np.unique(y)])
    ),
    "neg_log_loss": lambda y, y_pred: float(np.log(np.maximum(y_pred[np.arange(len(y)), y], EPSILON)).mean()),
}


def _fast_scorer(scoring: str, target: Target) -> Callable[[np.ndarray, np.ndarray], float] | None:
    """The formula of a scorer for what `Target.decode` gives, where it is one of ours: scikit-learn checks its
    arguments for longer than a small network takes for an epoch."""
    if target.task == "regression" and len(target.names) == 1 and scoring in _REGRESSION_SCORERS:
        return lambda y, y_pred: _REGRESSION_SCORERS[scoring](y, y_pred[:, 0])
    if target.task == "binary" and scoring in _BINARY_SCORERS:
        return lambda y, y_pred: _BINARY_SCORERS[scoring](y, y_pred[:, 1]) if 0 < y.sum() < len(y) else math.nan
    if target.task in ("binary", "multiclass") and scoring in _CLASSIFICATION_SCORERS:
        return None if scoring == "neg_log_loss" and target.output_type == "sums" else _CLASSIFICATION_SCORERS[scoring]
    return None


def make_epoch_scorer(scoring: str | Callable[..., float]) -> Callable[[Target, np.ndarray], EpochScorer] | None:
    """What makes an `EpochScorer` of a target and y; None for the loss.

    A scorer by name sees class numbers, the second class being the positive one; a function `scorer(estimator, X, y)`
    sees the labels themselves, and an X to hand to the estimator's methods, nothing more. Raises SpecError for an
    unknown name.
    """
    if scoring == "loss":
        return None
    if isinstance(scoring, str) and scoring not in get_scorer_names():
        raise SpecError(
            f"scoring must be loss or a scorer of scikit-learn, such as accuracy, roc_auc or r2, but it is {scoring!r}."
            f"{did_you_mean(scoring, get_scorer_names())}"
        )
    scorer = get_scorer(scoring)

    def make_scorer(target: Target, y: np.ndarray) -> EpochScorer:
        class_indices = np.arange(len(target.labels))
        labels = class_indices if isinstance(scoring, str) else np.asarray(target.labels)
        estimator_class = _RegressorSnapshot if target.task == "regression" else _ClassifierSnapshot
        if target.output_type == "sums":
            estimator_class = _PerceptronSnapshot
        y_true = labels[y.astype(int)] if target.labels else y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y

        fast_scorer = _fast_scorer(scoring, target) if isinstance(scoring, str) else None
        y_encoded = y.astype(int) if target.labels else y.reshape(len(y), -1)[:, 0]
        if fast_scorer is not None:
            return lambda outputs, rows: fast_scorer(y_encoded[rows], target.decode(outputs))

        def score(outputs: np.ndarray, rows: np.ndarray) -> float:
            with ignore_warnings(UndefinedMetricWarning):
                return float(scorer(estimator_class(target, outputs, labels), rows.reshape(-1, 1), y_true[rows]))

        guess = np.full((len(y), target.n_outputs), 1 / target.n_outputs, np.float32)
        try:
            score(guess, np.arange(len(y)))
        except (ValueError, AttributeError) as error:
            name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", repr(scoring))
            raise SpecError(f"scoring {name} does not suit the task {target.task}: {error}") from error
        return score

    return make_scorer
