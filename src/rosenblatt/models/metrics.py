"""Scores of predictions, beside those of a trivial baseline.

The formulas are those of scikit-learn's metrics, and tested against them; importing these takes a second, which a
command on a small table does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rosenblatt.data.tasks.target import Target
from rosenblatt.models.metadata import TestScore


def flatten_steps(target: Target, y: np.ndarray, raw_predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers (n, T) and what is said (n, T, K) of steps as rows (steps,) and (steps, K); others as they are."""
    if not target.is_per_step or y.ndim == 1:
        return y, raw_predictions
    steps = min(y.shape[1], raw_predictions.shape[1])
    mask = y[:, :steps] >= 0
    return y[:, :steps][mask], raw_predictions[:, :steps][mask]


def forecast_scores(y_true: np.ndarray, y_pred: np.ndarray, baseline_pred: np.ndarray) -> list[TestScore]:
    """The scores of forecasts (n, horizon), beside trivial ones."""

    def error_metrics(y_pred: np.ndarray) -> dict[str, float]:
        error = y_true - y_pred
        metrics = {"mean absolute error": np.abs(error).mean(), "root mean squared error": np.sqrt((error**2).mean())}
        last_step_metrics = (
            {} if y_true.shape[1] == 1 else {"mean absolute error of the last step": np.abs(error[:, -1]).mean()}
        )
        return {name: float(value) for name, value in (metrics | last_step_metrics).items()}

    baseline_metrics = error_metrics(baseline_pred)
    return [
        TestScore(name=name, model=value, baseline=baseline_metrics[name], higher_is_better=False)
        for name, value in error_metrics(y_pred).items()
    ]


def baseline(target: Target, y: np.ndarray) -> list[float]:
    """What is known without looking at a row: the classes' or labels' shares, or the values' means, in `y`."""
    if target.is_per_step:
        y = y[y >= 0]
    if target.labels:
        return (np.bincount(y.astype(int), minlength=len(target.labels)) / len(y)).tolist()
    return y.mean(axis=0).tolist()


def scores(target: Target, y: np.ndarray, raw_predictions: np.ndarray, base: list[float]) -> list[TestScore]:
    """Compare predictions (see `Model.predict_raw`) with the truth y (see `SupervisedTask.y`); `base` as `baseline`
    gives it."""
    y, raw_predictions = flatten_steps(target, y, raw_predictions)
    model_metrics = _compute_metrics(target, y, raw_predictions)
    baseline_metrics = _compute_metrics(target, y, np.tile(np.asarray(base), (len(y), 1)))
    return [
        TestScore(
            name=name,
            model=value,
            baseline=baseline_metrics[name],
            higher_is_better=not name.startswith(_LOWER_IS_BETTER),
        )
        for name, value in model_metrics.items()
    ]


_LOWER_IS_BETTER = ("log loss", "perplexity", "root mean squared error", "mean absolute error")


def _compute_metrics(target: Target, y: np.ndarray, raw_predictions: np.ndarray) -> dict[str, float]:
    if target.task == "regression":
        metrics: dict[str, float] = {}
        for k, name in enumerate(target.names):
            suffix = f" of {name}" if len(target.names) > 1 else ""
            y_true, y_pred = y[:, k], raw_predictions[:, k]
            metrics[f"R2{suffix}"] = r2(y_true, y_pred)
            metrics[f"root mean squared error{suffix}"] = float(np.sqrt(np.mean((y_true - y_pred) ** 2)))
            metrics[f"mean absolute error{suffix}"] = float(np.mean(np.abs(y_true - y_pred)))
        return _drop_undefined(metrics)
    predictions = target.to_predictions(raw_predictions)
    if target.task == "multilabel":
        return _drop_undefined(
            {
                "all labels right": float((y == predictions).all(axis=1).mean()),
                "labels right": float((y == predictions).mean()),
                "F1 (mean of labels)": float(np.mean([f1(t, d) for t, d in zip(y.T, predictions.T, strict=True)])),
                "AUC (mean of labels)": _auc(y, raw_predictions),
            }
        )
    if target.task == "language":
        true_probability = raw_predictions[np.arange(len(y)), y.astype(int)]
        log_loss = float(-np.log(np.maximum(true_probability, np.finfo(float).eps)).mean())
        return {
            "accuracy": float((y == predictions).mean()),
            "log loss": log_loss,
            "perplexity": float(np.exp(log_loss)),
        }
    classes = np.arange(len(target.labels))
    recalls = [float((predictions[y == k] == k).mean()) for k in classes if (y == k).any()]
    metrics = {"accuracy": float((y == predictions).mean()), "balanced accuracy": float(np.mean(recalls))}
    if target.task == "binary":
        metrics["AUC"] = _auc(y, raw_predictions[:, 1])
        metrics[f"F1 of {target.labels[1]}"] = f1(y, predictions)
    else:
        metrics["AUC (one against rest)"] = _mean_auc(y, raw_predictions)
        present_classes = [k for k in classes if (y == k).any() or (predictions == k).any()]
        metrics["F1 (mean of classes)"] = float(np.mean([f1(y == k, predictions == k) for k in present_classes]))
    if target.output_type == "probabilities":
        true_probability = raw_predictions[np.arange(len(y)), y.astype(int)]
        metrics["log loss"] = float(-np.log(np.maximum(true_probability, np.finfo(float).eps)).mean())
    return _drop_undefined(metrics)


def auc(y_true: np.ndarray, y_score: np.ndarray) -> float:
    """The area under the ROC curve: how often a row where `y_true` (n,) holds is ranked above one where it does not,
    ties counting half (Hanley & McNeil 1982)."""
    _, positions, counts = np.unique(y_score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2)[positions]
    n = float(y_true.sum())
    return float((rank[y_true == 1].sum() - n * (n + 1) / 2) / (n * (len(y_true) - n)))


def f1(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """The harmonic mean of precision and recall; 0 where nothing holds and nothing is said to."""
    true_positives = float(((y_true == 1) & (y_pred == 1)).sum())
    total = float((y_true == 1).sum() + (y_pred == 1).sum())
    return 2 * true_positives / total if total else 0.0


def r2(y_true: np.ndarray, y_pred: np.ndarray) -> float:
    """The share of the variance that is explained; NaN where there is none."""
    total_sum_of_squares = float(((y_true - y_true.mean()) ** 2).sum())
    return (
        1 - float(((y_true - y_pred) ** 2).sum()) / total_sum_of_squares if total_sum_of_squares > 0 else float("nan")
    )


def _auc(y: np.ndarray, raw_predictions: np.ndarray) -> float:
    columns = zip(y.reshape(len(y), -1).T, raw_predictions.reshape(len(y), -1).T, strict=True)
    areas = [auc(t, p) for t, p in columns if 0 < t.sum() < len(t)]
    return float(np.mean(areas)) if areas else float("nan")


def _mean_auc(y: np.ndarray, raw_predictions: np.ndarray) -> float:
    return _auc((y[:, None] == np.arange(raw_predictions.shape[1])).astype(float), raw_predictions)


def _drop_undefined(metrics: dict[str, float]) -> dict[str, float]:
    """Without the scores that these rows cannot tell, such as an AUC where there is one class only."""
    return {name: float(value) for name, value in metrics.items() if np.isfinite(value)}


def scores_to_dict(model_scores: Sequence[TestScore]) -> dict[str, Any]:
    """`{score: {"model": value, "baseline": value}}`."""
    return {score.name: {"model": score.model, "baseline": score.baseline} for score in model_scores}
