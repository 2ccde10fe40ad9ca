"""How delimited text separates and quotes its cells, and rows of cells by Python's csv module.

dialect = Dialect(",", quoting="backslash")
for row in iterate_rows(text_lines(content), dialect): ...
"""

from __future__ import annotations

import csv
import io
import mmap
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from rosenblatt.errors import TableError

Quoting = Literal["standard", "lenient", "after spaces", "backslash", "literal"]

QUOTING_NOTES: dict[Quoting, str] = {
    "after spaces": "spaces before quotes are left out",
    "backslash": "backslashes escape quotes and separators",
    "literal": "quotes inside of cells are read as they are",
}

MIN_AGREEMENT = 0.99  # fraction of the rows that have the width of the table; titles and short rows have not

csv.field_size_limit(sys.maxsize)  # a cell may be longer than 131,072 characters


class Row(NamedTuple):
    """A row of cells, and its first and last line, from 1."""

    cells: list[str]
    first_line: int
    last_line: int

    @property
    def n_filled(self) -> int:
        """The number of cells that are not blank."""
        return sum(1 for cell in self.cells if cell.strip())


@dataclass(frozen=True)
class Dialect:
    """A separator of one byte, and how quotes enclose cells.

    Quoting:
        standard: doubled quotes inside of quoted cells, as in RFC 4180; quotes inside of other cells are characters.
        after spaces: as standard, with spaces before the opening quote.
        backslash: a backslash escapes quotes, separators, line ends and itself.
        literal: quotes are characters, but for a pair around a cell; cells hold no separators or line ends.
        lenient: as standard, but text may follow a closing quote.
    """

    separator: str
    quoting: Quoting = "standard"


def text_lines(content: bytes | mmap.mmap) -> Iterable[str]:
    """The lines of UTF-8 text with their ends: `\\n`, `\\r\\n` or `\\r`."""
    return io.TextIOWrapper(io.BytesIO(content[:]), encoding="utf-8-sig", newline="")


def iterate_rows(lines: Iterable[str], dialect: Dialect) -> Iterator[Row]:
    """Split lines into rows; blank lines are rows without cells. Raises TableError, which names the line."""
    if dialect.quoting == "backslash":
        escapes = re.compile(r"(\\[\\\"\r\n" + re.escape(dialect.separator) + r"])|\\")
        lines = (escapes.sub(lambda match: match[1] or r"\\", line) for line in lines)
    reader = csv.reader(
        lines,
        delimiter=dialect.separator,
        quoting=csv.QUOTE_NONE if dialect.quoting == "literal" else csv.QUOTE_MINIMAL,
        skipinitialspace=dialect.quoting in ("after spaces", "backslash"),
        escapechar="\\" if dialect.quoting == "backslash" else None,
        strict=dialect.quoting != "lenient",
    )
    first_line = 1
    try:
        for cells in reader:
            is_literal = dialect.quoting == "literal"
            yield Row([_strip_quotes(cell) for cell in cells] if is_literal else cells, first_line, reader.line_num)
            first_line = reader.line_num + 1
    except csv.Error as error:
        raise TableError(
            f"line {first_line:,} has a quote that opens a cell, but none before a separator or line end closes it. "
            "Close it, or double quotes inside of quoted cells."
        ) from error


def _strip_quotes(cell: str) -> str:
    return cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] == '"' else cell


def detect_quoting(content: bytes | mmap.mmap, separator: str) -> Dialect:
    """The first way of quoting in which the text has no errors and rows of one width, if its quotes are irregular.

    Raises:
        TableError: if there is none; it names the line of the first error.
    """
    dialect = Dialect(separator)
    first_error: TableError | None = None
    for quoting in _candidates(content, separator):
        candidate = replace(dialect, quoting=quoting)
        try:
            if _has_one_width(iterate_rows(text_lines(content), candidate)):
                return candidate
        except TableError as error:
            first_error = first_error or error
    if first_error is None or _has_no_error(content, dialect):
        return dialect
    if separator == "\t" or _are_quotes_paired(content, separator):
        return replace(dialect, quoting="literal")
    raise first_error


def _candidates(content: bytes | mmap.mmap, separator: str) -> list[Quoting]:
    candidates: list[Quoting] = ["standard"]
    if re.search(rb"(?:^|[\n\r" + re.escape(separator.encode()) + rb'])[ ]+"', content):
        candidates.insert(0, "after spaces")
    return [*candidates, "backslash"] if content.find(b"\\") >= 0 else candidates


def _has_one_width(rows: Iterable[Row]) -> bool:
    widths = Counter(len(row.cells) for row in rows if row.cells)
    if not widths:
        return True
    width, n_rows = widths.most_common(1)[0]
    return n_rows >= MIN_AGREEMENT * widths.total() and max(widths) == width


def _has_no_error(content: bytes | mmap.mmap, dialect: Dialect) -> bool:
    try:
        for _ in iterate_rows(text_lines(content), dialect):
            pass
    except TableError:
        return False
    return True


def _are_quotes_paired(content: bytes | mmap.mmap, separator: str) -> bool:
    """Whether all lines split at separators have one width, and cells that open with a quote also end with one."""
    widths = Counter[int]()
    for line in text_lines(content):
        cells = line.rstrip("\r\n").split(separator)
        widths[len(cells)] += 1
        if any(cell.startswith('"') and (len(cell) < 2 or not cell.endswith('"')) for cell in cells):
            return False
    return len(widths) == 1
