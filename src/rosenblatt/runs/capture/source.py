"""Capture and restore the exact source of a run: a git commit with its local changes, or plain files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path

from rosenblatt.errors import RunError, StorageError
from rosenblatt.runs.redaction import redact
from rosenblatt.runs.secret_names import is_secret_file
from rosenblatt.runs.stored_model import StoredModel

MAX_FILE_BYTES = 10_000_000  # larger files are skipped
MAX_TOTAL_BYTES = 100_000_000  # of all files of a source

StoreFile = Callable[[Path], tuple[str, str]]  # stores a file and returns its hash and root


class SourceFile(StoredModel):
    """A file of a source: stored under the hash of its content in `root`, or a symbolic link."""

    hash: str | None = None
    root: str = ""
    mode: int = 0o644  # permissions
    bytes: int = 0
    link: str | None = None


class Source(StoredModel):
    """The source of a run; in a git repository only the files that differ from the commit."""

    root: str = ""
    files: dict[str, SourceFile | None] = {}  # by path below the root; None: deleted since the commit
    skipped: dict[str, str] = {}  # the reason by path
    commit: str | None = None  # None: no git repository; "": a repository without commits
    branch: str = ""
    remote: str = ""
    tree: str = ""  # git's hash of the files of the commit

    @property
    def is_repository(self) -> bool:
        """Whether the source is a git repository."""
        return self.commit is not None


def capture_source(path: Path, store_file: StoreFile) -> Source:
    """Capture the source that a script, or the code in a folder, belongs to, as it is now."""
    folder = path if path.is_dir() else path.parent
    root = _git(folder, "rev-parse", "--show-toplevel")
    if root:
        return _capture_repository(Path(root.strip()), store_file)
    source = Source(root=str(folder.resolve()), files={}, skipped={})
    if path.is_file():
        add_files(source, [path.resolve()], store_file)
    return source


def add_files(source: Source, paths: Iterable[Path], store_file: StoreFile) -> None:
    """Add files below the root of a source to it, as they are now."""
    root = Path(source.root)
    total_bytes = sum(entry.bytes for entry in source.files.values() if entry)
    for path in paths:
        try:
            name, info = path.relative_to(root).as_posix(), path.lstat()
        except (ValueError, OSError):
            continue
        if stat.S_ISLNK(info.st_mode):
            source.files[name] = SourceFile(link=str(path.readlink()), bytes=0)
        elif reason := _reason_to_skip(path, info, total_bytes):
            source.skipped[name] = reason
        else:
            try:
                digest, file_root = store_file(path)
            except StorageError as error:
                source.skipped[name] = str(error)
                continue
            total_bytes += info.st_size
            mode = info.st_mode & 0o777
            source.files[name] = SourceFile(hash=digest, root=file_root, mode=mode, bytes=info.st_size)


def _reason_to_skip(path: Path, info: os.stat_result, total_bytes: int) -> str:
    if not stat.S_ISREG(info.st_mode):
        return "not a regular file"
    if is_secret_file(str(path)):
        return "it may hold credentials"
    if info.st_size > MAX_FILE_BYTES:
        return f"{info.st_size:,} bytes; files up to {MAX_FILE_BYTES:,} are captured"
    if total_bytes + info.st_size > MAX_TOTAL_BYTES:
        return f"{info.st_size:,} bytes; up to {MAX_TOTAL_BYTES:,} are captured in all"
    return ""


def imported_modules(root: Path) -> list[Path]:
    """List the files below a folder from which this process imported modules, without installed packages."""
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    paths = []
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if isinstance(name, str) and name.endswith(".py"):
            path = Path(name).absolute()
            if path.is_relative_to(root) and not any(path.is_relative_to(folder) for folder in installed):
                paths.append(path)
    return paths


def source_hash(source: Source) -> str:
    """Hash the content of a source, independent of where it is and how it is stored."""
    files = {name: entry and (entry.hash or entry.link) for name, entry in source.files.items()}
    tree = source.tree if source.is_repository else None
    content = json.dumps([tree, files, source.skipped], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def restore(source: Source, folder: Path, fetch: Callable[[str, str, Path], None]) -> None:
    """Write a source to a new folder; `fetch` writes the stored file of a hash and root to a path.

    Raises:
        RunError: If its commit is neither in its repository nor in the remote.
    """
    if source.commit:
        _clone(source, source.commit, folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, entry in source.files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise RunError(f"The source contains {name!r}, which is outside its folder.")
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
        if entry is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if entry.link is not None:
            path.symlink_to(entry.link)
        elif entry.hash is not None:
            fetch(entry.hash, entry.root, path)
            path.chmod(entry.mode)


def diff_folders(folders: tuple[Path, Path]) -> str:
    """Compare two restored sources, in the format of `diff -u`."""
    run = subprocess.run(  # noqa: S603 - git with fixed arguments
        ["git", "diff", "--no-index", "--no-color", "--no-prefix", "--", *map(str, folders)],  # noqa: S607
        capture_output=True,
        check=False,
    )
    text = run.stdout.decode(errors="replace")
    for folder in folders:
        text = text.replace(f"{folder}/".lstrip("/"), "").replace(f"{folder}/", "")
    return text


def _capture_repository(root: Path, store_file: StoreFile) -> Source:
    commit = (_git(root, "rev-parse", "--verify", "-q", "HEAD") or "").strip()
    source = Source(
        root=str(root),
        commit=commit,
        branch=(_git(root, "symbolic-ref", "-q", "--short", "HEAD") or "").strip(),
        remote=_without_credentials((_git(root, "config", "--get", "remote.origin.url") or "").strip()),
        tree=(_git(root, "rev-parse", "HEAD^{tree}") or "").strip() if commit else "",
        files={},
        skipped={},
    )
    status = _git(root, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all") or ""
    changed_paths = []
    for line in filter(None, status.split("\0")):
        path = root / line[3:]
        if path.is_dir() and not path.is_symlink():
            source.skipped[line[3:]] = "a repository of its own"
        elif os.path.lexists(path):
            changed_paths.append(path)
        else:
            source.files[line[3:]] = None
    add_files(source, changed_paths, store_file)
    return source


def _without_credentials(remote: str) -> str:
    """Remove passwords and tokens from the URL of a remote; a user name before @ stays for ssh, and goes for http."""
    return redact(re.sub(r"^(https?://)[^/@]*@|(?<=://)([^/:@]*):[^/@]*(?=@)", r"\1\2", remote))


def _clone(source: Source, commit: str, folder: Path) -> None:
    """Check out a commit from the repository it was captured in, or from its remote."""
    failed_origins = []
    for origin in filter(None, (source.root, source.remote)):
        clone = ["clone", "-q", "--no-checkout", *(["--shared"] if Path(origin).is_dir() else []), "--", origin]
        parent = folder.parent
        if (
            _git(parent, *clone, str(folder)) is not None
            and _git(folder, "checkout", "-q", "--detach", commit) is not None
        ):
            return
        shutil.rmtree(folder, ignore_errors=True)
        failed_origins.append(origin)
    raise RunError(
        f"The commit {commit[:12]} of the source is no longer in {' or '.join(map(repr, failed_origins))}. Fetch it "
        "there, and try again."
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """Run git and return its output; None if it fails or is not installed."""
    try:
        run = subprocess.run(  # noqa: S603 - git with fixed arguments
            ["git", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            check=False,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except OSError:
        return None
    return run.stdout.decode(errors="surrogateescape") if run.returncode == 0 else None
