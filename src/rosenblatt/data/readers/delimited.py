"""Read delimited text, such as CSV; cells stay text, and notes record what was detected.

Polars parses text whose quotes are regular. Its rows are counted against the records of the text; if they differ, or
quotes are irregular, Python's csv module parses the text instead.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import polars as pl

from rosenblatt.data.readers.cleaning import clean_rows
from rosenblatt.data.readers.dialects import QUOTING_NOTES, Dialect, Row, detect_quoting, iterate_rows, text_lines
from rosenblatt.data.readers.encodings import UTF8_NAMES, convert_invalid_utf8, convert_to_utf8, nul_error
from rosenblatt.data.readers.layout import Layout, find_layout
from rosenblatt.data.readers.records import count_records
from rosenblatt.data.readers.separators import (
    describe_separator,
    detect_separator,
    parse_separator,
    suggest_separator,
    unify_separator,
)
from rosenblatt.data.readers.sources import SAMPLE_BYTES, Source
from rosenblatt.data.table import TableFormat, check_column_names
from rosenblatt.errors import TableError, format_count

SAMPLE_LINES = 200  # lines from which separator and header are detected
MIN_SAMPLE_LINES = 20  # long lines are read beyond the first bytes until there are this many
CHUNK_ROWS = 1 << 15  # rows of Python that become a part of the frame


@dataclass(frozen=True)
class _Text:
    """Text in UTF-8, with what separates its cells."""

    source: Source
    encoding: str  # before its conversion to UTF-8
    separator: str
    dialect: Dialect  # with `separator` as one byte
    n_records: int
    is_regular: bool  # whether quotes are as RFC 4180 has it


def read_delimited(source: Source, format: TableFormat) -> tuple[pl.DataFrame, TableFormat, tuple[str, ...]]:
    """Read delimited text as columns of strings. Returns them, the format that was detected, and notes.

    Raises:
        TableError: if the text cannot be read without loss; the message names the line.
    """
    text = _prepare(*convert_to_utf8(source, format.encoding), format)
    layout = find_layout(_sample_rows(text), format.header)
    check_column_names(layout.names)
    notes, dialect = list(layout.notes), text.dialect
    frame = _parse_fast(text, layout) if text.is_regular else None
    if frame is None:
        frame, dialect = _parse_exactly(text, layout)
    _note_short_rows(frame, text.source, layout, dialect, notes)
    frame = clean_rows(frame.rename(dict(zip(frame.columns, layout.names, strict=True))), layout.header, notes)
    notes += [QUOTING_NOTES[dialect.quoting]] if dialect.quoting in QUOTING_NOTES else []
    notes += [f"read as {text.encoding} text (--encoding if it is another)"] if text.encoding not in UTF8_NAMES else []
    notes += [f"columns are separated by {describe_separator(text.separator)}"] if text.separator != "," else []
    if frame.width == 1 and not format.separator and (rare := suggest_separator(_sample_lines(text.source))):
        notes.append(f"there is one column; if {rare!r} separates columns, use --separator {rare!r}")
    detected = {"header": layout.header is not None, "encoding": text.encoding, "separator": text.separator}
    return frame, format.model_copy(update=detected), tuple(notes)


@dataclass(frozen=True)
class DelimitedParts:
    """Delimited text whose rows are read in parts."""

    frames: Iterator[pl.DataFrame]  # columns of strings; the rows above the first one are left out
    layout: Layout
    format: TableFormat
    n_rows: int
    notes: tuple[str, ...]


def scan_delimited(source: Source, format: TableFormat, part_rows: int) -> DelimitedParts | None:
    """Delimited text with regular quotes in a file, in UTF-8, in parts; None for other text."""
    if source.path is None:
        return None
    text = _prepare(*convert_to_utf8(source, format.encoding), format)
    layout = find_layout(_sample_rows(text), format.header)
    check_column_names(layout.names)
    n_rows = text.n_records - layout.n_rows
    if not text.is_regular or text.source.path is None or n_rows <= 0:
        return None
    scanned = pl.scan_csv(
        text.source.path,
        separator=text.dialect.separator,
        has_header=False,
        infer_schema=False,
        skip_lines=layout.n_lines,
        glob=False,
    )
    notes = [*layout.notes]
    notes += [f"columns are separated by {describe_separator(text.separator)}"] if text.separator != "," else []
    detected = {"header": layout.header is not None, "encoding": text.encoding, "separator": text.separator}
    frames = scanned.collect_batches(chunk_size=part_rows, maintain_order=True)
    return DelimitedParts(frames, layout, format.model_copy(update=detected), n_rows, tuple(notes))


def _prepare(source: Source, encoding: str, format: TableFormat) -> _Text:
    """Detect how cells are separated and quoted, and count the records."""
    if source.content.find(b"\n") < 0 and source.content.find(b"\r") >= 0:  # line ends of old Macs
        source = Source(source.name, source.content[:].replace(b"\r", b"\n"))
    separator = parse_separator(format.separator) if format.separator else detect_separator(_sample_lines(source))
    content, delimiter = unify_separator(source.content, separator)
    count = count_records(content, delimiter.encode())
    if count.invalid_utf8 is not None:
        return _prepare(*convert_invalid_utf8(source, format.encoding, count.invalid_utf8), format)
    if count.nul is not None:
        raise nul_error(source, count.nul)
    dialect = Dialect(delimiter) if count.is_regular else detect_quoting(content, delimiter)
    source = source if content is source.content else Source(source.name, content)
    return _Text(source, encoding, separator, dialect, count.n_records, count.is_regular)


def _sample_lines(source: Source) -> list[str]:
    """The first complete lines of UTF-8 text."""
    n_bytes = SAMPLE_BYTES
    while source.content[:n_bytes].count(b"\n") < MIN_SAMPLE_LINES and n_bytes < len(source.content):
        n_bytes *= 2
    sample = source.content[:n_bytes]
    text = sample.decode("utf-8-sig", errors="ignore")
    lines = list(islice(io.StringIO(text, newline=""), SAMPLE_LINES + 1))
    is_cut = n_bytes < len(source.content) or len(lines) > SAMPLE_LINES
    return lines[:-1] if is_cut and len(lines) > 1 else lines


def _sample_rows(text: _Text) -> list[Row]:
    rows: list[Row] = []
    with suppress(TableError):  # a quoted cell continues below the sample
        rows.extend(iterate_rows(_sample_lines(text.source), text.dialect))
    return rows


def _parse_fast(text: _Text, layout: Layout) -> pl.DataFrame | None:
    """Parse text with regular quotes; None if rows differ in width or number from what is expected."""
    n_rows = text.n_records - layout.n_rows
    if n_rows <= 0:
        return pl.DataFrame(schema=dict.fromkeys(map(str, range(layout.width)), pl.String))
    file = text.source.path or io.BytesIO(text.source.content[:])
    try:
        frame = pl.read_csv(
            file,
            separator=text.dialect.separator,
            has_header=False,
            infer_schema=False,
            skip_lines=layout.n_lines,
            glob=False,
        )
    except pl.exceptions.PolarsError:
        return None
    if frame.height != n_rows:
        return None
    extra = frame.columns[layout.width :]
    if any(frame[name].null_count() < frame.height for name in extra):
        return None
    missing = [pl.lit(None, pl.String).alias(f"extra_{i}") for i in range(layout.width - frame.width)]
    return frame.drop(extra).with_columns(missing)


def _parse_exactly(text: _Text, layout: Layout) -> tuple[pl.DataFrame, Dialect]:
    """Parse text of any shape. Raises TableError for rows that have more cells than the table has columns."""
    dialect, escaped = text.dialect, Dialect(text.dialect.separator, "backslash")
    try:
        return _parse_rows(text.source, layout, dialect), dialect
    except TableError:
        if text.source.content.find(b"\\" + dialect.separator.encode()) >= 0:
            with suppress(TableError):
                return _parse_rows(text.source, layout, escaped), escaped
        raise


def _parse_rows(source: Source, layout: Layout, dialect: Dialect) -> pl.DataFrame:
    schema = dict.fromkeys(map(str, range(layout.width)), pl.String)
    parts = [pl.DataFrame(schema=schema)]
    cells = _table_cells(iterate_rows(text_lines(source.content), dialect), layout)
    while chunk := list(islice(cells, CHUNK_ROWS)):
        parts.append(pl.DataFrame(chunk, schema=schema, orient="row"))
    return pl.concat(parts, rechunk=True)


def _table_cells(rows: Iterator[Row], layout: Layout) -> Iterator[Sequence[str | None]]:
    """The cells of the rows below the header, None for empty ones."""
    for row in rows:
        if row.last_line <= layout.n_lines:
            continue
        if len(row.cells) > layout.width and any(cell.strip() for cell in row.cells[layout.width :]):
            first = "the first line" if layout.header is not None and layout.header_line == 1 else "the table"
            raise TableError(
                f"line {row.first_line:,} has {len(row.cells):,} cells, but {first} has {layout.width:,}. "
                "Correct that line."
            )
        cells = [cell or None for cell in row.cells[: layout.width]]
        yield cells + [None] * (layout.width - len(cells))


def _note_short_rows(frame: pl.DataFrame, source: Source, layout: Layout, dialect: Dialect, notes: list[str]) -> None:
    """Report rows with fewer cells than the table has columns; their last cells are missing."""
    if frame.width < 2 or not frame.height or not frame.to_series(-1).has_nulls():
        return
    if dialect.quoting == "standard":
        count = count_records(source.content, dialect.separator.encode(), with_separators=True)
        if count.is_regular and count.n_separators == count.n_records * (layout.width - 1):
            return
    rows = (row for row in iterate_rows(text_lines(source.content), dialect) if row.last_line > layout.n_lines)
    short = [row.first_line for row in rows if 0 < len(row.cells) < layout.width and any(map(str.strip, row.cells))]
    if short:
        place = f"in line {short[0]:,}" if len(short) == 1 else f"the first in line {short[0]:,}"
        rows_text = f"{format_count(len(short), 'row')} with fewer cells than there are columns"
        notes.append(f"{rows_text}, {place}: the last cells are missing")
