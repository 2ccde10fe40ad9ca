"""What a user requests of `rosenblatt fit`, as it is recorded with a run and repeated from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from rosenblatt.data.readers.sources import STANDARD_INPUT
from rosenblatt.data.table import DETECT_FORMAT, TableFormat
from rosenblatt.data.volumes.locations import is_volume
from rosenblatt.errors import SpecError
from rosenblatt.spec.fields import Task
from rosenblatt.spec.spec import Spec

VOLUME_FIELDS = ("table", "test", "validation")  # fields that may name a version of a volume


class FitRequest(BaseModel):
    """Tables by path, columns and hyperparameters of a fit; unchanged tables give the same model again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: str
    query: str = ""  # of samples of a volume
    targets: tuple[str, ...] = ()
    spec: Spec
    task: Task | None = None
    ignore: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    test: str | None = None
    validation: str | None = None
    start: str | None = None  # model file whose networks are trained further
    format: TableFormat = DETECT_FORMAT
    threads: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON-serializable data, with absolute paths."""
        data = self.model_dump(mode="json")
        for name in VOLUME_FIELDS:
            if data[name] not in (None, STANDARD_INPUT) and not is_volume(data[name]):
                data[name] = str(Path(data[name]).absolute())
        return data if self.start is None else data | {"start": str(Path(self.start).absolute())}

    @property
    def reads_standard_input(self) -> bool:
        """Whether a table is read from standard input."""
        return STANDARD_INPUT in (self.table, self.test, self.validation)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Create a request from the data that `to_json` returned. Raises SpecError if another version recorded it."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(
                f"This run was recorded by a version of rosenblatt with other options ({error.errors()[0]['loc'][0]}). "
                "Repeat it with that version."
            ) from error
