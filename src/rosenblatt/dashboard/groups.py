"""Runs grouped by equal values of some fields, with mean and standard deviation of metrics over each group."""

from __future__ import annotations

import math

import numpy as np
from pydantic import BaseModel, Field
from sqlalchemy import select

from rosenblatt.dashboard.runs import RunsFilter, filter_conditions, parse_columns
from rosenblatt.errors import FilterError
from rosenblatt.runs.store.schema import runs
from rosenblatt.runs.store.store import Store

MAX_FIELDS, MAX_GROUPS, MAX_IDS = 10, 200, 500


class GroupsQuery(RunsFilter):
    """Parameters of a request for groups."""

    by: str = Field(max_length=10_000, description="Fields whose equal values make a group, separated by commas.")
    values: str = Field("", max_length=10_000, description="Fields to average: metrics, or duration.")
    sort: str = Field("", max_length=1000, description="One of `values`, by whose mean groups are sorted.")
    descending: bool = Field(True, description="Whether the largest mean comes first.")


class Spread(BaseModel):
    """A field over the runs of a group. Runs whose value is not a finite number are left out."""

    n: int = Field(description="Number of runs with a finite value.")
    mean: float | None
    deviation: float | None = Field(description="Standard deviation of the sample; null for a single run.")
    min: float | None
    max: float | None


class Group(BaseModel):
    """Runs with equal values."""

    key: list[str | float | int | None]
    n: int
    ids: list[str] = Field(description=f"Ids of the runs, {MAX_IDS} at most.")
    values: list[Spread]


class Groups(BaseModel):
    """Groups, the largest mean first, or without `sort` the largest group."""

    total: int = Field(description="Number of matching runs.")
    n_groups: int = Field(description=f"Number of groups, of which {MAX_GROUPS} at most are in `groups`.")
    groups: list[Group]


def load_groups(store: Store, query: GroupsQuery) -> Groups:
    """Group the runs that match a filter. Raises FilterError if it or a field cannot be parsed."""
    by, values = parse_columns(query.by), parse_columns(query.values)
    if not 1 <= len(by) <= MAX_FIELDS or len(values) > MAX_FIELDS:
        raise FilterError(f"Expected 1 to {MAX_FIELDS} fields to group by, and {MAX_FIELDS} values at most.")
    if query.sort and query.sort not in values:
        raise FilterError(f"Groups can be sorted by one of their values, but {query.sort[:80]!r} is none of them.")
    columns = [*(f.column(numeric=False) for f in by.values()), *(f.column(numeric=True) for f in values.values())]
    statement = select(runs.c.id, *columns).where(*filter_conditions(query)).order_by(runs.c.started.desc())
    with store.reading() as connection:
        rows = connection.execute(statement).all()
    members = dict[tuple[str | float | int | None, ...], list[int]]()
    for place, row in enumerate(rows):
        members.setdefault(tuple(row[1 : len(by) + 1]), []).append(place)
    numbers = [
        np.array([row[place] if isinstance(row[place], int | float) else math.nan for row in rows], np.float64)
        for place in range(len(by) + 1, len(by) + 1 + len(values))
    ]
    groups = [
        Group(
            key=list(key), n=len(places), ids=[rows[place][0] for place in places[:MAX_IDS]],
            values=[_spread(column[places]) for column in numbers],
        )
        for key, places in members.items()
    ]  # fmt: skip
    _sort(groups, list(values).index(query.sort) if query.sort else None, query.descending)
    return Groups(total=len(rows), n_groups=len(groups), groups=groups[:MAX_GROUPS])


def _spread(values: np.ndarray) -> Spread:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return Spread(n=0, mean=None, deviation=None, min=None, max=None)
    deviation = float(finite.std(ddof=1)) if finite.size > 1 else None
    return Spread(
        n=finite.size, mean=float(finite.mean()), deviation=deviation, min=float(finite.min()), max=float(finite.max())
    )


def _sort(groups: list[Group], place: int | None, descending: bool) -> None:
    """Sort groups by a mean, those without one last, or by their size."""
    if place is None:
        groups.sort(key=lambda group: -group.n)
        return
    sign = -1 if descending else 1

    def order(group: Group) -> tuple[bool, float]:
        mean = group.values[place].mean
        return mean is None, 0.0 if mean is None else sign * mean

    groups.sort(key=order)
