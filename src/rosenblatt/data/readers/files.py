"""Read a file as a table; cells of text files stay text, and notes record what was detected.

The format is detected from the first bytes, not from the name: gzip, Parquet, Arrow, JSON, or else delimited text.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from pathlib import Path

import charset_normalizer
import polars as pl

from rosenblatt.data.schema.cells import MISSING_MARKERS
from rosenblatt.data.table import Table
from rosenblatt.errors import TableError, format_count, format_list

SAMPLE_BYTES = 1 << 18  # bytes from which encoding, separator and header are detected
SAMPLE_LINES = 200  # lines from which separator and header are detected
SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}  # the first one wins a tie
BINARY_HINTS = {
    b"PK\x03\x04": "a spreadsheet or a damaged zip archive",
    b"\x89PNG": "a picture",
    b"%PDF": "a PDF",
    b"\xff\xd8\xff": "a picture",
}


def read_content(content: bytes) -> Table:
    """Read the content of a file as a table. Raises TableError."""
    if not content.strip():
        raise TableError("it is empty")
    frame, notes = _parse_content(content, content[:SAMPLE_BYTES], None, None)
    return Table(frame, "", notes)


def read_text(path: str | Path) -> Table:
    """Read a file as a table of one cell, in the column `text`. Raises TableError if it is missing or empty."""
    path = Path(path)
    try:
        text = decode_text(path.read_bytes())
    except OSError as error:
        raise TableError(f"{str(path)!r} cannot be read: {error.strerror}. Check its name.") from error
    if not text.strip():
        raise TableError(f"{str(path)!r} is empty, but a text was expected.")
    return Table(pl.DataFrame({"text": [text]}), str(path), texts=("text",))


def decode_text(content: bytes) -> str:
    """Decode the content of a text file in the encoding that is detected."""
    return content.decode(_detect_encoding(content), errors="replace")


def _read_sample(path: Path) -> tuple[bytes | None, bytes]:
    """The uncompressed content of a gzipped file, or None, and the first bytes of the content."""
    try:
        with path.open("rb") as file:
            sample = file.read(SAMPLE_BYTES)
        content = gzip.decompress(path.read_bytes()) if sample.startswith(b"\x1f\x8b") else None
    except FileNotFoundError:
        raise TableError(f"There is no file {str(path)!r}. Check its name and folder.") from None
    except IsADirectoryError:
        raise TableError(f"{str(path)!r} is a folder, but a file with a table was expected.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(f"{str(path)!r} cannot be read: {error}. The file may be damaged.") from error
    sample = sample if content is None else content[:SAMPLE_BYTES]
    if not sample.strip():
        raise TableError(f"{str(path)!r} is empty, but a table was expected.")
    for magic, kind in BINARY_HINTS.items():
        if sample.startswith(magic):
            raise TableError(
                f"{str(path)!r} is {kind}, but a table was expected: CSV, TSV, JSON lines, Parquet or Arrow."
            )
    return content, sample


def is_typed(sample: bytes) -> bool:
    """Whether the first bytes are those of a format with types: Parquet, Arrow or JSON."""
    return sample.startswith((b"PAR1", b"ARROW1")) or bool(re.match(rb'\s*(\{\s*["}]|\[\s*[\[{\]])', sample))


def _parse_content(
    source: Path | bytes, sample: bytes, header: bool | None, encoding: str | None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    if sample.startswith(b"PAR1"):
        return pl.read_parquet(file), ()
    if sample.startswith(b"ARROW1"):
        return pl.read_ipc(file), ()
    if sample.startswith(b"FEA1"):
        raise TableError("Feather files of version 1 are not supported. Write it again as version 2.")
    if re.match(rb'\s*\{\s*["}]', sample):
        return pl.read_ndjson(file, infer_schema_length=None), ()
    if re.match(rb"\s*\[\s*[\[{\]]", sample):
        return pl.read_json(file, infer_schema_length=None), ()
    return _read_delimited(source, sample, header, encoding)


def _read_delimited(
    source: Path | bytes, sample: bytes, header: bool | None, encoding: str | None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    text_encoding = encoding or _detect_encoding(sample)
    lines = _decode_sample(sample, text_encoding, encoding).splitlines()[: SAMPLE_LINES + 1]
    lines = lines[:-1] if len(lines) > SAMPLE_LINES else lines
    separator = _detect_separator(lines)
    n_skipped = _count_preamble_lines(lines, separator)
    cells = _split_cells(lines[n_skipped:], separator)
    has_header = _has_header(cells) if header is None else header
    try:
        frame = _parse(source, text_encoding, separator, has_header, n_skipped)
    except pl.exceptions.ComputeError as error:
        if "utf-8" not in str(error) or encoding is not None:
            raise _ragged_row_error(source, text_encoding, separator, n_skipped) or error from error
        content = source if isinstance(source, bytes) else source.read_bytes()  # only the sample was UTF-8
        text_encoding = _detect_encoding(content)
        frame = _parse(content, text_encoding, separator, has_header, n_skipped)
    names, notes = _column_names(cells[0] if cells else [], frame.width, has_header)
    frame.columns = names
    if n_skipped:
        notes.append(f"{format_count(n_skipped, 'line')} above the table left out: {lines[0][:40]!r}")
    frame = _drop_empty(frame, cells[0] if has_header and cells else None, notes)
    if text_encoding not in ("utf-8", "utf-8-sig"):
        notes.append(f"read as {text_encoding} text")
    if separator != ",":
        notes.append(f"columns are separated by {SEPARATORS[separator]}")
    if not has_header and header is None:
        notes.append(f"no header was found: the columns are named {format_list(names, 2)}")
    return frame, tuple(notes)


def _decode_sample(sample: bytes, text_encoding: str, encoding: str | None) -> str:
    """Decode the first bytes of a text file. Raises TableError if they are binary or in another encoding."""
    if b"\x00" in sample and not encoding and not sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise TableError("it holds binary data, but a table was expected: CSV, TSV, JSON lines, Parquet or Arrow.")
    try:
        return codecs.getincrementaldecoder(text_encoding)(errors="strict").decode(sample)
    except LookupError:
        raise TableError(
            f"there is no encoding {text_encoding!r}. Choose one such as utf-8, cp1252 or utf-16."
        ) from None
    except UnicodeDecodeError as error:
        raise TableError(
            f"its text is not {text_encoding} ({error}). Give its encoding, for example with --encoding cp1252."
        ) from error


def _drop_empty(frame: pl.DataFrame, header: list[str] | None, notes: list[str]) -> pl.DataFrame:
    """Drop empty rows, and columns that have neither a name nor a value."""
    if frame.width > 1:
        is_empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
        if is_empty.any():
            notes.append(f"{format_count(int(is_empty.sum()), 'empty line')} left out")
            frame = frame.filter(~is_empty)
    if header is not None:
        unnamed = [name for i, name in enumerate(frame.columns) if i >= len(header) or not header[i].strip()]
        frame = frame.drop(name for name in unnamed if frame[name].null_count() == frame.height)
    return frame


def _count_preamble_lines(lines: list[str], separator: str) -> int:
    """Count the lines above the table, such as a title or `sep=;`: those of one cell before the first full row."""
    if lines[0].lower().startswith("sep="):
        return 1
    cells = _split_cells(lines, separator)
    typical_width = Counter(map(len, cells)).most_common(1)[0][0] if cells else 1
    n_above = next((i for i, row in enumerate(cells) if len(row) == typical_width), 0)
    return n_above if typical_width > 1 and all(sum(map(bool, row)) <= 1 for row in cells[:n_above]) else 0


def _parse(source: Path | bytes, encoding: str, separator: str, has_header: bool, n_skipped: int) -> pl.DataFrame:
    if encoding not in ("utf-8", "utf-8-sig"):
        content = source if isinstance(source, bytes) else source.read_bytes()
        source = content.decode(encoding, errors="replace").encode()
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    return pl.read_csv(file, separator=separator, has_header=has_header, infer_schema=False, skip_lines=n_skipped)


def _detect_encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data)
        return "utf-8-sig" if data.startswith(codecs.BOM_UTF8) else "utf-8"
    except UnicodeDecodeError:
        non_ascii = b"\n".join(line for line in data.splitlines() if not line.isascii())
        guesses = charset_normalizer.from_bytes(non_ascii[:SAMPLE_BYTES])
        chaos = min((guess.chaos for guess in guesses), default=0)
        candidates = [name for guess in guesses if guess.chaos == chaos for name in guess.could_be_from_charset]
        return candidates[0] if candidates and "cp1252" not in candidates else "cp1252"


def _detect_separator(lines: list[str]) -> str:
    """The separator that splits most lines into the same number of cells, at least two; a comma if none does."""

    def agreement(separator: str) -> float:
        widths = Counter(len(row) for row in _split_cells(lines, separator) if row)
        width, rows = widths.most_common(1)[0] if widths else (1, 0)
        return rows / widths.total() if width > 1 else 0.0

    best = max(SEPARATORS, key=agreement)
    return best if agreement(best) > 0 else ","


def _split_cells(lines: list[str], separator: str) -> list[list[str]]:
    """The cells of the first lines, up to a cell that is too long for Python's CSV reader."""
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        rows.extend(csv.reader(lines, delimiter=separator))
    return rows


def _has_header(cells: list[list[str]]) -> bool:
    """Whether the first row names the columns.

    It does if one of its words is above a column of numbers; or, if there is none, if its cells are no numbers, all
    differ, and none occurs again in its column.
    """
    first, *body = ([cell.strip() for cell in row] for row in cells if row) if cells else ([],)
    columns = list(zip(*(row for row in body if len(row) == len(first)), strict=False))
    for name, column in zip(first, columns, strict=False):
        is_word = not _is_number(name) and name.lower() not in MISSING_MARKERS
        if is_word and sum(map(_is_number, column)) > len(column) / 2:
            return True
    if any(_is_number(cell) for cell in first):
        return False
    if not columns:
        return True
    repeats = any(name in column for name, column in zip(first, columns, strict=False))
    return len(set(first)) == len(first) and not repeats


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", ""))
    except ValueError:
        return False
    return True


def _column_names(first: list[str], width: int, has_header: bool) -> tuple[list[str], list[str]]:
    """Column names without surrounding spaces, and notes; missing and repeated names are replaced."""
    if not has_header:
        return [f"column_{i}" for i in range(1, width + 1)], []
    names: list[str] = []
    notes: list[str] = []
    for i in range(1, width + 1):
        stripped = first[i - 1].strip().strip("\ufeff") if i <= len(first) else ""
        name = stripped or f"column_{i}"
        while name in names:
            name = f"{name}_{i}"
        if stripped in names:
            notes.append(f"two columns are named {stripped!r}: the later one is read as {name!r}")
        names.append(name)
    return names, notes


def _ragged_row_error(source: Path | bytes, encoding: str, separator: str, n_skipped: int) -> TableError | None:
    """An error that names the first line with more cells than the header, or None if no line has."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    rows = csv.reader(io.StringIO(data.decode(encoding, errors="replace"), newline=""), delimiter=separator)
    for _ in range(n_skipped):
        next(rows)
    width = len(next(rows))
    for row in rows:
        if len(row) > width:
            return TableError(
                f"line {rows.line_num} has {len(row)} cells, but the first line has {width}. Correct that line."
            )
    return None
