"""A small volume in a folder and in a bucket, as images and as a table."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.volumes.storage.cache import MachineCache
from rosenblatt.data.volumes.storage.objects import FolderObjects
from rosenblatt.data.volumes.streaming.files import StreamSource
from rosenblatt.data.volumes.streaming.reader import PackReader
from tests.data.volumes.streaming.samples import CONTENTS, ROWS, BucketLike, make_source, write_packs


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "volumes"


@pytest.fixture
def frames(root) -> list[pl.DataFrame]:
    """Metadata files of a volume with a label for each sample."""
    frame = write_packs(root, CONTENTS).with_columns(label=pl.int_range(pl.len()))
    firsts = np.cumsum([0, *ROWS])
    return [frame[first:last] for first, last in pairwise(firsts)]


@pytest.fixture
def bucket(root) -> BucketLike:
    return BucketLike(root)


@pytest.fixture
def cache(tmp_path) -> MachineCache:
    return MachineCache(tmp_path / "cache", max_bytes=10**6)


@pytest.fixture(params=["folder", "bucket", "rows"])
def source(request, root, frames, bucket, cache) -> StreamSource:
    """Images of a folder or bucket, or a table."""
    if request.param == "rows":
        return make_source(frames, None)
    objects = FolderObjects(root) if request.param == "folder" else bucket
    return make_source(frames, PackReader(objects, cache, "photos@2"))


@pytest.fixture
def photos(root, frames) -> StreamSource:
    return make_source(frames, PackReader(FolderObjects(root), None, "photos@2"))
