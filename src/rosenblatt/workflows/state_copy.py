"""A copy of the state of a search in the bucket of a team, from which any machine can resume it."""

from __future__ import annotations

import io
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from rosenblatt.errors import Notify, StorageError
from rosenblatt.runs.store.places import Bucket
from rosenblatt.tuning.checkpoints import JOURNAL

COPY_INTERVAL_S = 10.0  # at least this long between two copies
MAX_COPY_FRACTION = 0.05  # of the time, for copies
LINKS_FOLDER = "trial-links"  # in the folder of the state: the files that are being copied


class _Snapshot(NamedTuple):
    """The state at one moment: the files to copy are linked in LINKS_FOLDER, whatever the search does with them."""

    journal: bytes
    versions: dict[str, tuple[int, int]]  # size and time of change of each file


class StateCopy:
    """Copies the folder of a search's state to a bucket in the background, as often as it changes.

    `update` and `close` are called between two changes of the folder, and copy what is there at that moment, the
    journal last. A kill in between leaves files that the journal of the bucket does not know, or of a later rung, from
    which a search resumes as well (see `SearchCheckpoint`).

    Args:
        folder: has the state of the search.
        bucket: the part of a bucket that belongs to this search.
        notify: called once if copies fail.
    """

    def __init__(self, folder: Path, bucket: Bucket, notify: Notify) -> None:
        self._folder, self._bucket, self._notify = folder, bucket, notify
        self._links = folder / LINKS_FOLDER
        self._copied: dict[str, tuple[int, int]] = {}  # as _Snapshot.versions, of the bucket
        self._snapshots = SimpleQueue[_Snapshot | None]()  # None is the last
        self._is_idle, self._next_copy, self._has_failed = True, 0.0, False
        self._thread: Thread | None = None

    def fetch(self) -> bool:
        """Bring the state here if the bucket has more of it than the folder; whether it was brought.

        Raises StorageError.
        """
        journal, fetched = self._folder / JOURNAL, self._folder / f".{JOURNAL}.part"
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._bucket.get(JOURNAL, fetched)
            if journal.exists() and journal.stat().st_size >= fetched.stat().st_size:
                return False
            for name, _ in list(self._bucket.list_files()):
                if name != JOURNAL and Path(name).name == name:
                    self._bucket.get(name, self._folder / name)
            fetched.replace(journal)
        except FileNotFoundError:  # there is no copy
            return False
        finally:
            fetched.unlink(missing_ok=True)
        return True

    def update(self) -> None:
        """Copy what has changed, in the background; skipped while a copy is made, and shortly after it."""
        if not self._is_idle or time.monotonic() < self._next_copy:
            return
        if self._thread is None:
            self._thread = Thread(target=self._run, name="state copy", daemon=True)
            self._thread.start()
        self._put_snapshot()

    def close(self) -> None:
        """End the copies after a last one."""
        if self._thread is not None:
            while not self._is_idle:
                time.sleep(0.01)
            self._put_snapshot()
            self._end_thread()

    def remove(self) -> None:
        """Remove the copy, of a search that is complete."""
        self._end_thread()
        with suppress(StorageError, FileNotFoundError):
            for name, _ in sorted(self._bucket.list_files(), key=lambda file: file[0] != JOURNAL):
                self._bucket.remove(name)

    def _end_thread(self) -> None:
        if self._thread is not None:
            self._snapshots.put(None)
            self._thread.join()
            self._thread = None

    def _put_snapshot(self) -> None:
        try:
            snapshot = self._take_snapshot()
        except OSError as error:
            self._report(error)
            return
        self._is_idle = False
        self._snapshots.put(snapshot)

    def _take_snapshot(self) -> _Snapshot:
        shutil.rmtree(self._links, ignore_errors=True)
        self._links.mkdir(parents=True)
        journal, versions = self._folder / JOURNAL, dict[str, tuple[int, int]]()
        for path in self._folder.glob("*.safetensors"):
            status = path.stat()
            versions[path.name] = status.st_size, status.st_mtime_ns
            if self._copied.get(path.name) != versions[path.name]:
                try:
                    os.link(path, self._links / path.name)
                except OSError:  # not all file systems have links
                    shutil.copyfile(path, self._links / path.name)
        return _Snapshot(journal.read_bytes() if journal.exists() else b"", versions)

    def _run(self) -> None:
        while (snapshot := self._snapshots.get()) is not None:
            started = time.monotonic()
            try:
                self._copy(snapshot)
            except (OSError, StorageError) as error:
                self._report(error)
            shutil.rmtree(self._links, ignore_errors=True)
            now = time.monotonic()
            self._next_copy = now + max(COPY_INTERVAL_S, (now - started) / MAX_COPY_FRACTION)
            self._is_idle = True

    def _copy(self, snapshot: _Snapshot) -> None:
        for path in self._links.iterdir():
            with path.open("rb") as file:
                self._bucket.put(path.name, file)
            self._copied[path.name] = snapshot.versions[path.name]
        if snapshot.journal:
            self._bucket.put(JOURNAL, io.BytesIO(snapshot.journal))
        for name in self._copied.keys() - snapshot.versions.keys():
            del self._copied[name]
            with suppress(FileNotFoundError):
                self._bucket.remove(name)

    def _report(self, error: Exception) -> None:
        if not self._has_failed:
            self._notify(f"the search continues, but its state cannot be copied to the bucket: {error}")
        self._has_failed = True
