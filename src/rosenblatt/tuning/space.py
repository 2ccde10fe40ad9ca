"""In: a spec with a space. Out: which hyperparameters there are to propose, and the spec that proposed values make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rosenblatt.errors import SpecError, listed, nearest
from rosenblatt.spec.dimensions import (
    LAYERS,
    SHAPE,
    WIDTH,
    Choice,
    Dimension,
    Integer,
)
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS, in_words
from rosenblatt.spec.spec import Spec

DEFAULT_WIDTH, DEFAULT_LAYERS = 256, 2


@dataclass(frozen=True)
class Space:
    """The dimensions to search, those that conditions speak of before those that have them, round a fixed spec."""

    base: Spec
    dimensions: dict[str, Dimension]

    @classmethod
    def of(cls, spec: Spec) -> Space:
        """The space of a spec. Raises SpecError for conditions that never hold, or that go round in a circle."""
        ordered: dict[str, Dimension] = {}
        waiting = dict(spec.space)
        for name, dimension in waiting.items():
            for other, values in _conditions(name, dimension).items():
                _check_condition(spec, name, other, values)
        while waiting:
            free = [name for name, d in waiting.items() if not (_conditions(name, d).keys() & waiting.keys() - {name})]
            if not free:
                raise SpecError(f"The conditions of {listed(waiting)} go round in a circle. Take one of them away.")
            ordered |= {name: waiting.pop(name) for name in free}
        space = cls(spec.without_search(), ordered)
        for name, dimension in ordered.items():  # values out of their limits are refused before the search
            for value in dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high):
                if name in SHAPE:
                    space.base.replace(hidden_sizes=(value,) * (name == WIDTH) or (1,) * max(int(value), 0))
                else:
                    space.base.replace(**{name: value})
        return space

    def holds(self, name: str, values: Mapping[str, Any]) -> bool:
        """Whether a dimension means something beside the values of those before it."""
        conditions = _conditions(name, self.dimensions[name])
        return all(
            _met(values[other] if other in values else _default(self.base, other), allowed)
            for other, allowed in conditions.items()
            if other not in self.dimensions or other in values
        ) and all(other in values for other in conditions if other in self.dimensions)

    def spec(self, values: Mapping[str, Any]) -> Spec:
        """The spec of a trial; what is fixed but means nothing beside these values is left out. Raises SpecError."""
        plain = {name: value for name, value in values.items() if name not in SHAPE}
        if SHAPE.keys() & values.keys():
            plain["hidden_sizes"] = (values.get(WIDTH, DEFAULT_WIDTH),) * values.get(LAYERS, DEFAULT_LAYERS)
        spec = self.base.replace(**plain)
        idle = {
            known.name: known.default
            for known in HYPERPARAMETERS.values()
            if spec[known.name] != known.default
            and any(not _met(spec[name], allowed) for name, allowed in known.only.items())
        }
        return spec.replace(**idle) if idle else spec

    def values_of(self, spec: Spec) -> dict[str, Any]:
        """The values of a resolved spec in the dimensions of the space, which may be outside of it."""
        values: dict[str, Any] = {}
        for name in self.dimensions:
            if self.holds(name, values):
                values[name] = _default(spec, name)
        return values

    def contains(self, values: Mapping[str, Any]) -> bool:
        """Whether all values are in their dimensions."""
        for name, value in values.items():
            dimension = self.dimensions[name]
            if isinstance(dimension, Choice):
                if not _met(value, dimension.values):
                    return False
            elif not isinstance(value, int | float) or not dimension.low <= value <= dimension.high:
                return False
        return True


def _conditions(name: str, dimension: Dimension) -> dict[str, tuple[Any, ...]]:
    """What a dimension asks for, and what its hyperparameter asks for anyway."""
    known = HYPERPARAMETERS.get(name)
    only = (
        {"kind": ("mlp", "cnn", "rnn", "channel_mlp")}
        if known is None
        else {key: tuple(values) for key, values in known.only.items()}
    )
    return only | dimension.when


def _met(value: Any, allowed: tuple[Any, ...] | list[str]) -> bool:
    return in_words(value) in {in_words(each) for each in allowed}


def _default(spec: Spec, name: str) -> Any:
    sizes: Any = spec.network.hidden_sizes
    if name in SHAPE:
        return len(sizes) if name == LAYERS else sizes[0] if sizes else 0
    return spec[name]


def _check_condition(spec: Spec, name: str, other: str, allowed: tuple[Any, ...]) -> None:
    if other not in HYPERPARAMETERS and other not in SHAPE:
        raise SpecError(
            f"{name} has a condition on {other!r}, which is no hyperparameter.{nearest(other, HYPERPARAMETERS)}"
        )
    dimension = spec.space.get(other)
    words = " or ".join(in_words(value) for value in allowed)
    if dimension is None and other in SHAPE:
        raise SpecError(f"{name} has a condition on {other}, which is not in the space. Add it, or take it away.")
    if dimension is None and not _met(spec[other], allowed):
        raise SpecError(
            f"{name} means something only with {other} {words}, but {other} is {in_words(spec[other])} in all trials. "
            f"Leave {name} out of the space, or change {other}."
        )
    if isinstance(dimension, Choice) and not any(_met(value, allowed) for value in dimension.values):
        raise SpecError(
            f"{name} means something only with {other} {words}, but {other} is {dimension}. Leave {name} out of the "
            f"space, or add {words} to {other}."
        )
    if isinstance(dimension, Integer) and not any(
        isinstance(value, int) and dimension.low <= value <= dimension.high for value in allowed
    ):
        raise SpecError(f"{name} means something only with {other} {words}, but {other} is {dimension}.")
    if dimension is not None and not isinstance(dimension, Choice | Integer):
        raise SpecError(f"{name} has a condition on {other}, which is a range of numbers. Make that a choice.")
