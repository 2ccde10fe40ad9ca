"""Compile the condition of a query to a Polars expression; null where a comparison with a missing value decides."""

from __future__ import annotations

import re

import polars as pl

from rosenblatt.data.volumes.query.columns import TypedColumn, as_instance, find_column, is_list
from rosenblatt.data.volumes.query.comparisons import compare_columns, compare_value, equals_any
from rosenblatt.data.volumes.query.conditions import (
    ColumnName,
    Combination,
    ComparisonCondition,
    Condition,
    InColumn,
    InValues,
    Like,
    Not,
    Value,
)

_SPECIAL_CHARACTERS = re.compile(r"[\\.+*?()|\[\]{}^$#&~-]")  # of regular expressions
_WILDCARD = re.compile(r"\\(.)|([%_])|([^%_\\]+|\\)", re.DOTALL)


def compile_condition(condition: Condition, schema: pl.Schema) -> pl.Expr:
    """Compile a condition on the columns of a schema.

    Returns:
        Boolean expression, null where a missing value leaves the condition undecided, as in SQL: neither `x = 1` nor
        `not x = 1` is true where x is null.

    Raises QueryError if a column does not exist or has an unsuitable type.
    """
    match condition:
        case Combination("and", conditions):
            return pl.all_horizontal([compile_condition(inner, schema) for inner in conditions])
        case Combination(_, conditions):
            return pl.any_horizontal([compile_condition(inner, schema) for inner in conditions])
        case Not(inner):
            return ~compile_condition(inner, schema)
        case ComparisonCondition(column, operator, ColumnName() as other):
            left = find_column(column, schema)
            return compare_columns(left, operator, find_column(other, schema))
        case ComparisonCondition(column, operator, Value() as value):
            return compare_value(find_column(column, schema), operator, value)
        case InValues(column, values):
            return equals_any(find_column(column, schema), values)
        case InColumn(item, column):
            return _compile_in_column(item, find_column(column, schema), schema)
        case Like(column):
            return _compile_like(condition, find_column(column, schema))
    return find_column(condition.column, schema).values.is_null()


def _compile_like(like: Like, column: TypedColumn) -> pl.Expr:
    if column.kind == "null":
        return pl.lit(None, dtype=pl.Boolean)
    if column.kind != "text":
        raise like.column.place.error(f"Expected a column of texts before 'like', but got {column}")
    return column.texts.str.contains(like_expression(like.pattern, ignores_case=like.ignores_case))


def like_expression(pattern: str, *, ignores_case: bool) -> str:
    r"""The regular expression of a pattern: % is any text, _ any character; \%, \_ and \\ stand for themselves.

    >>> like_expression("img\\_%.jpg", ignores_case=True)
    '(?si)\\Aimg_.*\\.jpg\\z'
    """

    def translate(match: re.Match[str]) -> str:
        escaped, wildcard, literal = match.groups()
        return {"%": ".*", "_": "."}.get(wildcard) or _SPECIAL_CHARACTERS.sub(r"\\\g<0>", escaped or literal)

    return rf"(?s{'i' if ignores_case else ''})\A{_WILDCARD.sub(translate, pattern)}\z"


def _compile_in_column(item: ColumnName | Value, lists: TypedColumn, schema: pl.Schema) -> pl.Expr:
    if not is_list(lists.dtype):
        raise lists.node.place.error(f"Expected a column of lists, or values in parentheses, but got {lists}")
    inner = as_instance(lists.dtype.inner)  # type: ignore[attr-defined]
    values = lists.values if isinstance(lists.dtype, pl.List) else lists.values.arr.to_list()
    if isinstance(item, Value):
        element = TypedColumn(lists.node, inner, pl.element(), lists.source)
        return values.list.eval(compare_value(element, "=", item)).list.any()
    column = find_column(item, schema)
    if column.dtype != inner or column.kind in ("null", "other"):
        raise item.place.error(f"Expected a column of type {inner}, as the items of {lists}, but got {column}")
    is_nan = column.values.is_nan() if column.kind == "float" else pl.lit(False)
    return pl.when(column.values.is_not_null()).then(values.list.contains(column.values) & ~is_nan)
