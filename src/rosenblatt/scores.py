"""In: what was predicted and what is true. Out: the usual scores, beside those of a trivial baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import metrics

from rosenblatt.data.targets import Target


@dataclass(frozen=True)
class Score:
    """One score of a model, and of the baseline on the same rows."""

    name: str
    model: float
    baseline: float
    higher_is_better: bool


def baseline(target: Target, y: np.ndarray) -> list[float]:
    """What is known without looking at a row: the classes' or labels' shares, or the values' means, in `y`."""
    if target.labels:
        return (np.bincount(y.astype(int), minlength=len(target.labels)) / len(y)).tolist()
    return y.mean(axis=0).tolist()


def scores(target: Target, y: np.ndarray, decoded: np.ndarray, base: list[float]) -> list[Score]:
    """Compare predictions (see `Model.decoded`) with the truth y (see `Question.y`); `base` as `baseline` gives it."""
    ours = _measures(target, y, decoded)
    trivial = _measures(target, y, np.tile(np.asarray(base), (len(y), 1)))
    return [Score(name, value, trivial[name], not name.startswith(_LOWER_IS_BETTER)) for name, value in ours.items()]


_LOWER_IS_BETTER = ("log loss", "root mean squared error", "mean absolute error")


def _measures(target: Target, y: np.ndarray, decoded: np.ndarray) -> dict[str, float]:
    if target.task == "regression":
        found: dict[str, float] = {}
        for k, name in enumerate(target.names):
            of = f" of {name}" if len(target.names) > 1 else ""
            truth, said = y[:, k], decoded[:, k]
            found[f"R2{of}"] = metrics.r2_score(truth, said) if len(y) > 1 else float("nan")
            found[f"root mean squared error{of}"] = metrics.root_mean_squared_error(truth, said)
            found[f"mean absolute error{of}"] = metrics.mean_absolute_error(truth, said)
        return _finite(found)
    decided = target.decide(decoded)
    if target.task == "multilabel":
        return _finite(
            {
                "all labels right": metrics.accuracy_score(y, decided),
                "labels right": float((y == decided).mean()),
                "F1 (mean of labels)": metrics.f1_score(y, decided, average="macro", zero_division=0),
                "AUC (mean of labels)": _auc(y, decoded),
            }
        )
    classes = np.arange(len(target.labels))
    recalls = [float((decided[y == k] == k).mean()) for k in classes if (y == k).any()]
    found = {
        "accuracy": metrics.accuracy_score(y, decided),
        "balanced accuracy": float(np.mean(recalls)),
    }
    if target.task == "binary":
        found["AUC"] = _auc(y, decoded[:, 1])
        found[f"F1 of {target.labels[1]}"] = metrics.f1_score(y, decided, zero_division=0)
    else:
        found["AUC (one against rest)"] = _mean_auc(y, decoded)
        found["F1 (mean of classes)"] = metrics.f1_score(y, decided, average="macro", zero_division=0)
    if target.answers == "probabilities":
        found["log loss"] = metrics.log_loss(y, decoded, labels=classes)
    return _finite(found)


def _auc(y: np.ndarray, decoded: np.ndarray) -> float:
    columns = zip(y.reshape(len(y), -1).T, decoded.reshape(len(y), -1).T, strict=True)
    areas = [metrics.roc_auc_score(t, p) for t, p in columns if 0 < t.sum() < len(t)]
    return float(np.mean(areas)) if areas else float("nan")


def _mean_auc(y: np.ndarray, decoded: np.ndarray) -> float:
    return _auc((y[:, None] == np.arange(decoded.shape[1])).astype(float), decoded)


def _finite(found: dict[str, float]) -> dict[str, float]:
    """Without the scores that these rows cannot tell, such as an AUC where there is one class only."""
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def to_json(found: list[Score]) -> dict[str, Any]:
    """`{score: {"model": value, "baseline": value}}`."""
    return {score.name: {"model": score.model, "baseline": score.baseline} for score in found}
