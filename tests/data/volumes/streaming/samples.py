"""Packs of samples in a folder, and a root beside them that behaves like a bucket and can fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl

from rosenblatt.data.volumes.storage.objects import FolderObjects
from rosenblatt.data.volumes.storage.packs import PackBuilder, content_hash, pack_path
from rosenblatt.data.volumes.streaming.batches import BatchOptions
from rosenblatt.data.volumes.streaming.files import StreamSource
from rosenblatt.data.volumes.streaming.reader import PackReader


def make_contents(n: int, n_bytes: int = 100, seed: int = 0) -> list[bytes]:
    random = np.random.default_rng(seed)
    return [random.bytes(n_bytes + index % 7) for index in range(n)]


def write_packs(root: Path, contents: Sequence[bytes], n_per_pack: int = 10) -> pl.DataFrame:
    """Write samples as packs of a root and return their metadata."""
    rows = []
    for first in range(0, len(contents), n_per_pack):
        builder, places = PackBuilder(), []
        for content in contents[first : first + n_per_pack]:
            hash_ = content_hash(content)
            places.append((builder.add(content, hash_, "bin"), len(content), hash_))
        pack = builder.finish()
        path = root / pack_path(pack.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack.content)
        rows += [(f"sample {first + index}", pack.name, *place) for index, place in enumerate(places)]
    return pl.DataFrame(rows, schema=["id", "pack", "offset", "length", "hash"], orient="row")


class BucketLike(FolderObjects):
    """A root whose files cannot be mapped; it counts what it reads and can damage it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.address = f"s3://bucket{root}"
        self.n_reads, self.n_bytes = Counter[str](), 0
        self.damage: Callable[[str, bytes], bytes] = lambda path, content: content

    def local_path(self, path: str) -> None:
        return None

    def _count(self, path: str, content: bytes) -> bytes:
        self.n_bytes += len(content)
        return self.damage(path, content)

    def read_ranges(self, path: str, starts: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        self.n_reads[path] += 1
        return [self._count(path, part) for part in super().read_ranges(path, starts, lengths)]

    def stream(self, path: str) -> Iterator[bytes]:
        self.n_reads[path] += 1
        for chunk in super().stream(path):
            yield self._count(path, chunk)


def flip(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1
    return bytes(changed)


CONTENTS = make_contents(130)
ROWS = [40, 30, 60]  # of the metadata files
SMALL_WINDOW = 25_000  # bytes: two packs


def make_source(frames, reader: PackReader | None, selection=None) -> StreamSource:
    return StreamSource(
        "photos@2",
        "root",
        [frame.height for frame in frames],
        [1000] * len(frames),
        lambda file, columns: frames[file].select(columns),
        ["id", "label"],
        reader,
        selection,
    )


def options(**changes) -> BatchOptions:
    return BatchOptions(**{"batch_size": 16, "window_bytes": SMALL_WINDOW} | changes)


def labels(batches) -> list[list[int]]:
    return [batch.frame["label"].to_list() for batch in batches]


def flatten(lists) -> list[int]:
    return list(chain.from_iterable(lists))


def check_samples(batch) -> None:
    """The bytes of samples belong to their rows."""
    if batch.samples is not None:
        assert [bytes(view) for view in batch.samples] == [CONTENTS[label] for label in batch.frame["label"]]
