"""The files that travel with a script: those of its folder or repository, without secrets and stores."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from rosenblatt.errors import ClusterError, RunError, format_count, format_list
from rosenblatt.runs.capture.git import find_root, is_git_name, is_root, open_repository
from rosenblatt.runs.capture.working_tree import find_changes, portable_link
from rosenblatt.runs.secret_names import is_secret_file
from rosenblatt.runs.store.locations import STORE_FOLDER

MAX_BYTES = 200_000_000  # of all files of a script
N_LARGEST = 3  # files in the message about too many bytes
_LEFT_OUT_FOLDERS = frozenset({"__pycache__", "node_modules"})
_ENVIRONMENT_FILE = "pyvenv.cfg"  # in each virtual environment


@dataclass(frozen=True)
class ScriptFiles:
    """Files below a root, by their names there.

    Attributes:
        root: the repository of the script, or else the working folder.
        names: of the files that travel.
        n_bytes: their size.
        secrets: names of files that stay here because they may hold credentials.
        outside: names of links that lead to folders outside of the root, which stay here.
    """

    root: Path
    names: tuple[str, ...]
    n_bytes: int
    secrets: tuple[str, ...]
    outside: tuple[str, ...]

    @contextmanager
    def open_archive(self) -> Iterator[BinaryIO]:
        """Open a tar archive of the files. Raises ClusterError if one cannot be read."""
        with TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w", dereference=True) as archive:
                for name in self.names:
                    try:
                        _add_file(archive, self.root, name)
                    except OSError as error:
                        raise ClusterError(f"{name!r} cannot be sent: {error.strerror or error}.") from error
            file.seek(0)
            yield file


def find_script_files(folder: Path, data: Sequence[Path], excluded: Sequence[str]) -> ScriptFiles:
    """Find the files that travel with a script.

    In a git repository these are all files that git does not ignore, else all files of the working folder.

    Args:
        folder: the working folder.
        data: files and folders that travel although git ignores them.
        excluded: beginnings of the paths of files that stay here: those of the store.

    Raises:
        ClusterError: if data is outside of the root, or the files are too large.
    """
    folder = folder.resolve()
    root = find_root(folder) or folder
    names = dict.fromkeys(_list_files(root))
    for path in map(Path.resolve, data):
        if not path.is_relative_to(root):
            raise ClusterError(
                f"--data {str(path)!r} is outside of {str(root)!r}, whose files are sent to the machine. Move it "
                "there, or copy it to the machine and name its path there in the arguments of the script."
            )
        files = _walk(path) if path.is_dir() else [path.name]
        base = path if path.is_dir() else path.parent
        names |= dict.fromkeys((base / name).relative_to(root).as_posix() for name in files)
    sizes, secrets, outside, n_bytes = dict[str, int](), list[str](), list[str](), 0
    for name in names:
        if _stays(root, name, excluded) or not (root / name).exists():
            continue
        if is_secret_file(name):
            secrets.append(name)
        elif (root / name).is_file():
            sizes[name] = (root / name).stat().st_size
            n_bytes += sizes[name]
        elif (root / name).is_symlink() and not portable_link(str(root / name), root):
            outside.append(name)
        elif (root / name).is_symlink():
            sizes[name] = 0
        if n_bytes > MAX_BYTES:
            raise ClusterError(_explain_size(root, sizes))
    return ScriptFiles(root, tuple(sizes), n_bytes, tuple(secrets), tuple(outside))


def _list_files(root: Path) -> Iterator[str]:
    """The files of a working tree that git does not ignore, with those of repositories in it; else all files."""
    if not is_root(root):
        yield from _walk(root)
        return
    try:
        with open_repository(root) as repository:
            changes = find_changes(repository, root, repository.head()[0])
    except RunError as error:
        raise ClusterError(f"{error} Which files belong to the script is not known.") from error
    yield from (*sorted(changes.unchanged), *changes.changed, *changes.untracked)
    for name in changes.repositories:
        if is_root(root / name):
            yield from (f"{name}/{nested}" for nested in _list_files(root / name))


def _walk(root: Path) -> Iterator[str]:
    """All files below a folder, without virtual environments and compiled modules."""
    for folder, folders, files in os.walk(root):
        place = Path(folder)
        links = [name for name in folders if (place / name).is_symlink()]
        folders[:] = sorted(
            name
            for name in folders
            if name not in links and name not in _LEFT_OUT_FOLDERS and not (place / name / _ENVIRONMENT_FILE).exists()
        )
        yield from ((place / name).relative_to(root).as_posix() for name in sorted([*files, *links]))


def _stays(root: Path, name: str, excluded: Iterable[str]) -> bool:
    parts = name.split("/")
    return STORE_FOLDER in parts or any(map(is_git_name, parts)) or f"{root / name}{os.sep}".startswith(tuple(excluded))


def _explain_size(root: Path, sizes: dict[str, int]) -> str:
    largest = sorted(sizes, key=lambda name: -sizes[name])[:N_LARGEST]
    listed = format_list(f"{name} ({sizes[name] / 1e6:,.1f} MB)" for name in largest)
    return (
        f"The files of {str(root)!r} have more than {MAX_BYTES / 1e6:,.0f} MB, which is the most that is sent to a "
        f"machine; large ones are {listed}. Let .gitignore name what the script does not need, run the command in a "
        "smaller folder, or copy the data to the machine and name its path there in the arguments of the script."
    )


def _add_file(archive: tarfile.TarFile, root: Path, name: str) -> None:
    path = root / name
    if path.is_symlink() and (target := portable_link(str(path), root)):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, target
        archive.addfile(info)
        return
    with path.open("rb") as file:
        info = archive.gettarinfo(arcname=name, fileobj=file)
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        archive.addfile(info, file)


def describe_files(files: ScriptFiles, option: str = "--data") -> str:
    """What is sent and what is not, in one line; `option` names files that git ignores."""
    text = f"sending {format_count(len(files.names), 'file')} of {str(files.root)!r}, {files.n_bytes / 1e6:,.1f} MB"
    if is_root(files.root):
        text += f"; without those that git ignores, unless {option} names them"
    if files.secrets:
        text += f"; without {format_list(files.secrets)}, which may hold credentials"
    if files.outside:
        text += f"; without {format_list(files.outside)}, which are links to folders outside"
    return text
