"""The description of each hyperparameter: name, section, default, valid values, help and source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rosenblatt.errors import SpecError, did_you_mean
from rosenblatt.spec.data import DataSpec
from rosenblatt.spec.fields import SpecSection
from rosenblatt.spec.network import NetworkSpec
from rosenblatt.spec.search import SearchSpec
from rosenblatt.spec.training import TrainingSpec


@dataclass(frozen=True)
class Hyperparameter:
    """Description of a hyperparameter, read from its field in a section."""

    name: str
    section: str
    default: Any
    help: str
    source: str
    expected: str
    choices: tuple[str, ...]  # allowed values, if they are all words
    requires: dict[str, list[str]]  # hyperparameters, and the values of each for which this one has an effect
    is_flag: bool

    def applies_to(self, kind: str) -> bool:
        """Return whether it can have an effect for this kind of network."""
        kinds = self.requires.get("kind", [kind])
        return kind in kinds and all(HYPERPARAMETERS[name].applies_to(kind) for name in self.requires if name != "kind")


SECTIONS: dict[str, SpecSection] = {
    "network": NetworkSpec(),
    "training": TrainingSpec(),
    "data": DataSpec(),
    "search": SearchSpec(),
}


def _hyperparameters() -> Iterator[Hyperparameter]:
    for section, values in SECTIONS.items():
        for name, schema in type(values).model_json_schema(mode="serialization")["properties"].items():
            default = getattr(values, name)
            choices = _choices(schema.get("items", schema))
            yield Hyperparameter(
                name,
                section,
                default,
                schema["description"],
                schema["source"],
                _describe_schema(schema),
                choices,
                schema["requires"],
                any(option.get("type") == "boolean" for option in (schema, *schema.get("anyOf", ()))),
            )


def _choices(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the words that a JSON schema allows, or () if it allows other values too."""
    options = [_choices(option) for option in schema.get("anyOf", ())]
    if options and all(options):
        return tuple(word for option in options for word in option)
    return tuple(schema["enum"]) if "enum" in schema else (schema["const"],) if "const" in schema else ()


def _describe_schema(schema: Mapping[str, Any], plural: bool = False) -> str:
    """Describe in words what a JSON schema allows."""
    if "anyOf" in schema:
        return " or ".join(_describe_schema(option) for option in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    if schema["type"] == "boolean":
        return "true or false"
    if schema["type"] == "array" and "enum" in schema["items"]:
        return "one or more of " + ", ".join(schema["items"]["enum"])
    if schema["type"] == "array":
        return f"a list of {_describe_schema(schema['items'], plural=True)}"
    if schema["type"] == "object":
        return "a number for each class"
    if schema["type"] in ("string", "null"):
        return {"string": "text", "null": "none"}[schema["type"]]
    noun = {"integer": "whole number", "number": "number"}[schema["type"]]
    limits = [
        f"{phrase} {schema[key]:g}" if isinstance(schema[key], float) else f"{phrase} {schema[key]}"
        for key, phrase in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
        )
        if key in schema
    ]
    return f"{noun}s" * plural + f"a {noun}" * (not plural) + (f" of {' and '.join(limits)}" if limits else "")


HYPERPARAMETERS: dict[str, Hyperparameter] = {h.name: h for h in _hyperparameters()}


def find_section(name: str) -> str:
    """Return the section of a hyperparameter. Raises SpecError if there is no hyperparameter of this name."""
    if name not in HYPERPARAMETERS:
        raise SpecError(f"There is no hyperparameter {name!r}.{did_you_mean(name, HYPERPARAMETERS)}")
    return HYPERPARAMETERS[name].section


def format_value(value: Any) -> str:
    """Return a hyperparameter's value as it is written on the command line: `64,32`, `true`, `none`."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, Mapping):
        return ",".join(f"{name}={weight}" for name, weight in value.items())
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
