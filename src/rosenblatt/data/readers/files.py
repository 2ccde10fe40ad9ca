"""Read a file as a table; the cells of a text file stay text. Notes record what was detected.

What a file is, is told by its first bytes, not by its name: gzip, Parquet, Arrow, JSON; all else is delimited text.
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
from rosenblatt.errors import TableError, format_list

SAMPLE_BYTES = 1 << 18  # bytes looked at to find out encoding, separator and header
SAMPLE_LINES = 200
SEPARATORS = ";\t|,"  # of those that agree equally, the first
BINARY_HINTS = {
    b"PK\x03\x04": "a spreadsheet or a damaged zip archive",
    b"\x89PNG": "a picture",
    b"%PDF": "a PDF",
    b"\xff\xd8\xff": "a picture",
}


def read_content(content: bytes) -> Table:
    """The table of a file that is in memory. Raises TableError."""
    if not content.strip():
        raise TableError("it is empty")
    frame, notes = _parse_content(content, content[:SAMPLE_BYTES], None, None)
    return Table(frame, "", notes)


def read_text(path: str | Path) -> Table:
    """A table of one row and one column, `text`: a whole file. Raises TableError where there is no text."""
    path = Path(path)
    try:
        text = decode_text(path.read_bytes())
    except OSError as error:
        raise TableError(f"{str(path)!r} cannot be read: {error.strerror}. Check its name.") from error
    if not text.strip():
        raise TableError(f"{str(path)!r} is empty, but a text was expected.")
    return Table(pl.DataFrame({"text": [text]}), str(path), texts=("text",))


def decode_text(content: bytes) -> str:
    """The text of a file, in whatever encoding it is."""
    return content.decode(_detect_encoding(content), errors="replace")


def _read_sample(path: Path) -> tuple[bytes | None, bytes]:
    """The unpacked content of a gzipped file, else None; and the first bytes of what is to be read."""
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


def _parse_content(
    source: Path | bytes, sample: bytes, header: bool | None, encoding: str | None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    if sample.startswith(b"PAR1"):
        return pl.read_parquet(file), ()
    if sample.startswith(b"ARROW1"):
        return pl.read_ipc(file), ()
    if sample.startswith(b"FEA1"):
        raise TableError("this is a Feather file of version 1, which is no longer read. Write it again as version 2.")
    if re.match(rb'\s*\{\s*["}]', sample):
        return pl.read_ndjson(file, infer_schema_length=None), ()
    if re.match(rb"\s*\[\s*[\[{\]]", sample):
        return pl.read_json(file, infer_schema_length=None), ()
    return _read_delimited(source, sample, header, encoding)


def _read_delimited(
    source: Path | bytes, sample: bytes, header: bool | None, encoding: str | None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    if b"\x00" in sample and not encoding and not sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise TableError("it holds binary data, but a table was expected: CSV, TSV, JSON lines, Parquet or Arrow.")
    text_encoding = encoding or _detect_encoding(sample)
    try:
        text = codecs.getincrementaldecoder(text_encoding)(errors="strict").decode(sample)
    except LookupError:
        raise TableError(f"there is no encoding {text_encoding!r}; utf-8, cp1252 and utf-16 are some.") from None
    except UnicodeDecodeError as error:
        raise TableError(
            f"its text is not {text_encoding} ({error}). Give its encoding, such as --encoding cp1252."
        ) from error
    lines = text.splitlines()[: SAMPLE_LINES + 1]
    lines = lines[:-1] if len(lines) > SAMPLE_LINES else lines
    separator = _detect_separator(lines)
    n_skipped = _count_preamble_lines(lines, separator)
    cells = _split_cells(lines[n_skipped:], separator)
    has_header = _has_header(cells) if header is None else header
    try:
        frame = _parse(source, text_encoding, separator, has_header, n_skipped)
    except pl.exceptions.ComputeError as error:
        if "utf-8" in str(error) and encoding is None:  # beyond the sample
            content = source if isinstance(source, bytes) else source.read_bytes()
            text_encoding = _detect_encoding(content)
            frame = _parse(content, text_encoding, separator, has_header, n_skipped)
        else:
            raise _ragged_row_error(source, text_encoding, separator, n_skipped) or error from error
    names, notes = _column_names(cells[0] if cells else [], frame.width, has_header)
    frame.columns = names
    if n_skipped:
        notes.append(f"{n_skipped} line{'s' * (n_skipped > 1)} above the table left out: {lines[0][:40]!r}")
    frame = _drop_empty(frame, cells[0] if has_header and cells else None, notes)
    if text_encoding not in ("utf-8", "utf-8-sig"):
        notes.append(f"read as {text_encoding} text")
    if separator != ",":
        notes.append(f"columns are separated by {SEPARATOR_NAMES[separator]}")
    if not has_header and header is None:
        notes.append(f"no line with names was found: the columns are {format_list(names, 2)}")
    return frame, tuple(notes)


SEPARATOR_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def _drop_empty(frame: pl.DataFrame, header: list[str] | None, notes: list[str]) -> pl.DataFrame:
    """The table without empty lines, and without columns that have neither name nor value."""
    if frame.width > 1:
        is_empty = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
        if is_empty.any():
            notes.append(f"{is_empty.sum()} empty lines left out")
            frame = frame.filter(~is_empty)
    if header is not None:
        unnamed = [name for i, name in enumerate(frame.columns) if i >= len(header) or not header[i].strip()]
        frame = frame.drop(name for name in unnamed if frame[name].null_count() == frame.height)
    return frame


def _count_preamble_lines(lines: list[str], separator: str) -> int:
    """Lines above the table, such as a title or `sep=;`: those of one cell before the first of the usual width."""
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
    """The separator that cuts most lines into the same number of cells, more than one; the comma where none does."""

    def agreement(separator: str) -> float:
        widths = Counter(len(row) for row in _split_cells(lines, separator) if row)
        width, rows = widths.most_common(1)[0] if widths else (1, 0)
        return rows / widths.total() if width > 1 else 0.0

    best = max(SEPARATORS, key=agreement)
    return best if agreement(best) > 0 else ","


def _split_cells(lines: list[str], separator: str) -> list[list[str]]:
    """The cells of the first lines, as far as they can be told: a cell may be longer than Python's reader allows."""
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        rows.extend(csv.reader(lines, delimiter=separator))
    return rows


def _has_header(cells: list[list[str]]) -> bool:
    """Whether the first row names the columns: one of its words stands above a column of numbers, or, where there is no
    such column, its cells differ from each other and none is a number or comes again in its column."""
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
    """The columns' names without blanks round them; those without a name, and repeated ones, get one."""
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
    """Where a line has more cells than the first one, if that is what is wrong."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    rows = csv.reader(io.StringIO(data.decode(encoding, errors="replace"), newline=""), delimiter=separator)
    for _ in range(n_skipped):
        next(rows)
    width = len(next(rows))
    for row in rows:
        if len(row) > width:
            return TableError(
                f"line {rows.line_num} has {len(row)} cells, but the first has {width}. Correct that line."
            )
    return None
