"""Capture the exact source of a run: a git commit with its local changes, or plain files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rosenblatt.errors import RunError, StorageError
from rosenblatt.runs.capture.git import find_root, is_git_name, is_root, open_repository
from rosenblatt.runs.capture.working_tree import Changes, find_changes, portable_link
from rosenblatt.runs.recorded import Recorded
from rosenblatt.runs.redaction import redact
from rosenblatt.runs.secret_names import is_secret_file
from rosenblatt.runs.store.artifacts import has_changed
from rosenblatt.runs.store.locations import STORE_FOLDER
from rosenblatt.runs.store.places import file_hash

MAX_FILE_BYTES = 10_000_000  # larger files are skipped
MAX_TOTAL_BYTES = 100_000_000  # of all files of a source
MAX_HASHED_BYTES = 1_000_000_000  # of a skipped file; a larger one is described by its size and time of modification
_PYTHON_FOLDERS = tuple(
    os.path.normcase(os.path.join(sysconfig.get_path(name), ""))  # noqa: PTH118 - ends with a separator
    for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
)
_PACKAGES_FOLDER = re.compile(r"[\\/](site|dist)-packages[\\/]")
_OWN_FOLDER = Path(__file__).resolve().parents[2]
SOURCE_SUFFIXES = re.compile(
    r"\.(py[ixw]?|pxd|ipynb|[rm]|[rq]md|jl|c|cc|cpp|cxx|hh?|hpp|cuh?|f|f90|rs|go|java|kt|scala|swift|cs|m?js|tsx?|jsx"
    r"|lua|pl|rb|php|sql|(ba|z|fi)?sh|ps1|bat|mk|cmake|proto|ya?ml|toml|json|json5|jsonnet|cfg|ini|conf|gin|hocon"
    r"|properties|xml|txt|md|rst|in|lock|jinja|j2|html|css|patch|diff)",
    re.IGNORECASE,
)
"""Suffixes of untracked files that count as source. A run's other files are data if it reads them, or results."""
SOURCE_NAMES = frozenset({"Makefile", "Dockerfile", "Containerfile", "Justfile", "Snakefile", "Pipfile", "Procfile"})

StoreFile = Callable[[Path], tuple[str, str]]  # stores a file and returns its hash and root


@dataclass(frozen=True, kw_only=True)
class SourceFile(Recorded):
    """A file of a source: stored under the hash of its content in `root`, or a symbolic link."""

    hash: str | None = None
    root: str = ""
    mode: int = 0o644  # permissions
    bytes: int = 0
    link: str | None = None


@dataclass(frozen=True, kw_only=True)
class Source(Recorded):
    """The source of a run; in a git repository only the files that differ from the commit."""

    root: str = ""
    files: dict[str, SourceFile | None] = field(
        default_factory=dict
    )  # by path below the root; None: deleted since the commit
    outside: dict[str, SourceFile] = field(
        default_factory=dict
    )  # imported modules by path relative to the root, such as "../src/net.py"
    nested: dict[str, Source] = field(default_factory=dict)  # submodules and other repositories by path below the root
    skipped: dict[str, str] = field(
        default_factory=dict
    )  # files of the source that are not captured: the reason by path
    not_source: dict[str, str] = field(
        default_factory=dict
    )  # untracked files that are no source: the reason by path or pattern
    fingerprints: dict[str, str] = field(default_factory=dict)  # of skipped files that belong to the source
    commit: str | None = None  # None: no git repository; "": a repository without commits
    branch: str = ""
    remote: str = ""
    tree: str = ""  # git's hash of the files of the commit

    @property
    def is_repository(self) -> bool:
        """Whether the source is a git repository."""
        return self.commit is not None

    def stored_files(self) -> list[tuple[str, str]]:
        """The paths and hashes of the files that are stored, also those of nested repositories."""
        files = {**self.files, **self.outside}
        own = [
            (os.path.normpath(f"{self.root}/{name}"), file.hash) for name, file in files.items() if file and file.hash
        ]
        return own + [pair for nested in self.nested.values() for pair in nested.stored_files()]


class SourceCapture:
    """Captures the source that a script, or the code in a folder, belongs to, as it is now.

    Args:
        path: The script or folder.
        store_file: Stores a file and returns its hash and root.
        excluded: Beginnings of the paths of files that are no source: those of the store.
        find_outputs: Returns the hashes of files that recorded runs wrote, by absolute path. A file that still has
            this content is a result of theirs.
    """

    def __init__(
        self,
        path: Path,
        store_file: StoreFile,
        excluded: Iterable[str] = (),
        find_outputs: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._store_file, self._find_outputs = store_file, find_outputs
        folder = (path if path.is_dir() else path.parent).resolve()
        self._excluded = tuple(prefix for prefix in excluded if not f"{folder}{os.sep}".startswith(prefix))
        self._unchanged = frozenset[str]()  # files that are as in the commit
        self._captured: set[str] = set()  # other files, also skipped ones
        self._nested: dict[str, SourceCapture] = {}
        self._n_bytes, self._problem = 0, ""
        root = find_root(folder)
        if root is None or not self._capture_repository(root):
            self._root = folder
            problem = {".git": self._problem} if root else {}
            self.source = Source(**_empty(self._root) | {"skipped": problem})
        if path.is_file():
            self.add([path])

    def add(self, paths: Iterable[Path]) -> bool:
        """Add the script and imported modules, unless they are part of it already; returns whether there are any."""
        is_changed = False
        for path in map(Path, map(os.path.abspath, paths)):
            if is_installed(path):
                continue
            real = Path(os.path.realpath(path))
            inside = next((option for option in (real, path) if option.is_relative_to(self._root)), None)
            if inside is None and real.is_relative_to(_OWN_FOLDER):
                continue
            name = Path(os.path.relpath(inside or real, self._root)).as_posix()
            nested = next((self._nested[folder] for folder in self._nested if name.startswith(f"{folder}/")), None)
            is_changed |= nested.add([path]) if nested else self._add_file(name, is_outside=inside is None)
        return is_changed

    def _add_file(self, name: str, is_outside: bool) -> bool:
        if name in self._captured or name in self._unchanged:
            return False
        self._capture_file(name, self.source.outside if is_outside else self.source.files)
        return True

    def _capture_repository(self, root: Path) -> bool:
        """Capture a repository; if it cannot be read, note the problem and return False."""
        try:
            with open_repository(root) as repository:
                commit, tree, branch = repository.head()
                changes = find_changes(repository, root, commit)
                remote = _without_credentials(repository.remote())
        except RunError as error:
            self._problem = f"{error} The source was captured as plain files"
            return False
        self._root = root
        self.source = Source(**_empty(root), commit=commit, branch=branch, remote=remote, tree=tree)
        self._unchanged = changes.unchanged
        self._add_changes(changes)
        return True

    def _add_changes(self, changes: Changes) -> None:
        self.source.files.update(dict.fromkeys(name for name in changes.deleted if not self._is_excluded(name)))
        changed = [name for name in changes.changed if not self._is_excluded(name)]
        untracked = [name for name in changes.untracked if not self._is_excluded(name)]
        candidates = [name for name in untracked if self._is_source(name)]
        outputs = self._find_outputs() if changed or candidates else {}
        written = {name for name in (*changed, *candidates) if self._is_output(name, outputs)}
        for name in (*changed, *candidates):
            if name not in written:
                self._capture_file(name, self.source.files, changes.modes.get(name))
        self._summarize(sorted(written), "written by recorded runs")
        others = sorted({*untracked} - {*candidates})
        self._summarize(others, "not tracked by git, and neither code nor configuration")
        for name in changes.repositories:
            self._capture_nested(name)

    def _capture_nested(self, name: str) -> None:
        """Capture a submodule, or another repository below the root."""
        root = self._root / name
        if not is_root(root):
            self.source.skipped[name] = "a submodule that is not checked out"
            return
        capture = SourceCapture(root, self._store_file, self._excluded, self._find_outputs)
        self._nested[name] = capture
        self.source.nested[name] = capture.source

    def _capture_file(self, name: str, files: dict[str, Any], mode: int | None = None) -> None:
        """Capture a file, or the file outside of the source that a link names; or note why it is skipped."""
        source, path = self.source, self._root / name
        self._captured.add(name)
        try:
            name.encode()
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                if link := portable_link(str(path), self._root):
                    files[name] = SourceFile(link=link)
                    return
                source.files[name] = None  # the link would lead out of the restored folder
                info = path.stat()
        except UnicodeEncodeError:
            source.skipped[os.fsencode(name).decode(errors="replace")] = "its name is not valid UTF-8"
            return
        except OSError as error:
            source.skipped[name] = f"it cannot be read: {error.strerror}"
            return
        reason = self._reason_to_skip(path, info)
        if not reason:
            try:
                digest, file_root = self._store_file(path)
            except StorageError as error:
                reason = str(error)
        if reason:
            source.skipped[name] = reason
            source.fingerprints[name] = _fingerprint(path, info)
            return
        self._n_bytes += info.st_size
        executable = (mode or info.st_mode) & 0o100
        files[name] = SourceFile(hash=digest, root=file_root, mode=0o755 if executable else 0o644, bytes=info.st_size)

    def _reason_to_skip(self, path: Path, info: os.stat_result) -> str:
        if stat.S_ISDIR(info.st_mode):
            return f"a link to the folder {os.path.realpath(path)!r}, outside of the source"
        if not stat.S_ISREG(info.st_mode):
            return "not a regular file"
        if any(map(is_git_name, path.relative_to(self._root).parts if path.is_relative_to(self._root) else ())):
            return "a file of git's own"
        if is_secret_file(str(path)):
            return "it may hold credentials"
        if info.st_size > MAX_FILE_BYTES:
            return f"{info.st_size:,} bytes; files up to {MAX_FILE_BYTES:,} are captured"
        if self._n_bytes + info.st_size > MAX_TOTAL_BYTES:
            return f"{info.st_size:,} bytes; up to {MAX_TOTAL_BYTES:,} are captured in all"
        return ""

    def _is_source(self, name: str) -> bool:
        path = self._root / name
        return _is_source_file(path) or (path.is_symlink() and bool(portable_link(str(path), self._root)))

    def _is_excluded(self, name: str) -> bool:
        path = f"{self._root}{os.sep}{name}{os.sep}"
        return path.startswith(self._excluded) or STORE_FOLDER in name.split("/")

    def _is_output(self, name: str, outputs: Mapping[str, str]) -> bool:
        path = self._root / name
        digest = outputs.get(str(path), "")
        return digest != "" and not has_changed(path, digest)

    def _summarize(self, names: list[str], reason: str) -> None:
        """Note files that are no source, those of one suffix together."""
        groups: dict[str, list[str]] = {}
        for name in names:
            path = Path(name)
            groups.setdefault(f"{path.parent.as_posix()}/*{path.suffix}".removeprefix("./"), []).append(name)
        for pattern, members in groups.items():
            self.source.not_source[members[0] if len(members) == 1 else f"{pattern} ({len(members):,} files)"] = reason


def capture_source(path: Path, store_file: StoreFile) -> Source:
    """Capture the source that a script, or the code in a folder, belongs to, as it is now; see `SourceCapture`."""
    return SourceCapture(path, store_file).source


def source_hash(source: Source) -> str:
    """Hash the content of a source, independent of where it is and how it is stored."""

    def describe(entry: SourceFile | None) -> list[object] | None:
        return [entry.hash, entry.link, bool(entry.mode & 0o100)] if entry else None

    content = [
        source.tree if source.is_repository else None,
        {name: describe(entry) for name, entry in source.files.items()},
        {name: describe(entry) for name, entry in source.outside.items()},
        {name: source_hash(nested) for name, nested in source.nested.items()},
        source.fingerprints,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _empty(root: Path) -> dict[str, Any]:
    names = ("files", "outside", "nested", "skipped", "not_source", "fingerprints")
    return {"root": str(root), **{name: {} for name in names}}


@cache
def is_installed(path: str | Path) -> bool:
    """Whether a module belongs to Python or to an installed package, by its absolute path."""
    text = os.path.normcase(path)  # not a Path: this is called for a thousand modules
    return bool(_PACKAGES_FOLDER.search(text)) or text.startswith(_PYTHON_FOLDERS)


def _is_source_file(path: Path) -> bool:
    """Whether an untracked file looks like source or configuration."""
    if path.name in SOURCE_NAMES or SOURCE_SUFFIXES.fullmatch(path.suffix) or is_secret_file(str(path)):
        return True
    return not path.suffix and os.access(path, os.X_OK) and path.is_file()  # a script


def _fingerprint(path: Path, info: os.stat_result) -> str:
    """Describe the content of a file that is not stored; secrets only by size and time, so that nobody guesses them."""
    is_hashed = stat.S_ISREG(info.st_mode) and info.st_size <= MAX_HASHED_BYTES and not is_secret_file(str(path))
    if is_hashed:
        with suppress(OSError):
            return file_hash(path)
    return f"{info.st_size} {info.st_mtime_ns}" if stat.S_ISREG(info.st_mode) else stat.filemode(info.st_mode)


def _without_credentials(remote: str) -> str:
    """Remove passwords and tokens from the URL of a remote; a user name before @ stays for ssh, and goes for http."""
    return redact(re.sub(r"^(https?://)[^/@]*@|(?<=://)([^/:@]*):[^/@]*(?=@)", r"\1\2", remote))
