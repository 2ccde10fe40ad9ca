from __future__ import annotations

import threading

import polars as pl
import pytest

from rosenblatt.data.volumes import contents, stored_contents
from rosenblatt.data.volumes.storage.packs import content_hash
from rosenblatt.errors import VolumeError
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
    folder = write_files(tmp_path / "raw", {f"{k}.bin": b"%d" % k for k in range(20)})
    monkeypatch.setattr("rosenblatt.data.volumes.sources.stat_index.MIN_AGE_NS", 0)
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    add_path(root, "raw", folder, kind="files")
    read = list[int]()
    monkeypatch.setattr(contents, "content_hash", lambda content: read.append(len(content)) or content_hash(content))
    (folder / "7.bin").write_bytes(b"other")
    commit = add_path(root, "raw", folder, kind="files").commit
    assert (commit.added, commit.changed, commit.removed) == (0, 1, 0)
    assert read == [5]


def test_samples_that_are_too_large_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "MAX_SAMPLE_BYTES", 10)
    folder = write_files(tmp_path / "raw", {"small.bin": b"1", "large.bin": b"1" * 11})
    with pytest.raises(VolumeError, match=r"large\.bin.* has 11 bytes, more than the 10 of the largest sample"):
        add_path(str(tmp_path / "volumes"), "raw", folder, kind="files")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("reading", "packs"))]


def test_rows_keep_their_order_whatever_thread_reads_them(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "MAX_TASK_SAMPLES", 3)
    names = [f"{k:03}.bin" for k in range(50)]
    folder = write_files(tmp_path / "raw", {name: name.encode() * (k % 5) for k, name in enumerate(names)})
    add_path(str(tmp_path / "volumes"), "raw", folder, kind="files")
    rows = open_version(str(tmp_path / "volumes"), "raw").to_polars()
    assert rows["id"].to_list() == names
    assert rows["hash"].to_list() == [content_hash(name.encode() * (k % 5)) for k, name in enumerate(names)]
