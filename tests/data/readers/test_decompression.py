"""A small file that unpacks to a large one is refused before it fills the memory."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile

import polars as pl
import pytest

from rosenblatt.data.readers import decompression
from rosenblatt.data.readers.decompression import UnpackingLimit
from rosenblatt.data.readers.read import read_table
from rosenblatt.errors import TableError

BOMB = b"1.0,2.0\n" * 200_000


def zip_of(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


@pytest.fixture
def small_bounds(monkeypatch):
    monkeypatch.setattr(decompression, "MIN_CHECKED_BYTES", 100_000)
    monkeypatch.setattr(decompression, "CHUNK_BYTES", 10_000)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", gzip.compress(BOMB)),
        ("a.csv.gz", gzip.compress(BOMB[:80_000]) * 40),  # several members
        ("a.csv.bz2", bz2.compress(BOMB)),
        ("a.csv.xz", lzma.compress(BOMB)),
        ("one.zip", zip_of(a__csv=BOMB)),
        ("classes.zip", zip_of(**{f"c/{k}__csv": BOMB[:80_000] for k in range(30)})),
        ("texts.zip", zip_of(a__txt=BOMB, b__txt=BOMB)),
        ("nested.zip", zip_of(a__csv__gz=gzip.compress(BOMB))),
    ],
)
def test_decompression_bombs_are_refused(tmp_path, small_bounds, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match="like a decompression bomb"):
        read_table(tmp_path / name)


def test_usual_compressed_tables_are_read(tmp_path, small_bounds):
    lines = "\n".join(f"{k},{k * k % 9973}" for k in range(30_000))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(f"a,b\n{lines}\n".encode()))
    assert read_table(tmp_path / "a.csv.gz").frame.height == 30_000


def test_no_more_is_unpacked_than_fits_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(decompression, "free_memory", lambda: 20_000_000)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(BOMB * 10))
    with pytest.raises(TableError, match="but 10,000,000 bytes fit"):
        read_table(tmp_path / "a.csv.gz")
    pl.DataFrame({"a": pl.repeat(1, 5_000_000, eager=True)}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(TableError, match="but 10,000,000 bytes fit"):
        read_table(tmp_path / "a.parquet")


def test_a_member_that_is_read_twice_counts_once():
    limit = UnpackingLimit("a.zip", 100_000)
    for _ in range(300):
        assert len(limit.read(io.BytesIO(BOMB), "a")) == len(BOMB)
