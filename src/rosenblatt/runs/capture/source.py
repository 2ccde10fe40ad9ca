"""In: a folder or script. Out: its exact source, as a commit and what differs from it, or as files; and it restored."""

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

LARGEST = 10_000_000  # bytes of a file that is captured
MOST = 100_000_000  # bytes of all together

Keep = Callable[[Path], tuple[str, str]]  # keeps a file: its hash, and where
Source = dict[str, Any]
"""`root`, `files` {path: {hash, root, mode}} or {path: None} for deleted ones, `left_out` {path: why}; with git also
`commit`, `branch`, `remote`, `tree`."""


def capture(place: Path, keep: Keep) -> Source:
    """The source that a script, or what runs in a folder, belongs to, as it is now."""
    folder = place if place.is_dir() else place.parent
    root = _git(folder, "rev-parse", "--show-toplevel")
    if root:
        return _of_repository(Path(root.strip()), keep)
    source: Source = {"root": str(folder.resolve()), "files": {}, "left_out": {}}
    if place.is_file():
        add(source, [place.resolve()], keep)
    return source


def add(source: Source, paths: Iterable[Path], keep: Keep) -> None:
    """Take files of the source's folder into it, as they are now."""
    root = Path(source["root"])
    taken = sum(entry["bytes"] for entry in source["files"].values() if entry)
    for path in paths:
        try:
            name, info = path.relative_to(root).as_posix(), path.lstat()
        except (ValueError, OSError):
            continue
        if stat.S_ISLNK(info.st_mode):
            source["files"][name] = {"link": str(path.readlink()), "bytes": 0}
        elif not stat.S_ISREG(info.st_mode):
            source["left_out"][name] = "not a plain file"
        elif is_secret_file(path.name):
            source["left_out"][name] = "it may hold credentials"
        elif info.st_size > LARGEST:
            source["left_out"][name] = f"{info.st_size:,} bytes; files up to {LARGEST:,} are captured"
        elif taken + info.st_size > MOST:
            source["left_out"][name] = f"{info.st_size:,} bytes; up to {MOST:,} are captured in all"
        else:
            try:
                digest, where = keep(path)
            except StorageError as error:
                source["left_out"][name] = str(error)
                continue
            taken += info.st_size
            mode = info.st_mode & 0o777
            source["files"][name] = {"hash": digest, "root": where, "mode": mode, "bytes": info.st_size}


def imported_modules(root: Path) -> list[Path]:
    """The files below a folder from which modules of this process came, but for installed packages."""
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    found = []
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if isinstance(name, str) and name.endswith(".py"):
            path = Path(name).absolute()
            if path.is_relative_to(root) and not any(path.is_relative_to(folder) for folder in installed):
                found.append(path)
    return found


def hash_of(source: Source) -> str:
    """A hash of what the source is, not of where it lies or how it is kept."""
    files = {name: entry and (entry.get("hash") or entry.get("link")) for name, entry in source["files"].items()}
    words = json.dumps([source.get("tree"), files, source["left_out"]], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


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


def difference(folders: tuple[Path, Path]) -> str:
    """What differs between two sources that were restored into two folders, as `diff -u` shows it."""
    run = subprocess.run(  # noqa: S603 - git, with arguments of ours
        ["git", "diff", "--no-index", "--no-color", "--no-prefix", "--", *map(str, folders)],  # noqa: S607
        capture_output=True,
        check=False,
    )
    words = run.stdout.decode(errors="replace")
    for folder in folders:
        words = words.replace(f"{folder}/".lstrip("/"), "").replace(f"{folder}/", "")
    return words


def _of_repository(root: Path, keep: Keep) -> Source:
    commit = (_git(root, "rev-parse", "--verify", "-q", "HEAD") or "").strip()
    source: Source = {
        "root": str(root),
        "commit": commit,
        "branch": (_git(root, "symbolic-ref", "-q", "--short", "HEAD") or "").strip(),
        "remote": _without_credentials((_git(root, "config", "--get", "remote.origin.url") or "").strip()),
        "tree": (_git(root, "rev-parse", "HEAD^{tree}") or "").strip() if commit else "",
        "files": {},
        "left_out": {},
    }
    listed = _git(root, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all") or ""
    changed = []
    for line in filter(None, listed.split("\0")):
        path = root / line[3:]
        if path.is_dir() and not path.is_symlink():
            source["left_out"][line[3:]] = "a repository of its own"
        elif os.path.lexists(path):
            changed.append(path)
        else:
            source["files"][line[3:]] = None
    add(source, changed, keep)
    return source


def _without_credentials(remote: str) -> str:
    """An address to clone from. Of ssh a name before @ is part of it; over http it is a password or a token."""
    return re.sub(r"^(https?://)[^/@]*@|(?<=://)([^/:@]*):[^/@]*(?=@)", r"\1\2", remote)


def _clone(source: Source, commit: str, folder: Path) -> None:
    """The files of a commit, from the repository where it was, or from its remote."""
    tried = []
    for origin in filter(None, (source["root"], source["remote"])):
        clone = ["clone", "-q", "--no-checkout", *(["--shared"] if Path(origin).is_dir() else []), "--", origin]
        here = folder.parent
        if (
            _git(here, *clone, str(folder)) is not None
            and _git(folder, "checkout", "-q", "--detach", commit) is not None
        ):
            return
        shutil.rmtree(folder, ignore_errors=True)
        tried.append(origin)
    raise RunError(
        f"The commit {commit[:12]} of the source is no longer to be had from {' or '.join(map(repr, tried))}. Fetch it "
        "there, and try again."
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
