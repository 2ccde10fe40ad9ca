"""Run of a trial on a machine of a cluster: what it records is sent to the process that writes the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rosenblatt.errors import RunError, StorageError
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.tracking.spool import format_batch
from rosenblatt.runs.tracking.stoppable_run import StoppableRun
from rosenblatt.runs.tracking.values import as_png, to_curve

if TYPE_CHECKING:
    import numpy as np

MAX_FILE_BYTES = 100_000_000  # of a recorded file, which travels in one message


class Relay(Protocol):
    """Sends records of a run; its methods wait while too much is waiting to be sent."""

    def add_point(self, run: str, entry: tuple[int, float, Mapping[str, float]]) -> None:
        """Send the values of some metrics at a step."""

    def add_batch(self, line: str) -> None:
        """Send records, as a line of a spool."""

    def add_curve(self, name: str, values: list[float], steps: list[int]) -> None:
        """Send many points of one metric."""

    def add_file(self, name: str, kind: str, content: bytes) -> None:
        """Send a file."""

    def flush(self) -> bool:
        """Wait until everything has left this process; returns whether it has."""


class RelayedRun(StoppableRun):
    """The run of a trial, as its training function sees it on another machine than the store.

    Args:
        run: id.
        experiment: name of the experiment.
        params: hyperparameters of the trial.
        relay: sends what is recorded.
    """

    def __init__(self, run: str, experiment: str, params: Mapping[str, Any], relay: Relay) -> None:
        super().__init__(None, run, experiment, params)
        self._relay = relay
        self._sink = relay.add_point

    def put(self, batch: RecordBatch) -> None:
        """Send a batch: hyperparameters, tags, notes and metadata."""
        if self._is_ended:
            self._report_late()
            return
        self._relay.add_batch(format_batch(batch.rows).decode())

    def log_curve(self, name: str, values: Sequence[float] | np.ndarray, steps: Sequence[int] | None = None) -> None:
        """Log many points of one metric. Raises RunError if the shapes differ."""
        curve_values, curve_steps = to_curve(values, steps)
        if self._is_ended:
            self._report_late()
        elif curve_values.size:
            self._relay.add_curve(name, curve_values.tolist(), curve_steps.tolist())

    def log_artifact(self, path: str | Path, name: str = "", kind: str = "file") -> None:
        """Send a file, or all files of a folder. Raises StorageError."""
        path = Path(path)
        if path.is_dir():
            super().log_artifact(path, name, kind)
            return
        try:
            _check_size(name or path.name, path.stat().st_size)
            content = path.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise StorageError(f"{str(path)!r} cannot be stored as an artifact: {reason}.") from error
        self.log_bytes(name or path.name, content, kind)

    def log_bytes(self, name: str, content: bytes, kind: str = "file") -> None:
        """Send a file with this content. Raises StorageError."""
        _check_size(name, len(content))
        if self._is_ended:
            self._report_late()
            return
        self._relay.add_file(name, kind, content)

    def log_figure(self, name: str, figure: Any) -> None:
        """Send a figure of Matplotlib, or of another library with a method `to_image` or `save`."""
        self.log_bytes(name if Path(name).suffix else f"{name}.png", as_png(figure), "figure")

    def flush(self) -> bool:
        """Wait until everything recorded so far has left this machine; returns False after a minute."""
        return self._relay.flush()

    def finish(self, state: str = "finished", reason: str | None = None) -> None:
        """Do nothing: the search ends the run when the training function returns."""

    def end(self) -> None:
        """Let nothing be recorded any more, for threads that the training function has left."""
        self._is_ended, self._sink = True, self._log_late

    def __reduce__(self) -> tuple[Any, ...]:
        """Raise RunError: only the process of the trial is connected to the search."""
        raise RunError(
            f"Run {self.id} is a trial on a machine of a cluster and cannot be passed to another process. Return what "
            "is to be logged to the training function, and log it there."
        )


def _check_size(name: str, n_bytes: int) -> None:
    """Raise StorageError if a file is too large to be sent."""
    if n_bytes > MAX_FILE_BYTES:
        raise StorageError(
            f"{name!r} has {n_bytes / 1e6:,.0f} MB; a trial on a machine of a cluster can record files of at most "
            f"{MAX_FILE_BYTES / 1e6:,.0f} MB. Write it to a file system that the machines share, and record its path."
        )
