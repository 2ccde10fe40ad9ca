"""Plots of test predictions of classes and labels: confusion matrix, ROC and precision-recall curves, calibration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from sklearn import metrics

from rosenblatt.data.tasks.target import Target
from rosenblatt.inspection.plots.figure import COLORS, LIGHT_GREY, NARROW, Plot, make_figure, with_style

MAX_CURVES = 10  # classes or labels drawn in one plot
MAX_CURVE_POINTS = 500  # of a precision-recall curve
MAX_COUNTED_CLASSES = 20  # confusion matrices of more classes have no numbers in their cells
LONG_LABEL = 6  # characters; longer labels are written at an angle
LIMITS = (-0.02, 1.02)  # of axes from 0 to 1, with a margin


@with_style
def confusion_matrix(target: Target, y: np.ndarray, predictions: np.ndarray) -> Plot:
    """Plot the number of rows for each pair of true class y (n,) and predicted class."""
    labels = [str(label) for label in target.labels]
    counts = metrics.confusion_matrix(y, target.to_predictions(predictions), labels=np.arange(len(labels)))
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(2.2 + 0.45 * len(labels), 9)
    figure, (ax,) = make_figure(1, size + 0.8, size)
    ax.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= MAX_COUNTED_CLASSES:
        for (row, column), n in np.ndenumerate(counts):
            text_color = "white" if fractions[row, column] > 0.5 else "black"
            ax.text(column, row, f"{n:,}", ha="center", va="center", color=text_color)
    ticks, is_long = np.arange(len(labels)), max(map(len, labels)) > LONG_LABEL
    ax.set(xlabel="predicted", ylabel="true", xticks=ticks, yticks=ticks)
    ax.set_xticklabels(labels, rotation=45 if is_long else 0, ha="right" if is_long else "center")
    ax.set_yticklabels(labels)
    caption = "Number of rows by true class (vertical) and predicted class; colors are fractions of the true class."
    return Plot("Confusion matrix", caption, figure)


@with_style
def roc(target: Target, y: np.ndarray, predictions: np.ndarray) -> Plot:
    """ROC curve of the positive class, or of each class or label against the rest."""
    figure, (ax,) = make_figure(1, NARROW, 3.8)
    for index, (name, y_true, y_score) in enumerate(_curves(target, y, predictions)):
        fpr, tpr, _ = metrics.roc_curve(y_true, y_score)
        ax.plot(fpr, tpr, color=COLORS[index % len(COLORS)], label=f"{name} (AUC {metrics.auc(fpr, tpr):.3f})")
    ax.plot([0, 1], [0, 1], color=LIGHT_GREY, lw=1, zorder=0)
    ax.set(xlabel="false-positive rate", ylabel="true-positive rate (recall)", aspect="equal")
    _legend(ax, "lower right")
    return Plot(
        "ROC",
        "True-positive rate against false-positive rate over all thresholds. A random ranking is on the diagonal, with "
        "an area under the curve (AUC) of 0.5.",
        figure,
    )


@with_style
def precision_recall(target: Target, y: np.ndarray, predictions: np.ndarray) -> Plot:
    """Precision-recall curve of the positive class, or of each class or label against the rest."""
    figure, (ax,) = make_figure(1, NARROW, 3.8)
    for index, (name, y_true, y_score) in enumerate(_curves(target, y, predictions)):
        precision, recall, _ = metrics.precision_recall_curve(y_true, y_score, drop_intermediate=True)
        average = metrics.average_precision_score(y_true, y_score)
        color, points = COLORS[index % len(COLORS)], _thin(len(recall))
        label = f"{name} (average precision {average:.3f})"
        ax.plot(recall[points], precision[points], color=color, drawstyle="steps-post", label=label)
        ax.axhline(y_true.mean(), color=color, lw=0.8, ls=":", zorder=0)
    ax.set(xlabel="recall", ylabel="precision", aspect="equal", xlim=LIMITS, ylim=LIMITS)
    _legend(ax, "best")
    return Plot(
        "Precision and recall",
        "Precision is the fraction of predicted positives that are positive, recall the fraction of positives that are "
        "predicted as such, over all thresholds. A random ranking has the precision of the dotted line.",
        figure,
    )


@with_style
def calibration(target: Target, y: np.ndarray, predictions: np.ndarray) -> Plot:
    """Calibration curve: observed frequency against mean probability in up to ten groups of equal size."""
    figure, (ax,) = make_figure(1, NARROW, 3.8)
    for index, (name, y_true, y_score) in enumerate(_per_class(target, y, predictions)[:MAX_CURVES]):
        mean_probability, frequency = calibration_curve(y_true, y_score)
        ax.plot(mean_probability, frequency, "o-", ms=4, lw=1, color=COLORS[index % len(COLORS)], label=name)
    ax.plot([0, 1], [0, 1], color=LIGHT_GREY, lw=1, zorder=0)
    ax.set(xlabel="predicted probability", ylabel="observed frequency", aspect="equal", xlim=LIMITS, ylim=LIMITS)
    _legend(ax, "upper left")
    return Plot(
        "Calibration",
        "Observed frequency against the mean predicted probability, in groups of equally many rows. On the diagonal, "
        "70 of 100 rows with a probability of 70% are positive.",
        figure,
    )


def calibration_curve(y_true: np.ndarray, y_score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean probability and observed frequency of rows in up to ten groups of at least ten rows, by probability."""
    groups = np.array_split(np.argsort(y_score, kind="stable"), min(10, max(len(y_score) // 10, 1)))
    groups = [group for group in groups if len(group)]
    return np.array([y_score[group].mean() for group in groups]), np.array([y_true[group].mean() for group in groups])


def has_curves(target: Target, y: np.ndarray, predictions: np.ndarray) -> bool:
    """Whether there are ROC and precision-recall curves, which need rows of a class and other rows."""
    return any(True for _ in _curves(target, y, predictions))


def _curves(target: Target, y: np.ndarray, predictions: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """`_per_class` for the first classes, without those of which all rows or none are."""
    for name, y_true, y_score in _per_class(target, y, predictions)[:MAX_CURVES]:
        if 0 < y_true.sum() < len(y_true):
            yield name, y_true, y_score


def _legend(ax: Axes, location: Literal["upper left", "lower right", "best"]) -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize=8, loc=location)


def _thin(n: int) -> np.ndarray:
    """Indices of at most `MAX_CURVE_POINTS` of n points, with the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, MAX_CURVE_POINTS)).round().astype(int))


def _per_class(target: Target, y: np.ndarray, predictions: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, truth (n,) and prediction (n,) of the positive class, of each class, or of each label."""
    if target.task == "binary":
        return [(str(target.labels[1]), y == 1, predictions[:, 1])]
    if target.task == "multilabel":
        return [(name, y[:, k] == 1, predictions[:, k]) for k, name in enumerate(target.names)]
    return [(str(label), y == k, predictions[:, k]) for k, label in enumerate(target.labels)]
