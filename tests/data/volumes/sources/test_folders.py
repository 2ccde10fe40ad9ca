import os
import socket

import pytest

from rosenblatt.data.volumes.sources.folders import list_files
from rosenblatt.errors import StorageError, VolumeError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")


def write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def names(listing):
    return listing.frame["name"].to_list()


def test_files_are_sorted_by_name_with_what_the_system_says_of_them(tmp_path):
    listing = list_files(write(tmp_path, "b/z", "a", "b/a", "é\nn"))
    assert names(listing) == ["a", "b/a", "b/z", "é\nn"]
    assert [listing.read(name) for name in names(listing)] == [b"a", b"b/a", b"b/z", "é\nn".encode()]
    status = (tmp_path / "a").stat()
    assert listing.frame.row(0, named=True) == {
        "name": "a", "path": str(tmp_path.resolve() / "a"), "offset": 0, "length": 1, "size": 1,
        "mtime_ns": status.st_mtime_ns, "ctime_ns": status.st_ctime_ns, "inode": status.st_ino,
    }  # fmt: skip
    assert listing.make_contents(listing.frame).locations.row(0) == ((tmp_path.resolve() / "a").as_uri(), 0, 1)


def test_names_are_normalized_and_two_of_one_name_are_refused(tmp_path):
    assert names(list_files(write(tmp_path / "one", "e\u0301.txt"))) == ["\u00e9.txt"]
    with pytest.raises(VolumeError, match="several files of one name"):
        list_files(write(tmp_path / "two", "e\u0301.txt", "\u00e9.txt"))


def test_names_that_differ_in_case_only_are_noted(tmp_path):
    [note] = list_files(write(tmp_path, "a", "A", "b")).notes
    assert note.startswith("2 names that differ in case only, such as 'A' and 'a'")


def test_links_inside_are_followed_once_and_cycles_end(tmp_path):
    write(tmp_path, "real/x", "real/deep/y")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "second").symlink_to(tmp_path / "real")
    (tmp_path / "real/deep/up").symlink_to(tmp_path)
    (tmp_path / "file").symlink_to(tmp_path / "real/x")
    listing = list_files(tmp_path)
    assert "file" in names(listing)
    assert {"real/x", "real/deep/y"} <= set(names(listing))
    assert sum(name.endswith("/x") and not name.startswith("real") for name in names(listing)) == 1
    assert any("links to folders that contain them or were followed already left out" in n for n in listing.notes)


@pytest.mark.parametrize("target", ["../outside.txt", "../outside", "/etc"])
def test_links_that_leave_the_folder_are_refused_by_name(tmp_path, target):
    write(tmp_path, "outside.txt", "outside/x", "data/a")
    (tmp_path / "data/sneaky").symlink_to(target)
    with pytest.raises(VolumeError, match=r"'sneaky' in .* link to files outside of the folder\. Copy"):
        list_files(tmp_path / "data")


def test_a_folder_that_is_itself_a_link_is_read(tmp_path):
    write(tmp_path, "data/a")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert names(list_files(tmp_path / "link")) == ["a"]


def test_pipes_sockets_and_broken_links_are_counted(tmp_path, monkeypatch):
    write(tmp_path, "a")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        (tmp_path / "broken").symlink_to("nothing")
        assert list_files(tmp_path).notes == (
            "pipes, sockets or devices left out: 2, such as 'pipe' and 'socket'",
            "links to files that do not exist left out: 1, such as 'broken'",
        )


def test_names_that_are_not_utf8_are_refused(tmp_path):
    write(tmp_path, "a")
    try:
        os.close(os.open(os.fsencode(tmp_path) + b"/\xff.png", os.O_CREAT))
    except OSError:
        pytest.skip("this file system holds UTF-8 names only")
    with pytest.raises(VolumeError, match=r"names that are not UTF-8\. Rename"):
        list_files(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty/.git").mkdir(parents=True)
    with pytest.raises(VolumeError, match="holds no files"):
        list_files(tmp_path / "empty")


@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root reads everything")
def test_what_cannot_be_read_is_named(tmp_path):
    write(tmp_path, "closed/a", "b")
    (tmp_path / "b").chmod(0)
    listing = list_files(tmp_path)
    with pytest.raises(StorageError, match="b' cannot be read"):
        listing.read("b")
    (tmp_path / "closed").chmod(0)
    with pytest.raises(StorageError, match="closed' cannot be read"):
        list_files(tmp_path)


def test_a_file_that_vanishes_is_named(tmp_path):
    listing = list_files(write(tmp_path, "a", "b"))
    (tmp_path / "b").unlink()
    with pytest.raises(VolumeError, match="'b' was removed after the folder was listed"):
        listing.read("b")
