import stat
import zipfile

import pytest

from rosenblatt.data.volumes.sources import archives
from rosenblatt.data.volumes.sources.archives import list_zip
from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.errors import TableError, VolumeError
from tests.data.volumes.sources.files import png, read, read_bytes


def write_zip(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def test_images_of_an_archive_have_the_ids_and_labels_of_a_folder(tmp_path):
    files = {"photos/dog/b.png": png(), "photos/cat/a.png": png(color=1), "__MACOSX/x.png": b"", "photos/n.txt": "x"}
    source = open_samples(write_zip(tmp_path / "t.zip", files))
    assert read(source).rows() == [("photos/cat/a.png", "cat"), ("photos/dog/b.png", "dog")]
    assert read_bytes(source) == [png(color=1), png()]
    assert "hidden files left out: 1, such as '__MACOSX/x.png'" in source.notes


def test_the_only_table_of_an_archive_is_read_as_a_table(tmp_path):
    source = open_samples(write_zip(tmp_path / "t.zip", {"t.csv": "a,b\n1,x\n2,y\n", "readme.txt": "text"}))
    assert (source.kind, read(source).drop("id").rows()) == ("table", [(1, "x"), (2, "y")])


@pytest.mark.parametrize("name", ["../a.png", "x/../../a.png", "/etc/a.png", "..\\a.png", "C:\\a.png", "C:/a.png"])
def test_paths_outside_of_an_archive_are_refused(tmp_path, name):
    with pytest.raises(VolumeError, match="holds files with paths outside of the archive"):
        list_zip(write_zip(tmp_path / "t.zip", {name: png()}))


def test_two_files_of_one_name_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.png", png())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.png", png())
    with pytest.raises(VolumeError, match="several files of one name"):
        list_zip(tmp_path / "t.zip")


def test_links_in_an_archive_are_left_out(tmp_path):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.png", png())
        archive.writestr(link, "/etc/passwd")
    listing = list_zip(tmp_path / "t.zip")
    assert listing.frame["name"].to_list() == ["a.png"]
    assert listing.notes == ("links in the archive left out: 1, such as 'link.png'",)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MIN_CHECKED_BYTES", 1000)
    path = write_zip(tmp_path / "t.zip", {"a.png": png(), "zeros.png": bytes(1_000_000)})
    with pytest.raises(VolumeError, match=r"unpacks to 1,000,\d+ bytes, like a decompression bomb"):
        list_zip(path)


def test_a_file_that_does_not_fit_the_memory_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "free_memory", lambda: 100)
    with pytest.raises(VolumeError, match=r"'a.png' in .* unpacks to .* bytes, but 50 bytes fit"):
        list_zip(write_zip(tmp_path / "t.zip", {"a.png": png()}))


def test_a_flipped_byte_is_found_by_the_checksum(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.png", b"0123456789")
    content = (tmp_path / "t.zip").read_bytes()
    (tmp_path / "t.zip").write_bytes(content.replace(b"0123456789", b"0123456780"))
    with pytest.raises(VolumeError, match=r"'a.png' in .* cannot be read: .*The archive may be damaged"):
        list_zip(tmp_path / "t.zip").read("a.png")


def test_a_damaged_or_empty_archive_is_refused(tmp_path):
    path = write_zip(tmp_path / "t.zip", {"a/": b""})
    with pytest.raises(VolumeError, match="holds no files"):
        list_zip(path)
    content = path.read_bytes()
    for damaged in (content[:10], content.replace(b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\xff")):
        path.write_bytes(damaged)
        with pytest.raises(TableError, match="damaged zip archive"):
            list_zip(path)
