"""In: a scikit-learn scorer, or its name. Out: what scores a member's validation rows after each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import get_scorer, get_scorer_names

from rosenblatt.data.tasks.target import Target
from rosenblatt.errors import SpecError, nearest, quietly
from rosenblatt.models.metrics import auc, r2
from rosenblatt.training.population import Score

EPSILON = float(np.finfo(np.float64).eps)


class _Snapshot(BaseEstimator):
    """A network as it is after an epoch, with the predictions for its validation rows already made."""

    def __init__(self, target: Target, outputs: np.ndarray, labels: np.ndarray) -> None:
        self._target, self._decoded, self.classes_ = target, target.decode(outputs), labels

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, _: Any) -> np.ndarray:
        decided = self._target.decide(self._decoded)
        if self._target.task == "regression":
            return decided[:, 0] if decided.shape[1] == 1 else decided
        return decided if self._target.task == "multilabel" else self.classes_[decided]


class _ClassifierSnapshot(ClassifierMixin, _Snapshot):
    def predict_proba(self, _: Any) -> np.ndarray:
        return self._decoded


class _PerceptronSnapshot(ClassifierMixin, _Snapshot):
    def decision_function(self, _: Any) -> np.ndarray:
        return self._decoded[:, 1] if self._target.task == "binary" else self._decoded


class _RegressorSnapshot(RegressorMixin, _Snapshot):
    pass


def _squared(y: np.ndarray, said: np.ndarray) -> float:
    return float(np.mean((y - said) ** 2))


_OF_VALUES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "r2": r2,
    "neg_mean_squared_error": lambda y, said: -_squared(y, said),
    "neg_root_mean_squared_error": lambda y, said: -math.sqrt(_squared(y, said)),
    "neg_mean_absolute_error": lambda y, said: -float(np.mean(np.abs(y - said))),
}
_OF_TWO_CLASSES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {"roc_auc": auc}
_OF_CLASSES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": lambda y, said: float((said.argmax(axis=1) == y).mean()),
    "balanced_accuracy": lambda y, said: float(
        np.mean([(said[y == k].argmax(axis=1) == k).mean() for k in np.unique(y)])
    ),
    "neg_log_loss": lambda y, said: float(np.log(np.maximum(said[np.arange(len(y)), y], EPSILON)).mean()),
}


def _quick(scoring: str, target: Target) -> Callable[[np.ndarray, np.ndarray], float] | None:
    """The formula of a scorer for what `Target.decode` gives, where it is one of ours: scikit-learn checks its
    arguments for longer than a small network takes for an epoch."""
    if target.task == "regression" and len(target.names) == 1 and scoring in _OF_VALUES:
        return lambda y, said: _OF_VALUES[scoring](y, said[:, 0])
    if target.task == "binary" and scoring in _OF_TWO_CLASSES:
        return lambda y, said: _OF_TWO_CLASSES[scoring](y, said[:, 1]) if 0 < y.sum() < len(y) else math.nan
    if target.task in ("binary", "multiclass") and scoring in _OF_CLASSES:
        return None if scoring == "neg_log_loss" and target.answers == "sums" else _OF_CLASSES[scoring]
    return None


def epoch_score(scoring: str | Callable[..., float]) -> Callable[[Target, np.ndarray], Score] | None:
    """What makes a `Score` of a target and y; None for the loss.

    A scorer by name sees class numbers, the second class being the positive one; a function `scorer(estimator, X, y)`
    sees the labels themselves, and an X to hand to the estimator's methods, nothing more. Raises SpecError for an
    unknown name.
    """
    if scoring == "loss":
        return None
    if isinstance(scoring, str) and scoring not in get_scorer_names():
        raise SpecError(
            f"scoring must be loss or a scorer of scikit-learn, such as accuracy, roc_auc or r2, but it is {scoring!r}."
            f"{nearest(scoring, get_scorer_names())}"
        )
    scorer = get_scorer(scoring)

    def make(target: Target, y: np.ndarray) -> Score:
        numbers = np.arange(len(target.labels))
        labels = numbers if isinstance(scoring, str) else np.asarray(target.labels)
        kind = _RegressorSnapshot if target.task == "regression" else _ClassifierSnapshot
        if target.answers == "sums":
            kind = _PerceptronSnapshot
        known = labels[y.astype(int)] if target.labels else y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y

        quick = _quick(scoring, target) if isinstance(scoring, str) else None
        truth = y.astype(int) if target.labels else y.reshape(len(y), -1)[:, 0]
        if quick is not None:
            return lambda outputs, rows: quick(truth[rows], target.decode(outputs))

        def score(outputs: np.ndarray, rows: np.ndarray) -> float:
            with quietly(UndefinedMetricWarning):
                return float(scorer(kind(target, outputs, labels), rows.reshape(-1, 1), known[rows]))

        guess = np.full((len(y), target.n_outputs), 1 / target.n_outputs, np.float32)
        try:
            score(guess, np.arange(len(y)))
        except (ValueError, AttributeError) as error:
            name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", repr(scoring))
            raise SpecError(f"scoring {name} does not suit the task {target.task}: {error}") from error
        return score

    return make
