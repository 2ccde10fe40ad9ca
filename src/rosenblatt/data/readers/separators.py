"""Detect what separates the cells of text, and make it one byte."""

from __future__ import annotations

import mmap
import re
from collections import Counter
from collections.abc import Sequence

from rosenblatt.data.readers.cells import is_number
from rosenblatt.data.readers.dialects import Dialect, iterate_rows
from rosenblatt.errors import TableError

BLANKS = "blanks"
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}  # the first one wins a tie
NAMES = {"tab": "\t", r"\t": "\t", "space": " ", "comma": ",", "semicolon": ";", BLANKS: BLANKS}
RARE_SEPARATORS = ("\x01", "\x1f", "^", "~", "§", "¦", "::", ":")  # used only on request
UNUSED_BYTES = "\x1f\x1e\x1d\x1c\x01\x02\x03\x04"
MIN_BLANK_LINES = 3  # lines from which blanks can be detected as separators
MAX_EVEN_LINES = 200
BLANK_TOKEN = re.compile(r'"[^"]*"|[^ \t]+')


def parse_separator(text: str) -> str:
    r"""A separator as given by a user: a character, `tab`, `\t`, `\x01`, `blanks`. Raises TableError."""
    separator = NAMES.get(text.lower(), text)
    if match := re.fullmatch(r"\\x([0-9a-fA-F]{2})", separator):
        separator = chr(int(match[1], 16))
    if not separator or '"' in separator or "\n" in separator or "\r" in separator:
        raise TableError(
            f"{text!r} cannot separate cells. Give a character such as ';', or tab, or blanks for spaces and tabs."
        )
    return separator


def describe_separator(separator: str) -> str:
    """The name of a separator in a message."""
    return SEPARATORS.get(separator) or ("spaces or tabs" if separator == BLANKS else repr(separator))


def detect_separator(lines: Sequence[str]) -> str:
    """The separator that splits most lines into the same number of cells, at least two; a comma if none does."""
    if lines and (match := re.match(r"sep=(\S|\t)\s*$", lines[0], re.IGNORECASE)):
        return match[1]
    content = [line for line in lines if line.strip() and not line.startswith("#")] or list(lines)
    agreements = {separator: _agreement(content, separator) for separator in SEPARATORS}
    best = max(agreements, key=lambda separator: agreements[separator])
    if best != "," and agreements[best] == agreements[","] and not _has_decimal_commas(content, best):
        best = ","
    if agreements[best] < 1 or best in "\t,":
        best = BLANKS if _are_blanks_better(content, best, agreements[best]) else best
    return best if best == BLANKS or agreements[best] > 0 else ","


def _agreement(lines: Sequence[str], separator: str) -> float:
    rows = iterate_rows(lines, Dialect(separator, "lenient"))
    widths = Counter(len(row.cells) for row in rows if row.cells)
    width, n_rows = widths.most_common(1)[0] if widths else (1, 0)
    return n_rows / widths.total() if width > 1 else 0.0


def _has_decimal_commas(lines: Sequence[str], separator: str) -> bool:
    """Whether most commas are decimal marks, as in 0,13 or €0,13, if lines are split at the separator."""
    rows = iterate_rows(lines, Dialect(separator, "lenient"))
    cells = [cell for row in rows for cell in row.cells if "," in cell]
    return sum(re.search(r"\d,\d", cell) is not None for cell in cells) > len(cells) / 2


def _are_blanks_better(lines: Sequence[str], separator: str, agreement: float) -> bool:
    """Whether blanks split the lines into rows of one width with columns of numbers, more evenly than a separator."""
    rows = [BLANK_TOKEN.findall(line.strip()) for line in lines]
    if len(rows) < MIN_BLANK_LINES:
        return False
    width, n_rows = Counter(map(len, rows[1:])).most_common(1)[0]
    table, is_even = [row for row in rows if len(row) == width], n_rows == len(rows) - 1
    if width < 2 or n_rows < 0.9 * (len(rows) - 1) or len(rows[0]) not in (width, width - 1):
        return False
    columns = list(zip(*table, strict=True))
    numeric = [sum(map(is_number, column)) > len(column) / 2 for column in columns]
    if width == 2 and (not all(numeric) or _are_grouped_digits(columns)):
        return False
    if agreement < 0.5 or (separator == "\t" and agreement < 1 and is_even):
        return any(numeric)
    if separator == ",":  # decimal commas in all columns
        return all(numeric) and all(sum("," in cell for cell in column) > len(column) / 2 for column in columns)
    cells = [cell.split() for line in lines for cell in line.split(separator)]
    lists = sum(len(cell) > 1 and all(map(is_number, cell)) for cell in cells)
    return is_even and lists >= len(rows)


def _are_grouped_digits(columns: Sequence[Sequence[str]]) -> bool:
    """Whether two columns are the parts of numbers such as 12 345."""
    return all(re.fullmatch(r"\d{3}", cell) for cell in columns[1])


def unify_separator(content: bytes | mmap.mmap, separator: str) -> tuple[bytes | mmap.mmap, str]:
    """Replace blanks, and separators that are not one byte, by one byte. Returns the content and the separator."""
    if separator == BLANKS:
        stripped = re.sub(rb"(?m)^[ \t]+|[ \t]+(?=\r?$)", b"", content)
        if b'"' not in stripped:
            return re.sub(rb"[ \t]+", b"\t", stripped), "\t"
        return re.sub(rb'"[^"\n]*"|[ \t]+', lambda m: m[0] if m[0][:1] == b'"' else b"\t", stripped), "\t"
    if len(separator.encode()) == 1:
        return content, separator
    mark = next((byte for byte in UNUSED_BYTES if content.find(byte.encode()) < 0), None)
    if mark is None:
        raise TableError(f"it holds too many control characters to be split at {separator!r}.")
    pattern = rb'"[^"]*"|' + re.escape(separator.encode())
    return re.sub(pattern, lambda m: m[0] if m[0][:1] == b'"' else mark.encode(), content), mark


def suggest_separator(lines: Sequence[str]) -> str | None:
    """A rare separator that all lines of a table of one column hold equally often, or blanks between numbers."""
    for separator in RARE_SEPARATORS:
        counts = {line.count(separator) for line in lines if line.strip()}
        if len(counts) == 1 and counts != {0} and not all(re.search(r"\d:\d", line) for line in lines[1:]):
            return separator
    rows = [line.split() for line in lines if line.strip()]
    lists = [row for row in rows if len(row) > 1 and all(map(is_number, row))]
    is_grouped = all(re.fullmatch(r"\d{3}", row[1]) for row in lists)  # numbers such as 12 345
    return BLANKS if len(lists) > len(rows) / 2 and not is_grouped else None


def splits_evenly(lines: Sequence[str]) -> bool:
    """Whether a separator splits all of several lines into the same number of cells, at least two."""
    content = [line for line in lines if line.strip()][:MAX_EVEN_LINES]
    return len(content) >= MIN_BLANK_LINES and any(_agreement(content, separator) == 1 for separator in SEPARATORS)
