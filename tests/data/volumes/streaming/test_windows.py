"""Tests of windows: limits of the cache, packs of a rank, and threads that end."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path

import pytest

from rosenblatt.data.volumes.storage.cache import CacheFullError, MachineCache
from rosenblatt.data.volumes.streaming import order as order_module
from rosenblatt.data.volumes.streaming import reader as reader_module
from rosenblatt.data.volumes.streaming import windows as windows_module
from rosenblatt.data.volumes.streaming.batches import Batches
from rosenblatt.data.volumes.streaming.reader import PackReader
from rosenblatt.errors import StorageError
from tests.data.volumes.streaming.samples import BucketLike, flatten, labels, make_source, options


def test_a_cache_that_is_too_small_for_three_windows_is_refused_at_the_start(frames, bucket, tmp_path):
    source = make_source(frames, PackReader(bucket, MachineCache(tmp_path / "small", 50_000), "photos@2"))
    with pytest.raises(StorageError, match=r"Streaming photos@2 needs .* GB of the cache.*ROSENBLATT_CACHE_GB"):
        next(iter(Batches(source, options())))
    assert not bucket.n_reads


def test_an_epoch_is_streamed_through_a_cache_of_three_windows(frames, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_COPIED_BYTES", 0)
    cache = MachineCache(tmp_path / "small", 75_000)
    source = make_source(frames, PackReader(bucket, cache, "photos@2"))
    batches = Batches(source, options(batch_size=4))
    for _ in range(2):
        assert sorted(flatten(labels(batches))) == list(range(130))
    assert sum(path.stat().st_size for path in cache.folder.rglob("*") if path.is_file()) <= 75_000


def test_streaming_waits_for_others_to_end_their_use_of_the_cache(frames, bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_COPIED_BYTES", 0)
    cache = MachineCache(tmp_path / "small", 75_000)
    source = make_source(frames, PackReader(bucket, cache, "photos@2"))
    other = MachineCache(cache.folder, 75_000)
    lease = other.fetch("ab12", 50_000, lambda file: file.write(bytes(50_000)), lambda content: None)

    class Waiting(threading.Event):
        def wait(self, seconds):
            lease.close()

    monkeypatch.setattr(windows_module, "Event", Waiting)
    assert sorted(flatten(labels(Batches(source, options(batch_size=4))))) == list(range(130))
    with pytest.raises(ValueError, match="closed"):
        _ = lease.content


def test_each_rank_fetches_only_what_it_needs(frames, root, tmp_path, monkeypatch):
    monkeypatch.setattr(order_module, "GROUP_FILES", 256)
    for rank in range(2):
        bucket = BucketLike(root)
        reader = PackReader(bucket, MachineCache(tmp_path / f"cache {rank}", 10**6), "photos@2")
        list(Batches(make_source(frames, reader), options(rank=rank, n_ranks=2, window_bytes=10**6, batch_size=64)))
        assert len(bucket.n_reads) <= 9  # of 13 packs


def stream_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("plan", "fetch", "decode"))]


def test_no_thread_is_left_when_a_loop_ends_or_is_left(photos):
    batches = Batches(photos, options(decode=bytes))
    loop = iter(batches)
    next(loop)
    assert stream_threads()
    batches.close()
    assert not stream_threads()
    with Batches(photos, options(decode=bytes)) as batches:
        loop = iter(batches)
        next(loop)
    assert not stream_threads()
    list(batches)
    assert not stream_threads()
    with suppress(KeyboardInterrupt):
        for _ in batches:
            raise KeyboardInterrupt
    assert not stream_threads()


INTERRUPTED = """
import os, sys, pickle
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.data.volumes.streaming.test_windows import (
    BucketLike, MachineCache, PackReader, Batches, make_source, options
)
import time
root = Path(sys.argv[1])
frames = pickle.loads((root / "frames").read_bytes())
bucket = BucketLike(root)
def slow(path, content):
    os.write(1, b"fetching\\n")  # at once, from several threads
    time.sleep(0.05)
    return content
bucket.damage = slow
source = make_source(frames, PackReader(bucket, MachineCache(root / "cache", 10**6)))
for batch in Batches(source, options(window_bytes=1)):
    pass
"""


def test_a_program_that_is_interrupted_ends_at_once(frames, root):
    (root / "frames").write_bytes(pickle.dumps(frames))
    command = [sys.executable, "-c", INTERRUPTED, str(root), str(Path(__file__).parents[4])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "fetching\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert not list((root / "cache" / "fetches").glob("*"))


def test_who_waits_for_room_in_the_cache_stops_at_once():
    def open_unit():
        raise CacheFullError("full")

    stopped = threading.Event()
    stopped.set()
    with pytest.raises(CancelledError):
        windows_module.open_when_possible(open_unit, stopped)
