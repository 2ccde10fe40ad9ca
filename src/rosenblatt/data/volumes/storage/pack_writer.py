"""Write the bytes of samples as packs in background threads."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self

from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.storage.packs import MAX_PACK_BYTES, Pack, PackBuilder, pack_path

MAX_PENDING_PACKS = 4  # that are being written at a time
MAX_REUSE_SECONDS = 3 * 86_400.0  # age up to which a pack that no version refers to yet is reused as it is


class StoredPlace(NamedTuple):
    """Where the bytes of a sample are."""

    pack: str
    offset: int


class PackWriter:
    """Packs of a root that are being filled and written.

    Args:
        objects: the root.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects, self._places = objects, dict[str, StoredPlace]()
        self._builder = PackBuilder()
        self._building: dict[str, int] = {}  # offset by hash, in the pack that is being filled
        self._pool = ThreadPoolExecutor(MAX_PENDING_PACKS, thread_name_prefix="packs")
        self._pending = deque[Future[int]]()
        self.n_bytes = 0  # that were written

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, content: bytes, hash_: str, extension: str) -> None:
        """Add the bytes of a sample, unless they were added since the last flush.

        Raises StorageError if a pack could not be written.
        """
        if hash_ in self._places or hash_ in self._building:
            return
        if self._building and len(self._builder) + len(content) > MAX_PACK_BYTES:
            self._finish_pack()
        self._building[hash_] = self._builder.add(content, hash_, extension)
        if self._builder.is_full:
            self._finish_pack()

    def flush(self) -> dict[str, StoredPlace]:
        """Write all packs, and return where the contents are, by hash, that were added since the last flush.

        Raises StorageError.
        """
        if self._building:
            self._finish_pack()
        while self._pending:
            self._wait()
        places, self._places = self._places, {}
        return places

    def _finish_pack(self) -> None:
        pack = self._builder.finish()
        self._places.update({key: StoredPlace(pack.name, offset) for key, offset in self._building.items()})
        self._builder, self._building = PackBuilder(), {}
        if len(self._pending) >= MAX_PENDING_PACKS:
            self._wait()
        self._pending.append(self._pool.submit(self._write, pack))

    def _wait(self) -> None:
        self.n_bytes += self._pending.popleft().result()

    def _write(self, pack: Pack) -> int:
        """Write a pack unless it is there; returns the number of written bytes."""
        path = pack_path(pack.name)
        info = self._objects.info(path)
        is_recent = info is not None and time.time() - info.modified < MAX_REUSE_SECONDS
        if info and info.size == len(pack.content) and is_recent:  # garbage collection keeps it
            return 0
        self._objects.put(path, pack.content)
        return len(pack.content)
