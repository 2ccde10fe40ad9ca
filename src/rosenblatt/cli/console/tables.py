"""Tables on the terminal: they fit its width, line up numbers, and print text from users as it is, never as markup."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Collection, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rosenblatt.inspection.tables import format_value

Cell = str | float | Text | None
"""A cell: text, a number (bool: true or false), rich's Text for text with a style, or None for an empty cell."""

PIPE_WIDTH = 10_000  # characters of a line that goes to a file or to another program: nothing is wrapped
GAP = 2  # blanks between columns
MIN_TEXT_WIDTH = 16  # characters that a column of long text keeps on a narrow terminal
DIGITS = 4  # significant digits of a number that is not an integer


class SafeConsole(Console):
    """A console that prints control characters as visible text: names and data come from others."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does."""
        super().print(*(_escape(item) for item in objects), **options)


def make_console() -> Console:
    """Make a console that prints text as it is; without a terminal it prints no colors and wraps no lines."""
    console = SafeConsole(markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH
    return console


def print_table(
    console: Console,
    titles: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    right: Collection[str] = (),
    max_rows: int | None = None,
    noun: str = "rows",
    optional: Sequence[str] = (),
) -> None:
    """Print a table, with the decimal points of each column of numbers below one another.

    A table that is wider than the terminal continues below, with its first column repeated. Columns without any value
    are left out.

    Args:
        console: Where to print.
        titles: The title of each column.
        rows: The cells of each row, as many as there are titles.
        right: Titles of text columns to align on the right, such as percentages.
        max_rows: The number of rows from which on the rest is replaced by a line that counts them.
        noun: What a row stands for, in the plural, for that line.
        optional: Titles of columns to leave out, the first ones first, until the table fits the width.
    """
    n_hidden = 0 if max_rows is None or len(rows) <= max_rows + 1 else len(rows) - max_rows
    visible = rows[: len(rows) - n_hidden]
    columns = [
        _Column(
            title,
            [row[j] for row in visible],
            right=title in right,
            text_width=console.width // 2 if j == 0 else MIN_TEXT_WIDTH,
            max_title=max(console.width // 2 - GAP, 1),
        )
        for j, title in enumerate(titles)
        if j == 0 or not visible or any(row[j] not in (None, "") for row in visible)
    ]
    dropped = []
    for title in optional:
        if _width(columns) > console.width and title in titles:
            dropped.append(title)
            columns = [column for column in columns if column.name != title]
    for k, block in enumerate(_blocks(columns, console.width)):
        console.print(end="\n" if k else "")
        console.print(_make_grid(block))
    if n_hidden:
        console.print(Text(f"and {n_hidden:,} more {noun} like these (--all)", "dim"))
    if dropped:
        console.print(Text(f"not shown for lack of width: {', '.join(dropped)} (--all)", "dim"))


def _make_grid(columns: Sequence[_Column]) -> Table:
    """Make a table of columns that fit the width of the console."""
    grid = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for column in columns:
        grid.add_column(
            Text(column.title, "bold"), no_wrap=column.is_fixed, min_width=column.min_width, overflow="fold"
        )
    for cells in zip(*(column.cells for column in columns), strict=True):
        grid.add_row(*cells)
    return grid


def format_number(value: float) -> str:
    """Format a number with its significant digits: 0.7500, 12.30, 1,234, 3.000e-07; an integer in full.

    >>> format_number(1234.5), format_number(0.75), format_number(1234)
    ('1,234', '0.7500', '1,234')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:,}"
    return format_value(value, DIGITS) if value else f"{0:.{DIGITS}f}"


def printable(text: str) -> str:
    """Escape line breaks and control characters, which would change the terminal's state or the table's shape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def printable_lines(text: str) -> str:
    """Escape control characters other than line breaks and tabs.

    >>> printable_lines("a\\n\\x1b[31m\\u202eb")
    'a\\n\\\\x1b[31m\\\\u202eb'
    """
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" else printable(c) for c in text)


def _escape(item: Any) -> Any:
    if isinstance(item, str):
        return printable_lines(item)
    if isinstance(item, Text) and printable_lines(item.plain) != item.plain:
        return Text(printable_lines(item.plain), item.style)
    return item


class _Column:
    """A column ready to print: cells of numbers are padded to equal widths."""

    def __init__(self, title: str, cells: Sequence[Cell], right: bool, text_width: int, max_title: int) -> None:
        self.name = title
        is_numeric = any(isinstance(cell, int | float) for cell in cells) and not any(
            isinstance(cell, str | Text) for cell in cells
        )
        if is_numeric:
            numbers = ["" if cell is None else format_number(cell) for cell in cells]  # type: ignore[arg-type]
            after = [len(number) - _point(number) for number in numbers]
            texts = [number + " " * (max(after) - n) for number, n in zip(numbers, after, strict=True)]
            lines = textwrap.wrap(printable(title), max_title) or [""]
            width = max(map(len, [*lines, *texts]))
            self.title, self.cells = (
                "\n".join(line.rjust(width) for line in lines),
                [Text(text.rjust(width)) for text in texts],
            )
        else:
            self.title, self.cells = printable(title), [_to_text(cell) for cell in cells]
            width = max((text.cell_len for text in (Text(self.title), *self.cells)), default=0)
            for text in self.cells if right else ():
                text.pad_left(width - text.cell_len)
            self.title = self.title.rjust(width) if right else self.title
        self.is_fixed = is_numeric or right or width <= text_width
        self.min_width = width if self.is_fixed else max(text_width, *map(len, self.title.split()))


def _to_text(cell: Cell) -> Text:
    if isinstance(cell, Text):
        return _escape(cell)
    if isinstance(cell, str):
        return Text(printable(cell))
    return Text("" if cell is None else format_number(cell))


def _point(number: str) -> int:
    """The position of the decimal point, or of the end of an integer."""
    return number.find(".") if "." in number else len(number)


def _width(columns: Sequence[_Column]) -> int:
    return sum(column.min_width + GAP for column in columns) - GAP


def _blocks(columns: Sequence[_Column], width: int) -> list[list[_Column]]:
    """Divide columns into groups that fit the width, each of which begins with the first column."""
    blocks: list[list[_Column]] = [[columns[0]]]
    for column in columns[1:]:
        if len(blocks[-1]) > 1 and _width([*blocks[-1], column]) > width:
            blocks.append([columns[0]])
        blocks[-1].append(column)
    return blocks
