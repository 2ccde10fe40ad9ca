"""How the rows of a table differ from the training rows: missing values, unseen categories, numbers out of range."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from scipy.special import bdtrc

from rosenblatt.data.encoding.encoder import CategoryEncoding, NumberEncoding
from rosenblatt.data.media.columns import MEDIA_KINDS
from rosenblatt.data.schema.columns import Column
from rosenblatt.data.schema.notes import Note, summarize_notes
from rosenblatt.errors import format_count
from rosenblatt.models.model import Model

MIN_MORE_MISSING = 0.1  # difference of two fractions of missing cells from which it is reported
MAX_CHANCE = 0.01  # largest probability of a reported number of missing cells, if they were as frequent as in training
FAR = 0.5  # distance from the range of the training values, as a fraction of its width, that is reported


def describe_drift(model: Model, typed: pl.DataFrame) -> list[str]:
    """Lines on how rows, as `Schema.read` returns them, differ from the training rows of a model."""
    if not typed.height or model.metadata.windows:
        return []
    return summarize_notes([*_more_missing(model, typed), *_unusual_values(model, typed)])


def _more_missing(model: Model, typed: pl.DataFrame) -> Iterator[tuple[str, Note]]:
    """Notes on columns with far more missing cells than in training."""
    metadata = model.metadata
    n_training = metadata.rows + (0 if metadata.test_source else metadata.test_rows)  # rows of the training table
    for column, series in _typed_columns(model, typed):
        n_missing, n = series.null_count(), len(series)
        fraction, expected = n_missing / n, (column.missing + 1) / (max(n_training, column.missing) + 2)
        if fraction > expected + MIN_MORE_MISSING and bdtrc(n_missing - 1, n, expected) < MAX_CHANCE:
            share = f"all {format_count(n, 'row')}" if n_missing == n else f"{fraction:.0%}"
            in_training = f"{column.missing / n_training:.0%} in training" if column.missing else "none in training"
            yield column.name, Note(text="far more missing values than in training", detail=f"{share}, {in_training}")


def _typed_columns(model: Model, typed: pl.DataFrame) -> Iterator[tuple[Column, pl.Series]]:
    """The input columns of numbers, dates and categories, and the first typed column of each."""
    position = 0
    for column in model.schema.input_columns:
        if column.kind not in MEDIA_KINDS:
            yield column, typed[:, position]
        position += len(column.date_parts) if column.kind == "date" else 1


def _unusual_values(model: Model, typed: pl.DataFrame) -> Iterator[tuple[str, Note]]:
    """Notes on categories that were not seen in training, and on numbers far outside the range of the training."""
    for encoding in model.encoder.tabular_encodings:
        values = typed[encoding.column].drop_nulls()
        if isinstance(encoding, CategoryEncoding):
            unseen = encoding.unseen(values)
            if len(unseen):
                detail = f"{unseen[0]!r}, {format_count(len(unseen), 'row')}"
                if unseen.n_unique() > 1:
                    detail = f"{unseen.n_unique():,}, such as {detail}"
                yield encoding.column, Note(text="categories not seen in training", detail=detail)
        else:
            yield from _out_of_range(encoding, values.to_numpy())


def _out_of_range(encoding: NumberEncoding, values: np.ndarray) -> Iterator[tuple[str, Note]]:
    limits = encoding.range
    if limits is None:
        return
    low, high = limits
    distance = np.maximum(low - values, values - high)
    far = values[distance > FAR * (high - low)]
    if len(far):
        detail = f"{format_count(len(far), 'row')}, such as {far[0]:g}; {low:g} to {high:g} in training"
        yield encoding.column, Note(text="numbers far outside the range in training", detail=detail)
