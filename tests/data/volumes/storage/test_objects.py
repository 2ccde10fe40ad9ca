"""Objects behave the same in folders, on S3 and on Azure."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from rosenblatt.data.volumes.storage.object_info import merge_ranges
from rosenblatt.data.volumes.storage.objects import open_objects
from rosenblatt.errors import ConflictError, DamagedDataError, StorageError

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def objects(root):
    return open_objects(root)


def test_what_is_put_is_read(objects):
    objects.put("a/b.bin", CONTENT)
    objects.put("a/c", io.BytesIO(CONTENT[:9]))
    objects.put("a/c", io.BytesIO(CONTENT[:10]))
    objects.put("empty", b"")
    assert objects.read("a/b.bin") == CONTENT == b"".join(objects.stream("a/b.bin"))
    assert (objects.read("a/c"), objects.read("empty")) == (CONTENT[:10], b"")
    info = objects.info("a/b.bin")
    assert (info.path, info.size) == ("a/b.bin", len(CONTENT))
    assert [(info.path, info.size) for info in objects.list("a")] == [("a/b.bin", len(CONTENT)), ("a/c", 10)]
    assert [info.path for info in objects.list("")] == ["a/b.bin", "a/c", "empty"]
    assert objects.folders() == ["a"]


def test_a_missing_object_is_told_from_an_unreadable_one(objects):
    objects.put("a", b"1")
    for read in (
        objects.read,
        lambda path: objects.read_ranges(path, [0], [1]),
        lambda path: list(objects.stream(path)),
    ):
        with pytest.raises(FileNotFoundError):
            read("missing")
    assert objects.info("missing") is None
    assert list(objects.list("missing")) == []
    objects.delete(["missing", "a", "a"])
    assert objects.info("a") is None
    for k in range(20):
        objects.put(f"many/{k}", b"1")
    objects.delete(["many/missing", *(f"many/{k}" for k in range(19))])
    assert [info.path for info in objects.list("")] == ["many/19"]


def test_ranges_are_read_in_the_order_they_are_requested(objects):
    objects.put("a", CONTENT)
    starts, lengths = [200_000, 0, 5, 70_000, 3, 255_990], [10, 5, 0, 100, 4, 10]
    expected = [CONTENT[start : start + length] for start, length in zip(starts, lengths, strict=True)]
    assert objects.read_ranges("a", starts, lengths) == expected
    assert objects.read_ranges("a", [], []) == []
    assert objects.read_ranges("a", [7], [0]) == [b""]


@pytest.mark.parametrize("ranges", [([255_990], [11]), ([300_000], [5]), ([0, 255_999, 256_010], [10, 1, 5])])
def test_ranges_beyond_the_end_are_refused(objects, ranges):
    objects.put("a", CONTENT)
    with pytest.raises(DamagedDataError, match="it ends too early"):
        objects.read_ranges("a", *ranges)


def test_ranges_with_small_gaps_are_read_together():
    assert merge_ranges([0, 65_546, 10], [10, 5, 0]) == [(0, 65_551)]
    assert merge_ranges([0, 65_547], [10, 5]) == [(0, 10), (65_547, 65_552)]
    assert merge_ranges([5, 0, 2], [10, 20, 1]) == [(0, 20)]
    assert merge_ranges([], []) == merge_ranges([9], [0]) == []


def test_an_object_is_created_once(objects):
    assert objects.create("tags/a", b"1")
    assert not objects.create("tags/a", b"2")
    assert objects.read("tags/a") == b"1"


def test_a_changed_object_is_not_replaced(objects):
    objects.replace("tags/a", b"1", None)
    with pytest.raises(ConflictError, match="was changed by another process"):
        objects.replace("tags/a", b"2", None)
    first = objects.info("tags/a").etag
    objects.replace("tags/a", b"3", first)
    with pytest.raises(ConflictError):
        objects.replace("tags/a", b"4", first)
    assert objects.read("tags/a") == b"3"
    assert [info.path for info in objects.list("tags")] == ["tags/a"]


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "..", "../a", "a/../../b", "a/./b", "a\0b", "a\nb"])
def test_paths_do_not_leave_the_root(objects, path):
    for call in (objects.read, objects.info, lambda path: objects.put(path, b""), lambda path: objects.delete([path])):
        with pytest.raises(StorageError, match="is no path of an object"):
            call(path)


@pytest.mark.parametrize("path", ["a b", "ä/ü", "a%20b", "a+b#c?d", "日本", "a~b*c", "x" * 200])
def test_names_are_kept_as_they_are(objects, path):
    objects.put(f"names/{path}", b"1")
    assert objects.read(f"names/{path}") == b"1"
    assert [info.path for info in objects.list("names")] == [f"names/{path}"]


def test_listings_have_one_order_on_all_stores(objects):
    paths = ["a", "a-b/c", "a.b", "a0", "b/a.b/c", "b/a/c", "b/a0", "ä"]
    for path in paths[::-1]:
        objects.put(f"{path}.x", b"")
    assert [info.path for info in objects.list("")] == sorted(f"{path}.x" for path in paths)


def test_addresses_of_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for address in ("a b", f"{tmp_path}/a b", "~/a b", (tmp_path / "a b").as_uri()):
        assert open_objects(address).root == Path(tmp_path / "a b")
    monkeypatch.chdir("/")
    assert open_objects("a b").root == Path("/a b")
