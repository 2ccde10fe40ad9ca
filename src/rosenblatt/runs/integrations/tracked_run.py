"""Protocol of a run for integrations, which do not import the tracking of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class TrackedRun(Protocol):
    """A run that a framework reports to; see `rosenblatt.runs.tracking.run.Run`."""

    id: str
    experiment: str

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record the values of metrics at a step."""

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Record hyperparameters."""

    def describe(self, model: Any, optimizer: Any = None) -> None:
        """Record the architecture of a model and the settings of its optimizer."""

    def log_artifact(self, path: str | Path, name: str = "", kind: str = "file") -> None:
        """Store a file."""

    def flush(self) -> bool:
        """Wait until everything recorded so far is written."""
