"""Tests of reading samples: from a folder, from the cache, by ranges, from linked files, and when they are damaged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.volumes.storage.cache import MachineCache
from rosenblatt.data.volumes.storage.objects import FolderObjects
from rosenblatt.data.volumes.storage.packs import content_hash, is_pack_name, pack_path
from rosenblatt.data.volumes.streaming import links as links_module
from rosenblatt.data.volumes.streaming import reader as reader_module
from rosenblatt.data.volumes.streaming.links import read_link
from rosenblatt.data.volumes.streaming.reader import PackReader
from rosenblatt.errors import DamagedDataError, StorageError
from tests.data.volumes.streaming.samples import BucketLike, flip, make_contents, write_packs

CONTENTS = make_contents(50)


@pytest.fixture(autouse=True)
def gap(monkeypatch) -> None:
    """Packs are small here, so only small gaps are read."""
    monkeypatch.setattr(reader_module, "MAX_GAP_BYTES", 1024)


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "volumes"


@pytest.fixture
def frame(root) -> pl.DataFrame:
    return write_packs(root, CONTENTS)


@pytest.fixture
def cache(tmp_path) -> MachineCache:
    return MachineCache(tmp_path / "cache", max_bytes=10**6)


@pytest.fixture
def bucket(root) -> BucketLike:
    return BucketLike(root)


@pytest.fixture(params=["folder", "bucket"])
def reader(request, root, bucket, cache) -> PackReader:
    return PackReader(FolderObjects(root) if request.param == "folder" else bucket, cache, "photos@2")


@pytest.fixture(params=[0, 1 << 30], ids=["mapped", "copied"])
def copied_bytes(request, monkeypatch) -> None:
    monkeypatch.setattr(reader_module, "MAX_COPIED_BYTES", request.param)


@pytest.mark.usefixtures("copied_bytes")
def test_samples_are_read_one_by_one_and_in_bulk(reader, frame):
    column = reader.column(frame)
    assert len(column) == 50
    assert [bytes(column[index]) for index in range(50)] == CONTENTS
    assert [bytes(view) for view in column.take([7, 3, 3, 49])] == [CONTENTS[i] for i in (7, 3, 3, 49)]
    assert bytes(column[-1]) == CONTENTS[-1]
    with pytest.raises(IndexError):
        column[50]


@pytest.mark.parametrize("rows", [[], [4], [49, 0, 49, 8], list(range(0, 50, 3)), list(range(10))])
def test_selected_rows_are_read_in_their_order(reader, frame, rows):
    column = reader.column(frame, np.array(rows, np.int64))
    assert [bytes(view) for view in column.take(range(len(rows)))] == [CONTENTS[row] for row in rows]


def test_packs_of_a_folder_are_not_copied_to_the_cache(root, frame, cache):
    PackReader(FolderObjects(root), cache).column(frame).take(range(50))
    assert not list(cache.folder.rglob("*"))


def test_each_pack_of_a_bucket_is_fetched_once(bucket, frame, cache):
    for _ in range(2):
        PackReader(bucket, cache).column(frame).take(np.random.default_rng(0).permutation(50))
    assert set(bucket.n_reads.values()) == {1}
    assert len(bucket.n_reads) == 5


def test_only_ranges_are_fetched_where_under_half_of_a_pack_is_wanted(bucket, frame, cache):
    rows = np.array([2, 3, 12, *range(20, 30)])
    for _ in range(2):
        column = PackReader(bucket, cache).column(frame, rows)
        assert [bytes(view) for view in column.take(range(len(rows)))] == [CONTENTS[row] for row in rows]
    whole = (bucket.root / pack_path(frame["pack"][20])).stat().st_size
    assert bucket.n_bytes == whole + sum(len(CONTENTS[row]) for row in (2, 3, 12))
    assert set(bucket.n_reads.values()) == {1}


def test_a_pack_is_fetched_whole_if_the_gaps_between_what_is_wanted_are_too_small_to_skip(
    bucket, frame, cache, monkeypatch
):
    monkeypatch.setattr(reader_module, "MAX_GAP_BYTES", 4096)
    PackReader(bucket, cache).column(frame, np.arange(0, 10, 2)).take(range(5))
    assert bucket.n_bytes == (bucket.root / pack_path(frame["pack"][0])).stat().st_size


def test_samples_with_the_same_bytes_are_fetched_once(root, bucket, cache):
    frame = write_packs(root, CONTENTS[:10])
    frame = pl.concat([frame, frame[[4, 4]]])
    column = PackReader(bucket, cache).column(frame, np.array([10, 4, 11]))
    assert [bytes(view) for view in column.take([0, 1, 2])] == [CONTENTS[4]] * 3
    assert bucket.n_bytes == len(CONTENTS[4])


def test_at_most_so_many_units_stay_open(root, frame, cache, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_OPEN_UNITS", 2)
    column = PackReader(FolderObjects(root), cache).column(frame)
    for _ in range(2):
        assert [bytes(column[index]) for index in range(50)] == CONTENTS
        assert sum(content is not None for content in column._contents) == 2


def test_random_access_lets_go_of_packs_when_the_cache_is_full(bucket, frame, tmp_path, monkeypatch):
    monkeypatch.setattr(reader_module, "MAX_COPIED_BYTES", 0)
    monkeypatch.setattr(reader_module, "OPEN_CACHE_FRACTION", 1)
    size = max(path.stat().st_size for path in bucket.root.rglob("*.tar"))
    column = PackReader(bucket, MachineCache(tmp_path / "small", max_bytes=2 * size)).column(frame)
    for _ in range(2):
        assert [bytes(column[index]) for index in range(50)] == CONTENTS


def damage_file(root: Path, frame: pl.DataFrame, row: int) -> None:
    path = root / pack_path(frame["pack"][row])
    path.write_bytes(flip(path.read_bytes(), frame["offset"][row] + 1))


SELECTIONS = pytest.mark.parametrize("rows", [None, np.array([3, 5, 44])], ids=["whole packs", "ranges"])


@SELECTIONS
def test_a_damaged_sample_is_named_and_its_neighbours_can_be_read(reader, root, frame, rows):
    damage_file(root, frame, 3)
    column = reader.column(frame, rows)
    damaged, intact = (3, 5) if rows is None else (0, 1)
    for _ in range(2):
        with pytest.raises(
            DamagedDataError, match=rf"photos@2: sample 'sample 3' is damaged.*{frame['pack'][3]}.*Rest"
        ):
            column[damaged]
        with pytest.raises(DamagedDataError, match="'sample 3' is damaged"):
            column.take([intact, damaged])
        assert bytes(column[intact]) == CONTENTS[5]


@SELECTIONS
def test_bytes_that_are_damaged_on_their_way_are_fetched_again(bucket, frame, cache, rows):
    seen = set()

    def damage_first(path, content):
        is_first = path not in seen
        seen.add(path)
        return flip(content, 600 if len(content) > 600 else 3) if is_first else content

    bucket.damage = damage_first
    column = PackReader(bucket, cache).column(frame, rows)
    for index, row in enumerate(range(50) if rows is None else rows):
        assert bytes(column[index]) == CONTENTS[row]
    assert set(bucket.n_reads.values()) == {2}


@SELECTIONS
def test_damage_is_found_by_each_reader_of_a_process_and_does_not_fetch_again_and_again(
    bucket, root, frame, cache, rows
):
    damage_file(root, frame, 3)
    reader = PackReader(bucket, cache)
    index = 3 if rows is None else 0
    for _ in range(3):
        for column in (reader.column(frame, rows), reader.column(frame, rows)):
            with pytest.raises(DamagedDataError, match="'sample 3'"):
                column[index]
            content = column.open(int(column._unit_codes[index]))
            del content
            column.open(int(column._unit_codes[index]))
    assert bucket.n_reads[pack_path(frame["pack"][3])] == 2
    for path in (cache.folder / "quarantine").iterdir():
        path.unlink()
    with pytest.raises(DamagedDataError, match="'sample 3'"):
        reader.column(frame, rows)[index]
    assert not (cache.folder / "entries" / frame["pack"][3][:2] / frame["pack"][3]).exists()


def test_what_is_damaged_twice_is_in_quarantine(bucket, root, frame, cache):
    damage_file(root, frame, 3)
    with pytest.raises(DamagedDataError, match="quarantine"):
        PackReader(bucket, cache).column(frame)[3]
    assert [path.name for path in (cache.folder / "quarantine").iterdir()] == [frame["pack"][3]]


def test_a_cached_pack_that_was_damaged_on_the_disk_is_fetched_again(bucket, frame, cache):
    PackReader(bucket, cache).column(frame).take(range(50))
    for path in (cache.folder / "entries").rglob("*"):
        if path.is_file():
            path.write_bytes(flip(path.read_bytes(), 700))
    again = MachineCache(cache.folder, max_bytes=10**6)
    assert [bytes(view) for view in PackReader(bucket, again).column(frame).take(range(50))] == CONTENTS
    assert set(bucket.n_reads.values()) == {2}


@SELECTIONS
def test_a_missing_pack_is_named(reader, root, frame, rows):
    (root / pack_path(frame["pack"][3])).unlink()
    column = reader.column(frame, rows)
    with pytest.raises(DamagedDataError, match=r"'sample 3' is damaged, because pack .* is missing"):
        column[0 if rows is not None else 3]
    assert bytes(column[2 if rows is not None else 44]) == CONTENTS[44]


@pytest.mark.parametrize("rows", [range(50), [6, 7, 9, 44]], ids=["whole packs", "ranges"])
def test_a_truncated_pack_damages_only_the_samples_behind_its_end(reader, root, frame, rows):
    path = root / pack_path(frame["pack"][0])
    path.write_bytes(path.read_bytes()[: frame["offset"][7] + 10])
    column = reader.column(frame, np.array(rows))
    for index, row in enumerate(rows):
        if row in (7, 8, 9):
            with pytest.raises(DamagedDataError, match=f"'sample {row}'"):
                column[index]
        else:
            assert bytes(column[index]) == CONTENTS[row]


def test_a_download_that_breaks_off_is_tried_again(bucket, frame, cache):
    n_failures = iter(range(2))

    def break_off(path, content):
        if next(n_failures, None) is not None:
            raise StorageError("connection reset")
        return content

    bucket.damage = break_off
    assert bytes(PackReader(bucket, cache).column(frame)[0]) == CONTENTS[0]

    def fail(path, content):
        raise StorageError("access denied")

    bucket.damage = fail
    with pytest.raises(StorageError, match="access denied"):
        PackReader(bucket, cache).column(frame)[49]


@pytest.fixture
def links(tmp_path) -> pl.DataFrame:
    rows = []
    for index, content in enumerate(CONTENTS):
        path = tmp_path / "linked" / f"ü {index}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"head" + content + b"tail")
        rows.append((f"sample {index}", path.as_uri(), 4, len(content), content_hash(content)))
    return pl.DataFrame(rows, schema=["id", "pack", "offset", "length", "hash"], orient="row")


@pytest.mark.parametrize("n_files", [1, 7, 256])
def test_linked_files_are_read_in_bundles_and_stay_out_of_the_cache(reader, links, cache, monkeypatch, n_files):
    monkeypatch.setattr(reader_module, "BUNDLE_FILES", n_files)
    column = reader.column(links)
    assert [bytes(view) for view in column.take(range(50))] == CONTENTS
    assert len(column.units) == -(-50 // n_files)
    assert not list(cache.folder.rglob("*"))


def test_linked_objects_are_kept_in_the_cache(tmp_path, cache, links, root, monkeypatch):
    bucket = BucketLike(tmp_path / "linked")
    monkeypatch.setattr(links_module, "open_objects", {"s3://photos": bucket}.__getitem__)
    links = links.with_columns(pack=pl.format("s3://photos/ü {}.bin", pl.int_range(pl.len())))
    for _ in range(2):
        column = PackReader(FolderObjects(root), cache).column(links)
        assert [bytes(view) for view in column.take(range(50))] == CONTENTS
    assert set(bucket.n_reads.values()) == {1}


def test_linked_objects_that_were_added_again_after_a_change_are_fetched_again(tmp_path, cache, root, monkeypatch):
    bucket = BucketLike(tmp_path / "linked")
    monkeypatch.setattr(links_module, "open_objects", {"s3://photos": bucket}.__getitem__)
    (tmp_path / "linked").mkdir()
    for content in (b"first", b"other"):
        (tmp_path / "linked" / "image").write_bytes(content)
        row = {"id": "a", "pack": "s3://photos/image", "offset": 0, "length": 5, "hash": content_hash(content)}
        assert bytes(PackReader(FolderObjects(root), cache).column(pl.DataFrame([row]))[0]) == content


@pytest.mark.parametrize("change", ["changed", "missing", "shorter"])
def test_a_linked_file_that_was_changed_is_named(reader, tmp_path, links, change):
    path = tmp_path / "linked" / "ü 3.bin"
    if change == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50] if change == "shorter" else flip(path.read_bytes(), 20))
    column = reader.column(links)
    with pytest.raises(
        DamagedDataError, match=r"'sample 3' is damaged, because the linked file file://.* is missing, or"
    ):
        column[3]
    assert bytes(column[4]) == CONTENTS[4]


def test_packs_and_linked_files_can_be_mixed_and_samples_may_have_no_bytes(reader, frame, links):
    mixed = pl.concat([frame[:2], links[2:4], frame[4:5].with_columns(pack=pl.lit(None, pl.String)), links[5:]])
    column = reader.column(mixed)
    assert [bytes(column[index]) for index in (0, 1, 2, 3, 5, 49)] == [CONTENTS[i] for i in (0, 1, 2, 3, 5, 49)]
    with pytest.raises(DamagedDataError, match="'sample 4'"):
        column[4]


def test_no_sample_is_fetched_through_a_path_in_place_of_a_pack(reader, frame):
    column = reader.column(frame[:1].with_columns(pack=pl.lit("../../etc/passwd")))
    with pytest.raises(DamagedDataError, match="'sample 0'"):
        column[0]


@pytest.mark.parametrize(
    ("pack", "offset", "length"),
    [("../secret", 0, 6), ("file://{}/secret", -5, 6), ("file://{}/secret", 0, -1), ("file:///dev/zero", 0, 10**13),
     ("file:///dev/zero", 0, 6), ("file://{}/pipe", 0, 6), ("a" * 64, 0, 2**62), (None, 0, 6)],
)  # fmt: skip
def test_places_that_were_made_to_harm_hold_no_bytes(tmp_path, pack, offset, length):
    (tmp_path / "secret").write_bytes(b"secret")
    os.mkfifo(tmp_path / "pipe")
    pack = pack and pack.format(tmp_path)
    row = {"id": ["a"], "pack": [pack], "offset": [offset], "length": [length], "hash": [content_hash(b"secret")]}
    column = PackReader(FolderObjects(tmp_path)).column(pl.DataFrame(row, schema_overrides={"pack": pl.String}))
    with pytest.raises(DamagedDataError, match="sample 'a' is damaged"):
        column[0]
    if pack and not is_pack_name(pack):
        assert read_link(pack, offset, length) == b""
