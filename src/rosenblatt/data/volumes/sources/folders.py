"""List the files of a folder and its folders, quickly, without leaving it.

Links to files and folders in the same folder are followed, each folder once; links that leave it are refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import polars as pl

from rosenblatt.data.volumes.columns import LENGTH, OFFSET
from rosenblatt.data.volumes.sources.contents import CTIME, FILE_SCHEMA, INODE, MTIME, PATH, SIZE, FileContents
from rosenblatt.data.volumes.sources.listings import MAX_NAMED, NAME, Listing, count_names, sort_by_name
from rosenblatt.errors import StorageError, VolumeError, format_list

SYSTEM_FILES = ("thumbs.db", "desktop.ini")  # in lower case


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not part of the data."""
    return name.startswith((".", "__MACOSX")) or name.lower() in SYSTEM_FILES


def list_files(folder: Path) -> Listing:
    """List the files of a folder.

    Raises:
        VolumeError: if there are none, or names that cannot be stored, or links that leave the folder.
        StorageError: if a folder cannot be read.
    """
    walk = _Walk(Path(os.path.realpath(folder)))
    walk.run()
    notes = list[str]()
    frame = sort_by_name(walk.frame(), str(folder), notes)
    if frame.is_empty():
        raise VolumeError(f"{str(folder)!r} holds no files, but samples were expected. Check the path.")
    notes = [*walk.notes(), *notes]
    return Listing(str(folder), frame, _make_contents, tuple(notes), is_local=True)


def _make_contents(frame: pl.DataFrame) -> FileContents:
    return FileContents(frame.select(FILE_SCHEMA.names()), frame[NAME])


class _Walk:
    """Visits the folders in a folder, and collects their files as columns."""

    def __init__(self, root: Path) -> None:
        self._root, self._prefix = str(root), str(root).rstrip(os.sep) + os.sep
        self._names, self._paths = list[str](), list[str]()
        self._states = tuple(list[int]() for _ in range(4))  # size, times and inode
        self._linked = set[str]()  # real paths of folders that were reached by a link
        self._pending = [(self._root, "")]  # real path and relative name of folders
        self._hidden, self._special, self._broken, self._cycles = (list[str]() for _ in range(4))
        self._leaving, self._undecodable = list[str](), list[str]()

    def run(self) -> None:
        """Visit all folders. Raises VolumeError and StorageError."""
        while self._pending:
            folder, prefix = self._pending.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        self._visit(entry, folder, prefix)
            except OSError as error:
                raise StorageError(
                    f"{folder!r} cannot be read: {error.strerror or error}. Check its permissions."
                ) from error
        if self._leaving:
            raise VolumeError(
                f"{format_list(self._leaving, MAX_NAMED)} in {self._root!r} link to files outside of the folder. Copy "
                "the files into it, or remove the links."
            )
        if self._undecodable:
            raise VolumeError(
                f"{format_list(self._undecodable, MAX_NAMED)} in {self._root!r} are names that are not UTF-8. Rename "
                "the files."
            )

    def _visit(self, entry: os.DirEntry[str], folder: str, prefix: str) -> None:
        name = prefix + entry.name
        if is_hidden(entry.name):
            self._hidden.append(name)
        elif not _is_unicode(entry.name):
            self._undecodable.append(os.fsencode(name).decode("utf-8", "backslashreplace"))
        elif entry.is_symlink():
            self._follow(entry, folder, name)
        elif entry.is_dir(follow_symlinks=False):
            self._pending.append((entry.path, name + "/"))
        else:
            self._add(name, entry.path, entry.stat(follow_symlinks=False))

    def _follow(self, entry: os.DirEntry[str], folder: str, name: str) -> None:
        target = os.path.realpath(entry.path)
        if not target.startswith(self._prefix) and target != self._root:
            self._leaving.append(name)
            return
        try:
            status = os.stat(target)  # noqa: PTH116 - of a string
        except OSError:
            self._broken.append(name)
            return
        if not stat.S_ISDIR(status.st_mode):
            self._add(name, target, status)
        elif target in self._linked or (folder + os.sep).startswith(target.rstrip(os.sep) + os.sep):
            self._cycles.append(name)
        else:
            self._linked.add(target)
            self._pending.append((target, name + "/"))

    def _add(self, name: str, path: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._special.append(name)
            return
        self._names.append(name)
        self._paths.append(path)
        sizes, changes, status_changes, inodes = self._states
        sizes.append(status.st_size)
        changes.append(status.st_mtime_ns)
        status_changes.append(status.st_ctime_ns)
        inodes.append(status.st_ino)

    def frame(self) -> pl.DataFrame:
        """The files, in the order in which they were found."""
        states = dict(zip((SIZE, MTIME, CTIME, INODE), self._states, strict=True))
        schema = {NAME: pl.String(), **{name: dtype for name, dtype in FILE_SCHEMA.items() if name in (PATH, *states)}}
        files = pl.DataFrame({NAME: self._names, PATH: self._paths, **states}, schema)
        range_ = (pl.lit(0, pl.Int64).alias(OFFSET), pl.col(SIZE).alias(LENGTH))
        return files.select(NAME, PATH, *range_, *states)

    def notes(self) -> list[str]:
        """What was left out."""
        parts = (
            (self._hidden, "hidden files and folders"),
            (self._special, "pipes, sockets or devices"),
            (self._broken, "links to files that do not exist"),
            (self._cycles, "links to folders that contain them or were followed already"),
        )
        return [count_names(sorted(names), what) for names, what in parts if names]


def _is_unicode(name: str) -> bool:
    """Whether a file name is text, and not bytes that Python cannot decode."""
    if name.isascii():
        return True
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
