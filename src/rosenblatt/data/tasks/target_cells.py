"""The cells of a target column as numbers and as classes, from which its task is detected."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from rosenblatt.data.schema.cells import strip_cells
from rosenblatt.data.schema.columns import Column
from rosenblatt.data.schema.decimal_marks import DecimalMarks, complete_format, is_text
from rosenblatt.data.schema.missing import (
    AMBIGUOUS_MARKERS,
    MissingRule,
    find_number_markers,
    make_rule,
    make_word_rule,
    marker_notes,
    space_notes,
)
from rosenblatt.data.schema.notes import Note
from rosenblatt.data.schema.numbers import TypedNumbers, infer_numbers
from rosenblatt.data.table import TableFormat
from rosenblatt.data.tasks.labels import has_leading_zeros, label_cells, make_labels
from rosenblatt.data.tasks.target import Label


@dataclass(frozen=True)
class TargetCells:
    """The cells of a target column, null if missing."""

    values: pl.Series  # strings, or numbers or booleans of a typed column
    typed: TypedNumbers  # null for words, too
    strays: pl.Series  # the cells that are no numbers
    missing_rule: MissingRule
    notes: tuple[Note, ...]
    is_typed: bool  # whether the table has types

    @property
    def name(self) -> str:
        """The name of the column."""
        return self.values.name

    @property
    def is_numeric(self) -> bool:
        """Whether all cells are numbers."""
        return self.strays.is_empty() and self.typed.values.count() > 0

    @property
    def are_codes(self) -> bool:
        """Whether the cells are numbers as a cast reads them, but written as no number is: 007."""
        return self.values.dtype == pl.String and has_leading_zeros(self.values)

    @property
    def n_distinct(self) -> int:
        """The number of different cells."""
        return self.values.n_unique() - self.values.has_nulls()

    def labels(self) -> tuple[tuple[Label, ...], pl.Series]:
        """The classes, and the index of the class of each cell as Float64, null if missing."""
        text = label_cells(self.values)
        labels = make_labels(text.drop_nulls().unique(), self.values.dtype, is_typed=self.is_typed)
        codes = text.replace_strict(list(labels), list(range(len(labels))), return_dtype=pl.Float64, default=None)
        return tuple(labels.values()), codes

    def number_column(self, marks: DecimalMarks) -> Column:
        """How the values of a regression are written."""
        number_format = complete_format(self.typed, self.values, marks)
        notes = (*self.notes, *self.typed.notes, *([marks.notes[self.name]] if self.name in marks.notes else []))
        return Column(
            name=self.name, kind="number", number_format=number_format, notes=notes, missing_rule=self.missing_rule
        )

    def class_column(self) -> Column:
        """How classes are written."""
        return Column(name=self.name, kind="category", notes=self.notes, missing_rule=self.missing_rule)


def read_target_cells(frame: pl.DataFrame, name: str, marks: DecimalMarks, format: TableFormat) -> TargetCells:
    """Read a target column of a training table, given the decimal marks of the table.

    Raises TableError if the scale of its numbers is unknown.
    """
    series, rule = frame[name], make_rule(format.missing)
    if series.dtype.is_numeric():
        values = rule.apply_to_numbers(series)
        values = values.fill_nan(None) if values.dtype.is_float() else values
        return TargetCells(values, TypedNumbers(values.cast(pl.Float64)), values.clear(), rule, (), format.is_typed)
    if not is_text(series):
        nothing = pl.repeat(None, len(series), dtype=pl.Float64, eager=True)
        return TargetCells(series, TypedNumbers(nothing), series.drop_nulls(), rule, (), format.is_typed)
    text = strip_cells(series)
    typed = infer_numbers(rule.apply(text), marks[name], marks.thousands)
    strays = text.filter(typed.values.is_null() & rule.apply(text).is_not_null())
    is_word = len(strays) > 0 or not typed.values.count() or (format.is_typed and has_leading_zeros(text))
    if is_word:
        markers = AMBIGUOUS_MARKERS & set(text.drop_nulls().unique().str.to_lowercase())
        evidence = find_number_markers(frame.drop(name), markers) if markers else set()
        rule = make_word_rule(
            text, format.missing, is_typed=format.is_typed, is_class=True, number_markers=evidence
        )  # fmt: skip
    notes = (*marker_notes(text, rule, is_class=True), *(space_notes(series) if series.dtype == pl.String else ()))
    return TargetCells(rule.apply(text), typed, strays, rule, notes, format.is_typed)
