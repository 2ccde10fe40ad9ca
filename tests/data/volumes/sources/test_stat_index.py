import os
import stat

import polars as pl
import pytest

from rosenblatt.data.volumes.sources import stat_index
from rosenblatt.data.volumes.sources.folders import list_files
from rosenblatt.data.volumes.sources.stat_index import StatIndex
from rosenblatt.errors import StorageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three files whose times are trusted at once."""
    monkeypatch.setattr(stat_index, "MIN_AGE_NS", -(10**12))
    for name in ("a", "b", "c"):
        path = tmp_path / "files" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    return tmp_path / "files"


def stats(folder):
    listing = list_files(folder)
    return listing.make_contents(listing.frame).stats


def record(folder, *, is_complete=True):
    index = StatIndex.open(folder, folder.parent / "indexes")
    index.record(stats(folder), pl.Series(["ha", "hb", "hc"]))
    index.save(is_complete=is_complete)


def find(folder):
    return StatIndex.open(folder, folder.parent / "indexes").find(stats(folder)).to_list()


def test_unchanged_files_are_found_by_every_later_process(folder):
    assert find(folder) == [None, None, None]
    record(folder)
    assert find(folder) == ["ha", "hb", "hc"]


def test_files_whose_states_have_one_hash_are_told_apart(folder, monkeypatch):
    monkeypatch.setattr(stat_index, "PART_ROWS", 2)
    monkeypatch.setattr(pl.DataFrame, "hash_rows", lambda self: pl.repeat(7, self.height, dtype=pl.UInt64, eager=True))
    record(folder)
    os.utime(folder / "b", (1, 1))
    assert find(folder) == ["ha", None, "hc"]


@pytest.mark.parametrize("change", [
    lambda path: path.write_text("new size"),
    lambda path: path.write_text("B"),
    lambda path: os.utime(path, (1, 1)),
    lambda path: path.chmod(0o600),
    lambda path: (path.rename(path.with_name("c")), path.with_name("a").rename(path)),
])  # fmt: skip
def test_files_that_may_have_changed_are_not_found(folder, change):
    record(folder)
    change(folder / "b")
    assert "hb" not in find(folder)


def test_a_file_that_kept_its_size_and_time_of_change_is_not_found(folder):
    record(folder)
    times = (folder / "b").stat()
    (folder / "b").write_text("x")
    os.utime(folder / "b", ns=(times.st_atime_ns, times.st_mtime_ns))
    assert find(folder) == ["ha", None, "hc"]


def test_files_that_changed_just_before_are_not_recorded(folder, monkeypatch):
    monkeypatch.undo()
    record(folder)
    assert find(folder) == [None, None, None]


def test_a_file_that_changes_between_listing_and_reading_is_not_recorded(folder):
    listing = list_files(folder)
    contents = listing.make_contents(listing.frame)
    (folder / "b").write_text("later")
    assert contents.read(1) == b"later"
    index = StatIndex.open(folder, folder.parent / "indexes")
    index.record(contents.stats, pl.Series(["ha", "hb", "hc"]))
    index.save(is_complete=True)
    assert find(folder) == ["ha", None, "hc"]


def test_an_interrupted_add_keeps_what_was_known_of_other_files(folder):
    record(folder)
    for is_complete, expected in ((False, ["ha", "hb", "hc"]), (True, ["ha", None, None])):
        index = StatIndex.open(folder, folder.parent / "indexes")
        index.record(stats(folder)[:1], pl.Series(["ha"]))
        index.save(is_complete=is_complete)
        assert find(folder) == expected


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(b"ARROW1 damaged"),
    lambda path: path.write_bytes(b""),
    lambda path: pl.DataFrame({"x": [1]}).write_ipc(path),
    lambda path: path.chmod(0o666),
])  # fmt: skip
def test_a_damaged_index_or_one_that_others_can_write_is_empty(folder, damage):
    record(folder)
    [path] = (folder.parent / "indexes").iterdir()
    damage(path)
    assert find(folder) == [None, None, None]


def test_an_index_that_cannot_be_written_is_named(folder):
    (folder.parent / "indexes").write_text("in the way")
    with pytest.raises(StorageError, match=r"The index of files in .* cannot be written: .*read again next time"):
        record(folder)


def test_indexes_are_private_and_no_parts_stay_behind(folder):
    record(folder)
    indexes = folder.parent / "indexes"
    assert stat.S_IMODE(indexes.stat().st_mode) == 0o700
    assert [path.suffix for path in indexes.iterdir()] == [".arrow"]
