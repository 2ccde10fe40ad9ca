"""Folders of the user's own, opened by descriptor, so that nobody else can plant files or redirect them by links."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from rosenblatt.errors import StorageError
from rosenblatt.runs.store.locations import spool_folder

_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class PrivateFolder:
    """A folder that belongs to the user and that nobody else can write to, as a context manager.

    Args:
        path: The folder.
        create: Whether to create it, readable only for the user.
        parent: The opened folder that contains it, if it is opened already.

    Raises:
        FileNotFoundError: If it does not exist and is not to be created.
        OSError: If it cannot be created or opened.
        StorageError: If it is a link, belongs to another user, or can be written by others.
    """

    def __init__(self, path: Path, *, create: bool = False, parent: PrivateFolder | None = None) -> None:
        if os.open not in os.supports_dir_fd:
            raise StorageError("This system cannot open folders so that nobody else can redirect them")
        self.path = path
        name, above = (path.name, parent._descriptor) if parent else (str(path), None)  # noqa: SLF001 - of this class
        if create:
            if parent is None:
                _make_parents(path)
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=above)
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _NO_LINKS, dir_fd=above)
        except NotADirectoryError:
            raise StorageError(f"{str(path)!r} is a link or no folder, so it is not used") from None
        self._descriptor: int | None = _checked(descriptor, path, stat.S_ISDIR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def names(self, suffix: str = "") -> list[str]:
        """The names of what is in the folder, sorted, of those that end so."""
        assert self._descriptor is not None  # noqa: S101 - it is open
        return sorted(name for name in os.listdir(self._descriptor) if name.endswith(suffix))  # noqa: PTH208 - no path

    def folder(self, name: str, *, create: bool = False) -> PrivateFolder:
        """Open a folder in it. Raises as the class does."""
        return PrivateFolder(self.path / name, create=create, parent=self)

    def open(self, name: str, flags: int) -> int:
        """Open a regular file of the user's, which is created readable only for the user; returns its descriptor.

        Raises:
            OSError: If it cannot be opened, for example because it is a link.
            StorageError: If it belongs to another user, or is no regular file.
        """
        descriptor = os.open(name, flags | _NO_LINKS | os.O_NONBLOCK, 0o600, dir_fd=self._descriptor)
        return _checked(descriptor, self.path / name, stat.S_ISREG)

    def rename(self, old: str, new: str) -> None:
        """Rename a file in it, in place of one of the new name. Raises OSError."""
        os.rename(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        """Remove a file in it, if it is there. Raises OSError."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._descriptor)


def open_spool(url: str, *, create: bool = False) -> PrivateFolder:
    """Open the folder in which records and files wait for a store. Raises as `PrivateFolder` does."""
    path = spool_folder(url)
    with PrivateFolder(path.parent, create=create) as root:
        return root.folder(path.name, create=create)


def _checked(descriptor: int, path: Path, is_expected: Callable[[int], bool]) -> int:
    """Return a descriptor of a file or folder, or close it and raise StorageError if it is not of this user alone."""
    info = os.fstat(descriptor)
    if info.st_uid != os.geteuid():
        reason = f"{str(path)!r} belongs to the user with id {info.st_uid}, not to this one ({os.geteuid()})"
    elif not is_expected(info.st_mode):
        reason = f"{str(path)!r} is no regular file"
    elif info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        reason = f"others can write to {str(path)!r} (chmod go-w forbids it)"
    else:
        return descriptor
    os.close(descriptor)
    raise StorageError(f"{reason}, so it is not used")


def _make_parents(path: Path) -> None:
    """Create the folders above one, unless they would be in the home of another user, as with sudo."""
    existing = next(folder for folder in path.parents if folder.is_dir())
    if not path.exists() and existing.stat().st_uid not in (os.geteuid(), 0):
        raise StorageError(
            f"{str(path)!r} would be in a folder of the user with id {existing.stat().st_uid}, so it is not created"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
