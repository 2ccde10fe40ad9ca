"""Effects of columns on the prediction for one row: what changes if a column has a typical value instead of its own.

This is occlusion (Zeiler & Fergus 2014) of whole columns. Numbers are replaced by their training median, and all other
cells by a missing one. The effects of columns that act together do not add up to the prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from rosenblatt.data.encoding.encoder import NumberEncoding
from rosenblatt.data.media.columns import MEDIA_KINDS
from rosenblatt.data.schema.columns import Column
from rosenblatt.errors import TableError, did_you_mean, format_list
from rosenblatt.models.model import Model
from rosenblatt.models.prediction_columns import probability_names


@dataclass(frozen=True)
class ColumnEffect:
    """Effect of one column on an output."""

    column: str
    effect: float  # output for the row, minus output with the typical value
    typical: str  # what the cell was replaced by, in words


@dataclass(frozen=True)
class RowEffects:
    """Effects of all columns on one output of a model, for one row."""

    output: str  # such as "probability of >50K", or the name of the target
    value: float
    effects: tuple[ColumnEffect, ...]  # the largest first


def column_effects(model: Model, frame: pl.DataFrame, answer: str | None = None) -> RowEffects:
    """Measure the effect of each column of numbers, dates and categories on the prediction for a row.

    Args:
        model: a model for tables, with or without images, texts and sequences.
        frame: one row, as read.
        answer: name of the class, label or target; by default the predicted class, the most probable label, or else the
            first target.

    Raises:
        TableError: if there is no such answer, or if the model predicts no single value for a row.
    """
    if model.target.is_per_step or model.metadata.windows:
        raise TableError(f"Effects of columns need one prediction for each row, but the task is {model.task}.")
    row = model.schema.read(frame)
    parts = [(c, [s.name for s in typed]) for c, typed in model.schema.parts(frame) if c.kind not in MEDIA_KINDS]
    medians = {e.column: e.fill_value for e in model.encoder.encodings if isinstance(e, NumberEncoding)}
    variants = [row]
    for _, names in parts:
        replaced = [pl.lit(medians.get(name), row[name].dtype).alias(name) for name in names]
        variants.append(row.with_columns(replaced))
    values = model.predict_typed(pl.concat(variants))
    index, output = _answer_output(model, values[0], answer)
    effects = [
        ColumnEffect(column.name, float(values[0, index] - value), _describe_replacement(column, medians))
        for (column, _), value in zip(parts, values[1:, index], strict=True)
    ]
    effects.sort(key=lambda effect: -abs(effect.effect))
    return RowEffects(output, float(values[0, index]), tuple(effects))


def _describe_replacement(column: Column, medians: dict[str, float]) -> str:
    if column.kind == "number":
        return f"{medians[column.name]:g}, the training median"
    return "the training medians of its parts" if column.kind == "date" else "a missing cell"


def _answer_output(model: Model, raw_prediction: np.ndarray, answer: str | None) -> tuple[int, str]:
    """Index of the output to explain, and its name. Raises TableError for an unknown answer."""
    names = [str(name) for name in model.target.labels or model.target.names]
    if answer is None:
        index = 0 if model.target.task == "regression" else int(raw_prediction.argmax())
    elif answer in names:
        index = names.index(answer)
    else:
        raise TableError(
            f"There is no answer {answer!r}; there are {format_list(names, 12)}.{did_you_mean(answer, names)}"
        )
    return index, [*probability_names(model.target), *names][index]
