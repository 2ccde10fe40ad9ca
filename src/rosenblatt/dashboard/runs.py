"""Windows of the grid of runs: some columns of some consecutive rows, sorted and filtered by the store."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, Connection, func, select

from rosenblatt.errors import FilterError
from rosenblatt.runs.store.filters import Field as StoreField
from rosenblatt.runs.store.filters import parse_filter, parse_sort
from rosenblatt.runs.store.schema import metrics, params, runs, tags
from rosenblatt.runs.store.store import Store

MAX_ROWS = 500  # of a window
MAX_COLUMNS = 300  # of a window
DEFAULT_COLUMNS = "name,experiment,kind,state,started,duration"
_COLUMN = re.compile(r"""(?:[^,`"]|`[^`]*`|"[^"]*"|[`"])+""")  # commas in quotes do not separate
Cell = str | float | int | None


class RunsFilter(BaseModel):
    """Which runs are meant."""

    where: str = Field("", max_length=10_000, description="A filter, as for `rosenblatt runs --where`.")
    trials: bool = Field(False, description="Whether trials of searches are included.")


class RunsQuery(RunsFilter):
    """Parameters of a request for a window."""

    model_config = ConfigDict(extra="forbid")

    sort: str = Field("started", max_length=1000, description="The field to sort by, such as metrics.auc.best.")
    descending: bool = Field(True, description="Whether the largest value comes first; runs without one come last.")
    offset: int = Field(0, ge=0, le=2**31, description="Number of the first row.")
    limit: int = Field(100, ge=1, le=MAX_ROWS, description="Number of rows at most.")
    columns: str = Field(DEFAULT_COLUMNS, max_length=50_000, description="Fields, separated by commas.")


class RunsWindow(BaseModel):
    """A window as columns: the cells of one column, in the order of the rows. null: the run has no value."""

    total: int = Field(description="Number of runs that match.")
    offset: int
    ids: list[str]
    columns: dict[str, list[Cell]]


def filter_conditions(query: RunsFilter) -> list[ColumnElement[bool]]:
    """The conditions on runs, as SQL. Raises FilterError."""
    conditions: list[ColumnElement[bool]] = [] if query.trials else [runs.c.kind != "trial"]
    if query.where.strip():
        conditions.append(parse_filter(query.where)[0])
    return conditions


def load_window(store: Store, query: RunsQuery) -> RunsWindow:
    """Load a window of the runs that match a filter.

    Args:
        store: The store.
        query: The filter, the order, the rows and the columns.

    Returns:
        The window. Numbers that JSON lacks are texts: "NaN", "Infinity", "-Infinity".

    Raises:
        FilterError: If the filter, the field to sort by or a column cannot be parsed.
    """
    fields = {name: _parse_column(name) for name in dict.fromkeys(_COLUMN.findall(query.columns))}
    if len(fields) > MAX_COLUMNS:
        raise FilterError(f"A window has at most {MAX_COLUMNS} columns, but {len(fields)} came. Request fewer.")
    _parse_column(query.sort)
    order, _ = parse_sort(f"{'-' if query.descending else ''}{query.sort}")
    conditions = filter_conditions(query)
    attributes = {name: field for name, field in fields.items() if field.group == "attribute"}
    rows_query = select(runs.c.id, *(field.column(numeric=False).label(name) for name, field in attributes.items()))
    rows_query = rows_query.where(*conditions).order_by(*order, runs.c.number.desc(), runs.c.id)
    with store.reading() as connection:
        total = connection.execute(select(func.count()).select_from(runs).where(*conditions)).scalar_one()
        rows = connection.execute(rows_query.offset(query.offset).limit(query.limit)).all()
        ids = [row[0] for row in rows]
        columns: dict[str, list[Cell]] = {
            name: [_to_json_cell(row[place]) for row in rows] for place, name in enumerate(attributes, 1)
        }
        for group in ("params", "metrics", "tags"):
            group_fields = {name: field for name, field in fields.items() if field.group == group}
            columns |= _load_cells(connection, group, ids, group_fields)
    return RunsWindow(total=total, offset=query.offset, ids=ids, columns={name: columns[name] for name in fields})


def _parse_column(name: str) -> StoreField:
    if name.startswith(("-", "+")):
        raise FilterError(f"Expected the name of a field, but {name[:80]!r} starts with a sign. Remove it.")
    return parse_sort(name)[1]


def _load_cells(
    connection: Connection, group: str, ids: Sequence[str], fields: dict[str, StoreField]
) -> dict[str, list[Cell]]:
    """The cells of columns of hyperparameters, metrics or tags."""
    if not fields:
        return {}
    table: Any = {"params": params, "metrics": metrics, "tags": tags}[group]
    names = {field.name for field in fields.values()}
    query = select(table).where(table.c.run.in_(ids), table.c.name.in_(names))
    rows = {(row["run"], row["name"]): row for row in connection.execute(query).mappings()}
    return {column: [_read_cell(rows.get((run, field.name)), field) for run in ids] for column, field in fields.items()}


def _read_cell(row: Any, field: StoreField) -> Cell:
    if row is None:
        return None
    if field.group != "metrics":
        return str(row["value"])
    statistic = row["direction"] if field.statistic == "best" else field.statistic
    value = row[statistic]
    return "NaN" if value is None else _to_json_cell(value)


def _to_json_cell(value: Any) -> Cell:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    cell: Cell = value
    return cell
