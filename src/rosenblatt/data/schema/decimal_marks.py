"""Decide whether a point or a comma is the decimal mark, once for a file, from numbers that allow one reading only.

`37,25` and `0,644` have a decimal comma, `37.25` and `1,234.5` a decimal point; `719,125` and `1.234` allow both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from rosenblatt.data.schema.cells import all_integers
from rosenblatt.data.schema.notes import Note
from rosenblatt.data.schema.numbers import (
    MAX_STRAY_FRACTION,
    NUMBER_FORMS,
    DecimalMark,
    NumberFormat,
    TypedNumbers,
    sample_cells,
    split_cells,
)
from rosenblatt.data.table import TableFormat
from rosenblatt.errors import TableError

MARK_NAMES: dict[str, str] = {".": "point", ",": "comma"}
OTHER_MARK: dict[DecimalMark, DecimalMark] = {".": ",", ",": "."}
MIN_NUMBER_FRACTION = 0.5  # fraction of numbers among the cells with digits from which a column shows decimal marks


@dataclass(frozen=True)
class MarkCounts:
    """The numbers of a column by the decimal marks that they allow."""

    name: str
    cells: int = 0  # all cells that were counted
    point: int = 0  # numbers that are only possible with a decimal point
    comma: int = 0  # numbers that are only possible with a decimal comma
    ambiguous: str = ""  # the marks in numbers that allow both readings
    point_example: str = ""
    comma_example: str = ""
    ambiguous_example: str = ""

    @property
    def is_mixed(self) -> bool:
        """Whether both marks occur, none of them rarely."""
        return min(self.point, self.comma) > MAX_STRAY_FRACTION * self.cells

    @property
    def mark(self) -> DecimalMark | None:
        """The mark that the numbers prove; None if they prove none, or both."""
        if self.is_mixed or not (self.point or self.comma):
            return None
        return "." if self.point >= self.comma else ","

    @property
    def example(self) -> str:
        """A number that proves the mark."""
        return self.point_example if self.mark == "." else self.comma_example

    def check(self) -> None:
        """Raise TableError if the column has numbers with both marks."""
        if self.is_mixed:
            raise TableError(
                f"Column {self.name!r} holds numbers with a decimal point, such as {self.point_example!r}, and with a "
                f"decimal comma, such as {self.comma_example!r}. Write all of them in one way."
            )


@dataclass(frozen=True)
class DecimalMarks:
    """The decimal marks of the columns of a table."""

    default: DecimalMark  # of columns whose numbers show none
    columns: dict[str, DecimalMark]
    counts: dict[str, MarkCounts]
    notes: dict[str, Note]  # what was guessed, by column
    thousands: str = ""  # the thousands separator that the user gave

    def __getitem__(self, name: str) -> DecimalMark:
        """The decimal mark of a column. Raises TableError if its numbers have both marks."""
        if name in self.counts:
            self.counts[name].check()
        return self.columns.get(name, self.default)


def count_marks(series: pl.Series) -> MarkCounts:
    """Count the numbers in a sample of a column by the decimal marks that they allow.

    If none in the sample of a long column proves a mark, all cells are searched.
    """
    sample = sample_cells(series)
    has_digit = sample.str.contains(r"\d")
    if not sample.str.contains(r"[.,٫٬]").any() or not has_digit.any():
        return MarkCounts(series.name)
    digits = split_cells(sample)["digits"]
    is_number = digits.str.contains(NUMBER_FORMS["."]) | digits.str.contains(NUMBER_FORMS[","])
    number_fraction = int(is_number.fill_null(False).sum()) / int(has_digit.sum())
    if number_fraction < MIN_NUMBER_FRACTION:
        return MarkCounts(series.name)
    counts = _count(sample, len(sample))
    if counts.is_mixed and number_fraction < 1 - MAX_STRAY_FRACTION:
        return MarkCounts(series.name)
    if counts.mark is None and len(sample) < len(series) - series.null_count():
        marked = series.filter(series.str.contains(r"[.,٫٬]").fill_null(False))
        return _count(marked, len(series) - series.null_count())
    return counts


def _count(cells: pl.Series, n_cells: int) -> MarkCounts:
    digits = split_cells(cells)["digits"]
    has_mark = digits.str.contains("[.,]").fill_null(False)
    is_point = digits.str.contains(NUMBER_FORMS["."]).fill_null(False) & has_mark
    is_comma = digits.str.contains(NUMBER_FORMS[","]).fill_null(False) & has_mark
    both, point, comma = (cells.filter(m) for m in (is_point & is_comma, is_point & ~is_comma, is_comma & ~is_point))
    marks = "".join(mark for mark in ".," if both.str.contains(mark, literal=True).any())
    examples = (str(examples[0]).strip()[:40] if len(examples) else "" for examples in (point, comma, both))
    return MarkCounts(cells.name, n_cells, len(point), len(comma), marks, *examples)


def given_mark(format: TableFormat) -> DecimalMark | None:
    """The decimal mark that the user gave, as such or as the other thousands separator."""
    if format.decimal is None and format.thousands in (".", ","):
        return "," if format.thousands == "." else "."
    return format.decimal


def detect_marks(frame: pl.DataFrame, format: TableFormat) -> DecimalMarks:
    """Decide the decimal marks of a table.

    Columns whose numbers allow both readings follow the columns that prove a mark. If there are none, a semicolon as
    separator suggests that a comma is the decimal mark.
    """
    counts = {series.name: count_marks(series.cast(pl.String)) for series in frame if is_text(series)}
    given = given_mark(format)
    proven = [count.mark for count in counts.values() if count.mark]
    n_comma = sum(mark == "," for mark in proven)
    ambiguous = "".join(count.ambiguous for count in counts.values() if not count.mark)
    suggested: DecimalMark = "," if format.separator == ";" and "," in ambiguous else "."
    evidence: DecimalMark = "," if n_comma >= len(proven) / 2 else "."
    default = given or (evidence if proven else suggested)
    is_guess = given is None and len(set(proven)) != 1
    columns, notes = dict[str, DecimalMark](), dict[str, Note]()
    for name, count in counts.items():
        columns[name] = count.mark or default
        if count.mark and count.mark != default:
            other = "not as given" if given else "unlike other columns"
            text = f"numbers with a decimal {MARK_NAMES[count.mark]}, {other}"
            notes[name] = Note(text=text, detail=f"such as {count.example}")
        elif not count.mark and count.ambiguous and is_guess:
            notes[name] = Note(text=_guess(count.ambiguous[-1], default), detail=f"such as {count.ambiguous_example}")
    return DecimalMarks(default, columns, counts, notes, format.thousands or "")


def complete_format(typed: TypedNumbers, cells: pl.Series, marks: DecimalMarks) -> NumberFormat:
    """The format of a column of a training table, with what its values and its table show.

    Args:
        typed: the numbers.
        cells: the cells as read.
        marks: the decimal marks of the table.
    """
    name, decimal = typed.values.name, marks[typed.values.name]
    count = marks.counts.get(name)
    has_mark = cells.dtype == pl.String and bool(cells.str.contains(decimal, literal=True).any())
    is_decimal = has_mark or (count is not None and decimal in count.ambiguous) or not all_integers(typed.values)
    is_fraction = bool((typed.values.abs() <= 1).all())
    update = {"decimal": decimal, "has_decimals": is_decimal, "is_fraction": is_fraction}
    return typed.format.model_copy(update=update)


def is_text(series: pl.Series) -> bool:
    """Whether the cells of a column are strings."""
    return series.dtype in (pl.String, pl.Categorical, pl.Enum)


def _guess(mark: str, decimal: DecimalMark) -> str:
    """What was guessed for numbers with a mark that is decimal or separates thousands."""
    name = MARK_NAMES[mark]
    if mark == decimal:
        return f"the {name} is read as a decimal {name}; if it separates thousands, use --thousands {mark}"
    return f"the {name} is read as a thousands separator; if it is the decimal mark, use --decimal {mark}"


def adapt_formats(
    frame: pl.DataFrame, formats: Mapping[str, NumberFormat], format: TableFormat
) -> dict[str, NumberFormat]:
    """Decide how the columns of a later table are written, given the formats of the training table.

    Columns whose numbers allow both readings follow the columns that prove the style of the training table, or the
    other one; or else their format in training.

    Raises TableError if neither decides.
    """
    counts = {
        name: count_marks(frame[name].cast(pl.String))
        for name in formats
        if name in frame.columns and is_text(frame[name])
    }
    switched = {count.mark != formats[name].decimal for name, count in counts.items() if count.mark}
    given = given_mark(format)
    adapted = dict(formats)
    for name, count in counts.items():
        count.check()
        saved = formats[name]
        mark = count.mark or given
        if mark is None and count.ambiguous and switched == {True}:
            mark = OTHER_MARK[saved.decimal]
        if mark is None and switched != {False}:
            _check_thousands(count, saved)
        mark = mark or saved.decimal
        separators = "".join(c for c in count.ambiguous if c != mark and c not in saved.thousands)
        thousands = saved.thousands.replace(mark, "") + separators
        adapted[name] = saved.model_copy(update={"decimal": mark, "thousands": thousands})
    return adapted


def _check_thousands(count: MarkCounts, saved: NumberFormat) -> None:
    """Raise TableError if a mark is neither that of decimals nor of thousands in training."""
    seen = saved.thousands + saved.decimal * saved.has_decimals
    mark = next((mark for mark in count.ambiguous if mark not in seen), "")
    if mark:
        name = MARK_NAMES[mark]
        raise TableError(
            f"Column {count.name!r} holds {count.ambiguous_example!r}, where the {name} may be the decimal mark or "
            f"separate thousands, and no number of the training table shows which. Use --decimal {mark} or "
            f"--thousands {mark}."
        )
