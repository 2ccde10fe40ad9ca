"""Exit statuses of the command line."""

from __future__ import annotations

from dataclasses import dataclass

DIVERGED_STATUS, ERROR_STATUS = 1, 2
SIGINT_STATUS, SIGTERM_STATUS = 130, 143  # 128 + the number of the signal, as shells count


@dataclass
class ExitStatus:
    """Exit status of an interrupted command. SIGTERM acts like Ctrl-C, so everything trained so far is kept."""

    code: int = SIGINT_STATUS

    def on_sigterm(self, *_: object) -> None:
        """Handle SIGTERM."""
        self.code = SIGTERM_STATUS
        raise KeyboardInterrupt
