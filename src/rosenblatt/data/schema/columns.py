"""The schema of a table, which converts a table as read to a typed table of numbers, strings and media.

The schema is inferred once (`inference.py`), from the training table, and saved with the model; it reads later tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.media.columns import MEDIA_KINDS, medium_kind, to_media_column
from rosenblatt.data.polars_threads import require_polars
from rosenblatt.data.schema.booleans import Pair, read_booleans
from rosenblatt.data.schema.cells import strip_cells
from rosenblatt.data.schema.dates import (
    DAY_FIRST,
    MONTH_FIRST,
    DateFormat,
    as_dates,
    as_seconds,
    date_feature,
    find_order,
    read_dates,
    typed_date_format,
)
from rosenblatt.data.schema.decimal_marks import MARK_NAMES, adapt_formats
from rosenblatt.data.schema.missing import MissingRule, make_rule, make_word_rule
from rosenblatt.data.schema.notes import Note, summarize_notes
from rosenblatt.data.schema.numbers import (
    NumberFormat,
    plain_numbers,
    read_numbers,
    scale_plain_numbers,
)
from rosenblatt.data.schema.numeric_dates import read_numeric_dates
from rosenblatt.data.schema.part_notes import PartNotes, StrayCells
from rosenblatt.data.schema.units import PERCENT, SECONDS
from rosenblatt.data.sparse import is_sparse
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.errors import TableError, did_you_mean, format_count, format_list

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    Matrix = TypeVar("Matrix", np.ndarray, csr_array)

Kind = Literal[
    "number", "boolean", "category", "date", "identifier", "constant", "empty", "text", "nested", "image", "sequence"
]

Notes = list[tuple[str, Note]]  # notes on columns, by name

_PLURALS = {"category": "categories", "boolean": "yes and no", "empty": "nothing", "constant": "one value only"}


def plural_kind(kind: Kind) -> str:
    """What a column of a kind holds, in words."""
    return _PLURALS.get(kind, f"{kind}s")


class Column(BaseModel):
    """The kind of one column of a table, and how its cells are parsed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Kind
    number_format: NumberFormat = NumberFormat()
    date_format: DateFormat = DateFormat()
    date_parts: tuple[str, ...] = ()  # features of dates, as `date_features` names them
    markers: tuple[str, ...] = ()  # words that stand for a missing number or date in this column
    boolean_pair: Pair = ("false", "true")  # how booleans are written, in any case
    missing_rule: MissingRule = MissingRule()  # which cells are missing
    is_numeric: bool = False  # whether an identifier is made of numbers
    missing: int = 0  # number of missing cells
    distinct: int = 0  # number of distinct values
    notes: tuple[Note, ...] = ()  # what was guessed, for the user
    include: bool = False  # whether a media column is an input, which depends on the kind of network

    @property
    def is_input(self) -> bool:
        """Whether this column is an input of networks."""
        return self.include or self.kind in ("number", "boolean", "category", "date")

    @property
    def is_plain_number(self) -> bool:
        """Whether a typed number of this column is used as it is: it has no scale, and no number means missing."""
        return self.kind == "number" and self.number_format.unit != PERCENT and not self.missing_rule.words

    @property
    def note(self) -> str:
        """All notes on this column."""
        return "; ".join(map(str, self.notes))

    def sort_key(self, series: pl.Series, notes: Notes | None = None) -> pl.Series:
        """The values by which rows are ordered: dates, numbers or text. `notes` as in `read`."""
        if self.kind == "date":
            return self._dates(series, notes)
        return self._numbers(series, notes) if self.kind == "number" else series

    def read(self, series: pl.Series, notes: Notes | None = None) -> list[pl.Series]:
        """Convert to typed columns: several features of a date, or else one column.

        Typed columns are Float64 for numbers and features of dates, String for categories, null if missing, and structs
        for media. `notes` receives what was converted, or read as missing.

        Raises TableError if the column holds another kind of values than in training.
        """
        if self.kind in MEDIA_KINDS:
            return [to_media_column(series, self.kind)]
        accepts_durations = self.kind == "date" or (self.kind == "number" and self.number_format.unit == SECONDS)
        is_other_duration = series.dtype == pl.Duration and not accepts_durations
        if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object) or is_other_duration:
            raise TableError(
                f"Column {self.name!r} must hold {plural_kind(self.kind)}, as in training, but its cells are of type "
                f"{series.dtype}."
            )
        if self.kind == "number":
            return [self._numbers(series, notes)]
        if self.kind == "date":
            dates = self._dates(series, notes)
            return [date_feature(dates, part).alias(f"{self.name} ({part})") for part in self.date_parts]
        if isinstance(notes, PartNotes) and series.dtype.is_float():
            notes.record_floats(series)
        if self.kind == "boolean":
            return [self._booleans(self._text(series), notes)]
        return [self._text(series)]

    def _text(self, series: pl.Series) -> pl.Series:
        """Strings without surrounding spaces, null for missing values."""
        text = self.missing_rule.apply(strip_cells(series))
        return text.set(text.is_in(list(self.markers)).fill_null(False), None) if self.markers else text

    def _numbers(self, series: pl.Series, notes: Notes | None = None) -> pl.Series:
        number_format = self.number_format
        if series.dtype == pl.Duration:
            return as_seconds(series)
        if series.dtype.is_numeric() or series.dtype == pl.Boolean:
            values = series.cast(pl.Float64).to_numpy()  # NumPy is many times faster for few rows
            numbers: pl.Series | None = pl.Series(self.name, values, nan_to_null=True)
        else:
            is_plain = series.dtype == pl.String and number_format.decimal == "."
            numbers = plain_numbers(series) if is_plain else None
        if numbers is None:
            text = self._text(series)
            typed = read_numbers(text, number_format)
            numbers = typed.values
            self._report_strays(text, numbers, "numbers", notes)
            if isinstance(notes, PartNotes):
                notes.record_numbers(text, number_format)
            if notes is not None:
                notes += [(self.name, note) for note in typed.notes]
        else:
            if number_format.unit == PERCENT:
                numbers = scale_plain_numbers(self.name, numbers, numbers.is_not_null(), number_format)
            if notes is not None:
                notes += [(self.name, note) for note in number_format.plain_notes(numbers)]
        numbers = self.missing_rule.apply_to_numbers(numbers)
        infinite = np.isinf(numbers.to_numpy())
        if infinite.any():
            raise _infinity_error(self.name, int(infinite.argmax()))
        return numbers.alias(self.name)

    def _booleans(self, text: pl.Series, notes: Notes | None) -> pl.Series:
        values, pair = read_booleans(text, self.boolean_pair)
        if pair != self.boolean_pair and notes is not None:
            detail = f"{format_list(pair)} as {format_list(self.boolean_pair)}"
            notes.append(
                (self.name, Note(text="booleans in other words than in training are converted", detail=detail))
            )
        if isinstance(notes, PartNotes) and values.count():
            notes.decide(self.name, "the words for yes and no", pair)
        self._report_strays(text, values, format_list(self.boolean_pair), notes)
        return values.alias(self.name)

    def _dates(self, series: pl.Series, notes: Notes | None = None) -> pl.Series:
        date_notes: list[Note] = []
        if series.dtype.is_temporal():
            dates = as_dates(series, self.date_format, date_notes)
            if notes is not None:
                notes += [(self.name, note) for note in date_notes]
            return dates
        text = self._text(series)
        if self.date_format.unit:
            dates = read_numeric_dates(text, self.date_format, date_notes)
        else:
            dates = read_dates(text, self.date_format, date_notes)
        if isinstance(notes, PartNotes) and not self.date_format.unit:
            notes.decide(self.name, "the order of day and month", find_order(text, self.date_format))
        self._report_strays(text, dates, "dates", notes)
        if notes is not None:
            notes += [(self.name, note) for note in date_notes]
        return dates.alias(self.name)

    def _report_strays(self, text: pl.Series, parsed: pl.Series, expected: str, notes: Notes | None) -> None:
        """Report cells of another kind, which are read as missing. Raises TableError if there are many."""
        cells = text.filter(parsed.is_null() & text.is_not_null())
        strays = StrayCells(self.name, expected, len(text), len(cells), cells[0] if len(cells) else "")
        if isinstance(notes, PartNotes):
            notes.strays.append(strays)
            return
        strays.check()
        if notes is not None:
            notes += strays.notes


class Schema(BaseModel):
    """The possible input columns of a table, in order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[Column, ...]

    @property
    def input_columns(self) -> list[Column]:
        """The columns that are inputs of networks."""
        return [column for column in self.columns if column.is_input]

    @property
    def is_numeric(self) -> bool:
        """Whether a matrix of numbers can be used as it is, because all inputs are plain numbers."""
        return all(column.is_plain_number for column in self.input_columns)

    def read_matrix(self, matrix: Matrix) -> Matrix:
        """Return the inputs (n, F) of a numeric schema, NaN if missing, from a matrix of all columns or of the inputs.

        The matrix may be sparse.

        Raises TableError if the matrix has another width or holds infinite numbers.
        """
        is_input = [column.is_input for column in self.columns]
        if matrix.shape[1] not in (sum(is_input), len(is_input)):
            raise TableError(
                f"The model was trained on {format_count(len(self.columns), 'column')}, but the array has "
                f"{matrix.shape[1]:,}. Give it the same columns in the same order."
            )
        if sum(is_input) < matrix.shape[1]:
            matrix = matrix[:, np.flatnonzero(is_input)]
        if np.isinf(matrix.data if is_sparse(matrix) else matrix).any():
            row, column = np.argwhere(np.isinf(matrix))[0]
            raise _infinity_error(self.input_columns[column].name, row)
        return matrix

    def with_identifiers(self, names: Sequence[str]) -> Schema:
        """This schema, with identifiers of these names as inputs: numbers or categories."""
        return self._update(
            lambda column: column.name in names and column.kind == "identifier",
            lambda column: {
                "kind": "number" if column.is_numeric else "category",
                "notes": (Note(text="used as requested (--keep)"),),
            },
        )

    def with_media(self, kinds: Sequence[str]) -> Schema:
        """This schema, with media columns of these kinds as inputs."""
        return self._update(lambda column: column.kind in kinds, lambda _: {"include": True, "notes": ()})

    def as_texts(self, names: Sequence[str]) -> Schema:
        """This schema, with columns of these names as texts."""
        return self._update(lambda column: column.name in names, lambda _: {"kind": "text"})

    def _update(self, condition: Callable[[Column], bool], changes: Callable[[Column], dict[str, object]]) -> Schema:
        columns = (c.model_copy(update=changes(c)) if condition(c) else c for c in self.columns)
        return Schema(columns=tuple(columns))

    @property
    def media_columns(self) -> list[Column]:
        """The input columns of images, texts and sequences."""
        return [column for column in self.input_columns if column.kind in MEDIA_KINDS]

    def read(
        self,
        frame: pl.DataFrame,
        messages: list[str] | None = None,
        format: TableFormat = DETECT_FORMAT,
    ) -> pl.DataFrame:
        """Convert the input columns of a table to a typed table.

        Args:
            frame: the table as read.
            messages: receives what was converted, or read as missing, in one line for each kind.
            format: how the table is written, as far as it differs from the training table.

        Raises TableError if a column is missing, or holds another kind of values than in training.
        """
        require_polars()
        self.check_columns(frame.columns)
        notes: Notes = []
        schema = self if format.missing is None else self.with_missing(make_rule(format.missing))
        typed = [series for _, columns in schema.parts(frame, notes, format) for series in columns]
        if messages is not None:
            messages += summarize_notes(notes)
        return pl.DataFrame(typed)

    def check_columns(self, names: Sequence[str]) -> None:
        """Raise TableError if a table with columns of these names lacks inputs."""
        missing = [column.name for column in self.input_columns if column.name not in names]
        if missing:
            raise TableError(
                f"The table lacks {format_list(missing)}, on which the model was trained; it has "
                f"{format_list(names)}.{did_you_mean(missing[0], names)}"
            )

    def with_missing(self, given: MissingRule) -> Schema:
        """This schema, for a table of which the user says what is missing."""

        def combine(column: Column) -> dict[str, object]:
            rule = column.missing_rule
            with_markers, words = rule.with_markers and given.with_markers, (*rule.words, *given.words)
            return {"missing_rule": rule.model_copy(update={"with_markers": with_markers, "words": words})}

        return self._update(lambda _: True, combine)

    @property
    def number_formats(self) -> dict[str, NumberFormat]:
        """How the numbers of the input columns are written."""
        return {column.name: column.number_format for column in self.input_columns if column.kind == "number"}

    def with_number_formats(self, formats: Mapping[str, NumberFormat]) -> Schema:
        """This schema, with numbers in other formats, by the names of the columns."""
        return self._update(
            lambda column: column.name in formats, lambda column: {"number_format": formats[column.name]}
        )

    def adapt(self, frame: pl.DataFrame, format: TableFormat = DETECT_FORMAT, notes: Notes | None = None) -> Schema:
        """This schema, with numbers in the format of a later table.

        `notes` receives which columns are written otherwise than in training.

        Raises TableError if the format of a column is unknown.
        """
        saved = self.number_formats
        adapted = adapt_formats(frame, saved, format)
        for name, number_format in adapted.items():
            new, old = MARK_NAMES[number_format.decimal], MARK_NAMES[saved[name].decimal]
            if notes is not None and new != old:
                notes.append(
                    (name, Note(text=f"numbers with a decimal {new} are converted (decimal {old} in training)"))
                )
        return self.with_number_formats(adapted)

    def with_day_first(self, day_first: bool | None) -> Schema:
        """This schema, with dates in the order of a later table; None leaves them as in training."""
        order = {"order": DAY_FIRST if day_first else MONTH_FIRST}
        return self._update(
            lambda column: column.kind == "date" and day_first is not None,
            lambda column: {"date_format": column.date_format.model_copy(update=order)},
        )

    def parts(
        self, frame: pl.DataFrame, notes: Notes | None = None, format: TableFormat = DETECT_FORMAT
    ) -> Iterator[tuple[Column, list[pl.Series]]]:
        """Iterate over the input columns and the typed columns of each, whose names are unique."""
        used_names = {column.name for column in self.input_columns}
        for column in self.adapt(frame, format, notes).with_day_first(format.day_first).input_columns:
            typed_columns = column.read(frame[column.name], notes)
            for i, series in enumerate(typed_columns):
                name = series.name
                while column.kind == "date" and name in used_names:
                    name += "'"
                used_names.add(name)
                typed_columns[i] = series.alias(name)
            yield column, typed_columns


def _infinity_error(name: str, row: int) -> TableError:
    return TableError(
        f"Column {name!r} holds an infinite number in row {row + 1}. Write a finite number there, or leave the cell "
        "empty if it is unknown."
    )


def schema_from_matrix(matrix: np.ndarray | csr_array, names: Sequence[str]) -> Schema:
    """The schema of a matrix of numbers (n, columns)."""
    if is_sparse(matrix):
        missing = np.bincount(matrix.indices[np.isnan(matrix.data)], minlength=len(names)).tolist()
    else:
        missing = np.isnan(matrix).sum(axis=0).tolist()
    return Schema(
        columns=tuple(Column(name=name, kind="number", missing=n) for name, n in zip(names, missing, strict=True))
    )


def schema_from_dtypes(frame: pl.DataFrame) -> Schema:
    """The schema of a data frame by the types of its columns. Raises TableError for unsupported types."""

    def column(series: pl.Series) -> Column:
        missing = series.null_count()
        if series.dtype == pl.Boolean:
            return Column(name=series.name, kind="boolean", missing=missing)
        if series.dtype.is_numeric():
            return Column(name=series.name, kind="number", missing=missing)
        if series.dtype == pl.Duration:
            seconds = NumberFormat(unit=SECONDS)
            return Column(name=series.name, kind="number", number_format=seconds, missing=missing)
        if series.dtype.is_temporal():
            return Column(
                name=series.name, kind="date", date_format=typed_date_format(series.dtype),
                date_parts=("day", "month", "weekday", "hour"), missing=missing,
            )  # fmt: skip
        if medium_kind(series.dtype) or series.dtype in (pl.List, pl.Array):
            kind = medium_kind(series.dtype) or "sequence"
            return Column(name=series.name, kind=kind, missing=missing, include=True)
        if series.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            rule = make_word_rule(strip_cells(series), is_typed=True)
            return Column(name=series.name, kind="category", missing=missing, missing_rule=rule)
        raise TableError(
            f"Column {series.name!r} must hold numbers, strings, categories, booleans or dates, but its type is "
            f"{series.dtype}. Convert or drop the column."
        )

    return Schema(columns=tuple(column(series) for series in frame))
