"""The tables of a report, ready to be written as HTML."""

from __future__ import annotations

import math
from dataclasses import dataclass

MISSING = "–"  # written for undefined numbers
MAX_CELL_CHARACTERS = 160  # of a text in a cell; longer ones end in an ellipsis


@dataclass(frozen=True)
class Thumbnail:
    """A small picture in a cell of a table."""

    data_uri: str
    label: str = ""  # written below it


@dataclass(frozen=True)
class ReportTable:
    """A table with a title and a caption; columns of numbers are right-aligned."""

    title: str
    caption: str
    headers: tuple[str, ...]
    is_numeric: tuple[bool, ...]  # for each column
    rows: tuple[tuple[str | Thumbnail, ...], ...]
    highlighted: frozenset[int] = frozenset()  # indices of the rows to emphasize

    @property
    def is_wide(self) -> bool:
        """Whether the table needs more room than one plot."""
        return len(self.headers) > 4


def format_value(value: float, digits: int = 3) -> str:
    """Format a number with `digits` significant digits, and with all digits of its integer part.

    >>> format_value(0.71234), format_value(1234.5), format_value(-0.0), format_value(float("nan"))
    ('0.712', '1,234', '0', '–')
    """
    if not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    is_readable = decimals <= digits + 3 and abs(value) < 1e15
    return f"{value:,.{decimals}f}" if is_readable else f"{value:.{digits - 1}e}"


def format_difference(value: float) -> str:
    """Format a number with its sign."""
    return f"+{format_value(value)}" if value > 0 else format_value(value)


def format_percent(fraction: float) -> str:
    """Format a fraction as a percentage.

    Only exact ones are written as 0% or 100%.

    >>> format_percent(0.7125), format_percent(1.0), format_percent(0.9996)
    ('71.2%', '100%', '99.96%')
    """
    if not math.isfinite(fraction):
        return MISSING
    texts = [f"{100 * fraction:.{decimals}f}" for decimals in range(1, 8)]
    is_rounded = 0 < fraction < 1
    text = next((text for text in texts if not is_rounded or 0 < float(text) < 100), texts[-1])
    return text.removesuffix(".0") + "%"


def format_interval(interval: tuple[float, float] | None) -> str:
    """Format an interval as "0.65 to 0.78", or as nothing if there is none."""
    return "" if interval is None else f"{format_value(interval[0])} to {format_value(interval[1])}"


def shorten(text: str, max_characters: int = MAX_CELL_CHARACTERS) -> str:
    """The first characters of a text, on one line."""
    line = " ".join(text[: 4 * max_characters].split())
    return line if len(line) <= max_characters else f"{line[: max_characters - 1]}…"
