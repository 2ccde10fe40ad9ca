from __future__ import annotations

import polars as pl

from rosenblatt.data.volumes import stored_contents
from rosenblatt.data.volumes.sources.contents import FileContents
from tests.data.volumes.helpers import add_path, open_version, write_files


def test_contents_whose_hashes_begin_alike_are_stored_each_and_equal_ones_once(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_contents, "_PREFIX", 1)
    root = str(tmp_path / "volumes")
    first = {f"{k:02}.bin": b"%d" % (k % 40) for k in range(60)}
    add_path(root, "first", write_files(tmp_path / "first", first), kind="files")
    second = {f"{k:02}.bin": b"%d" % (k % 40) for k in range(90)} | {"new.bin": b"new", "same.bin": b"new"}
    add_path(root, "second", write_files(tmp_path / "second", second), kind="files")
    samples = open_version(root, "second")
    assert {row["id"]: row["bytes"] for row in map(samples.__getitem__, range(len(samples)))} == second
    packs = open_version(root, "first").to_polars()["pack"].unique()
    assert samples.to_polars().filter(~pl.col("pack").is_in(packs))["id"].to_list() == ["new.bin", "same.bin"]


def test_files_that_did_not_change_are_not_read_again(tmp_path, monkeypatch):
    root = str(tmp_path / "volumes")
    names = sorted(f"{k}.bin" for k in range(20))
    folder = write_files(tmp_path / "raw", {name: name.encode() for name in names})
    monkeypatch.setattr("rosenblatt.data.volumes.sources.stat_index.MIN_AGE_NS", 0)
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    add_path(root, "raw", folder, kind="files")
    read, read_file = list[int](), FileContents.read
    monkeypatch.setattr(FileContents, "read", lambda self, row: read.append(row) or read_file(self, row))
    (folder / "7.bin").write_bytes(b"other")
    commit = add_path(root, "raw", folder, kind="files").commit
    assert (commit.added, commit.changed, commit.removed) == (0, 1, 0)
    assert read == [names.index("7.bin")]
