"""Predict a table that is larger than memory: parts of its rows are read, predicted and written.

Predictions are those of the whole table at once. What is decided over a whole column, such as its decimal mark, is
decided by the first part that shows it; a later part that contradicts it is an error, and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from rosenblatt.data.readers.parts import TableParts, open_parts
from rosenblatt.data.schema.columns import Schema
from rosenblatt.data.schema.decimal_marks import MARK_NAMES, is_text
from rosenblatt.data.schema.missing import make_rule
from rosenblatt.data.schema.notes import Note, summarize_notes
from rosenblatt.data.schema.part_notes import PartNotes, StrayCells
from rosenblatt.data.table import TableFormat
from rosenblatt.data.tasks.target import Target
from rosenblatt.data.tasks.task import adapt_to_table
from rosenblatt.errors import Notify, TableError
from rosenblatt.inspection.drift import Drift
from rosenblatt.models.model import Model
from rosenblatt.models.prediction_columns import make_prediction_columns
from rosenblatt.workflows.predict import join_predictions

MIN_STREAMED_BYTES = 1 << 28  # size of a file from which it is read in parts

ReportProgress = Callable[[int, int], None]  # rows that are predicted, rows of the file


def open_for_prediction(
    model: Model, path: str | Path, format: TableFormat, *, with_inputs: bool, typed: bool, min_bytes: int
) -> TableParts | None:
    """The table in parts; None if it is small, or if it must be read at once.

    Images, series, and text columns that are written by type are read at once, as are numbers that are dates without
    separators. Raises TableError if the file cannot be read.
    """
    numeric_dates = any(column.kind == "date" and column.date_format.unit for column in model.schema.input_columns)
    has_images = any(column.kind == "image" for column in model.schema.media_columns)
    if model.task == "forecasting" or has_images or numeric_dates:
        return None
    parts = open_parts(path, format, min_bytes)
    return None if parts is None or (with_inputs and typed and parts.has_text) else parts


def predict_parts(
    model: Model, parts: TableParts, *, with_inputs: bool = False, notify: Notify = print, threads: int | None = None
) -> Iterator[pl.DataFrame]:
    """Predict the parts of a table, each as `predict` does.

    Args:
        model: the model.
        parts: the table.
        with_inputs: whether to return the columns of the table as well.
        notify: called with each message for the user, after the last part.
        threads: number of threads; by default one per core.

    Raises:
        TableError: if the table does not fit the model, or parts of it are written in different ways.
    """
    model.schema.check_columns(parts.columns)
    reader, drift, messages = PartReader(model.schema, model.target, parts.format), Drift(model), list[str]()
    used = {*model.target.names, *(column.name for column in model.schema.columns)}
    columns = None if with_inputs else [name for name in parts.columns if name in used]
    for frame in parts.read(columns):
        rows = reader.read(frame)
        drift.add(rows)
        predictions = make_prediction_columns(model, rows, model.predict_typed(rows, threads))
        yield join_predictions(frame if with_inputs else frame.select([]), predictions, messages.append)
    for message in dict.fromkeys([*parts.notes, *reader.finish(), *drift.describe(), *messages]):
        notify(message)


class PartReader:
    """Reads the parts of a later table with a schema, and compares what each decides over its cells."""

    def __init__(self, schema: Schema, target: Target, format: TableFormat) -> None:
        self._schema = schema if format.missing is None else schema.with_missing(make_rule(format.missing))
        self._target, self._format, self._n_rows = target, format, 0
        self._original = self._marks()
        self._marked: set[str] = set()  # columns with cells that hold a decimal mark
        self._decisions: dict[tuple[str, str], object] = {}
        self._strays: dict[str, StrayCells] = {}
        self._notes: dict[tuple[str, str], Note] = {}  # the first of each kind
        self._messages: list[str] = []

    def read(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Convert a part as `Schema.read` does. Raises TableError."""
        start, self._n_rows = self._n_rows, self._n_rows + frame.height
        notes = PartNotes()
        try:
            self._adapt(frame)
            typed = [series for _, columns in self._schema.parts(frame, notes, self._format) for series in columns]
        except TableError as error:
            raise TableError(f"In rows {start + 1:,} to {self._n_rows:,}, counted from 1 there: {error}") from error
        self._compare(notes, start)
        return pl.DataFrame(typed)

    def finish(self) -> list[str]:
        """Messages on what was converted, or read as missing. Raises TableError if too many cells are missing."""
        notes = [(name, note) for (name, _), note in self._notes.items()]
        for strays in self._strays.values():
            strays.check()
            notes += strays.notes
        return [*self._messages, *summarize_notes(notes)]

    def _adapt(self, frame: pl.DataFrame) -> None:
        """Take decimal marks from a part, unless they contradict those of earlier parts. Raises TableError."""
        before = self._marks()
        self._schema, self._target = adapt_to_table(self._schema, self._target, frame, self._format, self._messages)
        after = self._marks()
        switched = {after[name] != self._original[name] for name in self._marked}
        for name in [name for name in after if name in frame.columns and is_text(frame[name])]:
            if not frame[name].cast(pl.String).str.contains("[.,٫٬]").any():
                continue
            if name in self._marked and before[name] != after[name]:
                raise TableError(
                    f"column {name!r} shows a decimal {MARK_NAMES[after[name]]}, but earlier rows were read with a "
                    f"decimal {MARK_NAMES[before[name]]}. Use --decimal or --no-stream."
                )
            self._marked.add(name)
        now_switched = {after[name] != self._original[name] for name in self._marked}
        if switched and now_switched != switched:
            raise TableError(
                "some columns have the decimal mark of training and others do not, which earlier rows did not show. "
                "Use --no-stream, which decides over all rows."
            )

    def _marks(self) -> dict[str, Any]:
        columns = Schema(columns=(*self._schema.columns, *self._target.columns))
        return {name: written.decimal for name, written in columns.number_formats.items()}

    def _compare(self, notes: PartNotes, start: int) -> None:
        """Compare the decisions of a part with those of earlier ones. Raises TableError."""
        for (column, subject), decision in notes.decisions.items():
            if self._decisions.setdefault((column, subject), decision) != decision:
                raise TableError(
                    f"Column {column!r} is written otherwise in rows {start + 1:,} to {self._n_rows:,} than above: "
                    f"{subject}. Write it in one way, or use --no-stream, which decides over all rows."
                )
        for strays in notes.strays:
            earlier = self._strays.get(strays.column)
            self._strays[strays.column] = earlier + strays if earlier else strays
        for name, note in notes:
            self._notes.setdefault((name, note.text), note)
