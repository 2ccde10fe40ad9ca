import itertools
import os

import polars as pl
import pytest

from rosenblatt.data.volumes.sources import contents
from rosenblatt.data.volumes.sources.contents import (
    FILE_SCHEMA,
    BytesContents,
    FileContents,
    file_extension,
    file_extensions,
    file_state,
)
from rosenblatt.errors import VolumeError


@pytest.mark.parametrize(("name", "extension"), [
    ("a.JPG", "jpg"), ("a.tar.gz", "gz"), ("dir.d/a", ""), (".hidden", ""), ("a.", ""), ("a.jp\u00e9g", ""),
    ("a.b c", ""), ("a.verylongending", ""), ("a.mp3", "mp3"),
])  # fmt: skip
def test_extensions_are_what_any_system_can_write(name, extension):
    assert file_extension(name) == extension
    assert file_extensions(pl.Series([name, "x/" + name])).to_list() == [extension, extension]


def open_part(path, offset=0, length=None):
    state = file_state(path.stat())
    row = (str(path), offset, state[0] if length is None else length, *state)
    return FileContents(pl.DataFrame([row], FILE_SCHEMA, orient="row"))


def test_a_part_of_a_file_is_read_alone(tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    assert open_part(tmp_path / "f").read(0) == b"0123456789"
    assert open_part(tmp_path / "f", 2, 3).read(0) == b"234"
    assert open_part(tmp_path / "f", 2, 0).read(0) == b""


def test_a_part_beyond_the_end_of_a_file_that_was_cut_is_refused(tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    part = open_part(tmp_path / "f", 5, 5)
    os.truncate(tmp_path / "f", 7)
    with pytest.raises(VolumeError, match="changes while it is read"):
        part.read(0)


@pytest.mark.parametrize(("n_changes", "is_read"), [(1, True), (2, True), (5, False)])
def test_a_file_that_changes_while_it_is_read_is_read_again_a_few_times(tmp_path, monkeypatch, n_changes, is_read):
    path = tmp_path / "f"
    path.write_text("")
    part, fstat, looks = open_part(path), os.fstat, itertools.count()
    path.write_text("a")  # since it was listed

    def look_and_change(descriptor):
        if next(looks) in range(2, 2 * n_changes + 1, 2):  # the second one of an attempt
            path.write_text(path.read_text() + "x")
        return fstat(descriptor)

    monkeypatch.setattr(contents.os, "fstat", look_and_change)
    if is_read:
        assert part.read(0) == b"a" + b"x" * n_changes
        assert part.stats["mtime_ns"].to_list() == [None]
    else:
        with pytest.raises(VolumeError, match=r"changes while it is read\. Add it again when no program writes to it"):
            part.read(0)


def test_bytes_in_memory_are_sliced_like_files():
    cells = BytesContents(pl.Series([b"a", b"b", b"c"]), ["x", "y", "z"], ["1", "2", "3"])[1:]
    assert (len(cells), cells.read(0), cells.extension(1), cells.name(1)) == (2, b"b", "z", "3")
    assert cells.locations is None
    assert cells.stats is None


@pytest.mark.skipif(os.name != "posix", reason="paths of POSIX")
def test_files_are_linked_by_uris(tmp_path):
    for name in ("plain-1.txt", "a b.txt", "é%.txt"):
        (tmp_path / name).write_text("x")
    parts = [open_part(tmp_path / name)._frame for name in ("plain-1.txt", "a b.txt", "é%.txt")]
    locations = FileContents(pl.concat(parts)).locations
    assert locations["pack"].to_list() == [
        (tmp_path / name).as_uri() for name in ("plain-1.txt", "a b.txt", "é%.txt")
    ]  # fmt: skip
