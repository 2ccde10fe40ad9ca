"""Progress of reading many images, which whoever shows progress can watch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ReadCallback = Callable[[int, int], None]
"""Called with a number of images that were read, and that of all which are read in this pass."""

_watchers: list[ReadCallback] = []


@contextmanager
def watch_reading(callback: ReadCallback) -> Iterator[None]:
    """Call a function, from any thread, when images were read all at once, before training or for a check."""
    _watchers.append(callback)
    try:
        yield
    finally:
        _watchers.remove(callback)


def report_read(n_images: int, n_all: int) -> None:
    """Report images that were read."""
    for watcher in _watchers:
        watcher(n_images, n_all)
