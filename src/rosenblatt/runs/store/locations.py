"""Locations of a store, its artifacts and its spools, from the command line and environment variables."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from rosenblatt.errors import StorageError
from rosenblatt.runs.store.permissions import check_trust

STORE_FOLDER = ".rosenblatt"
NO_STORE = "none"  # as the name of a store: nothing is recorded
LOCAL_PLACE = "local"  # as the place of a command, such as `fit --on`: this machine
_SQLITE = "sqlite:///"  # begins the addresses of stores that are SQLite files


def store_url(name: str | None = None, start: Path | None = None) -> str | None:
    """Find the address of the store; None if nothing is to be recorded.

    Args:
        name: A folder, an address of PostgreSQL or of a dashboard, or "none"; by default `ROSENBLATT_STORE`, or else
            the nearest `.rosenblatt/` folder, searched upwards from `start`, or a new one there.
        start: The folder to start from; by default the working folder.

    Raises:
        StoreError: If the folder that was found belongs to another user, or everybody can write to it.
    """
    name = name or os.environ.get("ROSENBLATT_STORE") or ""
    if name.lower() == NO_STORE:
        return None
    if "://" in name:
        return name
    if name:
        folder = Path(name).expanduser().absolute()
        return f"{_SQLITE}{folder if folder.suffix in ('.db', '.sqlite') else folder / 'runs.db'}"
    start = (start or Path.cwd()).absolute()
    root = next((folder for folder in (start, *start.parents) if (folder / STORE_FOLDER).is_dir()), start)
    database = root / STORE_FOLDER / "runs.db"
    check_trust(database.parent, database)
    return f"{_SQLITE}{database}"


def is_sqlite_file(url: str) -> bool:
    """Whether a store is a SQLite file."""
    return url.startswith(_SQLITE)


def is_remote(url: str) -> bool:
    """Whether a store is reached over HTTP: runs can be recorded there, but not read."""
    return url.startswith(("https://", "http://"))


def database_file(url: str) -> Path:
    """The file of a store in SQLite."""
    return Path(url.removeprefix(_SQLITE))


def store_name(url: str | None) -> str:
    """The store as `--store` and ROSENBLATT_STORE name it."""
    return (url or NO_STORE).removeprefix(_SQLITE)


def data_home() -> Path:
    """The folder in the user's home for files of stores that have no folder."""
    return _user_folder("XDG_DATA_HOME", ".local/share")


def state_home() -> Path:
    """The folder in the user's home for files that programs leave for one another, such as spools and clusters."""
    return _user_folder("XDG_STATE_HOME", ".local/state")


def _user_folder(variable: str, default: str) -> Path:
    """A folder of the user's, which a variable names if it is absolute, as the standard of these variables says."""
    named = Path(os.environ.get(variable, ""))
    try:
        return (named if named.is_absolute() else Path.home() / default) / "rosenblatt"
    except RuntimeError as error:  # a user without a home
        raise StorageError(f"This user has no home folder. Name a folder with {variable}.") from error


def artifact_address() -> str:
    """The place that ROSENBLATT_ARTIFACTS names for files of runs, with credentials; "": each store's own folder."""
    base = os.environ.get("ROSENBLATT_ARTIFACTS", "")
    if base.startswith("file://"):
        from urllib.request import url2pathname  # loads the clients of HTTP and TLS

        base = url2pathname(urlsplit(base).path)
    return base if not base or "://" in base else str(Path(base).expanduser().absolute())


def public_address(address: str) -> str:
    """An address without user, password and query, in which credentials may be. Raises StorageError."""
    if "://" not in address:
        return address
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        raise StorageError(
            "An address cannot be read: the given one, or that of ROSENBLATT_ARTIFACTS. In its user and password, "
            "write / as %2F, @ as %40, : as %3A, ? as %3F and # as %23."
        ) from None
    user, _, host = parts.netloc.rpartition("@")
    is_container = parts.scheme in ("abfs", "abfss") and ":" not in user  # of Azure, before its account
    return urlunsplit((parts.scheme, parts.netloc if is_container else host, parts.path.rstrip("/"), "", ""))


def spool_folder(url: str) -> Path:
    """The folder in which records wait for a store that cannot be written. Raises StorageError if there is no place."""
    override = os.environ.get("ROSENBLATT_SPOOL")
    root = Path(override).expanduser().absolute() if override else state_home() / "spool"
    return root / store_key(url)


def store_prefixes(url: str) -> tuple[str, ...]:
    """Beginnings of the paths of local files that belong to a store, or to others of this user.

    They fit absolute paths, with and without links resolved, that have a separator at their end.
    """
    folders = []
    for locate in (data_home, lambda: spool_folder(url).parent):
        with suppress(StorageError):
            folders.append(locate())
    address = artifact_address()
    if address and "://" not in address:
        folders.append(Path(address))
    files = []
    if is_sqlite_file(url):
        database = database_file(url)
        files.append(database)  # and those beside it, such as runs.db-wal
        folders += [database.parent / name for name in ("artifacts", "queue", "state")]
        if database.parent.name == STORE_FOLDER:
            folders.append(database.parent)
    places = {f"{place}{os.sep}" for folder in folders for place in (folder, folder.resolve())}
    places |= {str(place) for file in files for place in (file, file.parent.resolve() / file.name)}
    return tuple(sorted(places))


def store_key(url: str) -> str:
    """A short name for a store, equal for all of its users."""
    return hashlib.sha256(re.sub(r"://[^/@]*@", "://", url).encode(errors="surrogateescape")).hexdigest()[:16]
