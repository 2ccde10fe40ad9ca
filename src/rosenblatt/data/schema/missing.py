"""Decide which cells of a column are missing: NA means a missing value in one column, and a category in another.

Empty cells are always missing. Clear markers (`?`, `NaN`, `#DIV/0!`) mean a missing value in any delimited text.
Ambiguous markers (`NA`, `none`, `-`) do so in columns of numbers and dates; in a column of words it depends on the
other cells.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl
from pydantic import BaseModel, ConfigDict

from rosenblatt.data.schema.cells import strip_cells
from rosenblatt.data.schema.notes import Note
from rosenblatt.errors import format_count, format_list

CLEAR_MARKERS = frozenset({
    "?", "??", "nan", "-nan", "nat", "null", "(null)", "[null]", "<null>", "<na>", "#n/a", "#na", "#n/a n/a", "#null!",
    "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#spill!", "#calc!", "\\n", "1.#qnan", "-1.#qnan", "1.#ind",
    "-1.#ind",
})  # fmt: skip
AMBIGUOUS_MARKERS = frozenset({
    "na", "n/a", "n.a.", "n.a", "n/d", "n.d.", "none", "nil", "-", "--", "---", "\u2013", "\u2014", ".", "..", "...",
    "missing",
})  # fmt: skip
WORDS_AMONG_NUMBERS = frozenset({
    "unknown", "unk", "not known", "unspecified", "undefined", "not available", "not applicable", "not reported",
    "not recorded", "no data", "no answer", "no value", "blank", "(blank)", "empty", "(empty)", "#", "*", "**", "x",
    "tbd", "withheld", "suppressed", "confidential", "refused", "invalid", "error", "unbekannt", "k.a.", "inconnu",
})  # fmt: skip  # beside numbers, these mean a missing value, however frequent they are
ALL_MARKERS = CLEAR_MARKERS | AMBIGUOUS_MARKERS

MAX_CODE_LENGTH = 3  # number of characters up to which a word is a code, such as that of a country
MIN_CODE_FRACTION = 0.9  # fraction of the other values that must have the shape of a code

_SHAPES = ((r"\p{Lu}", "A"), (r"\p{Ll}", "a"), (r"\p{N}", "0"), (r"[^Aa0]", "."))  # upper case, lower case, digits


class MissingRule(BaseModel):
    """Which cells of a column are missing, besides the empty ones; saved with the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    with_markers: bool = True  # whether markers are missing, in any case,
    categories: tuple[str, ...] = ()  # except these, in lower case, which are categories
    words: tuple[str, ...] = ()  # other cells that are missing: as written, or as a number

    def apply(self, text: pl.Series) -> pl.Series:
        """Strings, as `strip_cells` returns them, with null for missing values."""
        markers = ALL_MARKERS - {*self.categories} if self.with_markers else ()
        if markers:
            text = text.set(text.str.to_lowercase().is_in(list(markers)).fill_null(False), None)
        if not self.words:
            return text
        is_word = text.is_in(list(self.words)) | _is_in(text.cast(pl.Float64, strict=False), self._numbers)
        return text.set(is_word.fill_null(False), None)

    def apply_to_numbers(self, numbers: pl.Series) -> pl.Series:
        """Numbers, with null for those given as words that mean a missing value, such as -999."""
        return numbers.set(_is_in(numbers, self._numbers).fill_null(False), None) if self.words else numbers

    def kept_markers(self, text: pl.Series) -> pl.Series:
        """The cells that are markers, but categories by this rule."""
        return text.filter(text.str.to_lowercase().is_in(list(self.categories))) if self.categories else text.clear()

    @property
    def _numbers(self) -> list[float]:
        return [number for number in map(_to_number, self.words) if number is not None]


def make_rule(words: Iterable[str] | None) -> MissingRule:
    """The rule for columns of numbers or dates, given the words of `TableFormat.missing`."""
    words = tuple(word.strip() for word in words) if words is not None else None
    return MissingRule(with_markers=words is None or len(words) > 0, words=words or ())


def make_word_rule(
    text: pl.Series,
    words: Iterable[str] | None = None,
    *,
    is_typed: bool = False,
    is_class: bool = False,
    number_markers: Iterable[str] = (),
) -> MissingRule:
    """The rule for a column of words, which depends on its cells.

    A marker is a category in a typed table. In delimited text, an ambiguous marker is a category beside empty cells,
    from which it differs, and among short codes of its shape, such as NA among EU and AP. In a column of classes
    it is a class, unless columns of numbers show that it means a missing value in this table.

    Args:
        text: the cells, as `strip_cells` returns them.
        words: words that mean a missing value, as in `TableFormat.missing`.
        is_typed: whether the table tells null from any string.
        is_class: whether the words are the classes of a target.
        number_markers: the markers in columns of numbers of the same table, in lower case.
    """
    rule = make_rule(words)
    values = text.drop_nulls().unique()
    values = values.filter(~values.is_in(list(rule.words)))
    lowered = values.str.to_lowercase()
    others = values.filter(~lowered.is_in(list(ALL_MARKERS)))

    def is_category(marker: str) -> bool:
        if is_typed or marker in CLEAR_MARKERS:
            return is_typed
        is_distinct = text.has_nulls() or (is_class and marker not in number_markers)
        return is_distinct or _is_code(values.filter(lowered == marker), others)

    markers = sorted(ALL_MARKERS & set(lowered)) if rule.with_markers else []
    return rule.model_copy(update={"categories": tuple(marker for marker in markers if is_category(marker))})


def marker_notes(text: pl.Series, rule: MissingRule, *, is_class: bool = False) -> tuple[Note, ...]:
    """Notes on the markers in a column of strings, as `strip_cells` returns them: missing values or categories."""
    values, notes = rule.apply(text), []
    if values.null_count() > text.null_count():
        markers = text.filter(values.is_null() & text.is_not_null())
        notes.append(Note(text="read as missing (--no-missing to keep)", detail=count_words(markers)))
    categories = rule.kept_markers(text)
    if len(categories):
        note = "read as a category (use --missing CELL if it means missing)"
        note = f"read as a class (use --missing {categories[0]} if it means missing)" if is_class else note
        notes.append(Note(text=note, detail=count_words(categories)))
    return tuple(notes)


def count_words(cells: pl.Series) -> str:
    """The most frequent cells, and the number of all."""
    words = cells.alias("word").value_counts(name="cells", sort=True)["word"].to_list()
    return f"{format_list(words, 3)} in {format_count(len(cells), 'cell')}"


def space_notes(series: pl.Series) -> tuple[Note, ...]:
    """A note on the cells of a column of strings that differ only in surrounding spaces."""
    stripped = series.str.strip_chars()
    is_padded = (stripped.str.len_bytes() < series.str.len_bytes()).fill_null(False)
    if not is_padded.any():
        return ()
    padded = series.filter(is_padded).unique().sort()
    twins = padded.filter(padded.str.strip_chars().is_in(stripped.filter(~is_padded).unique().to_list()))
    twins = twins.filter(twins.str.strip_chars() != "")
    if twins.is_empty():
        return ()
    return (Note(text="spaces around words are ignored", detail=f"{twins[0]!r} is {twins[0].strip()!r}"),)


def find_number_markers(frame: pl.DataFrame, markers: Iterable[str]) -> set[str]:
    """Those of the markers, in lower case, that stand for missing values in columns of numbers of delimited text."""
    markers, present = set(markers), set()
    for series in frame.select(pl.col(pl.String)):
        text = strip_cells(series.unique())
        values = MissingRule().apply(text).drop_nulls()
        if len(values) and not values.cast(pl.Float64, strict=False).has_nulls():
            present |= markers & set(text.drop_nulls().str.to_lowercase())
    return present


def _is_code(spellings: pl.Series, others: pl.Series) -> bool:
    """Whether a marker, in all its spellings, has the shape of the other values of its column, all short codes."""
    shape = _shapes(spellings)
    if shape.n_unique() != 1 or len(shape[0]) > MAX_CODE_LENGTH or others.is_empty():
        return False
    return float((_shapes(others) == shape[0]).sum()) >= MIN_CODE_FRACTION * len(others)


def _shapes(values: pl.Series) -> pl.Series:
    """The kind of each character: A for upper case, a for lower case, 0 for digits, . for others."""
    for pattern, symbol in _SHAPES:
        values = values.str.replace_all(pattern, symbol)
    return values


def _is_in(numbers: pl.Series, values: list[float]) -> pl.Series:
    return numbers.cast(pl.Float64).is_in(values)


def _to_number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
