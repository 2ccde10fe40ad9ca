"""Wait for conditions with a deadline, and time limits that keep a failing test from hanging."""

from __future__ import annotations

import time
from collections.abc import Callable

POLL_INTERVAL_S = 0.02


def wait_until(condition: Callable[[], object], timeout: float = 60.0, description: str = "the condition") -> None:
    """Poll until a condition holds.

        wait_until(path.exists, description=f"{path} to exist")

    Args:
        condition: called without arguments; true when there is nothing more to wait for.
        timeout: seconds.
        description: what is waited for, for the message.

    Raises:
        AssertionError: if the condition does not hold within the timeout.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"timed out after {timeout:g} s waiting for {description}"
        time.sleep(POLL_INTERVAL_S)


def time_limit(seconds: float = 120.0, description: str = "the call") -> Callable[[object], None]:
    """Make a progress callback that fails the test if it is called after a time limit.

    It keeps a search that ignores its deadline from running forever.
    """
    end = time.monotonic() + seconds

    def check(_: object) -> None:
        assert time.monotonic() < end, f"{description} is still running after {seconds:g} s"

    return check
