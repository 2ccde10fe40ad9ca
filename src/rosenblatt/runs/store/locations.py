"""Locations of a store, its artifacts and its spools, from the command line and environment variables."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

STORE_FOLDER = ".rosenblatt"
NO_STORE = "none"  # the name of no store: nothing is tracked


def store_url(name: str | None = None, start: Path | None = None) -> str | None:
    """The address of the store; None where nothing is to be tracked.

    The name comes from `--store` or `ROSENBLATT_STORE`: a folder, or an address of PostgreSQL. Without one it is the
    next `.rosenblatt/` upwards from the working folder, as git finds its own, or one to be made there.
    """
    name = name or os.environ.get("ROSENBLATT_STORE") or ""
    if name.lower() == NO_STORE:
        return None
    if "://" in name:
        return name
    if name:
        folder = Path(name).expanduser().absolute()
        return f"sqlite:///{folder if folder.suffix in ('.db', '.sqlite') else folder / 'runs.db'}"
    start = (start or Path.cwd()).absolute()
    root = next((folder for folder in (start, *start.parents) if (folder / STORE_FOLDER).is_dir()), start)
    return f"sqlite:///{root / STORE_FOLDER / 'runs.db'}"


def store_folder(url: str) -> Path:
    """The folder of a store on this machine, for artifacts and the state of searches; that of PostgreSQL too."""
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///")).parent
    return data_home() / store_key(url)


def data_home() -> Path:
    """The folder in the user's home for what belongs to no store in a folder."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "rosenblatt"


def artifact_root(url: str) -> str:
    """Where the files of a store's runs are kept: `ROSENBLATT_ARTIFACTS`, else the store's folder on this machine."""
    base = os.environ.get("ROSENBLATT_ARTIFACTS")  # by other stores too, perhaps: each has a part of its own
    return f"{base.rstrip('/')}/{store_key(url)}" if base else str(store_folder(url) / "artifacts")


def spool_folders(url: str) -> list[Path]:
    """Folders, the best first, where records wait for a store that cannot be written."""
    override = os.environ.get("ROSENBLATT_SPOOL")
    roots = [Path(override)] if override else [data_home() / "spool", Path(tempfile.gettempdir()) / "rosenblatt-spool"]
    return [root / store_key(url) for root in roots]


def store_key(url: str) -> str:
    """A short name for a store, the same for each of its users."""
    return hashlib.sha256(re.sub(r"://[^/@]*@", "://", url).encode()).hexdigest()[:16]
