"""Test scores as functions of sums over rows, so that the same formula serves a test and its bootstrap resamples.

The formulas are those of scikit-learn's metrics and are tested against them; importing scikit-learn's would add a
second to every fit. `totals` sums values (..., rows) over rows, weighted if the rows have weights: over all of them, or
over those of each resample, which adds an axis (see `bootstrap`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from rosenblatt.data.tasks.target import Target
from rosenblatt.models.bootstrap import ALL_ROWS, Totals

CLASSES_AT_ONCE = 16  # classes whose per-row arrays are held in memory together
EPSILON = float(np.finfo(np.float64).eps)  # smallest probability in a log loss


def flatten_steps(target: Target, y: np.ndarray, raw_predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop the padding of sequences: y (n, T) and predictions (n, T, K) become (steps,) and (steps, K).

    Targets with one value per row are returned as they are.
    """
    if not target.is_per_step or y.ndim == 1:
        return y, raw_predictions
    steps = min(y.shape[1], raw_predictions.shape[1])
    mask = y[:, :steps] >= 0
    return y[:, :steps][mask], raw_predictions[:, :steps][mask]


def compute_baseline(target: Target, y: np.ndarray, weight: np.ndarray | None = None) -> list[float]:
    """Return the constant prediction of the baseline: frequencies of classes or labels, or mean values, in `y`.

    `weight` (n,) are the weights of the rows.
    """
    weight = np.ones(len(y)) if weight is None else weight
    if target.is_per_step:
        is_step = y >= 0
        y, weight = y[is_step], np.broadcast_to(weight.reshape(-1, *[1] * (y.ndim - 1)), y.shape)[is_step]
    if target.labels:
        return (np.bincount(y.astype(int), weight, len(target.labels)) / weight.sum()).tolist()
    return np.average(y, axis=0, weights=weight).tolist()


def compute_metrics(
    target: Target, y: np.ndarray, raw_predictions: np.ndarray, totals: Totals = ALL_ROWS
) -> dict[str, np.ndarray]:
    """Compute all scores of a task; scores that cannot be known from these rows are NaN.

    Scores of a class need rows of it, and means over classes need rows of each. Means over labels leave out labels that
    no row has (for the AUC, also those that every row has).

    y (n,) or (n, K) is as `SupervisedTask.y`, `raw_predictions` (n, K) as `Model.predict_raw`, both without padding.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if target.task == "regression":
            return _regression_metrics(target, y, raw_predictions, totals)
        predictions = target.to_predictions(raw_predictions)
        if target.task == "multilabel":
            return {
                "all labels right": mean((y == predictions).all(axis=1), totals),
                "labels right": mean((y == predictions).mean(axis=1), totals),
                "F1 (mean of labels)": _mean_defined(
                    [f1(t, p, totals) for t, p in zip(y.T, predictions.T, strict=True)]
                ),
                "AUC (mean of labels)": _mean_auc(zip(y.T == 1, raw_predictions.T, strict=True), totals),
            }
        if target.task == "language":
            loss = log_loss(y, raw_predictions, totals)
            return {"accuracy": mean(y == predictions, totals), "log loss": loss, "perplexity": np.exp(loss)}
        return _class_metrics(target, y, raw_predictions, predictions, totals)


def _regression_metrics(
    target: Target, y: np.ndarray, predictions: np.ndarray, totals: Totals
) -> dict[str, np.ndarray]:
    metrics: dict[str, np.ndarray] = {}
    for k, name in enumerate(target.names):
        suffix = f" of {name}" if len(target.names) > 1 else ""
        metrics[f"R2{suffix}"] = r2(y[:, k], predictions[:, k], totals)
        metrics[f"root mean squared error{suffix}"] = np.sqrt(mean((y[:, k] - predictions[:, k]) ** 2, totals))
        metrics[f"mean absolute error{suffix}"] = mean(np.abs(y[:, k] - predictions[:, k]), totals)
    return metrics


def _class_metrics(
    target: Target, y: np.ndarray, raw_predictions: np.ndarray, predictions: np.ndarray, totals: Totals
) -> dict[str, np.ndarray]:
    metrics = {"accuracy": mean(y == predictions, totals)}
    means_of_classes = {"balanced accuracy": balanced_accuracy(y, predictions, len(target.labels), totals)}
    if target.task == "binary":
        means_of_classes["AUC"] = auc(y == 1, raw_predictions[:, 1], totals)
    else:
        columns = ((y == k, scores) for k, scores in enumerate(raw_predictions.T))
        means_of_classes["AUC (one against rest)"] = _mean_auc(columns, totals)
        counts = _class_counts(y, predictions, len(target.labels), totals)
        f1_scores = (2 * right / (true + n) for true, n, right in counts)
        means_of_classes["F1 (mean of classes)"] = _mean_defined(f1_scores)
    if absent_classes(target, y if totals.weight is None else y[totals.weight > 0]):
        means_of_classes = dict.fromkeys(means_of_classes, totals(np.full(len(y), np.nan)))
    metrics |= means_of_classes
    if target.task == "binary":
        metrics[f"F1 of {target.labels[1]}"] = f1(y, predictions, totals)
    if target.output_type == "probabilities":
        metrics["log loss"] = log_loss(y, raw_predictions, totals)
    return metrics


def absent_classes(target: Target, y: np.ndarray) -> list[str]:
    """The classes that no row of y (n,), or step of y (n, T), is of, or the labels that no row of y (n, labels) has."""
    if target.task == "multilabel":
        is_absent = ~(y == 1).any(axis=0)
        return [str(name) for name, absent in zip(target.names, is_absent, strict=True) if absent]
    present = set(np.unique(y).tolist())
    return [str(label) for k, label in enumerate(target.labels) if k not in present]


def classes_of_one_row(target: Target, y: np.ndarray) -> list[str]:
    """The classes that a single row of y (n,), or step of y (n, T), is of."""
    if target.task not in ("binary", "multiclass", "tagging"):
        return []
    return [str(target.labels[k]) for k in np.flatnonzero(np.bincount(y.astype(int)) == 1)]


def names_of_class_scores(target: Target) -> tuple[str, ...]:
    """The names of the scores that need rows of each class."""
    if target.task == "binary":
        return "balanced accuracy", "AUC", f"F1 of {target.labels[1]}"
    return "balanced accuracy", "AUC (one against rest)", "F1 (mean of classes)"


def compute_forecast_metrics(
    y: np.ndarray, predictions: np.ndarray, totals: Totals = ALL_ROWS
) -> dict[str, np.ndarray]:
    """Compute the errors of forecasts (n, horizon), in the unit of the target."""
    error = y - predictions
    metrics = {
        "mean absolute error": mean(np.abs(error).mean(axis=1), totals),
        "root mean squared error": np.sqrt(mean((error**2).mean(axis=1), totals)),
    }
    if y.shape[1] > 1:
        metrics["mean absolute error of the last step"] = mean(np.abs(error[:, -1]), totals)
    return metrics


def mean(values: np.ndarray, totals: Totals = ALL_ROWS) -> np.ndarray:
    """Mean of values (n,) over rows."""
    return totals(values) / totals(np.ones(len(values)))


def balanced_accuracy(y: np.ndarray, predictions: np.ndarray, n_classes: int, totals: Totals = ALL_ROWS) -> np.ndarray:
    """Mean recall of the classes that occur in y (n,); NaN unless there are two or more."""
    with np.errstate(invalid="ignore"):
        recalls = np.stack([right / true for true, _, right in _class_counts(y, predictions, n_classes, totals)])
        return np.where(np.isfinite(recalls).sum(axis=0) > 1, _mean_defined(recalls), np.nan)


def log_loss(y: np.ndarray, probabilities: np.ndarray, totals: Totals = ALL_ROWS) -> np.ndarray:
    """Mean negative log probability (n, classes) of the true classes (n,)."""
    true_probability = probabilities[np.arange(len(y)), y.astype(int)]
    return mean(-np.log(np.maximum(true_probability, EPSILON)), totals) + 0.0  # 0, not -0


def f1(y: np.ndarray, predictions: np.ndarray, totals: Totals = ALL_ROWS) -> np.ndarray:
    """Harmonic mean of precision and recall of the ones in y (n,); NaN if y holds none."""
    n_true, right = totals(y == 1), totals((y == 1) & (predictions == 1))
    f1_score = 2 * right / np.where(n_true > 0, n_true + totals(predictions == 1), 1)
    return np.where(n_true > 0, f1_score, np.nan)


def r2(y: np.ndarray, predictions: np.ndarray, totals: Totals = ALL_ROWS) -> np.ndarray:
    """Fraction of the variance of y (n,) that is explained; NaN for constant y."""
    deviations = y - y.mean()
    n = totals(np.ones(len(y)))
    total = totals(deviations**2) - totals(deviations) ** 2 / n
    is_defined = total > EPSILON * n * (deviations**2).max(initial=0.0)
    return np.where(is_defined, 1 - totals((y - predictions) ** 2) / np.where(is_defined, total, 1.0), np.nan)


def auc(is_positive: np.ndarray, y_score: np.ndarray, totals: Totals = ALL_ROWS) -> np.ndarray:
    """Area under the ROC curve: probability that a positive row is ranked above a negative one, ties counting half.

    Of resamples, the area is computed to first order (DeLong, DeLong & Clarke-Pearson 1988): the mean placements of the
    positive and of the negative rows, less the area of all rows. The placement of a row is the fraction of the rows of
    the other class that it is ranked correctly against. NaN without positive or without negative rows.
    """
    positive, negative = _class_weight(is_positive, totals.weight), _class_weight(~is_positive, totals.weight)
    n_positive, n_negative = positive.sum(), negative.sum()
    if not (n_positive and n_negative):
        return totals(np.full(len(y_score), np.nan))
    value_index = np.unique(y_score, return_inverse=True)[1]
    n_below = np.where(
        is_positive, _weight_below(value_index, negative), n_positive - _weight_below(value_index, positive)
    )
    area = (positive * n_below).sum() / (n_positive * n_negative)
    if totals.sum_resamples is None:
        return np.asarray(area)
    placement = n_below / np.where(is_positive, n_negative, n_positive)
    classes = np.stack([is_positive, ~is_positive])
    placements, counts = np.split(totals(np.concatenate([placement * classes, classes])), 2)
    return np.clip((placements / counts).sum(axis=0) - area, 0.0, 1.0)


def _class_weight(is_member: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Weight (n,) of each row as a member of a class."""
    return is_member.astype(np.float64) if weight is None else is_member * weight


def _weight_below(value_index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """For each row (n,), given the rank of its value, the weight of all smaller values, and half of that of its own."""
    totals = np.bincount(value_index, weight)
    return (np.cumsum(totals) - totals / 2)[value_index]


def _mean_auc(columns: Iterable[tuple[np.ndarray, np.ndarray]], totals: Totals) -> np.ndarray:
    """Mean area over classes or labels, each given as (is_positive, y_score)."""
    return _mean_defined([auc(is_positive, y_score, totals) for is_positive, y_score in columns])


def _class_counts(
    y: np.ndarray, predictions: np.ndarray, n_classes: int, totals: Totals
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield for each class the number of rows that are of it, that are predicted as it, and that are both."""
    for start in range(0, n_classes, CLASSES_AT_ONCE):
        classes = np.arange(start, min(start + CLASSES_AT_ONCE, n_classes))[:, None]
        is_true, is_predicted = y == classes, predictions == classes
        yield from zip(totals(is_true), totals(is_predicted), totals(is_true & is_predicted), strict=True)


def _mean_defined(values: Iterable[np.ndarray]) -> np.ndarray:
    """Mean over arrays of one shape, without NaN."""
    stacked = np.stack(list(values))
    is_defined = np.isfinite(stacked)
    return np.where(is_defined, stacked, 0.0).sum(axis=0) / is_defined.sum(axis=0)
