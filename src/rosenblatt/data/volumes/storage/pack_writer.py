"""Write the bytes of samples as packs in background threads."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self

import polars as pl

from rosenblatt.data.volumes.columns import BYTES_SCHEMA, HASH, OFFSET, PACK
from rosenblatt.data.volumes.storage.objects import Objects
from rosenblatt.data.volumes.storage.packs import MAX_PACK_BYTES, PackBuilder, pack_path

MAX_PENDING_PACKS = 4  # that are being written at a time
MAX_REUSE_SECONDS = 3 * 86_400.0  # age up to which a pack that no version refers to yet is reused as it is
STORED_SCHEMA = pl.Schema({name: BYTES_SCHEMA[name] for name in (HASH, PACK, OFFSET)})  # where contents are


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
        self._objects = objects
        self._builder = PackBuilder()
        self._hashes = set[str]()  # of contents that were added since the last flush
        self._places = [pl.DataFrame(schema=STORED_SCHEMA)]  # of the packs that were written since then
        self._pool = ThreadPoolExecutor(MAX_PENDING_PACKS, thread_name_prefix="packs")
        self._pending = deque[tuple[PackBuilder, Future[tuple[str, int]]]]()
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
        if hash_ in self._hashes:
            return
        if len(self._builder) and len(self._builder) + len(content) > MAX_PACK_BYTES:
            self._finish_pack()
        self._hashes.add(hash_)
        self._builder.add(content, hash_, extension)
        if self._builder.is_full:
            self._finish_pack()

    def flush(self) -> pl.DataFrame:
        """Write all packs, and return where the contents are that were added since the last flush: `STORED_SCHEMA`.

        Raises StorageError.
        """
        if len(self._builder):
            self._finish_pack()
        while self._pending:
            self._wait()
        places = pl.concat(self._places)
        self._places, self._hashes = [places.clear()], set()
        return places

    def _finish_pack(self) -> None:
        if len(self._pending) >= MAX_PENDING_PACKS:
            self._wait()
        self._pending.append((self._builder, self._pool.submit(self._write, self._builder)))
        self._builder = PackBuilder()

    def _wait(self) -> None:
        builder, future = self._pending.popleft()
        pack, n_bytes = future.result()
        self._places.append(pl.DataFrame({HASH: builder.hashes, PACK: pack, OFFSET: builder.offsets}, STORED_SCHEMA))
        self.n_bytes += n_bytes

    def _write(self, builder: PackBuilder) -> tuple[str, int]:
        """Write a pack unless it is there; returns its name and the number of written bytes."""
        pack = builder.finish()
        path = pack_path(pack.name)
        info = self._objects.info(path)
        is_recent = info is not None and time.time() - info.modified < MAX_REUSE_SECONDS
        if info and info.size == len(pack.content) and is_recent:  # garbage collection keeps it
            return pack.name, 0
        self._objects.put(path, pack.content)
        return pack.name, len(pack.content)
