"""Restore the source of a run in a new folder.

The source may come from a store that others write to. Its files are written first, to folders made here, and its links
last, so nothing is written through a link; links that lead out of the folder are removed again. Nothing below any
`.git` is restored, and of the permissions only whether a file is executable.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from rosenblatt.errors import RunError
from rosenblatt.runs.capture.git import (
    LINK_MODE,
    SUBMODULE_MODE,
    Repository,
    TreeEntry,
    fetch_repository,
    find_root,
    is_git_name,
    open_repository,
)
from rosenblatt.runs.capture.source import Source, SourceFile

MAX_LINK_BYTES = 4096
_HASH = re.compile("[0-9a-f]{64}")

Fetch = Callable[[str, str, Path], None]  # writes the stored file of a hash and root to a path


class RestoredSource(NamedTuple):
    """A restored source, in a folder that mirrors the folders around the original one."""

    folder: Path
    root: Path  # what was the root of the source
    original_root: Path
    import_folders: tuple[Path, ...]  # that hold the modules from outside of the root
    left_out: tuple[str, ...]  # files of git's own, and links that lead out of the folder

    def locate(self, path: Path) -> Path | None:
        """The place in the folder that stands for an original path; None if there is none."""
        place = Path(os.path.normpath(self.root / os.path.relpath(path, self.original_root)))
        return place if place.is_relative_to(self.folder) else None


def restore(
    source: Source, folder: Path, fetch: Fetch, *, as_repository: bool = True, paths: Iterable[Path] = ()
) -> RestoredSource:
    """Write a source to a new folder.

    Args:
        source: The source.
        folder: The folder, which must be empty or missing.
        fetch: Writes the stored file of a hash and root to a path.
        as_repository: Whether to make a git repository of the commit, as the original one was.
        paths: Other original paths, such as the working folder, that need a place in the folder.

    Raises:
        RunError: If a commit is neither in its repository nor in its remote, or a name is not that of a file below the
            folder.
    """
    original_root = Path(source.root)
    names = [*source.outside, *(os.path.relpath(path, original_root) for path in paths)]
    n_levels = max((PurePosixPath(name).parts.count("..") for name in names), default=0)
    place = PurePosixPath(*original_root.parts[1:][-n_levels:]) if n_levels else PurePosixPath()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder = folder.resolve()
        if any(folder.iterdir()):
            raise RunError(f"{str(folder)!r} is not empty. Name a new folder.")
        with ExitStack() as stack:
            plan = _Plan(folder, fetch, as_repository, stack)
            plan.add_source(source, "" if place == PurePosixPath() else place.as_posix())
            for name, entry in source.outside.items():
                plan.add(posixpath.normpath(f"{place}/{name}"), entry)
            plan.write()
        (folder / place).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        name = f" {error.filename!r}" if error.filename else ""
        raise RunError(f"The source cannot be restored: {error.strerror or error}{name}.") from error
    folders = {_import_folder(name, source.outside) for name in source.outside}
    imports = tuple(folder / posixpath.normpath(f"{place}/{name}") for name in sorted(folders))
    return RestoredSource(folder, folder / place, original_root, imports, tuple(plan.left_out))


@dataclass
class _Blob:
    """A file of a commit."""

    repository: int  # index in the plan
    entry: TreeEntry


@dataclass
class _Plan:
    """The files to write, by their path below the folder."""

    folder: Path
    fetch: Fetch
    as_repository: bool
    stack: ExitStack
    files: dict[str, SourceFile | _Blob] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)  # targets
    left_out: list[str] = field(default_factory=list)
    repositories: list[tuple[Repository, str, str]] = field(default_factory=list)  # with their commits and folders

    def add_source(self, source: Source, folder: str, title: str = "source") -> None:
        """Add the files of a source, and of the repositories in it."""
        prefix = f"{folder}/" if folder else ""
        if source.commit:
            repository, files = self._open_commit(source, title)
            index = len(self.repositories)
            self.repositories.append((repository, source.commit, folder))
            for name, entry in files.items():
                if name not in source.files and name not in source.fingerprints and entry.mode != SUBMODULE_MODE:
                    self.add(prefix + name, _Blob(index, entry))
        for name, file in source.files.items():
            if file is not None:
                self.add(prefix + name, file)
        for name, nested in source.nested.items():
            _check_name(prefix + name)
            self.add_source(nested, prefix + name, f"repository {name!r} in the {title}")

    def add(self, name: str, entry: SourceFile | _Blob) -> None:
        """Add a file. Raises RunError if its name leads out of the folder."""
        _check_name(name)
        if any(map(is_git_name, name.split("/"))):
            self.left_out.append(name)
        elif isinstance(entry, SourceFile) and entry.link is not None:
            self.links[name] = entry.link
        elif isinstance(entry, SourceFile) and not _HASH.fullmatch(entry.hash or ""):
            raise RunError(f"The source is damaged: {name!r} has no content.")
        else:
            self.files[name] = entry

    def write(self) -> None:
        """Write the repositories, the files, and last the links."""
        for repository, commit, folder in self.repositories if self.as_repository else ():
            repository.export(commit, self.folder / folder)
        for index, (repository, _, _) in enumerate(self.repositories):
            self._write_blobs(index, repository)
        for name, entry in self.files.items():
            if isinstance(entry, SourceFile) and entry.hash:
                path = self._make_place(name)
                self.fetch(entry.hash, entry.root, path)
                path.chmod(0o755 if entry.mode & 0o100 else 0o644)
        self._write_links()

    def _open_commit(self, source: Source, title: str) -> tuple[Repository, dict[str, TreeEntry]]:
        """Open a repository that holds the commit of a source: its own, that of the working folder, or the remote."""
        assert source.commit  # noqa: S101 - checked by the caller
        problems: dict[str, str] = {}
        for origin, is_remote in _origins(source):
            try:
                context = fetch_repository(origin, source.commit) if is_remote else open_repository(Path(origin))
                repository = self.stack.enter_context(context)
            except RunError as error:
                problems.setdefault(origin, f" ({str(error).rstrip('.')})" if is_remote else "")
                continue
            files = repository.files(source.commit, source.tree)
            if files is not None:
                return repository, files
            problems.setdefault(origin, "")
        origins = " or ".join(f"{origin!r}{problem}" for origin, problem in problems.items())
        raise RunError(
            f"The commit {source.commit[:12]} of the {title} is no longer in {origins}. Fetch it there, and try again."
        )

    def _write_blobs(self, index: int, repository: Repository) -> None:
        blobs = [
            (name, blob.entry)
            for name, blob in self.files.items()
            if isinstance(blob, _Blob) and blob.repository == index
        ]

        def write(i: int, size: int, stream: IO[bytes]) -> None:
            name, entry = blobs[i]
            if entry.mode == LINK_MODE:
                self.links[name] = os.fsdecode(stream.read(size))
                return
            path = self._make_place(name)
            with path.open("xb") as file:
                while size:
                    part = stream.read(min(size, 1 << 20))
                    if not part:
                        raise RunError(f"The commit of the source cannot be read: {name!r} is incomplete.")
                    file.write(part)
                    size -= len(part)
            path.chmod(0o755 if entry.mode & 0o100 else 0o644)

        repository.read_blobs([entry.hash for _, entry in blobs], write)

    def _make_place(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _write_links(self) -> None:
        for name in self.links:
            if any(parent.as_posix() in self.links for parent in PurePosixPath(name).parents):
                raise RunError(f"The source contains {name!r}, which is outside its folder.")
        for name, target in self.links.items():
            if len(os.fsencode(target)) <= MAX_LINK_BYTES and target and "\0" not in target:
                self._make_place(name).symlink_to(target)
        for name in self.links:
            path = self.folder / name
            target = os.path.relpath(os.path.realpath(path), self.folder)
            if path.is_symlink() and any(part == ".." or is_git_name(part) for part in target.split("/")):
                path.unlink()
            if not path.is_symlink():
                self.left_out.append(name)


def _origins(source: Source) -> Iterator[tuple[str, bool]]:
    """Where the commit of a source may be, and whether that is a remote."""
    yield source.root, False
    current = find_root(Path.cwd())
    if current:  # the project may have been moved
        yield str(current), False
    if source.remote:
        is_relative = source.remote.startswith("./") or source.remote.startswith("../")
        yield (f"{source.root}/{source.remote}" if is_relative else source.remote), True


def _check_name(name: str) -> None:
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise RunError(f"The source contains {name!r}, which is outside its folder.")


def _import_folder(name: str, files: dict[str, SourceFile]) -> str:
    """The folder from which a module is imported: the one that holds its outermost package."""
    folder = posixpath.dirname(name)
    while f"{folder}/__init__.py" in files:
        folder = posixpath.dirname(folder)
    return folder
