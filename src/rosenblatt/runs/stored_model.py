"""Base of the models of what a store holds."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from rosenblatt.runs.recorded import to_builtin


class StoredModel(BaseModel):
    """A read-only record; it keeps values that it has no field for."""

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    def to_json(self) -> dict[str, Any]:
        """The values that are known, without defaults."""
        return {name: to_builtin(value) for name, value in self if name in self.model_fields_set}
