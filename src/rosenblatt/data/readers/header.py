"""Decide whether the first row of a table names its columns.

It does if words stand above numbers or dates, numbers above words, or if its numbers are an axis, such as 0, 1, 2 of
pandas or years in a row, which the rows below do not continue. Rows of words only are undecided: then the first one
names the columns if its cells differ and do not occur again below.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from rosenblatt.data.readers.cells import is_date, is_missing, is_number

Evidence = Literal["certain", "numbers", "weak", "none"]
Kind = Literal["number", "date", "word", "missing"]

MIN_AXIS_LENGTH = 4  # numbers in equal steps that make an axis
MIN_COUNTER_LENGTH = 3  # numbers 0, 1, 2 or 1, 2, 3 that make an axis without other evidence
MIN_CATEGORY_ROWS = 5  # rows from which a column shows whether its values repeat
MAX_REPEATED_HEADER_FRACTION = 0.05  # of the rows; more rows like the first one are data
YEARS = range(1800, 2101)


def header_evidence(rows: Sequence[Sequence[str]]) -> Evidence:
    """Judge whether the first row names the columns: with certainty, by an axis of numbers, weakly, or not at all."""
    if not rows:
        return "weak"
    first, *body = ([cell.strip() for cell in row] for row in rows)
    body = [row for row in body if len(row) == len(first)]
    columns = [[cell for cell in column if not is_missing(cell)] for column in zip(*body, strict=True)]
    columns = columns or [[] for _ in first]
    kinds = [_kind(name) for name in first]
    pairs = [(kind, _column_kind(column)) for kind, column in zip(kinds, columns, strict=True) if kind != "missing"]
    n_for = sum(column_kind not in (kind, "missing") for kind, column_kind in pairs)
    numbers = [i for i, kind in enumerate(kinds) if kind == "number"]
    is_axis = _is_axis(first, numbers, body, columns)
    n_against = sum(
        kind == column_kind and (kind == "date" or (kind == "number" and not is_axis)) for kind, column_kind in pairs
    )
    if n_against and not is_axis and _is_increasing(first, numbers, body):
        n_against = 0
    if n_for and n_for >= n_against:
        return "certain"
    words = [i for i, kind in enumerate(kinds) if kind == "word"]
    if n_against or numbers or not words:
        repeats = any(first[i] in columns[i] for i in words)
        return "numbers" if is_axis and not n_against and not repeats and not n_for else "none"
    return "weak" if len(set(first)) == len(first) and not _recurs(first, body) else "none"


def _kind(cell: str) -> Kind:
    return "missing" if is_missing(cell) else "number" if is_number(cell) else "date" if is_date(cell) else "word"


def _column_kind(column: Sequence[str]) -> Kind:
    """The kind of most cells; words only if none is a number or date, and missing if that is not clear."""
    counts = Counter(map(_kind, column))
    for kind in ("number", "date"):
        if counts[kind] > len(column) / 2:
            return kind
    return "word" if counts["word"] == len(column) >= MIN_CATEGORY_ROWS else "missing"


def _numbers(row: Sequence[str], indices: Sequence[int]) -> list[float] | None:
    """The numbers of some cells; None if one of them is not a plain finite number."""
    try:
        numbers = [float(row[i]) for i in indices]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _is_axis(
    first: Sequence[str], indices: Sequence[int], body: Sequence[Sequence[str]], columns: Sequence[Sequence[str]]
) -> bool:
    """Whether the numbers of the first row rise in equal steps, as a counter or years do, but not those below."""
    numbers = _numbers(first, indices)
    if not numbers:
        return False
    steps = {round(b - a, 9) for a, b in pairwise(numbers)}
    is_counter = numbers == list(range(int(numbers[0]), int(numbers[0]) + len(numbers))) and numbers[0] in (0, 1)
    is_even = len(steps) == 1 and steps != {0}
    if is_even and all(number in YEARS for number in numbers):
        cells = [cell for i in indices for cell in columns[i]]
        return sum(is_number(cell) and cell.isdigit() and int(cell) in YEARS for cell in cells) < len(cells) / 2
    if is_even and len(numbers) >= MIN_AXIS_LENGTH and not is_counter:
        return min(steps) > 0 and not _is_increasing_body(indices, body)
    if not is_counter or len(numbers) >= MIN_COUNTER_LENGTH:
        return is_counter and not _are_counters(indices, body)
    are_decimal = all(len(columns[i]) >= MIN_CATEGORY_ROWS and all("." in cell for cell in columns[i]) for i in indices)
    names = [i for i, name in enumerate(first) if i not in indices and not is_missing(name)]
    return are_decimal or (bool(names) and all(_is_category(first[i], columns[i]) for i in names))


def _are_counters(indices: Sequence[int], body: Sequence[Sequence[str]]) -> bool:
    """Whether the numbers of most rows rise in steps of one."""
    rows = [numbers for row in body if (numbers := _numbers(row, indices))]
    return sum(all(b - a == 1 for a, b in pairwise(row)) for row in rows) > len(rows) / 2


def _is_category(name: str, column: Sequence[str]) -> bool:
    """Whether the values of a column repeat, but do not include its name."""
    return len(column) >= 2 * MIN_CATEGORY_ROWS and len(set(column)) <= len(column) / 2 and name not in column


def _is_increasing(first: Sequence[str], indices: Sequence[int], body: Sequence[Sequence[str]]) -> bool:
    """Whether the numbers of the first row increase, but those of most rows below do not."""
    numbers = _numbers(first, indices)
    return (
        numbers is not None
        and len(numbers) > 1
        and all(a < b for a, b in pairwise(numbers))
        and not _is_increasing_body(indices, body)
    )


def _is_increasing_body(indices: Sequence[int], body: Sequence[Sequence[str]]) -> bool:
    if len(indices) < MIN_COUNTER_LENGTH:
        return False
    rows = [numbers for row in body if (numbers := _numbers(row, indices))]
    return sum(all(a < b for a, b in pairwise(row)) for row in rows) > len(rows) / 2


def _recurs(first: Sequence[str], body: Sequence[Sequence[str]]) -> bool:
    """Whether a cell of the first row occurs again in its column, except in a header that is repeated as a whole."""
    others = [row for row in body if row != first]
    n_equal = len(body) - len(others)
    is_repeated_header = n_equal <= max(1, MAX_REPEATED_HEADER_FRACTION * len(body)) and len(others) >= 20
    rows = others if is_repeated_header else body
    return any(name in column for name, column in zip(first, zip(*rows, strict=True), strict=False))


def unique_names(first: Sequence[str], width: int) -> tuple[list[str], list[str]]:
    """Column names without surrounding spaces, and the notes on it; missing and repeated names are replaced."""
    stripped = [first[i].strip(" \t\r\n\xa0\ufeff\u200b") if i < len(first) else "" for i in range(width)]
    reserved, seen, names, repeated = set(stripped), set[str](), list[str](), list[str]()
    for i, name in enumerate(stripped, 1):
        is_repeated = bool(name) and name in seen
        seen.add(name)
        repeated += [name] if is_repeated else []
        names.append(name if name and not is_repeated else _free_name(f"{name or 'column'}_{i}", reserved))
        reserved.add(names[-1])
    notes = []
    if repeated:
        name, count = Counter(repeated).most_common(1)[0]
        last = names[len(stripped) - 1 - stripped[::-1].index(name)]
        more = f" (and {len(set(repeated)) - 1} more names)" if len(set(repeated)) > 1 else ""
        columns = "two" if count == 1 else f"{count + 1}"
        later = "the later one is" if count == 1 else "the later ones are renamed, the last one is"
        notes.append(f"{columns} columns are named {name!r}: {later} read as {last!r}{more}")
    return names, notes


def _free_name(name: str, reserved: set[str]) -> str:
    while name in reserved:
        name += "_"
    return name
