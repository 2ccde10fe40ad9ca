"""A copy of the state of a search in the bucket of a team, from which any machine can resume it."""

from __future__ import annotations

import io
import time
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from rosenblatt.errors import Notify, StorageError
from rosenblatt.runs.store.places import Bucket
from rosenblatt.tuning.checkpoints import JOURNAL

COPY_INTERVAL_S = 10.0  # at least this long between two copies
MAX_COPY_FRACTION = 0.05  # of the time, for copies


class StateCopy:
    """Copies the folder of a search's state to a bucket in the background, as often as it changes.

    The journal is copied last, as it was when the copy began: it refers only to files that are there, and those that
    are newer are as good (see `SearchCheckpoint`). Whatever is killed in between, the copy can be resumed from.

    Args:
        folder: has the state of the search.
        bucket: the part of a bucket that belongs to this search.
        notify: called once if copies fail.
    """

    def __init__(self, folder: Path, bucket: Bucket, notify: Notify) -> None:
        self._folder, self._bucket, self._notify = folder, bucket, notify
        self._copied: dict[str, tuple[int, int]] = {}  # size and time of change of each file as it was copied
        self._has_changed, self._is_closed, self._has_failed = Event(), Event(), False
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
        """Copy what has changed, soon and in the background."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="state copy", daemon=True)
            self._thread.start()
        self._has_changed.set()

    def close(self) -> None:
        """End the copies after a last one."""
        if self._thread is not None:
            self._is_closed.set()
            self._has_changed.set()
            self._thread.join()
            self._thread = None

    def remove(self) -> None:
        """Remove the copy, of a search that is complete."""
        self.close()
        with suppress(StorageError, FileNotFoundError):
            for name, _ in sorted(self._bucket.list_files(), key=lambda file: file[0] != JOURNAL):
                self._bucket.remove(name)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            self._has_changed.wait()
            self._has_changed.clear()
            is_last, started = self._is_closed.is_set(), time.monotonic()
            try:
                self._copy()
            except (OSError, StorageError) as error:
                if not self._has_failed:
                    self._notify(f"the search continues, but its state cannot be copied to the bucket: {error}")
                self._has_failed = True
            if not is_last:
                self._is_closed.wait(max(COPY_INTERVAL_S, (time.monotonic() - started) / MAX_COPY_FRACTION))

    def _copy(self) -> None:
        journal = self._folder / JOURNAL
        if not journal.exists():
            return
        content = journal.read_bytes()
        paths = {path.name: path for path in self._folder.glob("*.safetensors")}
        for name, path in paths.items():
            with suppress(FileNotFoundError):  # the search removes files that nothing needs any more
                status = path.stat()
                version = status.st_size, status.st_mtime_ns
                if self._copied.get(name) != version:
                    with path.open("rb") as file:
                        self._bucket.put(name, file)
                    self._copied[name] = version
        self._bucket.put(JOURNAL, io.BytesIO(content))
        for name in self._copied.keys() - paths.keys():
            del self._copied[name]
            with suppress(FileNotFoundError):
                self._bucket.remove(name)
