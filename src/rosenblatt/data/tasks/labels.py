"""Make the classes of a target column, as written there, and recognize them in other tables."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

import numpy as np
import polars as pl

from rosenblatt.data.schema.cells import strip_cells
from rosenblatt.data.schema.missing import MissingRule
from rosenblatt.data.tasks.target import Label
from rosenblatt.errors import TableError, format_list

MAX_EXAMPLES = 5  # spellings that a message names

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")


def label_cells(series: pl.Series) -> pl.Series:
    """The cells of a target column as text, null for empty ones; numbers and booleans are written as in Python.

    Raises TableError for types that hold no classes.
    """
    dtype = series.dtype
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Duration):
        raise TableError(
            f"The target {series.name!r} must hold words, numbers, dates or lists of labels, but its type is {dtype}. "
            "Convert the column, or choose another one."
        )
    if dtype == pl.Boolean:
        return series.replace_strict([False, True], ["False", "True"], default=None, return_dtype=pl.String)
    if dtype.is_float():
        values = series.fill_nan(None).drop_nulls().unique()
        if dtype == pl.Float32:  # 0.1, not 0.10000000149011612
            texts = [repr(float(text)) for text in values.cast(pl.String)]
        else:
            texts = [repr(value) for value in values]
        return series.replace_strict(values, texts, default=None, return_dtype=pl.String)
    return strip_cells(series)


def has_leading_zeros(text: pl.Series) -> bool:
    """Whether some cells are digits after a leading zero, such as 007, which are codes and not numbers."""
    return bool(text.str.contains(r"^[-+]?0\d+$").any())


def make_labels(values: Iterable[str], dtype: pl.DataType, *, is_typed: bool) -> dict[str, Label]:
    """The class that each text of `label_cells` stands for, sorted by class.

    In delimited text, classes are numbers if all are written as Python writes integers, or floats; `007` and `1E1` are
    words. In a typed table, classes have the type of the column.
    """
    values = list(values)
    convert = _label_type(values, dtype, is_typed=is_typed)
    return dict(sorted(((value, convert(value)) for value in values), key=lambda item: item[1]))


def _label_type(values: Sequence[str], dtype: pl.DataType, *, is_typed: bool) -> Callable[[str], Label]:
    if dtype == pl.Boolean:
        return "True".__eq__
    if dtype.is_integer():
        return int
    if dtype.is_float():
        return float
    if is_typed or dtype != pl.String:
        return str
    if all(_INTEGER.fullmatch(value) for value in values):
        return int
    return float if all(_NUMBER.fullmatch(value) and repr(float(value)) == value for value in values) else str


def similar_labels(labels: Iterable[Label]) -> list[str]:
    """Hints on classes that differ only in how they are written, one for each kind of difference."""
    words = [label for label in labels if isinstance(label, str)]
    hints = []
    for key, difference in ((_normalize, "in case or a final period"), (_to_decimal, "as text, not as numbers")):
        groups = defaultdict(list)
        for word in words:
            groups[key(word)].append(word)
        pairs = [f"{format_list(group)}" for value, group in groups.items() if value is not None and len(group) > 1]
        if pairs:
            more = f" (and {len(pairs) - 1} more such groups)" if len(pairs) > 1 else ""
            advice = "correct the table if they are the same class"
            hints.append(f"the classes {pairs[0]} differ only {difference}{more}; {advice}")
    return hints


def match_labels(
    series: pl.Series, labels: Sequence[Label], rule: MissingRule, messages: list[str] | None, noun: str = "classes"
) -> np.ndarray:
    """The index (n,) of the class of each cell of a target column, NaN for missing ones.

    A cell is the class that is written alike, or else the only one that is equal as a number, or regardless of case and
    a final period. `messages` receives which spellings are read as another.

    Args:
        series: the column.
        labels: the classes.
        rule: the missing cells, besides those written as a class.
        noun: what the labels are called in messages.

    Raises:
        TableError: if a cell is no class, or could be several.
    """
    cells = label_cells(rule.apply_to_numbers(series) if series.dtype.is_numeric() else series)
    values = cells.set(cells.is_in(list(rule.words)).fill_null(False), None).drop_nulls().unique().sort()
    unlabelled = set(values.filter(rule.apply(values).is_null()))
    matcher = _LabelMatcher(labels, is_number=series.dtype.is_numeric())
    indices, respelled = dict[str, int](), list[str]()
    for value in values:
        index = matcher.find(value)
        if index is None and value in unlabelled:
            continue
        if index is None:
            raise TableError(
                f"The target {series.name!r} holds {value!r}, but the {noun} {format_list(labels)}. Correct the table."
            )
        indices[value] = index
        if not matcher.is_same(value, index):
            respelled.append(f"{value!r} as {labels[index]!r}")
    if messages is not None and respelled:
        more = f" and {len(respelled) - MAX_EXAMPLES} more" if len(respelled) > MAX_EXAMPLES else ""
        examples = f"{', '.join(respelled[:MAX_EXAMPLES])}{more}"
        messages.append(f"classes read in the spelling of training: {series.name} ({examples})")
    codes = cells.replace_strict(list(indices), list(indices.values()), return_dtype=pl.Float64, default=None)
    return codes.fill_null(np.nan).to_numpy()


class _LabelMatcher:
    """Finds the class that a cell stands for."""

    def __init__(self, labels: Sequence[Label], *, is_number: bool) -> None:
        texts = [str(label) for label in labels]
        self._labels = labels
        self._is_ambiguous = is_number and any(isinstance(label, str) for label in labels)  # 7 may be '7' or '007'
        self._exact = dict(zip(texts, range(len(texts)), strict=True))
        self._by_number = _unique_indices(_label_number(label) for label in labels)
        self._by_spelling = _unique_indices(map(_normalize, texts))

    def find(self, value: str) -> int | None:
        """The index of the class of a cell, None if there is none or more than one."""
        index = None if self._is_ambiguous else self._exact.get(value)
        if index is None:
            index = self._by_number.get(_label_number(value))
        if index is None and not self._is_ambiguous:
            index = self._by_spelling.get(_normalize(value))
        return index

    def is_same(self, value: str, index: int) -> bool:
        """Whether a cell is the text of a class, or the same number."""
        label = self._labels[index]
        return str(label) == value or (not isinstance(label, str) and _to_decimal(value) is not None)


def _unique_indices(keys: Iterable[object]) -> dict[object, int]:
    """The index of each key that is not None and occurs once."""
    indices: dict[object, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        indices[key].append(index)
    return {key: group[0] for key, group in indices.items() if len(group) == 1 and key is not None}


def _label_number(label: Label) -> Decimal | None:
    """A class as a number: True is 1, and words that are no numbers None."""
    word = str(label)
    return _to_decimal({"true": "1", "false": "0"}.get(word.lower(), word))


def _to_decimal(word: str) -> Decimal | None:
    return Decimal(word) if _NUMBER.fullmatch(word) else None


def _normalize(word: str) -> str:
    return word.casefold().rstrip(". ").strip()
