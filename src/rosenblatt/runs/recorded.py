"""What a run records of its inputs, as dataclasses: a run begins without pydantic, which takes long to load.

Models of pydantic have them as fields, and check them when a run is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from types import MappingProxyType
from typing import Any

from rosenblatt.runs.redaction import MASK


class Recorded:
    """Base of dataclasses that are recorded; one that is read keeps values that it has no field for."""

    __pydantic_config__ = MappingProxyType({"extra": "allow"})

    def to_json(self) -> dict[str, Any]:
        """The values that are known, without defaults."""
        defaults = {
            field.name: field.default if field.default_factory is MISSING else field.default_factory()
            for field in fields(self)  # type: ignore[arg-type] # all subclasses are dataclasses
        }
        values = vars(self).items()
        return {name: to_builtin(value) for name, value in values if value != defaults.get(name, MISSING)}


def to_builtin(value: Any) -> Any:
    """Convert recorded values, also those in mappings and sequences, to what JSON has."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, Mapping):
        return {key: to_builtin(item) for key, item in value.items()}
    return [to_builtin(item) for item in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, kw_only=True)
class InputFile(Recorded):
    """A data file, folder or imported module that a run reads, with the hash of its content."""

    name: str = ""
    path: str
    hash: str
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class ScriptCall(Recorded):
    """How a script was started: `target` is a file or, with `is_module`, a module; `data` are files it depends on.

    `masked` are the positions of arguments that hold a credential, which is not recorded: they cannot be passed again.
    By default they are those that hold a mask, as in records that do not name them.
    """

    target: str
    arguments: tuple[str, ...] = ()
    masked: tuple[int, ...] = None  # type: ignore[assignment] # set below
    is_module: bool = False
    data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.masked is None:
            object.__setattr__(self, "masked", find_masks(self.arguments))


def find_masks(arguments: Sequence[str]) -> tuple[int, ...]:
    """The positions of arguments that hold a mask: those of a record that does not name its masked arguments."""
    return tuple(i for i, argument in enumerate(arguments) if MASK in argument)
