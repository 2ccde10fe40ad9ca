"""Fields that columns of the grid can show: which exist among the runs that match a filter, and which differ."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, or_, select

from rosenblatt.dashboard.runs import RunsFilter, filter_conditions
from rosenblatt.runs.store.filters import quote_field
from rosenblatt.runs.store.schema import metrics, params, runs, tags
from rosenblatt.runs.store.store import Store

TABLES: dict[str, Any] = {"params": params, "metrics": metrics, "tags": tags}


class FieldInfo(BaseModel):
    """A field of the matching runs."""

    name: str = Field(description="As in filters, such as params.dropout or metrics.`cpu percent`.")
    kind: Literal["params", "metrics", "tags"]
    runs: int = Field(description="Number of matching runs that have the field.")
    differs: bool = Field(description="Whether matching runs have different values, or some have none.")


class Fields(BaseModel):
    """All fields of the matching runs."""

    total: int = Field(description="Number of matching runs.")
    fields: list[FieldInfo]
    hidden: int = Field(description="Number of fields that no filter can name: their names have quotes of both kinds.")


class FieldsQuery(RunsFilter):
    """Parameters of a request for fields."""

    model_config = ConfigDict(extra="forbid")


def load_fields(store: Store, query: FieldsQuery) -> Fields:
    """Find the fields of the runs that match a filter. Raises FilterError."""
    conditions = filter_conditions(query)
    matching = select(runs.c.id).where(*conditions)
    infos, n_hidden = list[FieldInfo](), 0
    with store.reading() as connection:
        total = connection.execute(select(func.count()).select_from(runs).where(*conditions)).scalar_one()
        for kind, table in TABLES.items():
            value = table.c.last if kind == "metrics" else table.c.value
            n_runs = func.count()
            differs = or_(func.min(value) != func.max(value), n_runs < total, func.count(value).between(1, n_runs - 1))
            statement = select(table.c.name, n_runs, func.coalesce(differs, False)).group_by(table.c.name)
            statement = statement.where(table.c.run.in_(matching)).order_by(table.c.name)
            for name, count, is_different in connection.execute(statement):
                text = quote_field(kind, name)
                if text is None:
                    n_hidden += 1
                else:
                    infos.append(FieldInfo(name=text, kind=kind, runs=count, differs=bool(is_different)))
    return Fields(total=total, fields=infos, hidden=n_hidden)
