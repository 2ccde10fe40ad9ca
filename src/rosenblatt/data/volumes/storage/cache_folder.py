"""Which folder the cache of volumes is in, how large it may become, and whether it is safe to use."""

from __future__ import annotations

import math
import os
import sys
from contextlib import suppress
from pathlib import Path

from rosenblatt.errors import StorageError

FOLDER_VARIABLE = "ROSENBLATT_CACHE"
LIMIT_VARIABLE = "ROSENBLATT_CACHE_GB"
GB = 10**9


def named_cache_folder() -> Path:
    """The folder that the environment names, or the one of the platform."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named).expanduser().absolute()
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        if not home.is_absolute():
            home = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    except RuntimeError as error:  # a user without a home
        raise StorageError(f"This user has no home folder. Name a folder with {FOLDER_VARIABLE}.") from error
    return home / "rosenblatt" / "volumes"


def named_cache_limit() -> int | None:
    """The limit that the environment names, in bytes."""
    named = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not named:
        return None
    limit = math.nan
    with suppress(ValueError):
        limit = float(named)
    if not 0 < limit < math.inf:
        raise StorageError(f"{LIMIT_VARIABLE} is {named!r}; expected a number of gigabytes, such as 100.")
    return int(limit * GB)


def prepare_cache_folder(folder: Path) -> None:
    """Create the folder of the cache, and refuse one that others can write to, or that this user cannot."""
    if os.name != "posix":
        raise StorageError("The cache of volumes needs file locks of Linux or macOS. Use a volume in a local folder.")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise unusable_cache_error(folder, error.strerror or str(error)) from error
    if status.st_uid != os.geteuid():
        raise unusable_cache_error(folder, "it belongs to another user, who could change what it holds")
    if status.st_mode & 0o022:
        raise StorageError(
            f"The cache in {str(folder)!r} cannot be used: other users can write to it. Run `chmod go-w {folder}`, or "
            f"name another folder with {FOLDER_VARIABLE}."
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise unusable_cache_error(folder, "it cannot be written")


def unusable_cache_error(folder: Path, reason: str) -> StorageError:
    """The error of a folder that cannot be the cache."""
    return StorageError(
        f"The cache in {str(folder)!r} cannot be used: {reason}. Name another folder with {FOLDER_VARIABLE}."
    )
