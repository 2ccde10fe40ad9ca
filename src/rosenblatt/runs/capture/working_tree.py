"""Find the files of a working tree that differ from its commit, without running the filters of the repository.

A file is unchanged if its bytes are those of the commit. Files that git converts on checkout (Git LFS, line ends,
encryption) therefore count as changed, with the content that a run sees.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from rosenblatt.runs.capture.git import LINK_MODE, SUBMODULE_MODE, Repository, TreeEntry, WorkingTree

READ_BYTES = 1 << 20


class Changes(NamedTuple):
    """The differences between a working tree and its commit, as paths below its root."""

    unchanged: frozenset[str]
    changed: list[str]  # also files that are only in the index
    deleted: list[str]
    untracked: list[str]
    repositories: list[str]  # submodules and other repositories
    modes: dict[str, int]  # recorded modes of changed files, where the file system keeps none


def find_changes(repository: Repository, root: Path, commit: str) -> Changes:
    """Compare a working tree with a commit; all its files are changed if the commit is empty."""
    state = repository.working_tree(commit)
    comparison = _Comparison(repository, root, state)
    states: dict[str, list[str]] = {"unchanged": [], "changed": [], "deleted": []}
    for name, entry in state.tree.items():
        if entry.mode != SUBMODULE_MODE:
            states[comparison.compare(name, entry)].append(name)
    modes = {name: entry.mode for name, entry in state.staged.items()}
    modes |= {name: entry.mode for name, entry in state.tree.items()}
    submodules = [name for name, mode in modes.items() if mode == SUBMODULE_MODE]
    listed = {*state.tree, *state.untracked, *submodules}
    added = [name for name in state.staged if name not in listed and comparison.is_file(name)]
    untracked = [name for name in state.untracked if not name.endswith("/")]
    changed = states["changed"] + added
    links = {name for name in (*changed, *untracked) if comparison.is_link(name)}
    hidden = {name for name in (*changed, *states["unchanged"]) if links and _is_below(name, links)}
    return Changes(
        unchanged=frozenset(states["unchanged"]) - hidden,
        changed=[name for name in changed if name not in hidden],
        deleted=[*states["deleted"], *hidden, *(name for name in submodules if not comparison.is_folder(name))],
        untracked=untracked,
        repositories=[
            *(name for name in submodules if comparison.is_folder(name)),
            *(name.rstrip("/") for name in state.untracked if name.endswith("/")),
        ],
        modes={} if repository.records_modes else {name: modes[name] for name in changed},
    )


class _Comparison:
    """Compares the files of a working tree with those of its commit."""

    def __init__(self, repository: Repository, root: Path, state: WorkingTree) -> None:
        self._repository, self._root, self._state = repository, root, state
        self._prefix = f"{root}{os.sep}"
        self._has_filters = repository.has_filters or any(
            b"filter" in self._read(name) for name in state.staged if name.endswith(".gitattributes")
        )

    def is_file(self, name: str) -> bool:
        return os.path.lexists(self._prefix + name) and not self.is_folder(name)

    def is_folder(self, name: str) -> bool:
        return os.path.isdir(self._prefix + name) and not self.is_link(name)  # noqa: PTH112 - fast

    def is_link(self, name: str) -> bool:
        return os.path.islink(self._prefix + name)  # noqa: PTH114 - fast

    def compare(self, name: str, entry: TreeEntry) -> str:
        """Whether a file of the commit is unchanged, changed or deleted."""
        path = self._prefix + name
        try:
            info = os.lstat(path)
            if stat.S_ISDIR(info.st_mode):
                return "deleted"
            return "unchanged" if self._is_unchanged(name, path, info, entry) else "changed"
        except (FileNotFoundError, NotADirectoryError):
            return "deleted"
        except OSError:  # it is noted when it is captured
            return "changed"

    def _is_unchanged(self, name: str, path: str, info: os.stat_result, entry: TreeEntry) -> bool:
        if stat.S_ISLNK(info.st_mode):
            target = os.fsencode(os.readlink(path))  # noqa: PTH115 - fast
            is_same = entry.mode == LINK_MODE and self._hash(len(target), [target]) == entry.hash
            return is_same and portable_link(path, self._root) == os.fsdecode(target)
        is_executable = bool(info.st_mode & 0o100)
        if not stat.S_ISREG(info.st_mode) or entry.mode == LINK_MODE:
            return False
        if self._repository.records_modes and is_executable != bool(entry.mode & 0o100):
            return False
        if entry.size not in (-1, info.st_size):
            return False
        if not self._has_filters and entry.size >= 0 and self._is_as_in_index(name, info, entry.hash):
            return True
        with open(path, "rb") as file:  # noqa: PTH123 - fast
            return self._hash(info.st_size, iter(lambda: file.read(READ_BYTES), b"")) == entry.hash

    def _is_as_in_index(self, name: str, info: os.stat_result, digest: str) -> bool:
        """Whether git has compared a file with a hash since it was modified."""
        entry = self._state.staged.get(name)
        return (
            entry is not None
            and entry.hash == digest
            and entry.size == info.st_size & 0xFFFFFFFF
            and entry.inode == info.st_ino & 0xFFFFFFFF
            and _is_time(entry.modified, info.st_mtime_ns)
            and _is_time(entry.changed, info.st_ctime_ns)
            and info.st_mtime_ns < self._state.index_time
        )

    def _hash(self, size: int, parts: Iterable[bytes]) -> str:
        digest = hashlib.new(self._repository.hash_name, b"blob %d\0" % size, usedforsecurity=False)
        for part in parts:
            digest.update(part)
        return digest.hexdigest()

    def _read(self, name: str) -> bytes:
        path = Path(self._prefix + name)
        try:
            return path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else b""
        except OSError:
            return b""


def portable_link(path: str, root: Path) -> str:
    """The target of a link, relative to it, by ways that do not leave the root; empty if it is outside of the root."""
    target, real = os.readlink(path), os.path.realpath(path)  # noqa: PTH115 - the target as it is written
    if not Path(real).is_relative_to(root):
        return ""
    place = Path(path).parent
    depth = len(place.relative_to(root).parts)
    depths = accumulate(({"..": -1, ".": 0, "": 0}.get(part, 1) for part in target.split("/")), initial=depth)
    is_direct = not target.startswith("/") and min(depths) >= 0
    return target if is_direct else os.path.relpath(real, os.path.realpath(place))


def _is_time(recorded: tuple[int, int], time_ns: int) -> bool:
    """Whether a time of the index is that of a file; some programs write no nanoseconds."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return recorded[0] == seconds & 0xFFFFFFFF and recorded[1] in (nanoseconds, 0)


def _is_below(name: str, folders: set[str]) -> bool:
    return any(str(parent) in folders for parent in PurePosixPath(name).parents)
