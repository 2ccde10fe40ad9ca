"""Search space of a spec: its dimensions with their conditions, and the spec of proposed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rosenblatt.errors import SpecError, did_you_mean, format_list
from rosenblatt.spec.dimensions import HIDDEN_LAYERS, HIDDEN_WIDTH, SHAPE_DIMENSIONS, Choice, Dimension, Integer
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS, format_value
from rosenblatt.spec.spec import Spec

DEFAULT_WIDTH, DEFAULT_LAYERS = 256, 2  # of hidden layers, if the space has only one of both dimensions


@dataclass(frozen=True)
class Space:
    """Dimensions to search, and the spec of everything that is fixed."""

    base: Spec
    dimensions: dict[str, Dimension]  # each after the dimensions in its conditions

    @classmethod
    def from_spec(cls, spec: Spec) -> Space:
        """The space of a spec. Raises SpecError for conditions that never hold, or that depend on each other."""
        ordered: dict[str, Dimension] = {}
        pending = dict(spec.space)
        for name, dimension in pending.items():
            for parent, values in conditions(name, dimension).items():
                _check_condition(spec, name, parent, values)
        while pending:
            ready = [name for name, d in pending.items() if not (conditions(name, d).keys() & pending.keys() - {name})]
            if not ready:
                raise SpecError(f"The conditions of {format_list(pending)} depend on each other. Remove one of them.")
            ordered |= {name: pending.pop(name) for name in ready}
        space = cls(spec.without_search(), ordered)
        for name, dimension in ordered.items():  # raises SpecError for values out of range
            for value in dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high):
                if name in SHAPE_DIMENSIONS:
                    space.base.replace(hidden_sizes=(value,) * (name == HIDDEN_WIDTH) or (1,) * max(int(value), 0))
                else:
                    space.base.replace(**{name: value})
        return space

    def is_active(self, name: str, params: Mapping[str, Any]) -> bool:
        """Whether the conditions of a dimension hold, given the values of the dimensions before it."""
        required = conditions(name, self.dimensions[name])
        return all(
            is_satisfied(params[parent] if parent in params else spec_value(self.base, parent), allowed)
            for parent, allowed in required.items()
            if parent not in self.dimensions or parent in params
        ) and all(parent in params for parent in required if parent in self.dimensions)

    def spec(self, params: Mapping[str, Any]) -> Spec:
        """The spec of a trial, without the fixed hyperparameters that these values make unused. Raises SpecError."""
        hyperparameters = {name: value for name, value in params.items() if name not in SHAPE_DIMENSIONS}
        if SHAPE_DIMENSIONS.keys() & params.keys():
            hyperparameters["hidden_sizes"] = (params.get(HIDDEN_WIDTH, DEFAULT_WIDTH),) * params.get(
                HIDDEN_LAYERS, DEFAULT_LAYERS
            )
        spec = self.base.replace(**hyperparameters)
        unused = {
            hyperparameter.name: hyperparameter.default
            for hyperparameter in HYPERPARAMETERS.values()
            if spec[hyperparameter.name] != hyperparameter.default
            and any(not is_satisfied(spec[name], allowed) for name, allowed in hyperparameter.requires.items())
        }
        return spec.replace(**unused) if unused else spec

    def params_from_spec(self, spec: Spec) -> dict[str, Any]:
        """The values of a resolved spec in the dimensions of the space; they may be out of range."""
        params: dict[str, Any] = {}
        for name in self.dimensions:
            if self.is_active(name, params):
                params[name] = spec_value(spec, name)
        return params

    def contains(self, params: Mapping[str, Any]) -> bool:
        """Whether all values are in the ranges of their dimensions."""
        for name, value in params.items():
            dimension = self.dimensions[name]
            if isinstance(dimension, Choice):
                if not is_satisfied(value, dimension.values):
                    return False
            elif not isinstance(value, int | float) or not dimension.low <= value <= dimension.high:
                return False
        return True


def conditions(name: str, dimension: Dimension) -> dict[str, tuple[Any, ...]]:
    """Allowed values of other hyperparameters: the conditions of a dimension and of its hyperparameter."""
    hyperparameter = HYPERPARAMETERS.get(name)
    requires = (
        {"kind": ("mlp", "cnn", "rnn", "channel_mlp")}
        if hyperparameter is None
        else {key: tuple(values) for key, values in hyperparameter.requires.items()}
    )
    return requires | dimension.when


def is_satisfied(value: Any, allowed: tuple[Any, ...] | list[str]) -> bool:
    """Whether a value is one of the allowed ones."""
    return format_value(value) in {format_value(option) for option in allowed}


def spec_value(spec: Spec, name: str) -> Any:
    """The value of a dimension in a spec."""
    sizes: Any = spec.network.hidden_sizes
    if name in SHAPE_DIMENSIONS:
        return len(sizes) if name == HIDDEN_LAYERS else sizes[0] if sizes else 0
    return spec[name]


def _check_condition(spec: Spec, name: str, parent: str, allowed: tuple[Any, ...]) -> None:
    """Raise SpecError for a condition on `parent` that never holds."""
    if parent not in HYPERPARAMETERS and parent not in SHAPE_DIMENSIONS:
        raise SpecError(
            f"{name} has a condition on {parent!r}, which is not a hyperparameter."
            f"{did_you_mean(parent, HYPERPARAMETERS)}"
        )
    dimension = spec.space.get(parent)
    text = " or ".join(format_value(value) for value in allowed)
    if dimension is None and parent in SHAPE_DIMENSIONS:
        raise SpecError(
            f"{name} has a condition on {parent}, which is not in the space. Add {parent}, or remove the condition."
        )
    if dimension is None and not is_satisfied(spec[parent], allowed):
        raise SpecError(
            f"{name} has an effect only with {parent} {text}, but {parent} is {format_value(spec[parent])} in all "
            f"trials. Remove {name} from the space, or change {parent}."
        )
    if isinstance(dimension, Choice) and not any(is_satisfied(value, allowed) for value in dimension.values):
        raise SpecError(
            f"{name} has an effect only with {parent} {text}, but {parent} is {dimension}. Remove {name} from the "
            f"space, or add {text} to {parent}."
        )
    if isinstance(dimension, Integer) and not any(
        isinstance(value, int) and dimension.low <= value <= dimension.high for value in allowed
    ):
        raise SpecError(
            f"{name} has an effect only with {parent} {text}, but {parent} is {dimension}. Change one of them."
        )
    if dimension is not None and not isinstance(dimension, Choice | Integer):
        raise SpecError(f"{name} has a condition on {parent}, which is a range of numbers. Make {parent} a choice.")
