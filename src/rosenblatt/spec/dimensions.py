"""Dimensions of a search space: the values a searched hyperparameter may take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rosenblatt.errors import SpecError, did_you_mean, format_list

Condition = Mapping[str, Sequence[Any]]

HIDDEN_LAYERS, HIDDEN_WIDTH = "hidden_layers", "hidden_width"
SHAPE_DIMENSIONS = {HIDDEN_LAYERS: "Number of hidden layers.", HIDDEN_WIDTH: "Units of every hidden layer."}
"""Names that only a space knows: together they make `hidden_sizes`."""


class _Dimension(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    when: dict[str, tuple[Any, ...]] = {}  # only where these hyperparameters have one of these values


class Choice(_Dimension):
    """One of some values."""

    kind: Literal["choice"] = "choice"
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"one of {format_list(self.values)}"


class Uniform(_Dimension):
    """Any number between two."""

    kind: Literal["uniform"] = "uniform"
    low: float
    high: float

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}"


class LogUniform(_Dimension):
    """Any number between two above 0, each order of magnitude as likely."""

    kind: Literal["log_uniform"] = "log_uniform"
    low: float
    high: float

    def __str__(self) -> str:
        return f"from {self.low:g} to {self.high:g}, by its logarithm"


class Integer(_Dimension):
    """Any whole number between two."""

    kind: Literal["integer"] = "integer"
    low: int
    high: int
    log: bool = False  # each order of magnitude as likely

    def __str__(self) -> str:
        return f"whole, from {self.low} to {self.high}{', by its logarithm' if self.log else ''}"


Dimension = Annotated[Choice | Uniform | LogUniform | Integer, Field(discriminator="kind")]


def choice(*values: Any, when: Condition | None = None) -> Choice:
    """One of these values. `when` names hyperparameters and the values of theirs beside which it means something.

    >>> choice((64,), (128, 64)).values
    ((64,), (128, 64))
    """
    if len(values) == 0:
        raise SpecError("choice needs one value at least, but got none.")
    normalized = tuple(_normalize_value(value) for value in values)
    if len({str(value) for value in normalized}) < len(normalized):
        raise SpecError(f"choice holds a value twice: {format_list(normalized)}. Leave one of them out.")
    return Choice(values=normalized, when=_condition(when))


def uniform(low: float, high: float, when: Condition | None = None) -> Uniform:
    """Any number from `low` to `high`. Raises SpecError for an empty range."""
    return Uniform(low=_number(low), high=_check_range("uniform", low, high), when=_condition(when))


def log_uniform(low: float, high: float, when: Condition | None = None) -> LogUniform:
    """Any number from `low` to `high`, each order of magnitude as likely. Raises SpecError for an empty range."""
    if _number(low) <= 0:
        raise SpecError(f"log_uniform needs numbers above 0, but its range starts at {low}. Use uniform.")
    return LogUniform(low=_number(low), high=_check_range("log_uniform", low, high), when=_condition(when))


def integer(low: int, high: int, log: bool = False, when: Condition | None = None) -> Integer:
    """Any whole number from `low` to `high`, both included. Raises SpecError for an empty range."""
    for bound in (low, high):
        if _number(bound) != int(bound):
            raise SpecError(f"integer needs whole numbers, but got {bound}. Use uniform.")
    if log and low < 1:
        raise SpecError(f"integer with log needs numbers from 1 on, but its range starts at {low}.")
    return Integer(low=int(low), high=int(_check_range("integer", low, high)), log=log, when=_condition(when))


def parse_dimension(name: str, raw_value: Any) -> Dimension | None:
    """A dimension as TOML writes it, `{ log_uniform = [1e-4, 0.1] }`; None where it is a fixed value.

    Raises SpecError, naming the hyperparameter.
    """
    if isinstance(raw_value, _Dimension):
        return raw_value  # type: ignore[return-value]
    if not isinstance(raw_value, Mapping):
        return None
    if "kind" in raw_value:  # as it was saved
        return _from_saved(raw_value)
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
            f"{'values' if used_kinds[0] == 'choice' else 'a low and a high number'}, but got {dict(raw_value)!r}."
        ) from None
    return dimension


def _from_saved(value: Mapping[str, Any]) -> Dimension:
    kinds: dict[str, type[_Dimension]] = {
        "choice": Choice, "uniform": Uniform, "log_uniform": LogUniform, "integer": Integer,
    }  # fmt: skip
    fields = dict(value)
    if "values" in fields:
        fields["values"] = tuple(tuple(v) if isinstance(v, list) else v for v in fields["values"])
    return kinds[value["kind"]].model_validate(fields)  # type: ignore[return-value]


def _condition(when: Condition | None) -> dict[str, tuple[Any, ...]]:
    if when is not None and not isinstance(when, Mapping):
        raise SpecError(f"when must name hyperparameters and their values, but it is {when!r}.")
    return {
        name: tuple(values) if isinstance(values, list | tuple | set) else (values,)
        for name, values in (when or {}).items()
    }


def _normalize_value(value: Any) -> Any:
    """Lists as tuples, and NumPy's numbers as Python's."""
    if isinstance(value, list | tuple):
        return tuple(_normalize_value(item) for item in value)
    return value.item() if hasattr(value, "item") else value


def _number(value: Any) -> float:
    value = _normalize_value(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SpecError(f"the ends of a range must be finite numbers, but one is {value!r}.")
    return value


def _check_range(kind: str, low: float, high: float) -> float:
    if _number(high) < _number(low):
        raise SpecError(f"{kind} needs a range, but from {low} to {high} there is nothing. Swap its ends.")
    return _number(high)
