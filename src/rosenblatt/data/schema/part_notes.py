"""Notes on a part of a table that is read in parts: what was decided over its cells, and cells read as missing.

`Schema.parts` decides over a whole column how its cells are written. If a table is read in parts, each part decides by
its own cells; the decisions are recorded here, so that the reader can compare them (`workflows/predict_parts.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from rosenblatt.data.schema.cells import all_integers
from rosenblatt.data.schema.notes import Note
from rosenblatt.data.schema.numbers import (
    MAX_STRAY_FRACTION,
    NumberFormat,
    find_other_units,
    has_letter_magnitudes,
)
from rosenblatt.errors import TableError, format_count


@dataclass(frozen=True)
class StrayCells:
    """Cells of a column that are of another kind than in training, and are read as missing."""

    column: str
    expected: str  # what the column holds, in words
    n_cells: int
    n_strays: int
    example: str

    def __add__(self, other: StrayCells) -> StrayCells:
        """The strays of two parts of a column."""
        n_cells, n_strays = self.n_cells + other.n_cells, self.n_strays + other.n_strays
        return StrayCells(self.column, self.expected, n_cells, n_strays, self.example or other.example)

    def check(self) -> None:
        """Raise TableError if there are many."""
        if self.n_strays > max(MAX_STRAY_FRACTION * self.n_cells, 1):
            raise TableError(
                f"Column {self.column!r} must hold {self.expected}, as in training, but {self.n_strays} of "
                f"{self.n_cells} cells do not, such as {self.example!r}. Correct the column."
            )

    @property
    def notes(self) -> list[tuple[str, Note]]:
        """A note, if there are any."""
        detail = f"{format_count(self.n_strays, 'cell')}, such as {self.example!r}"
        note = Note(text=f"cells read as missing (expected {self.expected})", detail=detail)
        return [(self.column, note)] if self.n_strays else []


@dataclass
class PartNotes(list[tuple[str, Note]]):
    """Notes on a part of a table.

    Attributes:
        decisions: what was decided over the cells of a column, by the column and what the decision is about.
        strays: cells that were read as missing, which are judged with those of the other parts.
    """

    decisions: dict[tuple[str, str], object] = field(default_factory=dict)
    strays: list[StrayCells] = field(default_factory=list)

    def decide(self, column: str, subject: str, decision: object) -> None:
        """Record a decision; None if no cell of this part depends on it."""
        if decision is not None:
            self.decisions[column, subject] = decision

    def record_numbers(self, text: pl.Series, format: NumberFormat) -> None:
        """Record what was decided over numbers with magnitudes or units."""
        self.decide(text.name, "letters such as m and B after numbers", has_letter_magnitudes(text))
        self.decide(text.name, "the unit of numbers", find_other_units(text, format))

    def record_floats(self, series: pl.Series) -> None:
        """Record whether floats in place of words are written as integers."""
        numbers = series.drop_nulls().drop_nans()
        self.decide(series.name, "numbers in place of words", all_integers(numbers) if len(numbers) else None)
