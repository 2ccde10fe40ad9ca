"""Parser of filters such as `params.activation = 'relu' and metrics.auc > 0.9`, and of sort fields, into SQL.

comparison = field ( operator value | [ "not" ] ( "like" | "ilike" ) text | [ "not" ] "in" "(" value { "," value } ")"
                   | "is" [ "not" ] "null" )
field      = attribute | "params." name | "tags." name | "metrics." name [ "." statistic ]
statistic  = "last" | "best" | "min" | "max" | "step"
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, and_, case, false, func, not_, null, or_, select
from sqlalchemy.sql import operators as sql

from rosenblatt.errors import FilterError, did_you_mean, format_list
from rosenblatt.runs.condition_parser import ConditionParser, Token, unquote
from rosenblatt.runs.store.clock import database_time
from rosenblatt.runs.store.schema import metrics, params, runs, tags

STALE_SECONDS = 60.0  # time without a sign of life after which a running run counts as lost, and may be taken over
LOST_REASON = "it ended without finishing"  # of runs whose process was killed; a sign of life shows that it was not
_OPERATORS: dict[str, Callable[..., Any]] = {
    "=": sql.eq, "==": sql.eq, "!=": sql.ne, "<>": sql.ne, "<": sql.lt, "<=": sql.le, ">": sql.gt, ">=": sql.ge,
}  # fmt: skip
_STATISTICS = ("last", "best", "min", "max", "step")
_ATTRIBUTES = (
    "id", "experiment", "name", "kind", "reason", "started", "ended", "number", "parent", "identity", "state",
    "duration",
)  # fmt: skip
_NUMERIC_ATTRIBUTES = ("number", "duration")
_TIME_ATTRIBUTES = ("started", "ended", "heartbeat")


@dataclass(frozen=True)
class Field:
    """A field of a filter: an attribute of runs, or a hyperparameter, tag or metric by name."""

    group: str  # attribute, params, tags, metrics
    name: str
    statistic: str = "last"

    def column(self, numeric: bool) -> ColumnElement[Any]:
        """The value of the field for each run, as an SQL expression."""
        if self.group == "attribute":
            return _attribute_column(self.name)
        table = {"params": params, "tags": tags, "metrics": metrics}[self.group]
        if self.group == "metrics":
            best_value: Any = case((metrics.c.direction == "min", metrics.c.min), else_=metrics.c.max)
            value = best_value if self.statistic == "best" else metrics.c[self.statistic]
        else:
            value = params.c.numeric_value if numeric and self.group == "params" else table.c.value
        query = select(value).where(table.c.run == runs.c.id, table.c.name == self.name)
        return query.correlate(runs).scalar_subquery()

    def exists(self) -> ColumnElement[bool]:
        """Whether a run has a value, as an SQL expression."""
        if self.group == "attribute":
            return _attribute_column(self.name).is_not(None)
        table = {"params": params, "tags": tags, "metrics": metrics}[self.group]
        return select(table.c.run).where(table.c.run == runs.c.id, table.c.name == self.name).correlate(runs).exists()


def parse_filter(filter_: str) -> tuple[ColumnElement[bool], list[Field]]:
    """Parse a filter into an SQL condition and the fields it refers to. Raises FilterError."""
    parser = _Parser(filter_)
    condition = parser.parse_condition()
    parser.expect_end()
    return condition, parser.fields


def parse_field(text: str) -> Field:
    """Parse a field, such as `metrics.auc.best`. Raises FilterError."""
    parser = _Parser(text)
    field = parser.parse_field()
    parser.expect_end()
    return field


def parse_sort(sort: str) -> tuple[list[ColumnElement[Any]], Field]:
    """Parse a field to sort by, in descending order with a minus before it. Raises FilterError."""
    descending, field = sort.startswith("-"), parse_field(sort.lstrip("+-"))
    columns = (
        [field.column(numeric=True), field.column(numeric=False)] if field.group == "params" else [field.column(True)]
    )
    return [(column.desc() if descending else column.asc()).nulls_last() for column in columns], field


def state_column() -> ColumnElement[Any]:
    """The state of a run; a running run without a recent sign of life is lost."""
    return case((is_stale(), "lost"), else_=runs.c.state)


def is_stale() -> ColumnElement[bool]:
    """Whether a run has not ended, and neither it nor its search gave a sign of life recently."""
    searches = runs.alias()
    search_heartbeat = (
        select(searches.c.heartbeat).where(searches.c.id == runs.c.parent).correlate(runs).scalar_subquery()
    )
    last_beat = case(
        (runs.c.kind == "trial", func.coalesce(search_heartbeat, runs.c.heartbeat)), else_=runs.c.heartbeat
    )
    return and_(runs.c.state == "running", last_beat < database_time() - STALE_SECONDS)


def _attribute_column(name: str) -> ColumnElement[Any]:
    if name == "state":
        return state_column()
    if name == "duration":
        return case((runs.c.state == "running", runs.c.heartbeat), else_=runs.c.ended) - runs.c.started
    return runs.c[name]


class _Parser(ConditionParser[ColumnElement[bool]]):
    error_class, noun = FilterError, "filter"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.fields: list[Field] = []

    def combine(self, operator: str, conditions: Sequence[ColumnElement[bool]]) -> ColumnElement[bool]:
        return and_(*conditions) if operator == "and" else or_(*conditions)

    def negate(self, condition: ColumnElement[bool]) -> ColumnElement[bool]:
        return not_(condition)

    def parse_comparison(self) -> ColumnElement[bool]:
        field = self.parse_field()
        condition: ColumnElement[bool]
        if self._accept("is"):
            negated = self._accept("not")
            if not self._accept("null"):
                raise self._error("Expected null or not null after 'is'")
            return field.exists() if negated else not_(field.exists())
        negated = self._accept("not")
        if self._matches("like", "ilike"):  # both ignore case
            if field.group == "metrics" or (
                field.group == "attribute" and field.name in (*_NUMERIC_ATTRIBUTES, *_TIME_ATTRIBUTES)
            ):
                raise self._error("Expected a comparison such as <, because 'like' compares text")
            self._advance()
            token = self._advance()
            if token.kind != "text":
                raise self._error("Expected a pattern in quotes such as '%adam%'", token)
            condition = field.column(numeric=False).ilike(unquote(token.text))
        elif self._accept("in"):
            condition = self._parse_in(field)
        elif negated or self._next.text not in _OPERATORS:
            raise self._error("Expected an operator such as = or <")
        else:
            operator = _OPERATORS[self._advance().text]
            condition = _build_comparison(field, operator, self._parse_value(field))
        return not_(condition) if negated else condition

    def _parse_in(self, field: Field) -> ColumnElement[bool]:
        self._expect("(")
        conditions = self._parse_separated(",", lambda: _build_comparison(field, sql.eq, self._parse_value(field)))
        self._expect(")")
        return or_(*conditions)

    def parse_field(self) -> Field:
        token = self._advance()
        if token.kind != "word":
            raise self._error("Expected a field such as params.activation or metrics.auc", token)
        group, dot, name = token.text.partition(".")
        if dot and group in ("params", "tags", "metrics"):
            measure = "last"
            if group == "metrics" and name.rpartition(".")[2] in _STATISTICS and name.rpartition(".")[0]:
                name, _, measure = name.rpartition(".")
            if len(name) > 1 and name[0] == name[-1] and name[0] in '`"':
                name = name[1:-1]
            field = Field(group, name, measure)
        elif token.text in _ATTRIBUTES:
            field = Field("attribute", token.text)
        else:
            field_names = [*_ATTRIBUTES, "params.NAME", "metrics.NAME", "tags.NAME"]
            suggestion = did_you_mean(token.text, field_names)
            raise self._error(
                f"Expected a field, one of {format_list(field_names, 20)}"
                f"{suggestion and ' (' + suggestion.strip() + ')'}",
                token,
            )
        self.fields.append(field)
        return field

    def _parse_value(self, field: Field) -> str | float:
        token = self._advance()
        if token.kind not in ("text", "word") or (token.kind == "word" and token.text.lower() in ("and", "or", "not")):
            raise self._error("Expected a number or a text in quotes", token)
        text = unquote(token.text) if token.kind == "text" else token.text
        is_attribute = field.group == "attribute"
        if is_attribute and field.name in _TIME_ATTRIBUTES:
            return self._parse_seconds(text, token)
        if field.group == "tags" or (is_attribute and field.name not in _NUMERIC_ATTRIBUTES):
            return text
        try:
            number = float(text)
        except ValueError:
            number = None
        if number is None and field.group != "params":
            raise self._error("Expected a number", token)
        return text if number is None or (token.kind == "text" and field.group == "params") else number

    def _parse_seconds(self, text: str, token: Token) -> float:
        try:
            return float(text) if text.replace(".", "").isdigit() and len(text) > 8 else _parse_time(text)
        except ValueError:
            raise self._error("Expected a time such as '2026-11-23 14:30'", token) from None


@lru_cache(10_000)
def quote_field(group: str, name: str) -> str | None:
    """The text of a field in filters, quoted if it has to be; None if its name has quotes of both kinds.

    Example:
        >>> quote_field("metrics", "auc"), quote_field("metrics", "cpu percent")
        ('metrics.auc', 'metrics.`cpu percent`')
    """
    for text in (f"{group}.{name}", f"{group}.`{name}`", f'{group}."{name}"'):
        with suppress(FilterError):
            if parse_field(text) == Field(group, name):
                return text
    return None


def _parse_time(text: str) -> float:
    """Convert a date and time, or a year, to seconds since 1970."""
    return datetime.fromisoformat(f"{text}-01-01" if re.fullmatch(r"\d{4}", text) else text).timestamp()


def _build_comparison(field: Field, operator: Callable[..., Any], value: str | float) -> ColumnElement[bool]:
    numeric = isinstance(value, float)
    column = field.column(numeric)
    if isinstance(value, float) and math.isnan(value):
        if field.group != "metrics" or operator not in (sql.eq, sql.ne):
            return false()
        is_nan: ColumnElement[bool] = and_(field.exists(), column.is_(null()))
        return is_nan if operator is sql.eq else and_(field.exists(), not_(is_nan))
    return operator(column, value)
