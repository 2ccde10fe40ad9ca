"""Leave out what is not a row of a table: blank lines, repeated headers, totals and notes below it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from rosenblatt.errors import format_count

MAX_FOOTER_ROWS = 10  # rows at the end that are searched for notes
TOTAL = re.compile(r"(grand |sub|over ?all )?(totals?|sums?)|gesamt|summe|totales|somme", re.IGNORECASE)
FOOTNOTE = re.compile(
    r"\s*([*#\u00a9\u2020\x1a]|\(c\)|(source|sources|notes?|footnotes?|copyright|generated|exported)\b\s*[: ])",
    re.IGNORECASE,
)


def clean_rows(frame: pl.DataFrame, header: Sequence[str] | None, notes: list[str]) -> pl.DataFrame:
    """Drop rows that are no data, and columns that have neither a name nor a value; `notes` receives what was dropped.

    Args:
        frame: columns of strings.
        header: the cells of the header, None without header.
    """
    frame = drop_blank_and_header_rows(frame, header, notes)
    if frame.width > 1:
        frame = drop_footnotes(frame, notes)
        frame = _drop_total(frame, notes)
    if header is not None:
        unnamed = [name for i, name in enumerate(frame.columns) if i >= len(header) or not header[i].strip()]
        frame = frame.drop(name for name in unnamed if frame.height and frame[name].null_count() == frame.height)
    return frame


def drop_blank_and_header_rows(frame: pl.DataFrame, header: Sequence[str] | None, notes: list[str]) -> pl.DataFrame:
    """Drop empty rows and repeated headers, which may stand anywhere in a table; see `clean_rows`."""
    if header is not None:
        frame = _drop_repeated_headers(frame, header, notes)
    return _drop_blank_rows(frame, notes) if frame.width > 1 else frame


def is_total(frame: pl.DataFrame) -> bool:
    """Whether the last row is named as a total of those above."""
    label = next((cell.strip() for cell in frame.row(-1) if cell and cell.strip()), "") if frame.height else ""
    return TOTAL.fullmatch(label.rstrip(":")) is not None


def _is_blank(name: str) -> pl.Expr:
    return pl.col(name).is_null() | (pl.col(name).str.strip_chars() == "")


def _drop_blank_rows(frame: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    first, *others = frame.columns
    is_blank = frame.select(_is_blank(first)).to_series()
    if not is_blank.any():
        return frame
    indices = is_blank.arg_true()
    blank = frame[indices].select(pl.all_horizontal(_is_blank(name) for name in others)).to_series()
    return _drop(frame, indices.filter(blank), "empty line", notes)


def _drop_repeated_headers(frame: pl.DataFrame, header: Sequence[str], notes: list[str]) -> pl.DataFrame:
    """Drop rows that are equal to a header of words, as in files that were joined with cat."""
    cells = dict(zip(frame.columns, header, strict=False))
    filled = {name: cell for name, cell in cells.items() if cell.strip()}
    if not filled or len(cells) < frame.width:
        return frame
    is_word = {name: not re.fullmatch(r"[\d.\s+-]*", cell) for name, cell in filled.items()}
    key = max(filled, key=lambda name: is_word[name])
    indices = (frame[key] == filled[key]).arg_true()
    if not len(indices):
        return frame
    is_equal = frame[indices].select(
        pl.all_horizontal((pl.col(name) == cell).fill_null(False) for name, cell in filled.items())
    )
    indices = indices.filter(is_equal.to_series())
    if not is_word[key] and len(indices):
        rows = format_count(len(indices), "row")
        notes.append(f"{rows} equal to the names of the columns; if the header is repeated, remove it from the file")
        return frame
    return _drop(frame, indices, "repeated header line", notes)


def _drop(frame: pl.DataFrame, indices: pl.Series, noun: str, notes: list[str], detail: str = "") -> pl.DataFrame:
    if not len(indices):
        return frame
    notes.append(f"{format_count(len(indices), noun)} left out{detail}")
    return frame.with_row_index("__row").filter(~pl.col("__row").is_in(indices.implode())).drop("__row")


def drop_footnotes(frame: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Drop the last rows if their only cell is a note, such as `Source: ...`."""
    end = frame.height
    while end > max(1, frame.height - MAX_FOOTER_ROWS):
        first, *others = frame.row(end - 1)
        if any(cell and cell.strip() for cell in others) or not FOOTNOTE.match(first or ""):
            break
        end -= 1
    if end < frame.height:
        lines = format_count(frame.height - end, "line")
        notes.append(f"{lines} below the table left out: {(frame[end, 0] or '').strip()[:40]!r}")
    return frame[:end]


def _drop_total(frame: pl.DataFrame, notes: list[str]) -> pl.DataFrame:
    """Drop a last row of totals if its numbers are the sums of those above, and else report it."""
    if frame.height < 3:
        return frame
    if not is_total(frame):
        return frame
    label = next(cell.strip() for cell in frame.row(-1) if cell and cell.strip())
    if any(_is_sum(frame[name]) for name in frame.columns):
        notes.append(f"the last line, {label!r}, holds the sums of the lines above: left out")
        return frame[:-1]
    notes.append(f"the last line, {label!r}, may be a total of the lines above; if so, remove it from the file")
    return frame


def _is_sum(column: pl.Series) -> bool:
    """Whether the last number is the sum of those above."""
    numbers = column.str.replace_all(",", "").cast(pl.Float64, strict=False)
    total, values = numbers[-1], numbers[:-1].drop_nulls()
    return total is not None and len(values) > 1 and abs(float(values.sum()) - total) <= 1e-6 * max(1.0, abs(total))
