"""Write a file completely or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from rosenblatt.errors import StorageError


def write_file(path: str | Path, content: bytes, check: Callable[[Path], object] | None = None) -> None:
    """Write a temporary file next to `path`, check it, and rename it.

    Args:
        path: the file to write; devices and pipes are written directly.
        content: the whole content.
        check: called with the temporary file; the file is not renamed if it raises.

    Raises:
        StorageError: if the file cannot be written.
    """
    path = Path(path).resolve()
    temporary = None
    try:
        if path.exists() and not path.is_file():  # a device or a pipe
            path.write_bytes(content)
            return
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if check:
            check(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} could not be written: {error.strerror}. Nothing was changed. Free some space, or choose "
            "another path."
        ) from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
