"""Windows of the grid of runs: some columns of some consecutive rows, sorted and filtered by the store."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy import ColumnElement, Connection, func, select

from rosenblatt.dashboard.endpoints import ApiRequest
from rosenblatt.dashboard.progress import Progress, load_progress
from rosenblatt.errors import FilterError
from rosenblatt.runs.store.filters import Field as StoreField
from rosenblatt.runs.store.filters import parse_field, parse_filter, parse_sort
from rosenblatt.runs.store.schema import metrics, params, runs, tags
from rosenblatt.runs.store.store import Store

MAX_ROWS = 500  # of a window
MAX_COLUMNS = 300  # of a window
DEFAULT_COLUMNS = "name,experiment,kind,state,started,duration"
_COLUMN = re.compile(r"""(?:[^,`"]|`[^`]*`|"[^"]*"|[`"])+""")  # commas in quotes do not separate
Cell = str | float | int | None


class RunsFilter(ApiRequest):
    """Which runs are meant."""

    where: str = Field("", max_length=10_000, description="A filter, as for `rosenblatt runs --where`.")
    trials: bool = Field(False, description="Whether trials of searches are included.")


class RunsQuery(RunsFilter):
    """Parameters of a request for a window."""

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
    progress: dict[str, Progress] = Field(description="Of those that run, by id, if it is known.")


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
    fields = parse_columns(query.columns)
    if len(fields) > MAX_COLUMNS:
        raise FilterError(f"A window has at most {MAX_COLUMNS} columns, but {len(fields)} came. Request fewer.")
    _parse_column(query.sort)
    order, _ = parse_sort(f"{'-' if query.descending else ''}{query.sort}")
    conditions = filter_conditions(query)
    # Only ids are sorted, as a database would compute other columns of all runs. With a filter all ids are loaded: it
    # would be evaluated again to count them.
    ids_query = select(runs.c.id).where(*conditions).order_by(*order, runs.c.number.desc(), runs.c.id)
    window = slice(query.offset, query.offset + query.limit)
    with store.reading() as connection:
        if query.where.strip():
            all_ids = connection.execute(ids_query).scalars().all()
            total, ids = len(all_ids), all_ids[window]
        else:
            total = connection.execute(select(func.count()).select_from(runs).where(*conditions)).scalar_one()
            ids = connection.execute(ids_query.slice(window.start, window.stop)).scalars().all()
        columns = dict[str, list[Cell]]()
        for group in ("attribute", "params", "metrics", "tags"):
            group_fields = {name: field for name, field in fields.items() if field.group == group}
            if group_fields:
                load = _load_attributes if group == "attribute" else _load_cells
                columns |= load(connection, group, ids, group_fields)
        progress = load_progress(connection, ids)
    columns = {name: columns[name] for name in fields}
    return RunsWindow(total=total, offset=query.offset, ids=list(ids), columns=columns, progress=progress)


def parse_columns(text: str) -> dict[str, StoreField]:
    """Parse names of fields, separated by commas. Raises FilterError."""
    return {name: _parse_column(name) for name in dict.fromkeys(_COLUMN.findall(text))}


def _parse_column(name: str) -> StoreField:
    if name.startswith(("-", "+")):
        raise FilterError(f"Expected the name of a field, but {name[:80]!r} starts with a sign. Remove it.")
    return parse_field(name)


def _load_attributes(
    connection: Connection, _: str, ids: Sequence[str], fields: dict[str, StoreField]
) -> dict[str, list[Cell]]:
    """The cells of columns of attributes of runs."""
    query = select(runs.c.id, *(field.column(numeric=False) for field in fields.values())).where(runs.c.id.in_(ids))
    rows = {run: cells for run, *cells in connection.execute(query)}
    return {name: [_to_json_cell(rows[run][place]) for run in ids] for place, name in enumerate(fields)}


def _load_cells(
    connection: Connection, group: str, ids: Sequence[str], fields: dict[str, StoreField]
) -> dict[str, list[Cell]]:
    """The cells of columns of hyperparameters, metrics or tags."""
    table: Any = {"params": params, "metrics": metrics, "tags": tags}[group]
    statistics = (metrics.c.last, metrics.c.min, metrics.c.max, metrics.c.step, metrics.c.direction)
    values = statistics if group == "metrics" else (table.c.value,)
    names = {field.name for field in fields.values()}
    query = select(table.c.run, table.c.name, *values).where(table.c.run.in_(ids), table.c.name.in_(names))
    rows = {(run, name): row for run, name, *row in connection.execute(query)}
    if group != "metrics":
        return {
            column: [row[0] if (row := rows.get((run, field.name))) else None for run in ids]
            for column, field in fields.items()
        }
    return {
        column: [_read_metric(rows.get((run, field.name)), field.statistic) for run in ids]
        for column, field in fields.items()
    }


def _read_metric(row: Sequence[Any] | None, statistic: str) -> Cell:
    """A statistic of a metric, of a row with last, min, max, step and direction."""
    if row is None:
        return None
    name = row[4] if statistic == "best" else statistic
    value = row[("last", "min", "max", "step").index(name)]
    return "NaN" if value is None else _to_json_cell(value)


def _to_json_cell(value: Any) -> Cell:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    cell: Cell = value
    return cell
