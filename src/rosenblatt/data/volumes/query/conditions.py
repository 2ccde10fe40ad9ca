"""Syntax tree of the conditions of a query."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias

from rosenblatt.errors import QueryError
from rosenblatt.runs.condition_parser import mark_position

Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]
FLIPPED: dict[Operator, Operator] = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
NEGATED: dict[Operator, Operator] = {"=": "!=", "!=": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


@dataclass(frozen=True)
class QueryPlace:
    """A position in the text of a query, for error messages."""

    text: str = field(repr=False)
    position: int

    def error(self, message: str) -> QueryError:
        """The error with the query and a mark below the position."""
        return QueryError(f"{message}:\n{mark_position(self.text, self.position)}")


@dataclass(frozen=True)
class ColumnName:
    """A column of the volume; `may_be_text` where a word without quotes may have been meant as a text."""

    name: str
    place: QueryPlace = field(compare=False)
    may_be_text: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Value:
    """A number (also NaN or infinite), a text or a date, or true or false."""

    value: Decimal | str | bool
    place: QueryPlace = field(compare=False)
    is_date: bool = field(default=False, compare=False)  # a date without quotes, which is no text


@dataclass(frozen=True)
class ComparisonCondition:
    """A column compared with a value or with another column."""

    column: ColumnName
    operator: Operator
    operand: ColumnName | Value


@dataclass(frozen=True)
class InValues:
    """Whether the value of a column is one of those listed."""

    column: ColumnName
    values: tuple[Value, ...]


@dataclass(frozen=True)
class InColumn:
    """Whether a value, or the value of a column, is an item of the lists of another column."""

    item: ColumnName | Value
    column: ColumnName


@dataclass(frozen=True)
class Like:
    """Whether a text matches a pattern, in which % stands for any characters and _ for one."""

    column: ColumnName
    pattern: str
    ignores_case: bool


@dataclass(frozen=True)
class IsNull:
    """Whether a value is missing."""

    column: ColumnName


@dataclass(frozen=True)
class Not:
    """The negation of a condition."""

    condition: Condition


@dataclass(frozen=True)
class Combination:
    """Two or more conditions, all of which ("and") or one of which ("or") must hold."""

    operator: Literal["and", "or"]
    conditions: tuple[Condition, ...]


Condition: TypeAlias = ComparisonCondition | InValues | InColumn | Like | IsNull | Not | Combination


def condition_columns(condition: Condition) -> Iterator[ColumnName]:
    """The columns that a condition refers to, in the order of the text, with repetitions."""
    match condition:
        case Not(inner):
            yield from condition_columns(inner)
        case Combination(_, conditions):
            for inner in conditions:
                yield from condition_columns(inner)
        case ComparisonCondition(column, _, operand):
            yield column
            if isinstance(operand, ColumnName):
                yield operand
        case InColumn(item, column):
            if isinstance(item, ColumnName):
                yield item
            yield column
        case _:
            yield condition.column
