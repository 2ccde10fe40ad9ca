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
from typing import Any

from rosenblatt.errors import RunError, StorageError
from rosenblatt.runs.redaction import is_secret_file

MAX_FILE_BYTES = 10_000_000  # bytes of a file that is captured
MAX_TOTAL_BYTES = 100_000_000  # bytes of all together

StoreFile = Callable[[Path], tuple[str, str]]  # keeps a file: its hash, and where
Source = dict[str, Any]
"""`root`, `files` {path: {hash, root, mode}} or {path: None} for deleted ones, `skipped` {path: why}; with git also
`commit`, `branch`, `remote`, `tree`."""


def capture_source(path: Path, store_file: StoreFile) -> Source:
    """The source that a script, or what runs in a folder, belongs to, as it is now."""
    folder = path if path.is_dir() else path.parent
    root = _git(folder, "rev-parse", "--show-toplevel")
    if root:
        return _capture_repository(Path(root.strip()), store_file)
    source: Source = {"root": str(folder.resolve()), "files": {}, "skipped": {}}
    if path.is_file():
        add_files(source, [path.resolve()], store_file)
    return source


def add_files(source: Source, paths: Iterable[Path], store_file: StoreFile) -> None:
    """Take files of the source's folder into it, as they are now."""
    root = Path(source["root"])
    total_bytes = sum(entry["bytes"] for entry in source["files"].values() if entry)
    for path in paths:
        try:
            name, info = path.relative_to(root).as_posix(), path.lstat()
        except (ValueError, OSError):
            continue
        if stat.S_ISLNK(info.st_mode):
            source["files"][name] = {"link": str(path.readlink()), "bytes": 0}
        elif not stat.S_ISREG(info.st_mode):
            source["skipped"][name] = "not a plain file"
        elif is_secret_file(path.name):
            source["skipped"][name] = "it may hold credentials"
        elif info.st_size > MAX_FILE_BYTES:
            source["skipped"][name] = f"{info.st_size:,} bytes; files up to {MAX_FILE_BYTES:,} are captured"
        elif total_bytes + info.st_size > MAX_TOTAL_BYTES:
            source["skipped"][name] = f"{info.st_size:,} bytes; up to {MAX_TOTAL_BYTES:,} are captured in all"
        else:
            try:
                digest, file_root = store_file(path)
            except StorageError as error:
                source["skipped"][name] = str(error)
                continue
            total_bytes += info.st_size
            mode = info.st_mode & 0o777
            source["files"][name] = {"hash": digest, "root": file_root, "mode": mode, "bytes": info.st_size}


def imported_modules(root: Path) -> list[Path]:
    """The files below a folder from which modules of this process came, but for installed packages."""
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
    """A hash of what the source is, not of where it lies or how it is kept."""
    files = {name: entry and (entry.get("hash") or entry.get("link")) for name, entry in source["files"].items()}
    content = json.dumps([source.get("tree"), files, source["skipped"]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def restore(source: Source, folder: Path, fetch: Callable[[str, str, Path], None]) -> None:
    """Write the source into a new folder. Raises RunError where its commit is nowhere to be had."""
    commit = source.get("commit")
    if commit:
        _clone(source, commit, folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, entry in source["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise RunError(f"The source names {name!r}, which lies outside of its folder.")
        if path.is_symlink() or path.is_file():
            path.unlink()
        elif path.is_dir():
            shutil.rmtree(path)
        if entry is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if "link" in entry:
            path.symlink_to(entry["link"])
        else:
            fetch(entry["hash"], entry["root"], path)
            path.chmod(entry["mode"])


def diff_folders(folders: tuple[Path, Path]) -> str:
    """What differs between two sources that were restored into two folders, as `diff -u` shows it."""
    run = subprocess.run(  # noqa: S603 - git, with arguments of ours
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
    source: Source = {
        "root": str(root),
        "commit": commit,
        "branch": (_git(root, "symbolic-ref", "-q", "--short", "HEAD") or "").strip(),
        "remote": _without_credentials((_git(root, "config", "--get", "remote.origin.url") or "").strip()),
        "tree": (_git(root, "rev-parse", "HEAD^{tree}") or "").strip() if commit else "",
        "files": {},
        "skipped": {},
    }
    status = _git(root, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all") or ""
    changed_paths = []
    for line in filter(None, status.split("\0")):
        path = root / line[3:]
        if path.is_dir() and not path.is_symlink():
            source["skipped"][line[3:]] = "a repository of its own"
        elif os.path.lexists(path):
            changed_paths.append(path)
        else:
            source["files"][line[3:]] = None
    add_files(source, changed_paths, store_file)
    return source


def _without_credentials(remote: str) -> str:
    """An address to clone from. Of ssh a name before @ is part of it; over http it is a password or a token."""
    return re.sub(r"^(https?://)[^/@]*@|(?<=://)([^/:@]*):[^/@]*(?=@)", r"\1\2", remote)


def _clone(source: Source, commit: str, folder: Path) -> None:
    """The files of a commit, from the repository where it was, or from its remote."""
    failed_origins = []
    for origin in filter(None, (source["root"], source["remote"])):
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
        f"The commit {commit[:12]} of the source is no longer to be had from {' or '.join(map(repr, failed_origins))}. "
        "Fetch it there, and try again."
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """What git answers; None where it refuses, or is not there."""
    try:
        run = subprocess.run(  # noqa: S603 - git, with arguments of ours
            ["git", "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            check=False,
            env=os.environ | {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except OSError:
        return None
    return run.stdout.decode(errors="surrogateescape") if run.returncode == 0 else None
