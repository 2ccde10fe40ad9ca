"""Plots of test predictions: confusion matrix, ROC, calibration, residuals."""

from __future__ import annotations

import numpy as np
from sklearn import metrics

from rosenblatt.data.tasks.target import Target
from rosenblatt.inspection.plots.figure import BLUE, COLORS, GREY, LIGHT_GREY, MAX_POINTS, Plot, make_figure, with_style

MAX_CURVES = 10  # classes drawn in one picture


@with_style
def confusion_matrix(target: Target, y: np.ndarray, predictions: np.ndarray) -> Plot:
    """How often each class was taken for each."""
    labels = [str(label) for label in target.labels]
    counts = metrics.confusion_matrix(y, target.to_predictions(predictions), labels=np.arange(len(labels)))
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(2.2 + 0.45 * len(labels), 9)
    figure, (ax,) = make_figure(1, size + 0.8, size)
    ax.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            text_color = "white" if fractions[row, column] > 0.5 else "black"
            ax.text(column, row, f"{count:,}", ha="center", va="center", color=text_color)
    ticks = np.arange(len(labels))
    ax.set(xlabel="predicted", ylabel="true", xticks=ticks, yticks=ticks)
    ax.set_xticklabels(
        labels, rotation=45 if max(map(len, labels)) > 6 else 0, ha="right" if max(map(len, labels)) > 6 else "center"
    )
    ax.set_yticklabels(labels)
    return Plot(
        "Confusion matrix", "Rows of the test by their true class (down) and the predicted one (across).", figure
    )


@with_style
def roc(target: Target, y: np.ndarray, predictions: np.ndarray) -> Plot:
    """True against false positives as the threshold moves, for each class or label."""
    figure, (ax,) = make_figure(1, 4.2, 3.8)
    for index, (name, y_true, y_score) in enumerate(_per_class(target, y, predictions)[:MAX_CURVES]):
        if 0 < y_true.sum() < len(y_true):
            fpr, tpr, _ = metrics.roc_curve(y_true, y_score)
            ax.plot(fpr, tpr, color=COLORS[index % len(COLORS)], label=f"{name} (AUC {metrics.auc(fpr, tpr):.3f})")
    ax.plot([0, 1], [0, 1], color=LIGHT_GREY, lw=1, zorder=0)
    ax.set(xlabel="false positives", ylabel="true positives", aspect="equal")
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return Plot(
        "ROC", "Share of positives found against share of negatives taken for them, over all thresholds.", figure
    )


@with_style
def calibration(target: Target, y: np.ndarray, predictions: np.ndarray) -> Plot:
    """How often what was given a probability was true, in ten groups of equal size."""
    figure, (ax,) = make_figure(1, 4.2, 3.8)
    for index, (name, y_true, y_score) in enumerate(_per_class(target, y, predictions)[:MAX_CURVES]):
        bins = [
            bin_rows
            for bin_rows in np.array_split(np.argsort(y_score, kind="stable"), min(10, max(len(y_score) // 10, 1)))
            if len(bin_rows)
        ]
        mean_probability, fraction = [y_score[group].mean() for group in bins], [y_true[group].mean() for group in bins]
        ax.plot(mean_probability, fraction, "o-", ms=4, lw=1, color=COLORS[index % len(COLORS)], label=name)
    ax.plot([0, 1], [0, 1], color=LIGHT_GREY, lw=1, zorder=0)
    ax.set(
        xlabel="predicted probability",
        ylabel="share that was true",
        aspect="equal",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    ax.legend(frameon=False, fontsize=8)
    return Plot("Calibration", "On the diagonal, what is given 70 % happens in 70 of 100 rows.", figure)


@with_style
def residuals(target: Target, y: np.ndarray, predictions: np.ndarray) -> Plot:
    """Predicted against true values, and how the errors are spread, for each target."""
    figure, axes = make_figure(2 * len(target.names), 7.2, 3.2 * len(target.names), columns=2)
    sample = np.random.default_rng(0).permutation(len(y))[:MAX_POINTS]
    for k, name in enumerate(target.names):
        scatter, histogram = axes[2 * k : 2 * k + 2]
        scatter.plot(y[sample, k], predictions[sample, k], ".", ms=4, alpha=0.5, color=BLUE)
        limits = [y[:, k].min(), y[:, k].max()]
        scatter.plot(limits, limits, color=GREY, lw=1)
        scatter.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
        errors = predictions[:, k] - y[:, k]
        low, high = errors.min(), errors.max()
        if high - low <= 1e-9 * max(abs(low), abs(high)):  # equal but for rounding: a histogram needs room for its bins
            low, high = low - 0.5, high + 0.5
        histogram.hist(errors, bins=min(40, max(5, len(y) // 10)), range=(low, high), color=BLUE, alpha=0.8)
        histogram.axvline(0, color=GREY, lw=1)
        histogram.set(xlabel="predicted minus true", ylabel="rows")
    return Plot(
        "Predictions and residuals", "On the line, predictions are right; on the right, how far off they are.", figure
    )


def _per_class(target: Target, y: np.ndarray, predictions: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, truth (n,) and prediction (n,) of the positive class, of each class, or of each label."""
    if target.task == "binary":
        return [(str(target.labels[1]), y == 1, predictions[:, 1])]
    if target.task == "multilabel":
        return [(name, y[:, k] == 1, predictions[:, k]) for k, name in enumerate(target.names)]
    return [(str(label), y == k, predictions[:, k]) for k, label in enumerate(target.labels)]
