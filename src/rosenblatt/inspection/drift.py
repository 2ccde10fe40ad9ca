"""How the rows of a table differ from the training rows: missing values, unseen categories, numbers out of range."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from rosenblatt.data.encoding.encoder import CategoryEncoding, NumberEncoding
from rosenblatt.data.media.columns import MEDIA_KINDS
from rosenblatt.data.schema.columns import Column
from rosenblatt.data.schema.notes import Note, summarize_notes
from rosenblatt.errors import format_count
from rosenblatt.models.model import Model

MIN_MORE_MISSING = 0.1  # difference of two fractions of missing cells from which it is reported
MAX_CHANCE = 0.01  # largest probability of a reported number of missing cells, if they were as frequent as in training
FAR = 0.5  # distance from the range of the training values, as a fraction of its width, that is reported


MAX_UNSEEN = 10_000  # distinct unseen categories of a column that are counted


def describe_drift(model: Model, typed: pl.DataFrame) -> list[str]:
    """Lines on how rows, as `Schema.read` returns them, differ from the training rows of a model."""
    drift = Drift(model)
    drift.add(typed)
    return drift.describe()


@dataclass
class _Unusual:
    """Values of a column that are far from those of the training."""

    n_rows: int = 0
    example: Any = None
    distinct: set[str] = field(default_factory=set)

    def add(self, values: pl.Series | np.ndarray) -> None:
        if not self.n_rows and len(values):
            self.example = values[0]
        self.n_rows += len(values)


class Drift:
    """How the rows of a table, which may be given in parts, differ from the training rows of a model."""

    def __init__(self, model: Model) -> None:
        self._model, self._n_rows = model, 0
        self._n_missing, self._unusual = Counter[str](), defaultdict[str, _Unusual](_Unusual)

    def add(self, typed: pl.DataFrame) -> None:
        """Count further rows, as `Schema.read` returns them."""
        if self._model.metadata.windows:
            return
        self._n_rows += typed.height
        for column, series in _typed_columns(self._model, typed):
            self._n_missing[column.name] += series.null_count()
        for encoding in self._model.encoder.tabular_encodings:
            values, unusual = typed[encoding.column].drop_nulls(), self._unusual[encoding.column]
            if isinstance(encoding, CategoryEncoding):
                unseen = encoding.unseen(values)
                unusual.add(unseen)
                if len(unusual.distinct) < MAX_UNSEEN:
                    unusual.distinct.update(unseen.unique())
            elif encoding.range:
                unusual.add(_far_values(encoding.range, values.to_numpy()))

    def describe(self) -> list[str]:
        """A line for each kind of difference."""
        return summarize_notes([*self._more_missing(), *self._unusual_values()]) if self._n_rows else []

    def _more_missing(self) -> Iterator[tuple[str, Note]]:
        """Notes on columns with far more missing cells than in training."""
        metadata, n = self._model.metadata, self._n_rows
        n_training = metadata.rows + (0 if metadata.test_source else metadata.test_rows)  # rows of the training table
        columns = {column.name: column for column in self._model.schema.input_columns}
        for name, n_missing in self._n_missing.items():
            column = columns[name]
            fraction, expected = n_missing / n, (column.missing + 1) / (max(n_training, column.missing) + 2)
            if fraction > expected + MIN_MORE_MISSING and _tail_probability(n_missing, n, expected) < MAX_CHANCE:
                share = f"all {format_count(n, 'row')}" if n_missing == n else f"{fraction:.0%}"
                in_training = f"{column.missing / n_training:.0%} in training" if column.missing else "none in training"
                yield name, Note(text="far more missing values than in training", detail=f"{share}, {in_training}")

    def _unusual_values(self) -> Iterator[tuple[str, Note]]:
        """Notes on categories that were not seen in training, and on numbers far outside the range of the training."""
        for encoding in self._model.encoder.tabular_encodings:
            unusual = self._unusual[encoding.column]
            if not unusual.n_rows:
                continue
            rows = format_count(unusual.n_rows, "row")
            if isinstance(encoding, NumberEncoding):
                low, high = encoding.range or (0.0, 0.0)
                detail = f"{rows}, such as {unusual.example:g}; {low:g} to {high:g} in training"
                yield encoding.column, Note(text="numbers far outside the range in training", detail=detail)
                continue
            detail, n_distinct = f"{unusual.example!r}, {rows}", len(unusual.distinct)
            if n_distinct > 1:
                detail = f"{'more than ' * (n_distinct > MAX_UNSEEN)}{n_distinct:,}, such as {detail}"
            yield encoding.column, Note(text="categories not seen in training", detail=detail)


def _typed_columns(model: Model, typed: pl.DataFrame) -> Iterator[tuple[Column, pl.Series]]:
    """The input columns of numbers, dates and categories, and the first typed column of each."""
    position = 0
    for column in model.schema.input_columns:
        if column.kind not in MEDIA_KINDS:
            yield column, typed[:, position]
        position += len(column.date_parts) if column.kind == "date" else 1


def _far_values(limits: tuple[float, float], values: np.ndarray) -> np.ndarray:
    """The numbers far outside a range."""
    low, high = limits
    return values[np.maximum(low - values, values - high) > FAR * (high - low)]


def _tail_probability(count: int, n: int, fraction: float) -> float:
    """Probability of at least `count` successes in n trials, each of which succeeds with probability `fraction`."""
    from scipy.special import bdtrc  # takes 0.3 s to import

    return float(bdtrc(count - 1, n, fraction))
