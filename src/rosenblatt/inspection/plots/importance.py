"""Permutation importance of columns (Breiman 2001, section 10), and its plot."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from sklearn import metrics

from rosenblatt.data.tasks.target import Target
from rosenblatt.inspection.plots.figure import BLUE, GREY, NARROW, Plot, make_figure, with_style
from rosenblatt.models.model import Model

MAX_IMPORTANCE_ROWS = 2000
MAX_IMPORTANCE_COLUMNS = 60  # of wider tables, the columns with the largest weights in the first layer
MAX_BARS = 20
N_REPEATS = 3  # shuffles of each column


def importance_metric(target: Target, y: np.ndarray) -> str:
    """The score whose loss is the importance of a column; rows of a single class have no AUC, but an accuracy."""
    names = {"regression": "R2", "multilabel": "fraction of right labels"}
    return "AUC" if target.task == "binary" and 0 < y.sum() < len(y) else names.get(target.task, "accuracy")


@with_style
def plot_importance(importances: Mapping[str, np.ndarray], metric: str) -> Plot:
    """The most important columns, from what `permutation_importance` returns; bars are means, lines deviations."""
    top = sorted(importances.items(), key=lambda item: item[1].mean())[-MAX_BARS:]
    figure, (ax,) = make_figure(1, NARROW, 0.8 + 0.24 * len(top))
    names = [name if len(name) <= 30 else f"{name[:29]}…" for name, _ in top]
    means, deviations = ([statistic(drops) for _, drops in top] for statistic in (np.mean, np.std))
    ax.barh(range(len(top)), means, xerr=deviations, color=BLUE, ecolor=GREY, height=0.7)
    ax.set_yticks(range(len(top)), names)
    ax.axvline(0, color=GREY, lw=1)
    ax.set(xlabel=f"{metric} lost if the column is shuffled")
    caption = (
        f"Permutation importance: how much {metric} the model loses on these rows if the values of a column are "
        f"shuffled; mean and standard deviation of {N_REPEATS} shuffles."
    )
    if len(importances) > MAX_BARS:
        caption += f" The {MAX_BARS} most important of {len(importances)} columns."
    return Plot("Importance of columns", caption, figure)


def permutation_importance(
    model: Model, frame: pl.DataFrame, y: np.ndarray, repeats: int = N_REPEATS
) -> dict[str, np.ndarray]:
    """Loss of R2, AUC or accuracy, see `importance_metric`, from shuffling each column: (repeats,).

    Args:
        model: one for tables of numbers and categories.
        frame: rows as read, of which a random sample of `MAX_IMPORTANCE_ROWS` is used.
        y: their targets, as `SupervisedTask.y`.
        repeats: number of shuffles.
    """
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(frame.height)[:MAX_IMPORTANCE_ROWS])
    y_true = y[rows]
    column_parts = {column.name: [part.name for part in series] for column, series in model.schema.parts(frame[rows])}
    typed = model.schema.read(frame[rows])
    x = [trial.encoder.matrix(typed) for trial in model.trials]
    source_columns = [np.array(trial.encoder.source_columns) for trial in model.trials]
    baseline, importances = _score(model.target, y_true, model.predict_encoded(x)), {}
    for name in _strongest_columns(model, column_parts):
        drops = []
        for _ in range(repeats):
            order = rng.permutation(len(y_true))
            shuffled = [
                np.where(np.isin(sources, column_parts[name]), m[order], m)
                for sources, m in zip(source_columns, x, strict=True)
            ]
            drops.append(baseline - _score(model.target, y_true, model.predict_encoded(shuffled)))
        importances[name] = np.array(drops)
    return importances


def _strongest_columns(model: Model, column_parts: Mapping[str, list[str]]) -> list[str]:
    """At most `MAX_IMPORTANCE_COLUMNS` columns, by the sum of their absolute weights in the first layer."""
    weights = model.networks[0].dense.layers(model.networks[0].theta)[0][0]
    strength, sources = np.abs(weights).sum(axis=1), np.array(model.encoder.source_columns)
    strengths = {name: strength[np.isin(sources, parts)].sum() for name, parts in column_parts.items()}
    return sorted(column_parts, key=lambda name: -strengths[name])[:MAX_IMPORTANCE_COLUMNS]


def _score(target: Target, y: np.ndarray, predictions: np.ndarray) -> float:
    if target.task == "regression":
        return float(metrics.r2_score(y, predictions))
    if importance_metric(target, y) == "AUC":
        return float(metrics.roc_auc_score(y, predictions[:, 1]))
    return float((target.to_predictions(predictions) == y).mean())
