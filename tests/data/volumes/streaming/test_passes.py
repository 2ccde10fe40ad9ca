from __future__ import annotations

import threading
from contextlib import suppress

import numpy as np
import pytest

from rosenblatt.data.media import images
from rosenblatt.data.media.contents import open_contents
from rosenblatt.data.media.progress import watch_reading
from rosenblatt.data.volumes.storage import pack_writer
from rosenblatt.data.volumes.streaming import passes, windows
from rosenblatt.data.volumes.streaming import reader as reader_module
from rosenblatt.data.volumes.table import to_table
from rosenblatt.errors import DamagedDataError, StorageError, TableError
from tests.data.volumes.helpers import add_path, open_version, write_files

N, SIZE = 60, 3000


@pytest.fixture
def small_packs(monkeypatch):
    """Packs of about six samples, of which none is read ahead of its use."""
    monkeypatch.setattr(pack_writer, "MAX_PACK_BYTES", 20_000)
    monkeypatch.setattr(reader_module, "MAX_COPIED_BYTES", 0)
    monkeypatch.setattr(passes, "AHEAD_BYTES", 0)


@pytest.fixture
def samples(tmp_path):
    """Contents by the names of files, in the order of a volume."""
    rng = np.random.default_rng(0)
    return {f"{k:03}.jpg": b"\xff\xd8" + rng.bytes(SIZE) for k in range(N)}


@pytest.fixture
def contents(small_packs, samples, s3_root, tmp_path, monkeypatch):
    """The samples of a volume in a bucket, whose cache holds few packs."""
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ROSENBLATT_CACHE_GB", "0.0001")
    add_path(s3_root, "photos", write_files(tmp_path / "photos", samples), kind="images")
    return _open(s3_root)


def _cells(root, query=""):
    volume = open_version(root, "photos")
    return to_table(volume.query(query) if query else volume).frame["image"].to_list()


def _open(root, query=""):
    return open_contents(_cells(root, query))


def _read(contents, batches):
    """What is read in each batch."""
    with contents.reading(batches) as reading:
        for number, batch in enumerate(batches):
            yield [bytes(reading.read(row)) for row in batch.tolist()]
            reading.finish(number)


def test_each_sample_is_read_and_each_pack_fetched_once_through_a_small_cache(contents, samples, s3_proxy, tmp_path):
    n_packs = len(contents.blocks.n_bytes) - 1
    assert n_packs > 5
    s3_proxy.clear()
    batches = np.array_split(np.arange(N), 12)
    assert [content for batch in _read(contents, batches) for content in batch] == list(samples.values())
    assert s3_proxy.count(path=r"packs/") == n_packs
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()) < 120_000


def test_the_first_batch_is_read_before_what_later_ones_need_is_fetched(contents, s3_proxy):
    s3_proxy.clear()
    batches = _read(contents, np.array_split(np.arange(N), 12))
    next(batches)
    assert s3_proxy.count(path=r"packs/") < 5
    batches.close()


def test_any_order_and_repeated_samples_are_read(contents, samples):
    rng = np.random.default_rng(0)
    batches = np.array_split(rng.permutation(np.repeat(contents.blocks.numbers.argsort(kind="stable")[:25], 2)), 7)
    expected = [[list(samples.values())[row] for row in batch] for batch in batches]
    assert list(_read(contents, batches)) == expected


def test_only_ranges_are_fetched_where_little_of_a_pack_is_wanted(contents, samples, tmp_path):
    batches = [np.arange(0, N, 12)]
    assert list(_read(contents, batches)) == [list(samples.values())[::12]]
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()) < 10 * SIZE


def test_what_the_cache_holds_as_a_whole_is_not_fetched_again_in_parts(contents, s3_proxy, monkeypatch):
    list(_read(contents, [np.arange(6)]))
    s3_proxy.clear()
    list(_read(contents, [np.array([2])]))
    assert s3_proxy.count(path=r"packs/") == 0


def test_packs_that_the_cache_holds_leave_room_for_parts_of_others(contents, samples, s3_proxy, tmp_path, monkeypatch):
    list(_read(contents, np.array_split(np.arange(N), 12)))  # fills the cache with packs
    monkeypatch.setattr(windows, "FULL_CACHE_WAIT_S", 0)
    monkeypatch.setattr(passes, "MAX_GAP_BYTES", 0)
    monkeypatch.setattr(reader_module, "MAX_GAP_BYTES", 0)
    wanted = np.arange(0, N, 6)  # of all packs at a time
    assert list(_read(contents, [wanted])) == [list(samples.values())[::6]]


def test_packs_of_small_samples_are_read_through_a_cache_of_few_packs(small_packs, s3_root, tmp_path, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ROSENBLATT_CACHE_GB", "0.00005")
    monkeypatch.setattr(windows, "FULL_CACHE_WAIT_S", 0)
    small = {f"{k:03}.jpg": b"\xff\xd8%d" % k for k in range(200)}  # much smaller than a tar archive of them
    add_path(s3_root, "photos", write_files(tmp_path / "photos", small), kind="images")
    batches = np.array_split(np.arange(200), 40)
    assert [content for batch in _read(_open(s3_root), batches) for content in batch] == list(small.values())


def test_a_batch_that_the_cache_cannot_hold_is_refused_before_anything_is_fetched(contents, s3_proxy, tmp_path):
    s3_proxy.clear()
    with (
        pytest.raises(StorageError, match=r"Reading photos@1 needs .* Raise ROSENBLATT_CACHE_GB, or shuffle less"),
        contents.reading([np.arange(N)]),
    ):
        pass
    assert s3_proxy.count(path=r"packs/") == 0


def test_damaged_samples_are_refused_by_name_and_others_read(small_packs, samples, tmp_path):
    root = tmp_path / "volumes"
    add_path(str(root), "photos", write_files(tmp_path / "photos", samples), kind="images")
    pack = min(root.glob("packs/*/*.tar"))
    content = bytearray(pack.read_bytes())
    content[600] ^= 1
    pack.write_bytes(content)
    contents = _open(str(root))
    with contents.reading([np.arange(N)]) as reading:
        results = {}
        for row in range(N):
            with suppress(DamagedDataError):
                results[row] = bytes(reading.read(row))
        (damaged,) = set(range(N)) - results.keys()
        with pytest.raises(DamagedDataError, match=rf"{damaged:03}\.jpg"):
            reading.read(damaged)
    assert all(content == samples[f"{row:03}.jpg"] for row, content in results.items())


def test_linked_files_are_read_one_by_one_in_any_order(samples, tmp_path):
    photos = write_files(tmp_path / "photos", samples)
    add_path(str(tmp_path / "v"), "photos", photos, kind="images", link=True)
    contents = _open(str(tmp_path / "v"))
    assert contents.blocks is None
    batches = np.array_split(np.random.default_rng(0).permutation(N), 5)
    assert list(_read(contents, batches)) == [[samples[f"{row:03}.jpg"] for row in batch] for batch in batches]
    (photos / "007.jpg").write_bytes(b"another content")
    (photos / "008.jpg").unlink()
    with contents.reading([np.arange(N)]) as reading:
        for row in (7, 8):
            with pytest.raises(DamagedDataError, match=rf"00{row}\.jpg"):
                reading.read(row)
        assert bytes(reading.read(9)) == samples["009.jpg"]


def test_threads_end_when_a_pass_is_left(contents):
    batches = _read(contents, np.array_split(np.arange(N), 12))
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


def test_passes_fetch_ahead_only_what_leaves_room_for_others(contents, samples, monkeypatch):
    monkeypatch.setattr(windows, "FULL_CACHE_WAIT_S", 0)
    monkeypatch.setattr(passes, "AHEAD_BYTES", 1 << 29)
    batches = np.array_split(np.arange(N), 30)
    orders = [batches, batches[::-1]]  # of two networks, through a cache of five packs
    for read in zip(*(_read(contents, order) for order in orders), strict=True):
        assert all(content in samples.values() for part in read for content in part)


def test_all_images_are_read_a_few_at_a_time_where_they_are_large(contents, s3_root, monkeypatch):
    monkeypatch.setattr(images, "BLOCK_BYTES", 50_000)
    n_read = []
    with watch_reading(lambda n, _: n_read.append(n)), pytest.raises(TableError, match=f"{N} of {N} images cannot"):
        images.find_damaged_images(_cells(s3_root), "skip")
    assert sum(n_read) == N
    assert max(n_read) < 20
