"""Paths of the input audit: folders that do not count, and listings of folders."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

LIBRARY = os.path.dirname(os.path.abspath(os.__file__))  # of Python


def absolute(path: Any) -> str:
    """The absolute path of text, bytes or an object that stands for a path; links are not followed."""
    return os.path.abspath(path if type(path) is str else os.fsdecode(path))


def ignored_prefixes() -> tuple[str, ...]:
    """Folders of Python, its packages and the system, each with a separator at its end."""
    folders = {
        LIBRARY,
        os.path.realpath(LIBRARY),
        "/bin",
        "/sbin",
        "/usr/bin",
        "/usr/sbin",
        "/proc",
        "/sys",
        "/etc",
        "/usr/share",
        "/usr/lib",
        "/lib",
        "/run",
    }
    prefixes = {sys.prefix, sys.base_prefix}
    for prefix in prefixes | {os.path.realpath(prefix) for prefix in prefixes}:
        folders |= {
            os.path.join(prefix, name) for name in ("lib", "lib64", "bin", "share", "include", "etc", "pyvenv.cfg")
        }
    folders |= {entry for entry in sys.path if os.path.basename(entry) in ("site-packages", "dist-packages")}
    devices = (
        "/dev/fd/",
        "/dev/std",
        "/dev/null",
        "/dev/urandom",
        "/dev/random",
        "/dev/tty",
        "/dev/pts/",
        "/dev/nvidia",
    )
    return (*(f"{folder}{os.sep}" for folder in sorted(folders)), os.path.join(sys.prefix, "pyvenv.cfg"), *devices)


def is_library_cache(name: str) -> bool:
    """Whether a file is a cache that libraries rebuild: compiled code, or Matplotlib's list of fonts."""
    is_compiled = f"{os.sep}__pycache__{os.sep}" in name and not name.endswith(".pyc")
    return is_compiled or (name.endswith(".json") and f"{os.sep}fontlist-v" in name)


def lists_packages(code: str) -> bool:
    """Whether code looks for installed packages or their metadata in each folder of `sys.path`."""
    return "importlib" in code or code.endswith(("pkgutil.py", "pkg_resources/__init__.py", "/site.py"))


def is_globbing(frame: FrameType | None) -> bool:
    """Whether a folder is listed to match a pattern, which has an event of its own."""
    names = set()
    while frame is not None and frame.f_code.co_filename.endswith(
        ("/glob.py", "/pathlib.py", "/pathlib/_local.py", "/pathlib/__init__.py")
    ):
        names.add(frame.f_code.co_name)
        frame = frame.f_back
    return bool(names) and not names & {"iterdir", "walk"}


def hash_names(folder: str, pattern: str = "") -> str:
    """Hash the names in a folder that match a pattern, all if it is empty. Raises OSError."""
    import hashlib

    if not pattern:
        names = os.listdir(folder)
    elif os.sep in pattern or "**" in pattern:
        import glob

        paths = glob.glob(os.path.join(glob.escape(folder), pattern), recursive=True, include_hidden=True)
        names = [path[len(folder) :] for path in paths]
    else:
        import fnmatch

        names = fnmatch.filter(os.listdir(folder), pattern)
    return hashlib.sha256("\0".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()
