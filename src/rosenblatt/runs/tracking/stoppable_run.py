"""Run of a trial that can be asked to stop."""

from __future__ import annotations

from rosenblatt.runs.tracking.run import Run


class StoppableRun(Run):
    """The run of one trial, passed to the training function, which logs to it and asks whether to stop."""

    stop_reason = ""  # why the training function should return; empty: it may go on
    was_stopped = False  # whether the training function has read a true `should_stop`

    @property
    def should_stop(self) -> bool:
        """Whether the training function should return: other trials are better, or the time of the search is over."""
        self.was_stopped |= bool(self.stop_reason)
        return self.was_stopped

    def stop(self, reason: str) -> None:
        """Ask the training function to return; the first reason counts."""
        self.stop_reason = self.stop_reason or reason
