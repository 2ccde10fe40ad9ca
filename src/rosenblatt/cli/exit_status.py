"""Exit statuses of the command, and how it ends when it is interrupted or killed."""

from __future__ import annotations

from dataclasses import dataclass

SIGINT_STATUS, SIGTERM_STATUS = 130, 143


@dataclass
class ExitStatus:
    """The exit status if the command is stopped: SIGTERM is handled like Ctrl-C, and what was trained is kept."""

    code: int = SIGINT_STATUS

    def on_sigterm(self, *_: object) -> None:
        """What SIGTERM does."""
        self.code = SIGTERM_STATUS
        raise KeyboardInterrupt
