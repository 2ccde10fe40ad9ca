"""Constants that a training function uses: its defaults, closure and global variables."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any


def function_constants(function: Callable[..., Any]) -> dict[str, str]:
    """The numbers, texts and tuples of them that a function uses, as text by name.

    Lists and dictionaries do not count, since functions collect results in them.
    """
    values: dict[str, Any] = {}
    while isinstance(function, partial):
        values |= {f"argument {k}": value for k, value in enumerate(function.args)} | function.keywords
        function = function.func
    if hasattr(function, "__func__"):  # a method
        attributes = getattr(getattr(function, "__self__", None), "__dict__", {})
        values |= {f"self.{name}": value for name, value in attributes.items()}
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is not None:
        variables = getattr(function, "__globals__", {})
        values |= {name: variables[name] for name in code.co_names if name in variables}
        cells = zip(code.co_freevars, getattr(function, "__closure__", None) or (), strict=True)
        values |= {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
        values |= {f"default {k}": value for k, value in enumerate(getattr(function, "__defaults__", None) or ())}
        values |= getattr(function, "__kwdefaults__", None) or {}
    return {name: repr(value) for name, value in sorted(values.items()) if _is_constant(value)}


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - raises if it is empty
    except ValueError:
        return False
    return True


def _is_constant(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, bool | int | float | complex | str | bytes)
