"""Permutation importance of columns, and its plot."""

from __future__ import annotations

import numpy as np
import polars as pl
from sklearn import metrics

from rosenblatt.inspection.plots.figure import BLUE, GREY, Plot, make_figure, with_style
from rosenblatt.models.model import Model

MAX_IMPORTANCE_ROWS = 2000
MAX_IMPORTANCE_COLUMNS = 60  # of wider tables, those with the strongest weights


@with_style
def plot_importance(model: Model, frame: pl.DataFrame, y: np.ndarray, n_repeats: int = 3) -> Plot:
    """How much worse the predictions are when a column is shuffled (Breiman 2001, section 10)."""
    importances = permutation_importance(model, frame, y, n_repeats)
    top = sorted(importances.items(), key=lambda item: item[1].mean())[-20:]
    figure, (ax,) = make_figure(1, 6.4, 0.8 + 0.24 * len(top))
    names = [name[:40] for name, _ in top]
    ax.barh(
        names,
        [drop.mean() for _, drop in top],
        xerr=[drop.std() for _, drop in top],
        color=BLUE,
        ecolor=GREY,
        height=0.7,
    )
    ax.axvline(0, color=GREY, lw=1)
    metric = {"regression": "R2", "binary": "AUC"}.get(model.target.task, "accuracy")
    ax.set(xlabel=f"{metric} lost when the column is shuffled")
    caption = f"What the model relies on: {metric} lost on rows of the test, mean and spread of {n_repeats} shuffles."
    return Plot("Importance of columns", caption, figure)


def permutation_importance(model: Model, frame: pl.DataFrame, y: np.ndarray, repeats: int = 3) -> dict[str, np.ndarray]:
    """For each column, what is lost (repeats,) of R2 (regression), AUC (two classes) or accuracy by shuffling it."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(frame.height)[:MAX_IMPORTANCE_ROWS])
    y_true = y[rows]
    column_parts = {column.name: [part.name for part in series] for column, series in model.schema.parts(frame[rows])}
    typed = model.schema.read(frame[rows])
    x = [trial.encoder.matrix(typed) for trial in model.trials]
    source_columns = [np.array(trial.encoder.source_columns) for trial in model.trials]

    def score(encoded: list[np.ndarray]) -> float:
        predictions = model.predict_encoded(encoded)
        if model.target.task == "regression":
            return float(metrics.r2_score(y_true, predictions))
        if model.target.task == "binary" and 0 < y_true.sum() < len(y_true):
            return float(metrics.roc_auc_score(y_true, predictions[:, 1]))
        return float((model.target.to_predictions(predictions) == y_true).mean())

    baseline, importances = score(x), {}
    strength = np.abs(model.networks[0].dense.layers(model.networks[0].theta)[0][0]).sum(axis=1)
    strengths = {
        name: strength[np.isin(source_columns[0], part_names)].sum() for name, part_names in column_parts.items()
    }
    for name in sorted(column_parts, key=lambda name: -strengths[name])[:MAX_IMPORTANCE_COLUMNS]:
        drops = []
        for _ in range(repeats):
            order = rng.permutation(len(y_true))
            shuffled = [
                np.where(np.isin(sources, column_parts[name]), m[order], m)
                for sources, m in zip(source_columns, x, strict=True)
            ]
            drops.append(baseline - score(shuffled))
        importances[name] = np.array(drops)
    return importances
