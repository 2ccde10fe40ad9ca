"""Markers of garbage collections of a root, by which additions and collections do not get in each other's way.

An addition writes its packs, then looks for markers, then commits. A collection writes its marker, then lists versions
and packs, then deletes packs that no version refers to and that are a week old. If the addition sees no marker, every
collection that it did not see lists the packs after they were written, and finds them new. If it sees one, it waits
until the collection has ended, and checks that its packs are still there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.storage.packs import pack_path
from rosenblatt.errors import Notify, StorageError

MARKER_FOLDER = "gc"
MAX_SILENCE_SECONDS = 900.0  # after which the collection of a marker is taken for dead
POLL_SECONDS = 2.0


def wait_for_garbage_collection(objects: Objects, packs: Iterable[str], notify: Notify) -> None:
    """Wait until no garbage collection of a root is running, and check that packs are still there.

    Raises:
        StorageError: if a pack was deleted.
    """
    has_waited = False
    while is_collecting(objects):
        if not has_waited:
            notify("waiting for a garbage collection to end")
        has_waited = True
        time.sleep(POLL_SECONDS)
    if has_waited:
        missing = [name for name in packs if objects.info(pack_path(name)) is None]
        if missing:
            raise StorageError(
                f"A garbage collection deleted pack {missing[0][:12]} meanwhile. Run the command again to write it."
            )


def is_collecting(objects: Objects) -> bool:
    """Whether a garbage collection has given a sign of life recently."""
    return any(time.time() - info.modified < MAX_SILENCE_SECONDS for info in objects.list(MARKER_FOLDER))
