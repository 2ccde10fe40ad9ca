"""Fields that columns of the grid can show: which exist among the runs that match a filter, and which differ."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field
from sqlalchemy import func, select

from rosenblatt.dashboard.field_index import FieldIndex
from rosenblatt.dashboard.runs import RunsFilter, filter_conditions
from rosenblatt.runs.store.filters import quote_field
from rosenblatt.runs.store.schema import runs, tags
from rosenblatt.runs.store.store import Store


class FieldInfo(BaseModel):
    """A field of the matching runs."""

    name: str = Field(description="As in filters, such as params.dropout or metrics.`cpu percent`.")
    kind: Literal["params", "metrics", "tags"]
    runs: int = Field(description="Number of examined runs that have the field.")
    differs: bool = Field(description="Whether examined runs have different values, or some have none.")


class Fields(BaseModel):
    """All fields of the matching runs."""

    total: int = Field(description="Number of matching runs.")
    examined: int = Field(description="Of them, those that were read so far, the newest; ask again for all.")
    fields: list[FieldInfo]
    hidden: int = Field(description="Number of fields that no filter can name: their names have quotes of both kinds.")


class FieldsQuery(RunsFilter):
    """Parameters of a request for fields."""


def load_fields(store: Store, query: FieldsQuery, index: FieldIndex) -> Fields:
    """Find the fields of the runs that match a filter.

    Args:
        store: The store.
        query: The filter.
        index: The fields of its runs.

    Returns:
        The fields, sorted by kind and name. After a start with many runs, those of the newest ones first.

    Raises:
        FilterError: If the filter cannot be parsed.
    """
    conditions = filter_conditions(query)
    with store.reading() as connection:
        ids = connection.execute(select(runs.c.id).where(*conditions)).scalars().all()
        n_runs, value = func.count(), tags.c.value
        statement = select(tags.c.name, n_runs, func.min(value) != func.max(value)).group_by(tags.c.name)
        matching = tags.c.run.in_(select(runs.c.id).where(*conditions))
        tag_rows = connection.execute(statement.where(matching)).all()
    counts = index.count(ids)
    infos, n_hidden = list[FieldInfo](), 0
    fields = counts.fields | {("tags", name): (n, bool(differs)) for name, n, differs in tag_rows}
    limits = {"params": counts.examined, "metrics": counts.examined, "tags": len(ids)}
    for kind, n_examined in limits.items():
        for name in sorted(name for other, name in fields if other == kind):
            text = quote_field(kind, name)
            if text is None:
                n_hidden += 1
                continue
            n, differs = fields[kind, name]
            infos.append(FieldInfo.model_validate(
                {"name": text, "kind": kind, "runs": n, "differs": differs or n < n_examined}
            ))  # fmt: skip
    return Fields(total=len(ids), examined=counts.examined, fields=infos, hidden=n_hidden)
