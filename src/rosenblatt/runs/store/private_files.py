"""Folders of the user's own, opened by descriptor, so that nobody else can plant files or redirect them by links.

Windows has no such descriptors and no modes; there the access control list of the user's profile keeps others out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from rosenblatt.errors import StorageError
from rosenblatt.runs.store.locations import spool_folder

_HAS_DESCRIPTORS = os.open in os.supports_dir_fd  # of folders; not on Windows
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


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
        self.path = path
        name, above = (path.name, parent._descriptor) if parent else (str(path), None)  # noqa: SLF001 - of this class
        if not _HAS_DESCRIPTORS:
            name = str(path)
        if create:
            if parent is None:
                _make_parents(path)
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=above)
        self._descriptor: int | None = _open_folder(path, name, above)

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
        place = self.path if self._descriptor is None else self._descriptor
        return sorted(name for name in os.listdir(place) if name.endswith(suffix))  # noqa: PTH208 - no path

    def folder(self, name: str, *, create: bool = False) -> PrivateFolder:
        """Open a folder in it. Raises as the class does."""
        return PrivateFolder(self.path / name, create=create, parent=self)

    def open(self, name: str, flags: int) -> int:
        """Open a regular file of the user's, which is created readable only for the user; returns its descriptor.

        Raises:
            OSError: If it cannot be opened, for example because it is a link.
            StorageError: If it belongs to another user, or is no regular file.
        """
        descriptor = os.open(self._locate(name), flags | _NO_LINKS | _BINARY, 0o600, dir_fd=self._descriptor)
        return _checked(descriptor, self.path / name, stat.S_ISREG)

    def rename(self, old: str, new: str) -> None:
        """Rename a file in it that is not open, in place of one of the new name. Raises OSError."""
        descriptor = self._descriptor
        os.replace(self._locate(old), self._locate(new), src_dir_fd=descriptor, dst_dir_fd=descriptor)

    def remove(self, name: str) -> None:
        """Remove a file in it that is not open, if it is there. Raises OSError."""
        with suppress(FileNotFoundError):
            os.unlink(self._locate(name), dir_fd=self._descriptor)

    def _locate(self, name: str) -> str:
        """What names a file in it, together with its descriptor."""
        return name if self._descriptor is not None else str(self.path / name)


def open_spool(url: str, *, create: bool = False) -> PrivateFolder:
    """Open the folder in which records and files wait for a store. Raises as `PrivateFolder` does."""
    path = spool_folder(url)
    with PrivateFolder(path.parent, create=create) as root:
        return root.folder(path.name, create=create)


def _open_folder(path: Path, name: str, above: int | None) -> int | None:
    """Open a folder of this user alone; returns its descriptor if the system has such. Raises OSError, StorageError."""
    problem = f"{str(path)!r} is a link or no folder, so it is not used"
    if _HAS_DESCRIPTORS:
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _NO_LINKS, dir_fd=above)
        except NotADirectoryError:
            raise StorageError(problem) from None
        return _checked(descriptor, path, stat.S_ISDIR)
    info = path.lstat()
    if getattr(info, "st_reparse_tag", 0) or not stat.S_ISDIR(info.st_mode):
        raise StorageError(problem)
    return None


def _checked(descriptor: int, path: Path, is_expected: Callable[[int], bool]) -> int:
    """Return a descriptor of a file or folder, or close it and raise StorageError if it is not of this user alone."""
    info, reason = os.fstat(descriptor), ""
    if not is_expected(info.st_mode):
        reason = f"{str(path)!r} is no regular file"
    elif _HAS_DESCRIPTORS and info.st_uid != os.geteuid():
        reason = f"{str(path)!r} belongs to the user with id {info.st_uid}, not to this one ({os.geteuid()})"
    elif _HAS_DESCRIPTORS and info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        reason = f"others can write to {str(path)!r} (chmod go-w forbids it)"
    if not reason:
        return descriptor
    os.close(descriptor)
    raise StorageError(f"{reason}, so it is not used")


def _make_parents(path: Path) -> None:
    """Create the folders above one, unless they would be in the home of another user, as with sudo."""
    existing = next(folder for folder in path.parents if folder.is_dir())
    if _HAS_DESCRIPTORS and not path.exists() and existing.stat().st_uid not in (os.geteuid(), 0):
        raise StorageError(
            f"{str(path)!r} would be in a folder of the user with id {existing.stat().st_uid}, so it is not created"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
