"""In: what a user writes of a hyperparameter that is to be searched. Out: the values it may take, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rosenblatt.errors import SpecError, listed, nearest

Condition = Mapping[str, Sequence[Any]]

LAYERS, WIDTH = "hidden_layers", "hidden_width"
SHAPE = {LAYERS: "Number of hidden layers.", WIDTH: "Units of every hidden layer."}
"""Names that only a space knows: together they make `hidden_sizes`."""


class _Dimension(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    when: dict[str, tuple[Any, ...]] = {}  # only where these hyperparameters have one of these values


class Choice(_Dimension):
    """One of some values."""

    kind: Literal["choice"] = "choice"
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"one of {listed(self.values)}"


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
    plain = tuple(_plain(value) for value in values)
    if len({str(value) for value in plain}) < len(plain):
        raise SpecError(f"choice holds a value twice: {listed(plain)}. Leave one of them out.")
    return Choice(values=plain, when=_condition(when))


def uniform(low: float, high: float, when: Condition | None = None) -> Uniform:
    """Any number from `low` to `high`. Raises SpecError for an empty range."""
    return Uniform(low=_number(low), high=_ends("uniform", low, high), when=_condition(when))


def log_uniform(low: float, high: float, when: Condition | None = None) -> LogUniform:
    """Any number from `low` to `high`, each order of magnitude as likely. Raises SpecError for an empty range."""
    if _number(low) <= 0:
        raise SpecError(f"log_uniform needs numbers above 0, but its range starts at {low}. Use uniform.")
    return LogUniform(low=_number(low), high=_ends("log_uniform", low, high), when=_condition(when))


def integer(low: int, high: int, log: bool = False, when: Condition | None = None) -> Integer:
    """Any whole number from `low` to `high`, both included. Raises SpecError for an empty range."""
    for end in (low, high):
        if _number(end) != int(end):
            raise SpecError(f"integer needs whole numbers, but got {end}. Use uniform.")
    if log and low < 1:
        raise SpecError(f"integer with log needs numbers from 1 on, but its range starts at {low}.")
    return Integer(low=int(low), high=int(_ends("integer", low, high)), log=log, when=_condition(when))


def dimension_of(name: str, written: Any) -> Dimension | None:
    """A dimension as TOML writes it, `{ log_uniform = [1e-4, 0.1] }`; None where it is a fixed value.

    Raises SpecError, naming the hyperparameter.
    """
    if isinstance(written, _Dimension):
        return written  # type: ignore[return-value]
    if not isinstance(written, Mapping):
        return None
    if "kind" in written:  # as it was saved
        return _saved(written)
    kinds: dict[str, Any] = {"choice": choice, "uniform": uniform, "log_uniform": log_uniform, "integer": integer}
    named = [key for key in written if key in kinds]
    if len(named) != 1 or not isinstance(written[named[0]], list | tuple):
        unknown = next((key for key in written if key not in {*kinds, "when", "log"}), "")
        raise SpecError(
            f"{name} in [space] must be {{ choice = [...] }}, {{ uniform = [low, high] }}, {{ log_uniform = [low, high]"
            f" }}, {{ integer = [low, high] }} or a fixed value, but it is {dict(written)!r}.{nearest(unknown, kinds)}"
        )
    rest = {key: value for key, value in written.items() if key != named[0]}
    try:
        made: Dimension = kinds[named[0]](*written[named[0]], **rest)
    except SpecError as error:
        raise SpecError(f"{name} in [space]: {error}") from None
    except (TypeError, ValueError):
        raise SpecError(
            f"{name} in [space]: {named[0]} takes {'values' if named[0] == 'choice' else 'a low and a high number'}, "
            f"but got {dict(written)!r}."
        ) from None
    return made


def _saved(written: Mapping[str, Any]) -> Dimension:
    kinds: dict[str, type[_Dimension]] = {
        "choice": Choice, "uniform": Uniform, "log_uniform": LogUniform, "integer": Integer,
    }  # fmt: skip
    plain = dict(written)
    if "values" in plain:
        plain["values"] = tuple(tuple(v) if isinstance(v, list) else v for v in plain["values"])
    return kinds[written["kind"]].model_validate(plain)  # type: ignore[return-value]


def _condition(when: Condition | None) -> dict[str, tuple[Any, ...]]:
    if when is not None and not isinstance(when, Mapping):
        raise SpecError(f"when must name hyperparameters and their values, but it is {when!r}.")
    return {
        name: tuple(values) if isinstance(values, list | tuple | set) else (values,)
        for name, values in (when or {}).items()
    }


def _plain(value: Any) -> Any:
    """Lists as tuples, and NumPy's numbers as Python's."""
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return value.item() if hasattr(value, "item") else value


def _number(value: Any) -> float:
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SpecError(f"the ends of a range must be finite numbers, but one is {value!r}.")
    return value


def _ends(kind: str, low: float, high: float) -> float:
    if _number(high) < _number(low):
        raise SpecError(f"{kind} needs a range, but from {low} to {high} there is nothing. Swap its ends.")
    return _number(high)
