"""Partial dependence (Friedman 2001) and individual conditional expectation (Goldstein et al. 2015) of a column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.models.model import Model

MAX_ROWS = 200  # rows whose predictions are averaged
MAX_GRID_POINTS = 20  # values of a number that are tried
MAX_CATEGORIES = 12  # categories that are tried, the most frequent ones
MAX_COLUMNS = 5  # columns, the most important ones
GRID_QUANTILES = (0.05, 0.95)  # a number is varied between these quantiles


@dataclass(frozen=True)
class PartialDependence:
    """Predictions for R rows if a column had each of G values in all of them; K outputs."""

    column: str
    is_numeric: bool
    grid: np.ndarray  # (G,) numbers or categories
    values: np.ndarray  # (R, G, K) predictions, as `output_values`
    outputs: tuple[str, ...]  # names of the K outputs

    @property
    def mean(self) -> np.ndarray:
        """(G, K) the partial dependence: the mean prediction over the rows."""
        return self.values.mean(axis=0)


def partial_dependence(model: Model, frame: pl.DataFrame, columns: Sequence[str]) -> list[PartialDependence]:
    """The partial dependence of columns of numbers or categories; others, and those with one value, are left out.

    Args:
        model: one for tables of numbers and categories.
        frame: rows to average over, of which a random sample of `MAX_ROWS` is used.
        columns: names, the most important first; `MAX_COLUMNS` are used.
    """
    sample = np.sort(np.random.default_rng(0).permutation(frame.height)[:MAX_ROWS])
    all_rows, kinds = model.schema.read(frame), {column.name: column.kind for column in model.schema.input_columns}
    rows, results = all_rows[sample.tolist()], list[PartialDependence]()
    for name in columns:
        if len(results) == MAX_COLUMNS or kinds.get(name) not in ("number", "boolean", "category"):
            continue
        grid = _grid(all_rows[name])
        if len(grid) > 1:
            varied = pl.concat([rows.with_columns(pl.lit(value, rows[name].dtype).alias(name)) for value in grid])
            values, outputs = output_values(model, model.predict_typed(varied))
            stacked = values.reshape(len(grid), rows.height, -1).swapaxes(0, 1)
            results.append(PartialDependence(name, kinds[name] == "number", grid, stacked, outputs))
    return results


def output_values(model: Model, predictions: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Predictions (n, K) without what follows from the others, and their names: of two classes, the second one's."""
    target = model.target
    if target.task == "regression":
        return predictions, target.names
    output = "probability" if target.output_type == "probabilities" else "weighted sum"
    names = tuple(f"{output} of {name}" for name in target.labels or target.names)
    return (predictions[:, 1:], names[1:]) if target.task == "binary" else (predictions, names)


def _grid(values: pl.Series) -> np.ndarray:
    """The values to try: all numbers if they are few, else quantiles of them; the most frequent categories."""
    if values.dtype == pl.Float64:
        x = values.drop_nulls().to_numpy()
        if not len(x):
            return x
        distinct = np.unique(x)
        if len(distinct) <= MAX_GRID_POINTS:
            return distinct
        return np.unique(np.quantile(x, np.linspace(*GRID_QUANTILES, MAX_GRID_POINTS)))
    counts = (
        values.drop_nulls().alias("value").value_counts(name="rows").sort(["rows", "value"], descending=[True, False])
    )
    return np.sort(counts["value"].head(MAX_CATEGORIES).to_numpy().astype(str))
