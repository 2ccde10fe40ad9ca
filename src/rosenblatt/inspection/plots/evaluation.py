"""Plots of test predictions: confusion matrix, ROC, calibration, residuals."""

from __future__ import annotations

import numpy as np
from sklearn import metrics

from rosenblatt.data.tasks.target import Target
from rosenblatt.inspection.plots.figure import BLUE, COLORS, GREY, LIGHT, MOST_POINTS, Picture, figure_of, styled

MOST_CURVES = 10  # classes drawn in one picture


@styled
def confusion_matrix(target: Target, y: np.ndarray, decoded: np.ndarray) -> Picture:
    """How often each class was taken for each."""
    labels = [str(label) for label in target.labels]
    counts = metrics.confusion_matrix(y, target.decide(decoded), labels=np.arange(len(labels)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(2.2 + 0.45 * len(labels), 9)
    figure, (ax,) = figure_of(1, size + 0.8, size)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(labels) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            ink = "white" if shares[row, column] > 0.5 else "black"
            ax.text(column, row, f"{count:,}", ha="center", va="center", color=ink)
    ticks = np.arange(len(labels))
    ax.set(xlabel="predicted", ylabel="true", xticks=ticks, yticks=ticks)
    ax.set_xticklabels(
        labels, rotation=45 if max(map(len, labels)) > 6 else 0, ha="right" if max(map(len, labels)) > 6 else "center"
    )
    ax.set_yticklabels(labels)
    return Picture(
        "Confusion matrix", "Rows of the test by their true class (down) and the predicted one (across).", figure
    )


@styled
def roc(target: Target, y: np.ndarray, decoded: np.ndarray) -> Picture:
    """True against false positives as the threshold moves, for each class or label."""
    figure, (ax,) = figure_of(1, 4.2, 3.8)
    for index, (name, truth, said) in enumerate(_one_by_one(target, y, decoded)[:MOST_CURVES]):
        if 0 < truth.sum() < len(truth):
            false, true, _ = metrics.roc_curve(truth, said)
            ax.plot(
                false, true, color=COLORS[index % len(COLORS)], label=f"{name} (AUC {metrics.auc(false, true):.3f})"
            )
    ax.plot([0, 1], [0, 1], color=LIGHT, lw=1, zorder=0)
    ax.set(xlabel="false positives", ylabel="true positives", aspect="equal")
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return Picture(
        "ROC", "Share of positives found against share of negatives taken for them, over all thresholds.", figure
    )


@styled
def calibration(target: Target, y: np.ndarray, decoded: np.ndarray) -> Picture:
    """How often what was given a probability was true, in ten groups of equal size."""
    figure, (ax,) = figure_of(1, 4.2, 3.8)
    for index, (name, truth, said) in enumerate(_one_by_one(target, y, decoded)[:MOST_CURVES]):
        groups = [
            group
            for group in np.array_split(np.argsort(said, kind="stable"), min(10, max(len(said) // 10, 1)))
            if len(group)
        ]
        x, share = [said[group].mean() for group in groups], [truth[group].mean() for group in groups]
        ax.plot(x, share, "o-", ms=4, lw=1, color=COLORS[index % len(COLORS)], label=name)
    ax.plot([0, 1], [0, 1], color=LIGHT, lw=1, zorder=0)
    ax.set(
        xlabel="predicted probability",
        ylabel="share that was true",
        aspect="equal",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    ax.legend(frameon=False, fontsize=8)
    return Picture("Calibration", "On the diagonal, what is given 70 % happens in 70 of 100 rows.", figure)


@styled
def residuals(target: Target, y: np.ndarray, decoded: np.ndarray) -> Picture:
    """Predicted against true values, and how the errors are spread, for each target."""
    figure, axes = figure_of(2 * len(target.names), 7.2, 3.2 * len(target.names), columns=2)
    some = np.random.default_rng(0).permutation(len(y))[:MOST_POINTS]
    for k, name in enumerate(target.names):
        scatter, spread = axes[2 * k : 2 * k + 2]
        scatter.plot(y[some, k], decoded[some, k], ".", ms=4, alpha=0.5, color=BLUE)
        ends = [y[:, k].min(), y[:, k].max()]
        scatter.plot(ends, ends, color=GREY, lw=1)
        scatter.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
        errors = decoded[:, k] - y[:, k]
        low, high = errors.min(), errors.max()
        if high - low <= 1e-9 * max(abs(low), abs(high)):  # equal but for rounding: a histogram needs room for its bins
            low, high = low - 0.5, high + 0.5
        spread.hist(errors, bins=min(40, max(5, len(y) // 10)), range=(low, high), color=BLUE, alpha=0.8)
        spread.axvline(0, color=GREY, lw=1)
        spread.set(xlabel="predicted minus true", ylabel="rows")
    return Picture(
        "Predictions and residuals", "On the line, predictions are right; on the right, how far off they are.", figure
    )


def _one_by_one(target: Target, y: np.ndarray, decoded: np.ndarray) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, truth (n,) and prediction (n,) of the positive class, of each class, or of each label."""
    if target.task == "binary":
        return [(str(target.labels[1]), y == 1, decoded[:, 1])]
    if target.task == "multilabel":
        return [(name, y[:, k] == 1, decoded[:, k]) for k, name in enumerate(target.names)]
    return [(str(label), y == k, decoded[:, k]) for k, label in enumerate(target.labels)]
