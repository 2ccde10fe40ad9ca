"""The frozen, validated specification of a fit, built from keyword arguments, a TOML file or JSON."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from rosenblatt.errors import SpecError, did_you_mean
from rosenblatt.spec.data import DataSpec
from rosenblatt.spec.dimensions import HIDDEN_LAYERS, HIDDEN_WIDTH, SHAPE_DIMENSIONS, Dimension, parse_dimension
from rosenblatt.spec.fields import SpecSection, parse_list
from rosenblatt.spec.hyperparameters import HYPERPARAMETERS, Hyperparameter, find_section, format_value
from rosenblatt.spec.network import NetworkSpec
from rosenblatt.spec.search import SearchSpec
from rosenblatt.spec.training import TrainingSpec


class Spec(SpecSection):
    """Everything that a user sets for a fit: hyperparameters and the search space.

    >>> Spec.from_hyperparameters(hidden_sizes=(64, 32), dropout=0.1).training.dropout
    0.1
    """

    network: NetworkSpec = NetworkSpec()
    training: TrainingSpec = TrainingSpec()
    data: DataSpec = DataSpec()
    search: SearchSpec = SearchSpec()
    space: dict[str, Dimension] = {}  # searched hyperparameters and the values each may take

    @property
    def has_search(self) -> bool:
        """Whether the fit searches hyperparameters."""
        return bool(self.space) or self.search.trials is not None or self.search.minutes is not None

    def without_search(self) -> Spec:
        """Return this spec without its search."""
        return self.model_copy(update={"search": SearchSpec(), "space": {}})

    def with_search_space(self, space: Mapping[str, Any]) -> Spec:
        """Return this spec with a search space: a dimension or a fixed value for each hyperparameter.

        >>> from rosenblatt.spec.dimensions import log_uniform
        >>> str(Spec().with_search_space({"learning_rate": log_uniform(1e-4, 1e-1)}).space["learning_rate"])
        'from 0.0001 to 0.1 (log scale)'

        Raises:
            SpecError: If a hyperparameter is unknown or cannot be searched, or a value exceeds its limits.
        """
        parsed = {name: parse_dimension(name, value) for name, value in space.items()}
        for name in parsed:
            if name not in HYPERPARAMETERS | SHAPE_DIMENSIONS or (
                name in HYPERPARAMETERS and find_section(name) == "search"
            ):
                names = [*SHAPE_DIMENSIONS, *(h.name for h in HYPERPARAMETERS.values() if h.section != "search")]
                raise SpecError(f"There is no hyperparameter {name!r} to search.{did_you_mean(name, names)}")
        if "hidden_sizes" in parsed and {HIDDEN_LAYERS, HIDDEN_WIDTH} & parsed.keys():
            raise SpecError(
                f"A space takes either hidden_sizes or {HIDDEN_LAYERS} and {HIDDEN_WIDTH}, but yours has both. Remove "
                "one of them."
            )
        fixed = {name: space[name] for name, dimension in parsed.items() if dimension is None}
        for name in SHAPE_DIMENSIONS:
            if name in fixed:
                raise SpecError(
                    f"{name} must be {{ choice = [...] }} or {{ integer = [...] }}, but it is "
                    f"{fixed[name]!r}. To fix it, set hidden_sizes."
                )
        dimensions = {name: dimension for name, dimension in parsed.items() if dimension is not None}
        return self.replace(**fixed).model_copy(update={"space": dimensions})

    @classmethod
    def from_hyperparameters(cls, **hyperparameters: Any) -> Spec:
        """Create a spec from hyperparameters of any section.

        Raises:
            SpecError: If a name is unknown or a value exceeds its limits.
        """
        return cls().replace(**hyperparameters)

    def replace(self, **hyperparameters: Any) -> Spec:
        """Return this spec with some hyperparameters changed. Raises SpecError as `from_hyperparameters` does."""
        sections = self.model_dump(exclude={"space"})
        for name, value in hyperparameters.items():
            sections[find_section(name)][name] = value
        return _validated(sections).model_copy(update={"space": self.space})

    @classmethod
    def from_dict(cls, sections: Mapping[str, Any]) -> Spec:
        """Create a spec from `{section: {hyperparameter: value}}`; others have their defaults. Raises SpecError."""
        space = sections.get("space", {})
        sections = {section: values for section, values in sections.items() if section != "space"}
        if not isinstance(space, Mapping):
            raise SpecError(
                f"space must be a section of hyperparameters to search, but it is {space!r}. Write [space]."
            )
        for section, values in sections.items():
            if section not in cls.model_fields:
                if section in HYPERPARAMETERS:
                    raise SpecError(f"{section} is outside any section. Move it to [{find_section(section)}].")
                section_names, hint = ", ".join(cls.model_fields), did_you_mean(section, cls.model_fields)
                raise SpecError(f"There is no section [{section}]. The sections are {section_names}.{hint}")
            if not isinstance(values, Mapping):
                raise SpecError(
                    f"{section} must be a section of hyperparameters, but it is {values!r}. Write [{section}]."
                )
            for name in values:
                if find_section(name) != section:
                    raise SpecError(
                        f"{name} is in section [{section}], but it belongs in [{find_section(name)}]. Move it."
                    )
        return _validated(sections).with_search_space(space)

    @classmethod
    def from_toml(cls, path: str | Path) -> Spec:
        """Read a spec from a TOML file. Raises SpecError if the file cannot be read or is not a valid spec."""
        try:
            return cls.from_dict(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as error:
            raise SpecError(f"The config {path} cannot be read: {error.strerror}. Check the file name.") from error
        except UnicodeDecodeError as error:
            raise SpecError(
                f"The config {path} must be TOML in UTF-8, but it is not UTF-8 text. Save it as UTF-8."
            ) from error
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"The config {path} is not valid TOML: {error}.") from error
        except SpecError as error:
            raise SpecError(f"In the config {path}: {error}") from error

    def to_toml(self) -> str:
        """Return this spec as TOML; `from_toml` reads it back to an equal spec."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    @property
    def hash(self) -> str:
        """SHA-256 of the spec as JSON, equal on every machine and in every process."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def __getitem__(self, name: str) -> Any:
        """Return the value of a hyperparameter of any section."""
        return getattr(getattr(self, find_section(name)), name)


def _validated(sections: Mapping[str, Mapping[str, Any]]) -> Spec:
    try:
        return Spec.model_validate(to_builtin(sections))
    except ValidationError as error:
        first = error.errors()[0]
        if isinstance(spec_error := first.get("ctx", {}).get("error"), SpecError):
            raise spec_error from None
        section, name, *path = first["loc"]
        hyperparameter = HYPERPARAMETERS[str(name)]
        value = to_builtin(sections)[str(section)][str(name)]
        raise SpecError(_error_message(hyperparameter, value, path)) from None


def _error_message(hyperparameter: Hyperparameter, value: Any, path: list[Any]) -> str:
    """Describe what was expected, what came and what to do."""
    items = (
        parse_list(value)
        if isinstance(hyperparameter.default, tuple) or hyperparameter.name == "hidden_sizes"
        else value
    )
    position = next((part for part in path if isinstance(part, int)), None)
    actual = f"it is {value!r}"
    if isinstance(items, list | tuple) and position is not None and position < len(items):
        value = items[position]
        actual = f"it is {value!r}" if len(items) == 1 else f"item {position + 1} is {value!r}"
    default = "" if hyperparameter.default is None else f" The default is {format_value(hyperparameter.default)}."
    hint = did_you_mean(str(value), hyperparameter.choices) or default
    return f"{hyperparameter.name} must be {hyperparameter.expected}, but {actual}.{hint}"


def unused_hyperparameter_error(spec: Spec) -> str:
    """Return an error message if the spec sets a hyperparameter that has no effect with the others, else ""."""
    for hyperparameter in HYPERPARAMETERS.values():
        for name, values in hyperparameter.requires.items():
            if spec[hyperparameter.name] != hyperparameter.default and format_value(spec[name]) not in values:
                required = " or ".join(values)
                return (
                    f"{hyperparameter.name} has an effect only with {name} {required}, but {name} is "
                    f"{format_value(spec[name])}. Remove {hyperparameter.name}, or change {name}."
                )
    return ""


def to_builtin(value: Any) -> Any:
    """Convert NumPy numbers and arrays in a value, at any depth, to Python numbers and lists."""
    if isinstance(value, Mapping):
        return {key: to_builtin(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_builtin(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value
