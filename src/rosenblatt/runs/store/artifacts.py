"""Content-addressed storage of files: each is stored once under its hash, in a folder or an object store."""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from rosenblatt.errors import Notify, StorageError, StoreError, StoreUnavailableError
from rosenblatt.runs.store.locations import (
    artifact_address,
    data_home,
    database_file,
    is_remote,
    is_sqlite_file,
    public_address,
)
from rosenblatt.runs.store.places import Bucket, ContentFile, Place, file_hash, join_address, open_place
from rosenblatt.runs.store.private_files import PrivateFolder, open_spool

if TYPE_CHECKING:
    from rosenblatt.runs.store.record_store import RecordStore
    from rosenblatt.runs.store.remote_store import RemoteStore

GRACE_SECONDS = 3600.0  # how long a new file is kept even if no run refers to it yet
_HASH = re.compile("[0-9a-f]{64}")
FILES_FOLDER = "files"  # the folder of a spool in which files wait for the store


class StoredFile(NamedTuple):
    """A stored file."""

    hash: str  # SHA-256 of its content
    bytes: int
    root: str  # the address of the place that stores share, without credentials; "": the store's own folder


def has_changed(path: Path, digest: str) -> bool:
    """Whether a file has other content than that of a hash, or is gone; without a hash, whether there is one now."""
    try:
        return file_hash(path) != digest
    except OSError:
        return digest != ""


@contextmanager
def _temporary_file(path: Path) -> Iterator[Path]:
    """Create an empty file beside a path, and remove it at the end if it is still there."""
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    part.touch(exist_ok=False)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


class Artifacts:
    """The files of the runs of a store, in its own folder or, with ROSENBLATT_ARTIFACTS, in a place of several stores.

    Each store has its own part of a shared place, named by the id of the store. Credentials in ROSENBLATT_ARTIFACTS are
    used, but never recorded.

    Args:
        url: The address of the store.
        store: The store; None if it cannot be reached, so that files wait in its spool.
    """

    def __init__(self, url: str, store: RecordStore | None) -> None:
        self._url, self._store = url, store

    def store_file(self, path: Path) -> StoredFile:
        """Store a file, or keep it in the spool of the store if its place cannot be written.

        Raises:
            StorageError: If the file cannot be read, or written to neither.
        """
        try:
            with path.open("rb") as file:
                return self._store_content(file, repr(str(path)))
        except OSError as error:
            raise StorageError(f"{str(path)!r} cannot be stored as an artifact: {error.strerror or error}.") from error

    def store_bytes(self, content: bytes) -> StoredFile:
        """Store a file with this content; see `store_file`."""
        return self._store_content(io.BytesIO(content), "A file")

    def _store_content(self, file: ContentFile, name: str) -> StoredFile:
        digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.seek(0, os.SEEK_END)
        root = public_address(artifact_address())
        try:
            self._put(digest, file)
        except (OSError, StorageError, StoreError) as error:
            if not self._spool_content(digest, file):
                where = repr(root) if root else "the folder of the store"
                raise StorageError(f"{name} cannot be stored in {where}: {error}.") from error
        return StoredFile(digest, size, root)

    def fetch(self, digest: str, root: str, path: Path) -> None:
        """Write a stored file to a path, in place of a file or link there, once its hash is verified.

        Raises:
            StorageError: If the file is nowhere intact, or the path cannot be written.
        """
        failure = StorageError("it is nowhere")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _temporary_file(path) as part:
                for place in self._list_places(root):
                    try:
                        place.get(digest, part)
                    except FileNotFoundError:
                        continue
                    except (OSError, StorageError) as error:
                        failure = StorageError(str(error))
                        continue
                    if file_hash(part) == digest:
                        part.replace(path)
                        return
                    failure = StorageError("it is damaged: its content does not match its hash")
        except OSError as error:
            raise StorageError(f"{str(path)!r} cannot be written: {error.strerror or error}.") from error
        where = repr(public_address(root)) if root else "the folder of the store"
        raise StorageError(f"The file {digest} cannot be read from {where}: {failure}.") from failure

    def deliver(self, notify: Notify = print) -> int:
        """Store the files that wait in the spool of the store; returns their number.

        Files whose content does not match the hash in their name are set aside, and `notify` gets their names.

        Raises:
            StorageError: If others can write to the spool, or the place cannot be written.
            OSError: If the place cannot be written.
        """
        try:
            with open_spool(self._url) as spool, spool.folder(FILES_FOLDER) as folder:
                names = [name for name in folder.names() if _HASH.fullmatch(name)]
                return sum(self._deliver_file(folder, name, notify) for name in names)
        except FileNotFoundError:
            return 0

    def _deliver_file(self, folder: PrivateFolder, name: str, notify: Notify) -> bool:
        try:
            descriptor = folder.open(name, os.O_RDONLY)
        except FileNotFoundError:  # another process has delivered it
            return False
        except (OSError, StorageError) as error:
            notify(f"a waiting file is not stored: {error}")
            return False
        with os.fdopen(descriptor, "rb") as file:
            is_intact = hashlib.file_digest(file, "sha256").hexdigest() == name
            if is_intact:
                self._put(name, file)
        if is_intact:
            folder.remove(name)
        else:
            folder.rename(name, f"{name}.rejected")
            notify(f"{folder.path / name}.rejected is not stored: its content does not match its hash")
        return is_intact

    def collect_garbage(self, used: set[str], *, shared: bool = False) -> tuple[int, int]:
        """Remove files that are not used, except new ones, whose runs may not be written yet.

        In a place that stores share, a copy of this store has the same part and may use other files, so that files are
        removed there only with `shared`.

        Returns:
            The number of removed files, and that of unused files that stay in a shared place.
        """
        folder = self.folder / "artifacts"
        n_removed = n_kept = 0
        places = {self.own_place(): folder.is_symlink()}
        if artifact_address():
            places[self._current_place()] = True
        for place, is_shared in places.items():
            unused = _find_unused(place, used)
            if is_shared and not shared:
                n_kept += len(unused)
                continue
            for digest in unused:
                place.remove(digest)
            n_removed += len(unused)
        return n_removed, n_kept

    def _put(self, digest: str, file: ContentFile) -> None:
        place = self._current_place()
        if not place.has(digest, file.seek(0, os.SEEK_END)):
            file.seek(0)
            place.put(digest, file)

    def _spool_content(self, digest: str, file: ContentFile) -> bool:
        """Write a file to the spool; returns whether this was possible."""
        part = f"{digest}.{secrets.token_hex(4)}.part"
        try:
            with open_spool(self._url, create=True) as spool, spool.folder(FILES_FOLDER, create=True) as folder:
                try:
                    file.seek(0)
                    with os.fdopen(folder.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as copy:
                        shutil.copyfileobj(file, copy)
                    folder.rename(part, digest)
                finally:
                    folder.remove(part)
        except (OSError, StorageError):
            return False
        return True

    def _current_place(self) -> Place:
        """The place in which files are stored now. Raises StoreError if it depends on a store that is not there."""
        address = artifact_address()
        return open_place(join_address(address, self._store_id())) if address else self.own_place()

    @property
    def folder(self) -> Path:
        """The local folder of the store, also of one in PostgreSQL. Raises StoreError if that cannot be reached."""
        if is_sqlite_file(self._url):
            return database_file(self._url).parent
        return data_home() / self._store_id()

    @property
    def states_folder(self) -> Path:
        """The folder for the states of searches, in a shared place if that is a folder, so that machines share them.

        In front of a shared bucket it is a local one; see `state_bucket`. Raises StoreError if it depends on a store
        that cannot be reached.
        """
        address = artifact_address()
        is_shared_folder = bool(address) and "://" not in address
        return (Path(address) / self._store_id() if is_shared_folder else self.folder) / "state"

    def state_bucket(self, run_id: str = "") -> Bucket | None:
        """The part of a shared bucket for the state of a search, or of all; None if files are not in a bucket.

        Raises StoreError if the store cannot be reached, StorageError if the bucket cannot be used.
        """
        address = artifact_address()
        part = f"{self._store_id()}/state/{run_id}".rstrip("/")
        return Bucket(join_address(address, part)) if "://" in address else None

    def own_place(self) -> Place:
        """The place in the folder of the store, or of that behind HTTP."""
        if is_remote(self._url):
            return cast("RemoteStore", self._require_store())
        return open_place(str(self.folder / "artifacts"))

    def _list_places(self, root: str) -> Iterator[Place]:
        """The places in which a file that was stored in a root may be, likely ones first."""
        yield self.own_place()
        address = artifact_address()
        if root:
            full_root = address if public_address(address) == root else root
            yield open_place(join_address(full_root, self._store_id()))
            yield open_place(full_root)  # version 1001 recorded the part of the store as well
        if address and public_address(address) != root:
            yield self._current_place()

    def _store_id(self) -> str:
        return self._require_store().id

    def _require_store(self) -> RecordStore:
        if self._store is None:
            raise StoreUnavailableError("the store cannot be reached")
        return self._store


def _find_unused(place: Place, used: set[str]) -> list[str]:
    """List the files of a place that are neither used nor new."""
    cutoff = time.time() - GRACE_SECONDS
    return [
        name
        for name, modified in place.list_files()
        if _HASH.fullmatch(name) and name not in used and modified < cutoff
    ]
