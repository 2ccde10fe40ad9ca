"""Find the header of a table among its first rows: below titles, comments and notes, and above second headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rosenblatt.data.readers.cells import is_date, is_missing, is_number
from rosenblatt.data.readers.dialects import Row
from rosenblatt.data.readers.header import header_evidence, unique_names
from rosenblatt.errors import format_count, format_list

MAX_SPARSE_FRACTION = 0.05  # of the rows below; if more have as few cells as the rows above, those are rows, too
MIN_WIDTH_FRACTION = 0.2  # of the rows without header that must have as many cells as there are columns
MAX_EXTRA_HEADERS = 3  # lines of questions, units and types below the header, as in exports of surveys
MIN_BODY_ROWS = 3  # rows below a second header that show which columns hold numbers


@dataclass(frozen=True)
class Layout:
    """Where the rows of a table begin, and the names of its columns."""

    names: list[str]
    header: list[str] | None  # the cells of the header as they are, None without header
    n_lines: int  # lines above the first row
    n_rows: int  # rows above the first row, blank lines included
    notes: tuple[str, ...]
    header_line: int = 1

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.names)


def find_layout(rows: Sequence[Row], header: bool | None) -> Layout:
    """Find the header in the first rows of a table; `header` says whether there is one, None to decide it."""
    start = _find_start(rows)
    notes = _preamble_notes(rows[:start])
    body = [row for row in rows[start:] if row.cells]
    evidence = header_evidence([row.cells for row in body])
    has_header = evidence != "none" if header is None else header
    if not has_header or not body:
        names = [f"column_{i}" for i in range(1, _widest(body) + 1)]
        if header is None:
            notes.append(
                f"no header was found: the columns are named {format_list(names, 2)} (--header if there is one)"
            )
        n_lines = rows[start - 1].last_line if start else 0
        return Layout(names, None, n_lines, start, tuple(notes))
    first = _uncomment(body[0].cells) if _is_comment(body[0], _typical_width(body[1:])) else body[0].cells
    if evidence == "numbers" and header is None:
        notes.append(f"the first line, {format_list(first, 3)}, is read as column names (--no-header if it is a row)")
    first = _add_row_names(first, body, notes)
    extra = _extra_headers(body)
    if extra:
        lines = ", ".join(f"{row.first_line} ({next(filter(str.strip, row.cells))[:40]!r}, ...)" for row in extra)
        notes.append(f"{format_count(len(extra), 'further header line')} left out: line {lines}")
    end = rows.index((extra or body)[-1] if extra else body[0]) + 1
    while end < len(rows) and not rows[end].cells:
        end += 1
    width = max(len(first), 1)
    while width > 1 and not first[width - 1].strip() and _typical_width(body[1:]) < width:
        width -= 1
    names, name_notes = unique_names(first, width)
    return Layout(
        names, body[0].cells, rows[end - 1].last_line, end, tuple(notes + name_notes), header_line=body[0].first_line
    )


def _typical_width(rows: Sequence[Row]) -> int:
    widths = Counter(len(row.cells) for row in rows if row.n_filled)
    return widths.most_common(1)[0][0] if widths else 1


def _widest(rows: Sequence[Row]) -> int:
    """The largest width that is not exceptional."""
    widths = Counter(len(row.cells) for row in rows if row.n_filled)
    return max((width for width, count in widths.items() if count >= MIN_WIDTH_FRACTION * widths.total()), default=1)


def _is_comment(row: Row, width: int) -> bool:
    """Whether a row starts with `#`, other than as the name of the first of `width` columns."""
    first = row.cells[0].strip() if row.cells else ""
    return first.startswith("#") and (first != "#" or len(row.cells) in (1, width + 1))


def _uncomment(cells: list[str]) -> list[str]:
    """The cells of a header in a comment, without `#` if a space follows it."""
    first = cells[0].strip()
    return cells[1:] if first == "#" else [first.removeprefix("# "), *cells[1:]]


def _find_start(rows: Sequence[Row]) -> int:
    """The index of the first row of the table: its header, if it has one."""
    width = _typical_width([row for row in rows if row.cells and not row.cells[0].lstrip().startswith("#")] or rows)
    if rows and rows[0].cells and rows[0].cells[0].lower().startswith("sep="):
        return 1
    start = 0
    while start < len(rows) and _is_above(rows, start, width):
        start += 1
    return start if start < len(rows) else 0


def _is_above(rows: Sequence[Row], index: int, width: int) -> bool:
    """Whether a row is above the table: blank, a comment, a title, or prose that happens to hold separators."""
    row, below = rows[index], [row for row in rows[index + 1 :] if row.n_filled]
    if not row.n_filled:
        return bool(below)
    if _is_comment(row, width):
        return bool(below) and not _is_commented_header(row, below, width)
    if width == 1 or not below:
        return False
    if len(row.cells) == width:
        return _is_title(row, below, width)
    if row.n_filled == 1 and len(row.cells) < width:
        return True
    following = [other.cells for other in below if len(other.cells) == width]
    if len(following) == len(below) >= MIN_BODY_ROWS and 2 * len(row.cells) <= width and any(map(is_number, row.cells)):
        return True  # sizes of the table and names of its classes
    return len(following) > 1 and header_evidence(following) == "certain"


def _is_title(row: Row, below: Sequence[Row], width: int) -> bool:
    """Whether only the first cells of a row are filled, one or two of many, unlike the rows below."""
    n_filled = row.n_filled
    is_prefix = all(cell.strip() for cell in row.cells[:n_filled])
    if not is_prefix or n_filled > (1 if width < 5 else 2) or n_filled == width:
        return False
    n_sparse = sum(other.n_filled <= n_filled for other in below)
    n_above = next((i for i, other in enumerate(below) if other.n_filled > n_filled), len(below))
    return n_sparse - n_above <= MAX_SPARSE_FRACTION * len(below) and n_above < len(below)


def _is_commented_header(row: Row, below: Sequence[Row], width: int) -> bool:
    """Whether a comment directly above the rows names their columns."""
    if len(_uncomment(row.cells)) != width or _is_comment(below[0], width):
        return False
    return header_evidence([other.cells for other in below if len(other.cells) == width]) not in ("certain", "numbers")


def _preamble_notes(rows: Sequence[Row]) -> list[str]:
    filled = [row for row in rows if row.n_filled]
    if not filled:
        return []
    text = next(cell for cell in filled[0].cells if cell.strip())[:40]
    n_lines = rows[-1].last_line
    return [f"{format_count(n_lines, 'line')} above the table left out: {text!r}"]


def _add_row_names(first: list[str], body: Sequence[Row], notes: list[str]) -> list[str]:
    """Add an empty name if all rows have one cell more than the header and start with a unique name, as R writes it."""
    rows = [row.cells for row in body[1:]]
    if len(rows) < MIN_BODY_ROWS or any(len(row) != len(first) + 1 or not row[-1].strip() for row in rows):
        return first
    keys = [row[0].strip() for row in rows]
    is_counter = keys[0] in ("0", "1") and keys == [str(int(keys[0]) + i) for i in range(len(keys))]
    if not is_counter and (len(set(keys)) < len(keys) or any(map(is_number, keys))):
        return first
    notes.append("the header has one name fewer than the rows have cells: the first column is read as row names")
    return ["", *first]


def _extra_headers(body: Sequence[Row]) -> list[Row]:
    """Rows below the header that have words in all columns of numbers, such as units or questions of a survey."""
    last = next((i for i in range(min(len(body) - 1, MAX_EXTRA_HEADERS), 0, -1) if _is_import_row(body[i])), 0)
    if last:
        return list(body[1 : last + 1])
    extra: list[Row] = []
    for i in range(1, min(MAX_EXTRA_HEADERS, len(body) - MIN_BODY_ROWS)):
        below = [row.cells for row in body[i + 1 :] if len(row.cells) == len(body[i].cells)]
        if len(below) < MIN_BODY_ROWS:
            break
        columns = zip(body[i].cells, zip(*below, strict=True), strict=True)
        above_numbers = [cell.strip() for cell, column in columns if _is_numeric(column)]
        words = [cell for cell in above_numbers if not is_missing(cell) and not is_number(cell) and not is_date(cell)]
        if extra and above_numbers and not any(above_numbers):
            extra.append(body[i])
            continue
        if (
            len(words) < 2
            or len(words) < len(above_numbers) - above_numbers.count("")
            or body[i].cells == body[0].cells
        ):
            break
        extra.append(body[i])
    return extra


def _is_import_row(row: Row) -> bool:
    """Whether a row holds the identifiers that Qualtrics writes below the questions."""
    return any(cell.startswith('{"ImportId"') for cell in row.cells)


def _is_numeric(column: Sequence[str]) -> bool:
    cells = [cell.strip() for cell in column if not is_missing(cell.strip())]
    return len(cells) >= MIN_BODY_ROWS and sum(map(is_number, cells)) > 0.9 * len(cells)
