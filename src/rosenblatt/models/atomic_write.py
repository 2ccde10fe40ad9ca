"""Write a file completely or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
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
    if path.exists() and not path.is_file():  # a device or a pipe
        with _storage_errors(path):
            path.write_bytes(content)
        return
    with replace_file(path) as temporary, _storage_errors(path):
        temporary.write_bytes(content)
        if check:
            check(temporary)


@contextlib.contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary file next to `path`, which becomes that file at the end, unless an exception is raised.

    Raises StorageError if the file cannot be created or renamed.
    """
    temporary = None
    try:
        with (
            _storage_errors(path),
            tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file,
        ):
            temporary = Path(file.name)
        yield temporary
        with _storage_errors(path):
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} could not be written: {error.strerror}. Nothing was changed. Free some space, or choose "
            "another path."
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
