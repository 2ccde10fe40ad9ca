"""In: a filter such as `params.activation = 'relu' and metrics.auc > 0.9`, or what to sort by. Out: the same in SQL.

filter     = also { "or" also }
also       = one { "and" one }
one        = "not" one | "(" filter ")" | comparison
comparison = field ( operator value | [ "not" ] "like" text | [ "not" ] "in" "(" value { "," value } ")"
                   | "is" [ "not" ] "null" )
field      = attribute | "params." name | "tags." name | "metrics." name [ "." measure ]
measure    = "last" | "best" | "min" | "max" | "step"
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, false, func, not_, null, or_, select
from sqlalchemy.sql import operators as sql

from rosenblatt.errors import FilterError, listed, nearest
from rosenblatt.runs.store.schema import metrics, params, runs, tags

SILENT = 60.0  # seconds without a sign of life after which a run is lost
_TOKEN = re.compile(
    r"""\s*(?: (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
             | (?P<operator><=|>=|!=|<>|==|=|<|>|\(|\)|,)
             | (?P<word>(?:[^\s=<>!()'",`]|`[^`]*`|(?<=\.)"[^"]*")+) )""",
    re.VERBOSE,
)
_OPERATORS: dict[str, Callable[..., Any]] = {
    "=": sql.eq, "==": sql.eq, "!=": sql.ne, "<>": sql.ne, "<": sql.lt, "<=": sql.le, ">": sql.gt, ">=": sql.ge,
}  # fmt: skip
_MEASURES = ("last", "best", "min", "max", "step")
_NUMBERS = ("number", "duration")
_TIMES = ("started", "ended", "beat")


@dataclass(frozen=True)
class _Token:
    kind: str  # text, operator, word, end
    words: str
    place: int


@dataclass(frozen=True)
class Field:
    """What a filter speaks of: an attribute of a run, or a hyperparameter, tag or metric of a name."""

    group: str  # attribute, params, tags, metrics
    name: str
    measure: str = "last"

    def column(self, numeric: bool) -> ColumnElement[Any]:
        """Its value for each run."""
        if self.group == "attribute":
            return _attributes()[self.name]
        table = {"params": params, "tags": tags, "metrics": metrics}[self.group]
        if self.group == "metrics":
            found: Any = case((metrics.c.best == "min", metrics.c.min), else_=metrics.c.max)
            value = found if self.measure == "best" else metrics.c[self.measure]
        else:
            value = params.c.number if numeric and self.group == "params" else table.c.text
        query = select(value).where(table.c.run == runs.c.id, table.c.name == self.name)
        return query.correlate(runs).scalar_subquery()

    def is_there(self) -> ColumnElement[bool]:
        """Whether a run has it at all."""
        if self.group == "attribute":
            return _attributes()[self.name].is_not(None)
        table = {"params": params, "tags": tags, "metrics": metrics}[self.group]
        return select(table.c.run).where(table.c.run == runs.c.id, table.c.name == self.name).correlate(runs).exists()


def condition(filter_: str) -> tuple[ColumnElement[bool], list[Field]]:
    """The condition that a filter is, and the fields it speaks of. Raises FilterError, which points at the place."""
    parser = _Parser(filter_)
    found = parser.either()
    parser.take_end()
    return found, parser.fields


def order(by: str) -> tuple[list[ColumnElement[Any]], Field]:
    """What to sort by: a field, from the highest on with a minus before it. Raises FilterError."""
    falling, name = by.startswith("-"), by.lstrip("+-")
    parser = _Parser(name)
    field = parser.field()
    parser.take_end()
    columns = (
        [field.column(numeric=True), field.column(numeric=False)] if field.group == "params" else [field.column(True)]
    )
    return [(column.desc() if falling else column.asc()).nulls_last() for column in columns], field


def state() -> ColumnElement[Any]:
    """The state of a run: one that runs and has not been heard of is lost."""
    return case((is_silent(), "lost"), else_=runs.c.state)


def is_silent() -> ColumnElement[bool]:
    """Whether a run that is not ended was not heard of for long; a trial is heard of by its search."""
    searches = runs.alias()
    heard = select(searches.c.beat).where(searches.c.id == runs.c.parent).correlate(runs).scalar_subquery()
    return and_(runs.c.state == "running", func.coalesce(heard, runs.c.beat) < time.time() - SILENT)


def _attributes() -> dict[str, ColumnElement[Any]]:
    names = ("id", "experiment", "name", "kind", "reason", "started", "ended", "number", "parent", "identity")
    now = case((runs.c.state == "running", runs.c.beat), else_=runs.c.ended)
    return {name: runs.c[name] for name in names} | {"state": state(), "duration": now - runs.c.started}


class _Parser:
    def __init__(self, words: str) -> None:
        self._words, self._tokens = words, _tokens(words)
        self.fields: list[Field] = []

    @property
    def _next(self) -> _Token:
        return self._tokens[0]

    def _is(self, *words: str) -> bool:
        return self._next.kind in ("word", "operator") and self._next.words.lower() in words

    def _take(self) -> _Token:
        return self._tokens.pop(0) if self._next.kind != "end" else self._next

    def _refuse(self, expected: str, token: _Token | None = None) -> FilterError:
        token = token or self._next
        came = "the filter ends" if token.kind == "end" else f"{token.words!r} came"
        return FilterError(f"{expected}, but {came}:\n  {self._words}\n  {' ' * token.place}^")

    def either(self) -> ColumnElement[bool]:
        return or_(*self._separated("or", self._both))

    def _both(self) -> ColumnElement[bool]:
        return and_(*self._separated("and", self._one))

    def _separated(self, word: str, read: Callable[[], ColumnElement[bool]]) -> list[ColumnElement[bool]]:
        found = [read()]
        while self._is(word):
            self._take()
            found.append(read())
        return found

    def _one(self) -> ColumnElement[bool]:
        if self._is("not"):
            self._take()
            return not_(self._one())
        if self._is("("):
            self._take()
            found = self.either()
            self._expect(")")
            return found
        return self._comparison()

    def _comparison(self) -> ColumnElement[bool]:
        field = self.field()
        found: ColumnElement[bool]
        if self._is("is"):
            self._take()
            negated = self._negated()
            if not self._is("null"):
                raise self._refuse("After 'is' null or not null was expected")
            self._take()
            return field.is_there() if negated else not_(field.is_there())
        negated = self._negated()
        if self._is("like"):
            if field.group == "metrics" or (field.group == "attribute" and field.name in (*_NUMBERS, *_TIMES)):
                raise self._refuse("A comparison such as < was expected, since 'like' is for words")
            self._take()
            token = self._take()
            if token.kind != "text":
                raise self._refuse("A pattern in quotes such as '%adam%' was expected", token)
            found = field.column(numeric=False).ilike(_unquoted(token.words))
        elif self._is("in"):
            self._take()
            found = self._among(field)
        elif negated or self._next.words not in _OPERATORS:
            raise self._refuse("An operator such as = or < was expected")
        else:
            compare = _OPERATORS[self._take().words]
            found = _compared(field, compare, self._value(field))
        return not_(found) if negated else found

    def _negated(self) -> bool:
        if self._is("not"):
            self._take()
            return True
        return False

    def _among(self, field: Field) -> ColumnElement[bool]:
        self._expect("(")
        found = self._separated(",", lambda: _compared(field, sql.eq, self._value(field)))
        self._expect(")")
        return or_(*found)

    def _expect(self, sign: str) -> None:
        if not self._is(sign):
            raise self._refuse(f"{sign!r} was expected")
        self._take()

    def take_end(self) -> None:
        if self._next.kind != "end":
            raise self._refuse("'and', 'or' or the end was expected")

    def field(self) -> Field:
        token = self._take()
        if token.kind != "word":
            raise self._refuse("A field such as params.activation or metrics.auc was expected", token)
        group, dot, name = token.words.partition(".")
        if dot and group in ("params", "tags", "metrics"):
            measure = "last"
            if group == "metrics" and name.rpartition(".")[2] in _MEASURES and name.rpartition(".")[0]:
                name, _, measure = name.rpartition(".")
            if len(name) > 1 and name[0] == name[-1] and name[0] in '`"':
                name = name[1:-1]
            found = Field(group, name, measure)
        elif token.words in _attributes():
            found = Field("attribute", token.words)
        else:
            known = [*_attributes(), "params.NAME", "metrics.NAME", "tags.NAME"]
            near = nearest(token.words, known)
            raise self._refuse(
                f"A field was expected, one of {listed(known, 20)}{near and ' (' + near.strip() + ')'}", token
            )
        self.fields.append(found)
        return found

    def _value(self, field: Field) -> str | float:
        token = self._take()
        if token.kind not in ("text", "word") or (token.kind == "word" and token.words.lower() in ("and", "or", "not")):
            raise self._refuse("A number, or a word in quotes, was expected", token)
        words = _unquoted(token.words) if token.kind == "text" else token.words
        is_attribute = field.group == "attribute"
        if is_attribute and field.name in _TIMES:
            return self._seconds(words, token)
        if field.group == "tags" or (is_attribute and field.name not in _NUMBERS):
            return words
        try:
            number = float(words)
        except ValueError:
            number = None
        if number is None and field.group != "params":
            raise self._refuse("A number was expected", token)
        return words if number is None or (token.kind == "text" and field.group == "params") else number

    def _seconds(self, words: str, token: _Token) -> float:
        try:
            return float(words) if words.replace(".", "").isdigit() and len(words) > 8 else _time_of(words)
        except ValueError:
            raise self._refuse("A time such as '2026-11-23 14:30' was expected", token) from None


def _tokens(words: str) -> list[_Token]:
    found, place = [], 0
    while words[place:].strip():
        match = _TOKEN.match(words, place)
        if not match or not match.lastgroup:
            place += len(words[place:]) - len(words[place:].lstrip())
            raise FilterError(
                f"A field, an operator or a value was expected, but {words[place]!r} came:\n  {words}\n  {' ' * place}^"
            )
        found.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        place = match.end()
    return [*found, _Token("end", "", len(words))]


def _time_of(words: str) -> float:
    """Seconds since 1970 of a time; a year alone is its beginning."""
    return datetime.fromisoformat(f"{words}-01-01" if re.fullmatch(r"\d{4}", words) else words).timestamp()


def _unquoted(words: str) -> str:
    return words[1:-1].replace(words[0] * 2, words[0])


def _compared(field: Field, compare: Callable[..., Any], value: str | float) -> ColumnElement[bool]:
    numeric = isinstance(value, float)
    column = field.column(numeric)
    if isinstance(value, float) and math.isnan(value):
        if field.group != "metrics" or compare not in (sql.eq, sql.ne):
            return false()
        missing: ColumnElement[bool] = and_(field.is_there(), column.is_(null()))
        return missing if compare is sql.eq else and_(field.is_there(), not_(missing))
    return compare(column, value)
