"""A request for a fit, as recorded and repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec

RESUME = "ROSENBLATT_RESUME"  # tells a command that its run is one that was interrupted


@dataclass(frozen=True)
class FitRequest:
    """All that a user asks of a fit on a table, as plain data; with the same tables it can be asked again."""

    table: str
    targets: tuple[str, ...]
    spec: Spec
    task: Task | None = None
    ignore: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    test: str | None = None
    validation: str | None = None
    header: bool | None = None
    encoding: str | None = None
    threads: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; tables with their whole paths."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        paths = {name: fields[name] and str(Path(fields[name]).absolute()) for name in ("table", "test", "validation")}
        return fields | paths | {"spec": self.spec.model_dump(mode="json")}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FitRequest:
        """What `to_json` gave."""
        lists = {name: tuple(data.get(name, ())) for name in ("targets", "ignore", "keep", "texts")}
        return cls(**{**data, **lists, "spec": Spec.model_validate(data["spec"])})
