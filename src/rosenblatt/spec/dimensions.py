"""Dimensions of a search space: the values a searched hyperparameter may take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from rosenblatt.errors import SpecError, did_you_mean, format_list

Condition = Mapping[str, Sequence[Any]]

HIDDEN_LAYERS, HIDDEN_WIDTH = "hidden_layers", "hidden_width"
SHAPE_DIMENSIONS = {HIDDEN_LAYERS: "Number of hidden layers.", HIDDEN_WIDTH: "Units of every hidden layer."}
"""Dimensions that are no hyperparameters: together they set `hidden_sizes`."""


class _Dimension(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    when: dict[str, tuple[Any, ...]] = {}  # searched only if each of these hyperparameters has one of these values


class Choice(_Dimension):
    """One of several values."""

    kind: Literal["choice"] = "choice"
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"one of {format_list(self.values)}"


class Uniform(_Dimension):
    """A number between two bounds, both included, with uniform density."""

    kind: Literal["uniform"] = "uniform"
    low: float
    high: float

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}"


class LogUniform(_Dimension):
    """A number between two positive bounds, with uniform density on a log scale."""

    kind: Literal["log_uniform"] = "log_uniform"
    low: float
    high: float

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g} (log scale)"


class Integer(_Dimension):
    """A whole number between two bounds, both included."""

    kind: Literal["integer"] = "integer"
    low: int
    high: int
    log: bool = False  # uniform on a log scale

    def __str__(self) -> str:
        return f"a whole number from {self.low} to {self.high}{' (log scale)' if self.log else ''}"


Dimension = Annotated[Choice | Uniform | LogUniform | Integer, Field(discriminator="kind")]
_DIMENSION: TypeAdapter[Dimension] = TypeAdapter(Dimension)


def choice(*values: Any, when: Condition | None = None) -> Choice:
    """Search one of these values.

    >>> choice((64,), (128, 64)).values
    ((64,), (128, 64))

    Args:
        *values: The values to choose from.
        when: Hyperparameters, and the values of each for which this one is searched.

    Raises:
        SpecError: If there is no value, or one occurs twice.
    """
    if len(values) == 0:
        raise SpecError("choice needs at least one value, but got none. Add the values to choose from.")
    normalized = tuple(_normalize_value(value) for value in values)
    if len({str(value) for value in normalized}) < len(normalized):
        raise SpecError(
            f"choice needs distinct values, but one occurs twice: {format_list(normalized)}. Remove one of them."
        )
    return Choice(values=normalized, when=_condition(when))


def uniform(low: float, high: float, when: Condition | None = None) -> Uniform:
    """Search a number from `low` to `high`. Raises SpecError if the range is empty."""
    return Uniform(low=_number(low), high=_check_range("uniform", low, high), when=_condition(when))


def log_uniform(low: float, high: float, when: Condition | None = None) -> LogUniform:
    """Search a number from `low` to `high` on a log scale. Raises SpecError if the range is empty or not positive."""
    if _number(low) <= 0:
        raise SpecError(f"log_uniform needs bounds above 0, but its range starts at {low}. Use uniform.")
    return LogUniform(low=_number(low), high=_check_range("log_uniform", low, high), when=_condition(when))


def integer(low: int, high: int, log: bool = False, when: Condition | None = None) -> Integer:
    """Search a whole number from `low` to `high`, both included. Raises SpecError if the range is empty."""
    for bound in (low, high):
        if _number(bound) != int(bound):
            raise SpecError(f"integer needs whole numbers, but got {bound}. Use uniform.")
    if log and low < 1:
        raise SpecError(
            f"integer with log needs bounds of at least 1, but its range starts at {low}. Raise it, or remove log."
        )
    return Integer(low=int(low), high=int(_check_range("integer", low, high)), log=log, when=_condition(when))


def parse_dimension(name: str, raw_value: Any) -> Dimension | None:
    """Parse a dimension in the form of TOML, such as `{ log_uniform = [1e-4, 0.1] }`; return None for a fixed value.

    Raises:
        SpecError: If it is not a valid dimension; the message names the hyperparameter.
    """
    if isinstance(raw_value, _Dimension):
        return raw_value  # type: ignore[return-value]
    if not isinstance(raw_value, Mapping):
        return None
    if "kind" in raw_value:  # saved with model_dump
        return _DIMENSION.validate_python({key: _normalize_value(item) for key, item in raw_value.items()})
    kinds: dict[str, Any] = {"choice": choice, "uniform": uniform, "log_uniform": log_uniform, "integer": integer}
    used_kinds = [key for key in raw_value if key in kinds]
    if len(used_kinds) != 1 or not isinstance(raw_value[used_kinds[0]], list | tuple):
        unknown = next((key for key in raw_value if key not in {*kinds, "when", "log"}), "")
        raise SpecError(
            f"{name} in [space] must be {{ choice = [...] }}, {{ uniform = [low, high] }}, {{ log_uniform = [low, high]"
            f" }}, {{ integer = [low, high] }} or a fixed value, but it is {dict(raw_value)!r}."
            f"{did_you_mean(unknown, kinds)}"
        )
    options = {key: value for key, value in raw_value.items() if key != used_kinds[0]}
    try:
        dimension: Dimension = kinds[used_kinds[0]](*raw_value[used_kinds[0]], **options)
    except SpecError as error:
        raise SpecError(f"{name} in [space]: {error}") from None
    except (TypeError, ValueError):
        raise SpecError(
            f"{name} in [space]: {used_kinds[0]} takes "
            f"{'values' if used_kinds[0] == 'choice' else 'a low and a high bound'}, but it is {dict(raw_value)!r}."
        ) from None
    return dimension


def _condition(when: Condition | None) -> dict[str, tuple[Any, ...]]:
    if when is not None and not isinstance(when, Mapping):
        raise SpecError(
            f"when must map hyperparameters to values, such as {{ optimizer = ['adam'] }}, but it is {when!r}."
        )
    return {
        name: tuple(values) if isinstance(values, list | tuple | set) else (values,)
        for name, values in (when or {}).items()
    }


def _normalize_value(value: Any) -> Any:
    """Convert lists to tuples, and NumPy numbers to Python numbers."""
    if isinstance(value, list | tuple):
        return tuple(_normalize_value(item) for item in value)
    return value.item() if hasattr(value, "item") else value


def _number(value: Any) -> float:
    value = _normalize_value(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SpecError(f"The bounds of a range must be finite numbers, but one is {value!r}. Correct it.")
    return value


def _check_range(kind: str, low: float, high: float) -> float:
    if _number(high) < _number(low):
        raise SpecError(f"{kind} needs a low and a high bound, but {low} is above {high}. Swap them.")
    return _number(high)
