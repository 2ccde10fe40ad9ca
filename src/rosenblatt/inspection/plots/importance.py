"""Permutation importance of columns, and its plot."""

from __future__ import annotations

import numpy as np
import polars as pl
from sklearn import metrics

from rosenblatt.inspection.plots.figure import BLUE, GREY, Picture, figure_of, styled
from rosenblatt.models.model import Model

IMPORTANCE_ROWS = 2000
IMPORTANCE_COLUMNS = 60  # of wider tables, those with the strongest weights


@styled
def importance(model: Model, frame: pl.DataFrame, y: np.ndarray, repeats: int = 3) -> Picture:
    """How much worse the predictions are when a column is shuffled (Breiman 2001, section 10)."""
    found = permutation_importance(model, frame, y, repeats)
    shown = sorted(found.items(), key=lambda item: item[1].mean())[-20:]
    figure, (ax,) = figure_of(1, 6.4, 0.8 + 0.24 * len(shown))
    names = [name[:40] for name, _ in shown]
    ax.barh(
        names,
        [drop.mean() for _, drop in shown],
        xerr=[drop.std() for _, drop in shown],
        color=BLUE,
        ecolor=GREY,
        height=0.7,
    )
    ax.axvline(0, color=GREY, lw=1)
    measure = {"regression": "R2", "binary": "AUC"}.get(model.target.task, "accuracy")
    ax.set(xlabel=f"{measure} lost when the column is shuffled")
    caption = f"What the model relies on: {measure} lost on rows of the test, mean and spread of {repeats} shuffles."
    return Picture("Importance of columns", caption, figure)


def permutation_importance(model: Model, frame: pl.DataFrame, y: np.ndarray, repeats: int = 3) -> dict[str, np.ndarray]:
    """For each column, what is lost (repeats,) of R2 (regression), AUC (two classes) or accuracy by shuffling it."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(frame.height)[:IMPORTANCE_ROWS])
    truth = y[rows]
    parts = {column.name: [part.name for part in read] for column, read in model.schema.parts(frame[rows])}
    typed = model.schema.read(frame[rows])
    x = [trial.encoder.matrix(typed) for trial in model.trials]
    made_of = [np.array(trial.encoder.source_columns) for trial in model.trials]

    def quality(rows_encoded: list[np.ndarray]) -> float:
        decoded = model.decoded_rows(rows_encoded)
        if model.target.task == "regression":
            return float(metrics.r2_score(truth, decoded))
        if model.target.task == "binary" and 0 < truth.sum() < len(truth):
            return float(metrics.roc_auc_score(truth, decoded[:, 1]))
        return float((model.target.decide(decoded) == truth).mean())

    best, lost = quality(x), {}
    strength = np.abs(model.networks[0].dense.layers(model.networks[0].theta)[0][0]).sum(axis=1)
    strengths = {name: strength[np.isin(made_of[0], typed)].sum() for name, typed in parts.items()}
    for name in sorted(parts, key=lambda name: -strengths[name])[:IMPORTANCE_COLUMNS]:
        drops = []
        for _ in range(repeats):
            order = rng.permutation(len(truth))
            mixed = [np.where(np.isin(made, parts[name]), m[order], m) for made, m in zip(made_of, x, strict=True)]
            drops.append(best - quality(mixed))
        lost[name] = np.array(drops)
    return lost
