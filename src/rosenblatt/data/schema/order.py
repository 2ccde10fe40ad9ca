"""Order of rows by a column: numbers, times, or words with a number, such as W2 before W10."""

from __future__ import annotations

import re
from typing import NoReturn

import numpy as np
import polars as pl

from rosenblatt.data.schema.cells import strip_cells
from rosenblatt.data.schema.columns import Column, Notes, plural_kind
from rosenblatt.data.schema.date_patterns import MONTHS, WEEKDAYS
from rosenblatt.errors import TableError, format_count, format_list

MAX_EXAMPLES = 5  # row numbers and cells that a message names

_NUMBER = r"[0-9]+(?:\.[0-9]+)*"
_VERSION = r"^(?:v|ver|version|rev|revision|release|build)[-_.]*#"
_ORDERED_GROUPS = r"(?:[^#]*[a-z][^#]*#)+|#(?::#)+"  # such as s1e2, or 125:30
_EXPECTED = "numbers, times, or words with a number, such as W1"


def read_order(
    series: pl.Series,
    column: Column,
    role: str,
    row_numbers: np.ndarray | None = None,
    notes: Notes | None = None,
) -> pl.Series:
    """Read the cells of a column as values in the order of the rows: numbers, times or ranks.

    Args:
        series: the cells as read.
        column: how they are written.
        role: the option that names the column.
        row_numbers: the row number (n,) of each cell in the table, from 1; by default, these are all rows.
        notes: receives what was converted.

    Raises:
        TableError: if a cell is missing, or the cells have no order.
    """
    numbers = np.arange(1, len(series) + 1) if row_numbers is None else row_numbers
    if column.kind in ("number", "date") or column.is_numeric or series.dtype.is_numeric():
        kind = "date" if column.kind == "date" else "number"
        keys = column.model_copy(update={"kind": kind}).sort_key(series, notes)
        _require_values(series, keys, column.name, role, numbers)
        return keys
    if column.kind in ("category", "identifier", "text", "constant", "empty"):
        text = column.missing_rule.apply(strip_cells(series))
        _require_values(series, text, column.name, role, numbers)
        return _natural_ranks(text, role)
    raise TableError(f"{role} must name a column of {_EXPECTED}; {column.name!r} holds {plural_kind(column.kind)}.")


def _require_values(series: pl.Series, keys: pl.Series, name: str, role: str, row_numbers: np.ndarray) -> None:
    """Raise TableError if a row has no value in the order."""
    missing = keys.is_null()
    if not missing.any():
        return
    rows = row_numbers[missing.to_numpy()]
    examples = ", ".join(str(row) for row in rows[:MAX_EXAMPLES]) + ", ..." * (len(rows) > MAX_EXAMPLES)
    cells = series.filter(missing).drop_nulls().unique(maintain_order=True)
    written = f" ({format_list(cells.to_list(), 3)})" if len(cells) else ""
    raise TableError(
        f"The {role} column {name!r} has no value in {format_count(len(rows), 'row')}{written}: row "
        f"{examples}. Fill in the cells, or remove the rows."
    )


def _natural_ranks(text: pl.Series, role: str) -> pl.Series:
    """The ranks of words with numbers, such as W1 or v1.10. Raises TableError if they have no order."""
    words = text.str.to_lowercase().str.replace_all(r"([0-9])(?:st|nd|rd|th)\b", "$1")
    words = words.str.replace_all(r"([^0-9])\s+", "$1").str.replace_all(r"\s+([^0-9])", "$1")
    shapes = words.str.replace_all(_NUMBER, "#")
    shape = shapes.mode().sort()[0]
    if "#" not in shape:
        _refuse(text, role)
    if shapes.n_unique() > 1:
        _refuse(text.filter(shapes != shape), role, f", unlike {text.filter(shapes == shape)[0]!r}")
    distinct = words.unique(maintain_order=True)
    numbers = distinct.str.extract_all(_NUMBER)
    groups = [numbers.list.get(i) for i in range(shape.count("#"))]
    groups = [group.alias(str(i)) for i, group in enumerate(groups) if group.n_unique() > 1]
    years = [group for group in groups if bool(group.str.contains("^(1[89]|20|21)[0-9]{2}$").all())]
    if len(groups) > 1 and not years and not re.fullmatch(_ORDERED_GROUPS, shape):
        _refuse(text, role, ", in which several numbers vary")
    parts = [part for group in [*years, *groups] for part in _split_versions(group, text, shape, role)]
    if not parts:
        return pl.Series(text.name, np.zeros(len(text), np.int64))
    keys = pl.DataFrame([part.alias(str(i)) for i, part in enumerate(parts)])
    ranks = keys.with_columns(distinct.alias("word")).sort(keys.columns).with_row_index("rank")
    return words.replace_strict(ranks["word"], ranks["rank"], return_dtype=pl.Int64)


def _split_versions(group: pl.Series, text: pl.Series, shape: str, role: str) -> list[pl.Series]:
    """Keys by which numbers sort, from the most to the least significant: 1.10 comes after 1.9 in versions only."""
    parts = group.str.split(".")
    n_parts = int(parts.list.len().max() or 1)  # type: ignore[arg-type]
    keys = [parts.list.get(i, null_on_oob=True).fill_null("") for i in range(n_parts)]
    widths = [int(key.str.len_chars().max() or 1) for key in keys]  # type: ignore[arg-type]
    is_version = n_parts > 2 or bool(re.match(_VERSION, shape))
    if n_parts == 2 and not is_version and keys[1].str.len_chars().n_unique() > 1:
        _refuse(text, role, ", of which the numbers can be decimals or versions")
    return [key.str.zfill(width).set(key == "", "") for key, width in zip(keys, widths, strict=True)]


def _refuse(cells: pl.Series, role: str, reason: str = "") -> NoReturn:
    words = set(cells.str.to_lowercase())
    if words <= {*WEEKDAYS, *MONTHS}:
        reason = ", which repeat, so that they do not order rows in time"
    examples = format_list(cells.unique(maintain_order=True).to_list(), MAX_EXAMPLES)
    raise TableError(f"{role} must name a column of {_EXPECTED}; {cells.name!r} holds {examples}{reason}.")
