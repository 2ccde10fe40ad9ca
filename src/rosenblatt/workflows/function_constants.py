"""Constants that a training function uses: its defaults, closure and global variables, and those of its helpers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import CodeType, FunctionType
from typing import Any


def function_constants(function: Callable[..., Any]) -> dict[str, str]:
    """The numbers, texts and tuples of them that a function uses, as text by name.

    Functions and classes of the same module that it uses count with it, under their names. Lists and dictionaries do
    not count, since functions collect results in them.
    """
    values: dict[str, Any] = {}
    while isinstance(function, partial):
        values |= {f"argument {k}": value for k, value in enumerate(function.args)} | function.keywords
        function = function.func
    if hasattr(function, "__func__"):  # a method
        attributes = getattr(getattr(function, "__self__", None), "__dict__", {})
        values |= {f"self.{name}": value for name, value in attributes.items()}
    function = getattr(function, "__func__", function)
    if isinstance(function, FunctionType):
        _add_variables(values, function, "", set())
    return {name: repr(value) for name, value in sorted(values.items()) if _is_constant(value)}


def _add_variables(values: dict[str, Any], function: FunctionType, prefix: str, seen: set[int]) -> None:
    """Add the variables of a function, and of the functions and classes of its module among them."""
    seen.add(id(function))
    variables = _load_variables(function)
    values |= {f"{prefix}{name}": value for name, value in variables.items()}
    for name, value in variables.items():
        for helper_name, helper in _find_functions(name, value):
            if helper.__globals__ is function.__globals__ and id(helper) not in seen:
                _add_variables(values, helper, f"{helper_name}: ", seen)


def _load_variables(function: FunctionType) -> Mapping[str, Any]:
    """The values of global variables, closure and defaults of a function, by name."""
    code = function.__code__
    variables = {name: function.__globals__[name] for name in _global_names(code) if name in function.__globals__}
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    variables |= {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
    variables |= {f"default {k}": value for k, value in enumerate(function.__defaults__ or ())}
    return variables | (function.__kwdefaults__ or {})


def _global_names(code: CodeType) -> Iterator[str]:
    """The names that may be global variables, also in functions that are defined inside."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _find_functions(name: str, value: Any) -> Iterator[tuple[str, FunctionType]]:
    """The function that a variable holds, or the methods of its class, with their names."""
    if isinstance(value, type):
        for attribute, method in vars(value).items():
            yield from _find_functions(f"{name}.{attribute}", getattr(method, "__func__", method))
    elif isinstance(value, FunctionType):
        yield name, value


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
