from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from rosenblatt.data.volumes import sample_reader
from rosenblatt.data.volumes.sample_reader import SampleReader
from rosenblatt.data.volumes.storage.packs import content_hash
from rosenblatt.errors import VolumeError
from tests.data.volumes.helpers import add_path, open_version, write_files


class FakeContents:
    """Samples of some bytes; `on_read` is called before each is read."""

    locations = stats = None

    def __init__(self, n: int, n_bytes: int, on_read: Callable[[int], object] = lambda _: None) -> None:
        self._n, self._n_bytes, self._on_read = n, n_bytes, on_read

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, rows: slice) -> FakeContents:
        raise NotImplementedError

    def name(self, row: int) -> str:
        return f"sample {row}"

    def extension(self, _: int) -> str:
        return "bin"

    def read(self, row: int) -> bytes:
        self._on_read(row)
        return b"%d" % row * (1 + self._n_bytes // 4)


def read_all(contents: FakeContents, rows: list[int] | None = None) -> list[tuple[int, bytes, str, object]]:
    reader = SampleReader(lambda content: {"first": content[:1]})
    try:
        return [
            sample
            for samples in reader.read(contents, range(len(contents)) if rows is None else rows)
            for sample in zip(*samples, strict=True)
        ]
    finally:
        reader.close()


def expected(contents: FakeContents, rows: list[int]) -> list[tuple[int, bytes, str, object]]:
    parts = [contents.read(row) for row in rows]
    return [
        (row, part, content_hash(part), {"first": part[:1]}) for row, part in zip(rows, parts, strict=True)
    ]  # fmt: skip


@pytest.fixture
def always_waits(monkeypatch):
    """Every reading counts as one that waits for a disk."""
    monkeypatch.setattr(sample_reader, "MIN_WAIT_RATIO", -1.0)
    monkeypatch.setattr(sample_reader, "MAX_LOOP_SAMPLES", 5)


def test_small_samples_in_memory_are_read_by_the_caller():
    names = set[str]()
    contents = FakeContents(3000, 10, lambda _: names.add(threading.current_thread().name))
    assert read_all(contents) == expected(contents, list(range(3000)))
    assert names == {threading.current_thread().name}


@pytest.mark.parametrize("n_for_threads", [7, 1 << 14])
def test_threads_read_ahead_and_in_order_if_reading_waits(always_waits, monkeypatch, n_for_threads):
    monkeypatch.setattr(sample_reader, "THREAD_SAMPLES", n_for_threads)
    monkeypatch.setattr(sample_reader, "MAX_TASK_SAMPLES", 3)
    threads, rows = set[str](), [*range(40, 90), *range(10)]
    contents = FakeContents(100, 10, lambda _: threads.add(threading.current_thread().name))
    assert read_all(contents, rows) == expected(contents, rows)
    assert any(name.startswith("reading") for name in threads)


def test_threads_read_several_samples_at_a_time(always_waits, monkeypatch):
    monkeypatch.setattr(sample_reader, "MAX_TASK_SAMPLES", 1)
    n_alone = sample_reader.MIN_WAITS * 5
    both = threading.Barrier(2)  # breaks unless a second thread reads meanwhile
    contents = FakeContents(n_alone + 2, 10, lambda row: row >= n_alone and both.wait(20))
    assert len(read_all(contents)) == n_alone + 2


def test_threads_read_large_samples():
    names = list[str]()
    contents = FakeContents(1100, 1 << 17, lambda _: names.append(threading.current_thread().name))
    assert len(read_all(contents)) == 1100
    assert names[-1].startswith("reading")


def test_single_waits_do_not_start_threads(always_waits, monkeypatch):
    monkeypatch.setattr(sample_reader, "MIN_WAITS", 100)
    names = set[str]()
    read_all(FakeContents(400, 10, lambda _: names.add(threading.current_thread().name)))
    assert names == {threading.current_thread().name}


@pytest.mark.parametrize("row", [2, 70])  # which the caller or a thread reads
def test_errors_are_raised_whoever_reads(always_waits, row):
    def fail(k: int) -> None:
        if k == row:
            raise VolumeError("it is damaged")

    with pytest.raises(VolumeError, match="it is damaged"):
        read_all(FakeContents(100, 10, fail))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reading")]


def test_samples_that_are_too_large_are_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(sample_reader, "MAX_SAMPLE_BYTES", 10)
    folder = write_files(tmp_path / "raw", {"small.bin": b"1", "large.bin": b"1" * 11})
    with pytest.raises(VolumeError, match=r"large\.bin.* has 11 bytes, more than the 10 of the largest sample"):
        add_path(str(tmp_path / "volumes"), "raw", folder, kind="files")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("reading", "packs"))]


def test_rows_of_a_volume_keep_their_order_whatever_thread_reads_them(always_waits, tmp_path, monkeypatch):
    monkeypatch.setattr(sample_reader, "MAX_TASK_SAMPLES", 3)
    names = [f"{k:03}.bin" for k in range(50)]
    folder = write_files(tmp_path / "raw", {name: name.encode() * (k % 5) for k, name in enumerate(names)})
    add_path(str(tmp_path / "volumes"), "raw", folder, kind="files")
    rows = open_version(str(tmp_path / "volumes"), "raw").to_polars()
    assert rows["id"].to_list() == names
    assert rows["hash"].to_list() == [content_hash(name.encode() * (k % 5)) for k, name in enumerate(names)]
