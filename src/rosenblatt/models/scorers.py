"""Score the validation rows of a member after each epoch with a scikit-learn scorer."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from inspect import signature
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import get_scorer, get_scorer_names

from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError, did_you_mean, ignore_warnings
from rosenblatt.models.bootstrap import Totals
from rosenblatt.models.folds import SCORINGS_WITHOUT_CLASSES
from rosenblatt.models.metrics import auc, balanced_accuracy, log_loss, mean, r2
from rosenblatt.models.prepared import ScorerFactory
from rosenblatt.training.population import EpochScorer


class _FrozenEstimator(BaseEstimator):
    """A fitted estimator with precomputed predictions, which a scorer of scikit-learn can use."""

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


_SCORERS_OF_DISTRIBUTIONS = ("neg_log_loss", "neg_brier_score", "d2_log_loss_score", "d2_brier_score")

Scorer = Callable[[np.ndarray, np.ndarray, Totals], float]

_REGRESSION_SCORERS: dict[str, Scorer] = {
    "r2": lambda y, y_pred, totals: float(r2(y, y_pred, totals)),
    "neg_mean_squared_error": lambda y, y_pred, totals: -float(mean((y - y_pred) ** 2, totals)),
    "neg_root_mean_squared_error": lambda y, y_pred, totals: -math.sqrt(mean((y - y_pred) ** 2, totals)),
    "neg_mean_absolute_error": lambda y, y_pred, totals: -float(mean(np.abs(y - y_pred), totals)),
}
_BINARY_SCORERS: dict[str, Scorer] = {"roc_auc": lambda y, proba, totals: float(auc(y == 1, proba[:, 1], totals))}
_CLASSIFICATION_SCORERS: dict[str, Scorer] = {
    "accuracy": lambda y, proba, totals: float(mean(proba.argmax(axis=1) == y, totals)),
    "balanced_accuracy": lambda y, proba, totals: float(
        balanced_accuracy(y, proba.argmax(axis=1), proba.shape[1], totals)
    ),
    "neg_log_loss": lambda y, proba, totals: -float(log_loss(y, proba, totals)),
}


def _fast_scorer(scoring: str, target: Target) -> Scorer | None:
    """Return our own implementation of a scorer, or None.

    It takes y, predictions as `Target.decode` returns them, and totals over the rows.

    Checking the arguments takes scikit-learn longer than an epoch of a small network.
    """
    if target.task == "regression" and len(target.names) == 1 and scoring in _REGRESSION_SCORERS:
        return lambda y, y_pred, totals: _REGRESSION_SCORERS[scoring](y, y_pred[:, 0], totals)
    if target.task == "binary" and scoring in _BINARY_SCORERS:
        return _BINARY_SCORERS[scoring]
    if target.task in ("binary", "multiclass") and scoring in _CLASSIFICATION_SCORERS:
        return None if scoring == "neg_log_loss" and target.output_type == "sums" else _CLASSIFICATION_SCORERS[scoring]
    return None


def make_epoch_scorer(scoring: str | Callable[..., float]) -> ScorerFactory | None:
    """Return a function that makes an `EpochScorer` from a target, y and the weights of the rows; None for the loss.

    A named scorer gets class numbers, with the second class as the positive one. A function `scorer(estimator, X, y)`
    gets the class labels, and an X whose only use is to be passed to the methods of the estimator. Both get the
    weights, if there are some; a function without a parameter `sample_weight` does not, with a warning. Raises
    SpecError for an unknown name.
    """
    if scoring == "loss":
        return None
    if isinstance(scoring, str) and scoring not in get_scorer_names():
        raise SpecError(
            f"scoring must be loss or a scikit-learn scorer such as accuracy, roc_auc or r2, but it is {scoring!r}."
            f"{did_you_mean(scoring, get_scorer_names())}"
        )
    if not isinstance(scoring, str):
        _check_signature(scoring)

    def make_scorer(target: Target, y: np.ndarray, weight: np.ndarray | None) -> EpochScorer:
        if isinstance(scoring, str) and _fast_scorer(scoring, target) is not None:
            y_encoded = y.astype(int) if target.labels else y.reshape(len(y), -1)[:, 0]
            return _FastScorer(scoring, target, y_encoded, weight)
        return _slow_scorer(scoring, target, y, weight)

    return make_scorer


@dataclass(frozen=True)
class _FastScorer:
    """An `EpochScorer` of our own, which can be sent to other machines."""

    scoring: str
    target: Target
    y: np.ndarray  # (n,) class numbers or values
    weight: np.ndarray | None

    @cached_property
    def _scorer(self) -> Scorer:
        scorer = _fast_scorer(self.scoring, self.target)
        assert scorer is not None  # noqa: S101 - `make_epoch_scorer` checks it
        return scorer

    def __call__(self, outputs: np.ndarray, rows: np.ndarray) -> float:
        totals = Totals(None if self.weight is None else self.weight[rows])
        return self._scorer(self.y[rows], self.target.decode(outputs), totals)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class _SlowScorer:
    """An `EpochScorer` that calls a scorer of scikit-learn; it can be sent to other machines if the scorer can."""

    scoring: str | Callable[..., float]
    target: Target
    y: np.ndarray  # (n, ...) as the scorer sees it
    weight: np.ndarray | None

    @property
    def _is_named(self) -> bool:
        return isinstance(self.scoring, str)

    @property
    def _needs_classes(self) -> bool:
        """Whether the score is not defined for rows of a single class."""
        is_of_classes = self._is_named and self.target.task in ("binary", "multiclass")
        return is_of_classes and self.scoring not in SCORINGS_WITHOUT_CLASSES

    def __call__(self, outputs: np.ndarray, rows: np.ndarray) -> float:
        if self._needs_classes and (self.y[rows] == self.y[rows[0]]).all():
            return math.nan  # scikit-learn would give an F1 of 0, or the recall of the only class
        try:
            return self.score(outputs, rows)
        except ValueError:  # these rows allow no score, for instance because they lack a class
            return math.nan

    def score(self, outputs: np.ndarray, rows: np.ndarray) -> float:
        """Score outputs for rows. Raises ValueError if these rows allow no score."""
        weights = {} if self.weight is None else {"sample_weight": self.weight[rows]}
        snapshot = _snapshot_class(self.target)(self.target, outputs, _classes(self.target, self._is_named))
        with ignore_warnings(UndefinedMetricWarning):
            return float(get_scorer(self.scoring)(snapshot, rows.reshape(-1, 1), self.y[rows], **weights))


def _slow_scorer(
    scoring: str | Callable[..., float], target: Target, y: np.ndarray, weight: np.ndarray | None
) -> EpochScorer:
    """Return an `EpochScorer` that calls a scorer of scikit-learn. Raises SpecError if it does not suit the task."""
    is_named = isinstance(scoring, str)
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", repr(scoring))
    if target.task == "multilabel" and scoring in _SCORERS_OF_DISTRIBUTIONS:
        raise SpecError(
            f"scoring {name} needs probabilities of classes that add up to 1, but the task is multilabel. Choose loss "
            "or another scorer, such as roc_auc."
        )
    if weight is not None and not _takes_weights(get_scorer(scoring), name, is_named):
        weight = None
    classes = _classes(target, is_named)
    y_true = classes[y.astype(int)] if target.labels else y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    scorer = _SlowScorer(scoring, target, y_true, weight)
    guess = np.full((len(y), target.n_outputs), 1 / target.n_outputs, np.float32)
    try:
        scorer.score(guess, np.arange(len(y)))
    except (ValueError, AttributeError) as error:
        raise SpecError(f"scoring {name} does not suit the task {target.task}: {error}") from error
    return scorer


def _classes(target: Target, is_named: bool) -> np.ndarray:
    """The classes as a scorer sees them: numbers for named scorers, or else labels; of each label no and yes."""
    if target.task == "multilabel":
        return np.tile([0, 1], (len(target.names), 1))
    return np.arange(len(target.labels)) if is_named else target.label_array


def _snapshot_class(target: Target) -> type[_FrozenEstimator]:
    if target.task == "regression":
        return _RegressorSnapshot
    return _PerceptronSnapshot if target.output_type == "sums" else _ClassifierSnapshot


def _check_signature(function: Callable[..., float]) -> None:
    """Raise SpecError if a scoring function cannot be called with an estimator, X and y."""
    try:
        signature(function).bind(None, None, None)
    except TypeError as error:
        raise SpecError(
            f"scoring must be called with an estimator, X and y, but {getattr(function, '__name__', function)!r} takes "
            "other arguments. Wrap a metric, which takes y and predictions, with sklearn.metrics.make_scorer."
        ) from error
    except ValueError:  # some functions that are not written in Python have no signature
        return


def _takes_weights(scorer: Callable[..., float], name: str, is_named: bool) -> bool:
    """Whether a scorer takes the weights of rows; a function that does not is reported.

    Raises SpecError if a named scorer does not.
    """
    function = getattr(scorer, "_score_func", scorer)  # what a scorer of scikit-learn calls
    if "sample_weight" in signature(function).parameters:
        return True
    if is_named:
        raise SpecError(f"scoring {name} does not use weights of rows. Choose another, or remove the weights.")
    warnings.warn(
        f"scoring {name} does not support sample_weight, so that all validation rows count alike in it. Add the "
        "parameter to weight them.",
        UserWarning,
        stacklevel=2,
    )
    return False
