"""Decide which cells of a column are missing: NA means a missing value in one column, and a category in another.

Empty cells are always missing. Clear markers (`?`, `NaN`, `#DIV/0!`) mean a missing value in any delimited text.
Ambiguous markers (`NA`, `none`, `-`) do so in columns of numbers and dates; in a column of words it depends on the
other cells.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict

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

MarkerSet = Literal["none", "clear", "all"]
_SHAPES = ((r"\p{Lu}", "A"), (r"\p{Ll}", "a"), (r"\p{N}", "0"), (r"[^Aa0]", "."))  # upper case, lower case, digits
_MARKER_SETS: dict[MarkerSet, frozenset[str]] = {"none": frozenset(), "clear": CLEAR_MARKERS, "all": ALL_MARKERS}


class MissingRule(BaseModel):
    """Which cells of a column are missing, besides the empty ones; saved with the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    markers: MarkerSet = "all"  # the markers that mean a missing value, in any case
    categories: tuple[str, ...] = ()  # markers that are categories nevertheless, in lower case
    words: tuple[str, ...] = ()  # other words that mean a missing value, as written

    def apply(self, text: pl.Series) -> pl.Series:
        """Strings, as `strip_cells` returns them, with null for missing values."""
        markers = _MARKER_SETS[self.markers] - {*self.categories}
        if markers:
            text = text.set(text.str.to_lowercase().is_in(list(markers)).fill_null(False), None)
        return text.set(text.is_in(list(self.words)).fill_null(False), None) if self.words else text

    def apply_to_numbers(self, numbers: pl.Series) -> pl.Series:
        """Numbers, with null for those given as words that mean a missing value, such as -999."""
        values = [value for value in map(_to_number, self.words) if value is not None]
        if not values:
            return numbers
        return numbers.set(numbers.cast(pl.Float64).is_in(values).fill_null(False), None)

    def kept_markers(self, text: pl.Series) -> pl.Series:
        """The cells that are ambiguous markers, but categories by this rule."""
        kept = set(self.categories) if self.markers == "all" else AMBIGUOUS_MARKERS
        return text.filter(text.str.to_lowercase().is_in(list(kept))) if kept else text.clear()


def strip_cells(series: pl.Series) -> pl.Series:
    """Strings without surrounding spaces, null for empty ones."""
    text = series.cast(pl.String).str.strip_chars()
    return text.set((text.str.len_bytes() == 0).fill_null(False), None)


def make_rule(words: Iterable[str] | None) -> MissingRule:
    """The rule for columns of numbers or dates, given the words of `TableFormat.missing`."""
    if words is None:
        return MissingRule()
    words = tuple(word.strip() for word in words)
    return MissingRule(markers="all" if words else "none", words=words)


def make_word_rule(
    text: pl.Series,
    words: Iterable[str] | None = None,
    *,
    is_typed: bool = False,
    is_class: bool = False,
    number_markers: Iterable[str] = (),
) -> MissingRule:
    """The rule for a column of words, which depends on its cells.

    An ambiguous marker is a category beside empty cells, from which it is told apart, and among short codes of its
    shape, such as NA among EU and AP. In a column of classes it is a class, unless columns of numbers show that it
    means a missing value in this table.

    Args:
        text: the cells, as `strip_cells` returns them.
        words: words that mean a missing value, as in `TableFormat.missing`.
        is_typed: whether the table tells null from any string.
        is_class: whether the words are the classes of a target.
        number_markers: the markers in columns of numbers of the same table, in lower case.
    """
    rule = make_rule(words)
    if is_typed:
        return rule.model_copy(update={"markers": "none"})
    if rule.markers == "none":
        return rule
    values = text.drop_nulls().unique()
    lowered = values.str.to_lowercase()
    markers = lowered.filter(lowered.is_in(list(AMBIGUOUS_MARKERS)) & ~values.is_in(list(rule.words)))
    if markers.is_empty():
        return rule
    if text.has_nulls():
        return rule.model_copy(update={"markers": "clear"})
    others = values.filter(~lowered.is_in(list(ALL_MARKERS)) & ~values.is_in(list(rule.words)))
    categories = {
        marker
        for marker in markers
        if (is_class and marker not in number_markers) or _is_code(values.filter(lowered == marker), others)
    }
    return rule.model_copy(update={"categories": tuple(sorted(categories))})


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


def _to_number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
