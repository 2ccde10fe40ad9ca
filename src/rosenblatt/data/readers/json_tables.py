"""Read JSON: lines of objects, an array of objects or rows, and the layouts that pandas writes."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import polars as pl

from rosenblatt.data.readers.encodings import convert_to_utf8
from rosenblatt.data.readers.sources import Source
from rosenblatt.data.table import check_column_names
from rosenblatt.errors import TableError, format_list

EXPECTED_JSON = "an array of objects, or an object a line"


def read_json(source: Source) -> pl.DataFrame:
    """Read JSON as a typed table. Raises TableError."""
    source, _ = convert_to_utf8(source, None)
    content = source.content[:].removeprefix(b"\xef\xbb\xbf")
    try:
        frame = _read_fast(content)
    except (pl.exceptions.PolarsError, ValueError, RecursionError):
        frame = None
    if frame is not None:
        return frame
    try:
        return _table(_parse_documents(content.decode()))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise TableError(f"line {line:,} is not UTF-8, as JSON must be. The file may be damaged.") from error
    except RecursionError as error:
        raise TableError(f"its values are nested too deeply, but a table was expected: {EXPECTED_JSON}.") from error


def _read_fast(content: bytes) -> pl.DataFrame | None:
    """Read lines of objects with Polars; None for other JSON, or if not each line became a row."""
    first, _, rest = content.strip().partition(b"\n")
    if not (first.startswith(b"{") and first.rstrip().endswith(b"}") and rest):
        return None
    frame = pl.read_ndjson(io.BytesIO(content), infer_schema_length=None)
    check_column_names(frame.columns)
    lines = [line for line in content.split(b"\n") if line.strip()]
    return frame.select(_key_order(lines, frame.width)) if frame.height == len(lines) else None


def _key_order(lines: list[bytes], n_keys: int) -> list[str]:
    """The keys of lines of objects, in the order in which they appear."""
    keys = dict[str, None]()
    for line in lines:
        keys |= dict.fromkeys(json.loads(line))
        if len(keys) == n_keys:
            break
    return list(keys)


def _parse_documents(text: str) -> list[Any]:
    """All JSON documents of a text, one after another. Raises TableError, which names the line."""
    decoder, documents, position = json.JSONDecoder(), list[Any](), 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        try:
            document, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise TableError(f"line {error.lineno:,} is not JSON ({error.msg}). The file may be damaged.") from error
        documents.append(document)
    return documents


def _table(documents: list[Any]) -> pl.DataFrame:
    """The table of one document in a layout that is known, or of a document for each row."""
    if len(documents) > 1:
        return rows_frame(documents)
    document = documents[0]
    if isinstance(document, list):
        return rows_frame(document)
    if isinstance(document, dict):
        return _object_frame(document)
    raise TableError(f"it holds the JSON value {str(document)[:40]!r}, but a table was expected: {EXPECTED_JSON}.")


def _object_frame(document: dict[str, Any]) -> pl.DataFrame:
    """The table of an object in one of the layouts of pandas' `to_json`, of columns as lists, or of one row."""
    data = document.get("data")
    if isinstance(data, list) and isinstance(document.get("columns"), list):  # orient="split"
        return _named_rows(data, [str(name) for name in document["columns"]])
    if isinstance(data, list) and isinstance(document.get("schema"), dict):  # orient="table"
        return rows_frame(data)
    values = list(document.values())
    if values and all(isinstance(value, dict) for value in values):  # orient="columns" or "index"
        return _nested_frame(document)
    are_lists = bool(values) and all(isinstance(value, list) for value in values)
    if are_lists and len(set(map(len, values))) == 1 and not (len(values) == 1 and _is_list_of_objects(values[0])):
        return _frame(document)
    lists = {key: value for key, value in document.items() if _is_list_of_objects(value)}
    if len(lists) == 1:
        return rows_frame(next(iter(lists.values())))
    if not any(isinstance(value, dict | list) for value in values):
        return rows_frame([document])
    raise TableError(
        f"it holds one JSON object with the keys {format_list(document, 4)}, but a table was expected: {EXPECTED_JSON}."
    )


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def _nested_frame(document: dict[str, dict[str, Any]]) -> pl.DataFrame:
    """The table of an object of objects: rows in columns, or columns in rows if only the outer keys are numbers."""
    inner_keys = list(dict.fromkeys(key for value in document.values() for key in value))
    if _are_numbers(inner_keys):
        rows = {key: index for index, key in enumerate(inner_keys)}
        columns = {name: [None] * len(rows) for name in document}
        for name, cells in document.items():
            for key, cell in cells.items():
                columns[name][rows[key]] = cell
        return _frame(columns)
    if _are_numbers(list(document)):
        return rows_frame(list(document.values()))
    raise TableError(
        f"it holds JSON objects in an object, with the keys {format_list(document, 2)} and, in these, "
        f"{format_list(inner_keys, 2)}: it is unknown which of them are rows. Write it as {EXPECTED_JSON}."
    )


def _are_numbers(keys: list[str]) -> bool:
    return bool(keys) and all(key.lstrip("-").isdigit() for key in keys)


def rows_frame(rows: list[Any]) -> pl.DataFrame:
    """The table of objects or lists, one for each row; keys may appear in any row."""
    if rows and all(isinstance(row, list) for row in rows):
        return _named_rows(rows, [f"column_{i}" for i in range(1, max(map(len, rows)) + 1)])
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise TableError(
                f"its JSON value {number:,}, {str(row)[:40]!r}, is not an object, but a table was expected: "
                f"{EXPECTED_JSON}."
            )
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise TableError(f"it holds no columns, but a table was expected: {EXPECTED_JSON}.")
    return _frame({name: [row.get(name) for row in rows] for name in names})


def _named_rows(rows: list[list[Any]], names: list[str]) -> pl.DataFrame:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(names):
            raise TableError(f"row {number:,} of its JSON must be a list of {len(names):,} cells. Correct that row.")
    columns = zip(*rows, strict=True) if rows else [[] for _ in names]
    return _frame(dict(zip(names, map(list, columns), strict=True)))


def _frame(columns: dict[str, list[Any]]) -> pl.DataFrame:
    check_column_names(map(str, columns))
    return pl.DataFrame([_series(str(name), cells) for name, cells in columns.items()])


def _series(name: str, cells: list[Any]) -> pl.Series:
    """A typed column; NaN is missing, and values of several types become strings."""
    cells = [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells]
    types = {type(cell) for cell in cells if cell is not None}
    if types <= {int, float} and len(types) > 1:
        cells = [None if cell is None else float(cell) for cell in cells]
    elif len(types) > 1 and not types & {list, dict}:
        cells = [None if cell is None else cell if isinstance(cell, str) else json.dumps(cell) for cell in cells]
    try:
        return pl.Series(name, cells)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise TableError(f"the column {name!r} of its JSON holds values of several types: {reason}.") from error
