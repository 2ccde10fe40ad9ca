"""Lock of an open file, which the system releases when the process that holds it ends."""

from __future__ import annotations

import os

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LOCKED_BYTE = 2**40  # on Windows: far beyond the content, because what is locked there cannot be read


def lock_file(descriptor: int, *, wait: bool = False) -> None:
    """Lock a file that is open for writing. Raises OSError if another process holds the lock, unless `wait` is true."""
    if fcntl:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return
    import msvcrt  # type: ignore[import-not-found, unused-ignore]

    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)
