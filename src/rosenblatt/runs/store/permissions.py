"""Who may read and write the files of a store, and whose stores are used without being named."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from rosenblatt.errors import StoreError


def make_store_folder(folder: Path) -> bool:
    """Create the folder of a store, for its user alone; returns False if it exists already. Raises OSError.

    With sudo it belongs to the user who called it if the folder that it is in does, and so does what is created in it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return False
    if folder.parent.stat().st_uid == _find_sudo_user():
        _give_to_sudo_user(folder)
    return True


def _find_sudo_user() -> int | None:
    """The id of the user who has become root with sudo."""
    user = os.environ.get("SUDO_UID", "")
    return int(user) if hasattr(os, "geteuid") and os.geteuid() == 0 and user.isdigit() else None


def _give_to_sudo_user(folder: Path) -> None:
    """Give a new folder of root, but no other put in its place, to the user who called sudo. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(descriptor).st_uid == 0 and not os.listdir(descriptor):  # noqa: PTH208 - no path
            os.fchown(descriptor, _find_sudo_user() or 0, -1)
    finally:
        os.close(descriptor)


def close_to_others(folder: Path, database: Path) -> bool:
    """Take from others what an earlier version let them read, unless a group may write there.

    Args:
        folder: The folder of the store, or its database if the folder may hold other files.
        database: The database.

    Returns:
        Whether anything was open to others. Raises OSError.
    """
    if os.name != "posix" or database.parent.stat().st_mode & stat.S_IWGRP:
        return False
    beside = [database.with_name(f"{database.name}{suffix}") for suffix in ("-wal", "-shm")]
    is_changed = False
    for path in (folder, database, *beside, database.with_name("artifacts")):
        if path.exists() and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            path.chmod(stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXU)
            is_changed = True
    return is_changed


def make_folder(folder: Path) -> None:
    """Create a folder in that of a store, for those who may write to the store. Raises OSError."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _share(descriptor, folder.parent)
        finally:
            os.close(descriptor)


def create_file(path: Path) -> int:
    """Create a file in the folder of a store, for those who may write to the store; returns its descriptor.

    Raises OSError, such as FileExistsError, also for a link.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        _share(descriptor, path.parent)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _share(descriptor: int, folder: Path) -> None:
    """Give what was created in a folder to the group that the folder is open for; what root creates, to its owner."""
    owner = folder.stat()
    if not hasattr(os, "geteuid"):  # Windows
        return
    if os.geteuid() == 0:
        os.fchown(descriptor, owner.st_uid, -1)
    if owner.st_mode & stat.S_IWGRP:
        with suppress(OSError):  # not a member of the group
            os.fchown(descriptor, -1, owner.st_gid)
        info = os.fstat(descriptor)
        if info.st_gid == owner.st_gid:
            shared = (info.st_mode & stat.S_IRWXU) >> 3 | (
                owner.st_mode & stat.S_ISGID if stat.S_ISDIR(info.st_mode) else 0
            )
            os.fchmod(descriptor, stat.S_IMODE(info.st_mode) | shared)


def check_trust(folder: Path, database: Path) -> None:
    """Raise StoreError if somebody else may have planted a store that was found without being named."""
    for path in (folder, database):
        for follow in (False, True):
            try:
                info = path.stat(follow_symlinks=follow)
            except FileNotFoundError:
                continue
            reason = _reason_to_distrust(info)
            if reason:
                raise StoreError(
                    f"The store {str(folder)!r} is not used, because {str(path)!r} {reason}. If you trust it, name it "
                    f"with --store {folder} (or ROSENBLATT_STORE); otherwise name another folder."
                )


def find_other_writers(database: Path) -> str:
    """Describe who else than this user, and root, can write to a SQLite file or replace it; empty if nobody can."""
    if os.name != "posix":
        return ""
    for path in (database, database.parent):
        with suppress(FileNotFoundError):
            info = path.stat()
            if info.st_uid not in (os.geteuid(), 0):
                return f"the user with id {info.st_uid}"
            if info.st_mode & stat.S_IWOTH:
                return "everybody"
            if info.st_mode & stat.S_IWGRP and not _is_private_group(info.st_gid):
                return f"the group with id {info.st_gid}"
    return ""


def _is_private_group(number: int) -> bool:
    """Whether a group is that of this user alone, which many systems create with each user."""
    import grp
    import pwd

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.geteuid())
    except KeyError:  # without a name
        return False
    return group.gr_name == user.pw_name and number == user.pw_gid and set(group.gr_mem) <= {user.pw_name}


def _reason_to_distrust(info: os.stat_result) -> str:
    if not hasattr(os, "geteuid"):  # Windows
        return ""
    if info.st_uid not in (os.geteuid(), _find_sudo_user()):
        return f"belongs to the user with id {info.st_uid}, not to this one ({os.geteuid()})"
    is_link = stat.S_ISLNK(info.st_mode)
    return "can be written by everybody (chmod o-w forbids it)" if info.st_mode & stat.S_IWOTH and not is_link else ""
