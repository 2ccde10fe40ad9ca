"""Exit statuses of the command, and how it ends when it is interrupted or killed."""

from __future__ import annotations

from dataclasses import dataclass

STOPPED, KILLED = 130, 143


@dataclass
class _Stop:
    """The exit status if the command is stopped: a polite kill is handled as Ctrl-C is, what was learnt is kept."""

    status: int = STOPPED

    def kill(self, *_: object) -> None:
        """What SIGTERM does."""
        self.status = KILLED
        raise KeyboardInterrupt
