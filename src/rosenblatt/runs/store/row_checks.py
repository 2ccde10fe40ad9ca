"""Checks of rows that were read from a file before they are written to a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column

from rosenblatt.runs.store import schema

_COLUMNS: dict[str, dict[str, Column[Any]]] = {
    **{name: dict(table.columns.items()) for name, table in schema.metadata_obj.tables.items() if name != "settings"},
    "replacement_metrics": dict(schema.metrics.columns.items()),
    "owners": {"run": schema.runs.c.id, "owner": schema.runs.c.owner},
    "run_updates": {"run": schema.runs.c.id} | {column.name: column for column in schema.runs.c if column.name != "id"},
}
_MAX_INTEGER = 2**63


def check_rows(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Raise ValueError unless rows by table, read from a file, are such as a store writes."""
    for name, table_rows in rows.items():
        columns = _COLUMNS.get(name)
        if columns is None:
            raise ValueError(f"there is no table {name!r}")
        for row in table_rows:
            is_partial = name == "run_updates" and "run" in row and row.keys() <= columns.keys()
            if not is_partial and row.keys() != columns.keys():
                raise ValueError(f"a row of {name!r} has the columns {', '.join(row)}")
            for column, value in row.items():
                _check_value(columns[column], value)


def _check_value(column: Column[Any], value: Any) -> None:
    """Raise ValueError unless a column can hold a value."""
    expected = column.type.python_type
    if value is None and column.nullable:
        return
    if isinstance(value, str) and expected is str:
        value.encode()
    elif type(value) is int and expected in (int, float):
        if not -_MAX_INTEGER <= value < _MAX_INTEGER:
            raise ValueError(f"{column.name} is {value}")
    elif type(value) is not expected:
        raise ValueError(f"{column.name} is {type(value).__name__}, not {expected.__name__}")
