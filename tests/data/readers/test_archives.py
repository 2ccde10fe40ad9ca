"""Tables in archives, compressed files, pipes and standard input."""

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
import zipfile

import pytest

from rosenblatt.data.readers.read import read_table
from rosenblatt.errors import TableError

CSV = b"a,y\n1,hi\n2,lo\n3,hi\n"
ROWS = [("1", "hi"), ("2", "lo"), ("3", "hi")]


def zip_file(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "files",
    [
        {"train.csv": CSV},
        {
            "data/train.csv": CSV,
            "README.txt": b"About, these data\n",
            "__MACOSX/data/._train.csv": b"x",
            "a.names": b"x",
        },
        {"train.data": CSV},
        {"train.txt": CSV},
        {"train.csv.gz": gzip.compress(CSV)},
    ],
)
def test_the_only_table_of_an_archive_is_read(tmp_path, files):
    assert read_table(zip_file(tmp_path / "d.zip", files)).frame.rows() == ROWS


@pytest.mark.parametrize(
    "files",
    [
        {"train.csv": CSV, "test.csv": b"a\n1\n"},
        {"train.csv": b"a,b\n1,2\n", "test.csv": b"a,b\n3,4\n"},
        {"2019.csv": CSV, "2020.csv": CSV},
        {"a.json": b"[]", "b.parquet": b"x"},
    ],
)
def test_several_tables_of_an_archive_are_listed(tmp_path, files):
    with pytest.raises(TableError, match=f"holds 2 tables: '{min(files)}' and '{max(files)}'"):
        read_table(zip_file(tmp_path / "d.zip", files))


def test_a_text_file_of_prose_stays_a_text(tmp_path):
    table = read_table(zip_file(tmp_path / "d.zip", {"poem.txt": b"Roses, red\nViolets\nSugar, so, sweet\n"}))
    assert table.texts == ("text",)


@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress, lambda c: gzip.compress(c[:8]) + gzip.compress(c[8:])]
)
def test_compressed_files_are_read(tmp_path, compress):
    (tmp_path / "t").write_bytes(compress(CSV))
    assert read_table(tmp_path / "t").frame.rows() == ROWS


@pytest.mark.parametrize(
    "content",
    [CSV, gzip.compress(CSV), b'[{"a": "1", "y": "hi"}, {"a": "2", "y": "lo"}, {"a": "3", "y": "hi"}]'],
    ids=["csv", "gzip", "json"],
)
def test_standard_input_is_read(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_table("-").frame.rows() == ROWS


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_read_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(CSV))
    writer.start()
    assert read_table(tmp_path / "pipe").frame.rows() == ROWS
    writer.join()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"SQLite format 3\0" + bytes(200), "is a SQLite database"),
        (b"\x28\xb5\x2f\xfd" + bytes(200), "compressed with zstd"),
        (b"BZh9" + bytes(50), "may be damaged"),
        (b"<!DOCTYPE html>\n<html>", "is an HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "pointer of Git LFS"),
        (b"@RELATION iris\n", "is an ARFF file"),
    ],
)
def test_other_formats_are_named(tmp_path, content, message):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(TableError, match=message):
        read_table(tmp_path / "t")


def test_a_damaged_file_in_an_archive_is_named(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", CSV * 200)
    content = bytearray(buffer.getvalue())
    start = 30 + len("train.csv")  # after the header of the file
    content[start : start + 8] = b"\xff" * 8
    (tmp_path / "t.zip").write_bytes(content)
    with pytest.raises(TableError, match=r"'train\.csv' in .* cannot be read"):
        read_table(tmp_path / "t.zip")
