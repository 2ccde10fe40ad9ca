"""Handle the signals that end a program: Ctrl-C, SIGTERM, and SIGHUP when a terminal is closed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call a handler in a block of code instead of what signals do; ignored ones stay ignored, as under nohup."""
    previous = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number, action in previous.items():
        if action is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, action in previous.items():
            signal.signal(number, action)
