"""Parser of queries of volumes, such as `label in ('cat', 'dog') and width > 200 @split=train @sample=10%`.

query      = { option } [ condition ] { option }        (options also between the terms of "and" and "or")
comparison = operand [ operator operand ]               (without operator: a Boolean column)
           | column [ "not" ] ( "like" | "ilike" ) text
           | column [ "not" ] "in" "(" value { "," value } ")"
           | operand [ "not" ] "in" column
           | column "is" [ "not" ] "null"
operand    = column | value
value      = number | text | date | "true" | "false"
option     = "@" name ( "=" | "!=" ) word
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, cast

from rosenblatt.data.volumes.query.conditions import (
    FLIPPED,
    ColumnName,
    Combination,
    ComparisonCondition,
    Condition,
    InColumn,
    InValues,
    IsNull,
    Like,
    Not,
    Operator,
    QueryPlace,
    Value,
)
from rosenblatt.data.volumes.query.options import OPTIONS, FoldOption, SplitOption
from rosenblatt.errors import QueryError, did_you_mean, format_list
from rosenblatt.runs.condition_parser import ConditionParser, Token, unquote

MAX_NUMBER_CHARACTERS = 100
MIN_NUMBER, MAX_NUMBER = Decimal(sys.float_info.min), Decimal(sys.float_info.max)  # of a Float64, beside 0
MAX_PATTERN_CHARACTERS = 500
MAX_COMPARISONS = 1_000  # each takes memory; a list after "in" is one
_KEYWORDS = ("and", "or", "not", "in", "like", "ilike", "is", "null")
_BOOLEANS = {"true": True, "false": False}
_OPERATORS = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?inf|nan", re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}(?:-[0-9]{2}(?:T[0-9:.+Z-]+)?)?")


@dataclass(frozen=True)
class Query:
    """A parsed query. Whether its columns exist is known only with the schema of a version."""

    text: str = ""
    condition: Condition | None = None
    version: int | str | None = None
    split: SplitOption | None = None
    fold: FoldOption | None = None
    sample: Fraction | None = None
    seed: int | None = None
    group: ColumnName | None = None
    limit: int | None = None
    places: Mapping[str, QueryPlace] = field(
        default_factory=dict, compare=False, repr=False
    )  # of the values of options


def parse_query(text: str) -> Query:
    """Parse a query. Raises QueryError, whose message points at the position."""
    if not isinstance(text, str):
        raise TypeError(f"expected a query, such as label = 'cat', but got {text!r}")
    return _QueryParser(text).parse()


class _QueryParser(ConditionParser[Condition]):
    error_class, noun = QueryError, "query"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._n_comparisons = 0
        self._options: dict[str, Any] = {}
        self._places: dict[str, QueryPlace] = {}

    def parse(self) -> Query:
        self._parse_options()
        condition = self.parse_condition() if self._next.kind != "end" else None
        self.expect_end()
        return replace(Query(self._text, condition, places=self._places), **self._options)

    def combine(self, operator: str, conditions: Sequence[Condition]) -> Condition:
        return Combination(cast("Literal['and', 'or']", operator), tuple(conditions))

    def negate(self, condition: Condition) -> Condition:
        return Not(condition)

    def _parse_term(self) -> Condition:
        condition = super()._parse_term()
        if self._depth == 0:
            self._parse_options()
        return condition

    def parse_comparison(self) -> Condition:
        first = self._next
        self._n_comparisons += 1
        if self._n_comparisons > MAX_COMPARISONS:
            raise self._error(f"Expected at most {MAX_COMPARISONS:,} comparisons (list values after 'in')")
        operand = self._parse_operand(may_be_text=False)
        negated = self._accept("not")
        if self._next.text in _OPERATORS and not negated:
            return self._parse_operation(operand, first)
        if self._accept("in"):
            condition = self._parse_in(operand, first)
        elif self._matches("like", "ilike"):
            condition = self._parse_like(self._require_column(operand, first))
        elif not negated and self._accept("is"):
            negated = self._accept("not")
            if not self._accept("null"):
                raise self._error("Expected null or not null after 'is'")
            condition = IsNull(self._require_column(operand, first))
        elif not negated and isinstance(operand, ColumnName) and (self._matches("and", "or", ")") or self._ends_term()):
            return ComparisonCondition(operand, "=", Value(True, operand.place))
        else:
            raise self._error("Expected an operator such as = or <")
        return Not(condition) if negated else condition

    def _ends_term(self) -> bool:
        return self._next.kind == "end" or self._is_option(self._next)

    def _parse_operation(self, left: ColumnName | Value, first: Token) -> Condition:
        operator = cast("Operator", _OPERATORS[self._advance().text])
        right = self._parse_operand(may_be_text=True)
        if isinstance(left, ColumnName):
            return ComparisonCondition(left, operator, right)
        return ComparisonCondition(self._require_column(right, first), FLIPPED[operator], left)

    def _parse_in(self, item: ColumnName | Value, first: Token) -> Condition:
        if not self._accept("("):
            lists = self._parse_operand(may_be_text=False)
            if isinstance(lists, Value):
                raise lists.place.error("Expected values in parentheses such as ('a', 'b'), or a column of lists")
            return InColumn(item, lists)
        column = self._require_column(item, first)
        values = self._parse_separated(",", self._parse_value)
        self._expect(")")
        return InValues(column, tuple(values))

    def _parse_like(self, column: ColumnName) -> Condition:
        ignores_case = self._advance().text.lower() == "ilike"
        token = self._advance()
        if token.kind != "text":
            raise self._error("Expected a pattern in quotes such as '%cat%'", token)
        if len(token.text) > MAX_PATTERN_CHARACTERS:
            raise self._error(f"Expected a pattern of at most {MAX_PATTERN_CHARACTERS} characters", token)
        return Like(column, unquote(token.text), ignores_case)

    def _parse_value(self) -> Value:
        token = self._next
        operand = self._parse_operand(may_be_text=True)
        if isinstance(operand, ColumnName):
            raise self._error("Expected a number, or a text in quotes", token)
        return operand

    def _parse_operand(self, *, may_be_text: bool) -> ColumnName | Value:
        token = self._advance()
        place, word = QueryPlace(self._text, token.position), token.text.lower()
        if token.kind == "text":
            return Value(unquote(token.text), place)
        if self._is_option(token):
            raise self._error("Expected a condition: options stand after it, without 'and', 'or' or parentheses", token)
        if word == "null":
            raise self._error("Expected a value; missing values are found by 'is null' and 'is not null'", token)
        if token.kind != "word" or word in _KEYWORDS:
            raise self._error("Expected a column, a number, or a text in quotes", token)
        if word in _BOOLEANS:
            return Value(_BOOLEANS[word], place)
        if _NUMBER.fullmatch(word):
            return Value(self._parse_number(token), place)
        if _DATE.fullmatch(token.text):
            return Value(token.text, place, is_date=True)
        return ColumnName(_unquote_name(token.text), place, may_be_text)

    def _parse_number(self, token: Token) -> Decimal:
        number = Decimal(token.text) if len(token.text) <= MAX_NUMBER_CHARACTERS else None
        if number is None or (number.is_finite() and number and not MIN_NUMBER <= abs(number) <= MAX_NUMBER):
            raise self._error(
                f"Expected a number of at most {MAX_NUMBER_CHARACTERS} characters, from 1e-307 to 1e308", token
            )
        return number or Decimal(0)

    def _require_column(self, operand: ColumnName | Value, token: Token) -> ColumnName:
        if isinstance(operand, Value):
            raise self._error("Expected a column on one side, without quotes or in backticks", token)
        return operand

    @staticmethod
    def _is_option(token: Token) -> bool:
        return token.kind == "word" and token.text.startswith("@")

    def _parse_options(self) -> None:
        while self._is_option(self._next):
            self._parse_option()

    def _parse_option(self) -> None:
        token = self._advance()
        name = token.text[1:]
        if name not in OPTIONS:
            names = [f"@{option}" for option in OPTIONS]
            suggestion = did_you_mean(token.text, names).strip()
            raise self._error(f"Expected one of {format_list(names)}{suggestion and f' ({suggestion})'}", token)
        if name in self._options:
            raise self._error(f"Expected @{name} only once", token)
        is_excluded = name == "fold" and self._matches("!=", "<>")
        if not is_excluded and not self._matches("=", "=="):
            raise self._error(f"Expected {'= or !=' if name == 'fold' else '='} after @{name}")
        self._advance()
        value = self._parse_option_value(name)
        self._options[name] = replace(value, is_excluded=True) if is_excluded else value

    def _parse_option_value(self, name: str) -> Any:
        token = self._advance()
        is_value = token.kind in ("word", "text") and not self._is_option(token)
        text = unquote(token.text) if token.kind == "text" else _unquote_name(token.text)
        try:
            value = OPTIONS[name].parse(text if is_value else "")
        except ValueError:
            raise self._error(f"Expected {OPTIONS[name].expected}", token) from None
        self._places[name] = QueryPlace(self._text, token.position)
        return ColumnName(value, self._places[name]) if name == "group" else value


def _unquote_name(word: str) -> str:
    """The name of a column, of which any part may stand in backticks; a doubled one inside stands for itself."""
    return unquote(word) if len(word) > 1 and word[0] == word[-1] == "`" else word
