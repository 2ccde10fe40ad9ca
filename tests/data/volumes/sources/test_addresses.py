import io
import tarfile

import polars as pl
import pytest

from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.data.volumes.sources.stat_index import StatIndex
from rosenblatt.data.volumes.storage.objects import open_objects
from rosenblatt.errors import StorageError, VolumeError
from tests.data.volumes.sources.files import png, read, read_bytes


@pytest.fixture
def put(s3_root):
    """Returns a function that writes objects below an address, which it returns."""

    def put(files):
        for name, content in files.items():
            open_objects(s3_root).put(name, content)
        return s3_root

    return put


def test_images_below_an_address_are_like_those_of_a_folder_and_can_be_linked(put):
    files = {
        "cat/a b.png": png(),
        "dog/\u00e9.png": png(color=1),
        ".hidden/c.png": b"",
        "metadata.csv": b"file_name,x\n",
    }
    files["metadata.csv"] += "cat/a b.png,1\ndog/\u00e9.png,2\n".encode()
    address = put(files)
    source = open_samples(address)
    assert (source.kind, source.location) == ("images", address)
    assert read(source).rows() == [("cat/a b.png", "cat", 1), ("dog/\u00e9.png", "dog", 2)]
    assert read_bytes(source) == [png(), png(color=1)]
    [chunk] = source.chunks()
    assert chunk.contents.locations.row(0) == (f"{address}/cat/a b.png", 0, len(png()))


def test_linked_objects_are_read_where_they_are(put, tmp_path):
    pytest.importorskip("deltalake", reason="deltalake is not installed: pip install 'rosenblatt[volumes]'")
    from tests.data.volumes.helpers import add_path, open_version

    address = put({"cat/a b.png": png(), "dog/\u00e9.png": png(color=1)})
    add_path(str(tmp_path / "volumes"), "photos", address, link=True)
    samples = open_version(str(tmp_path / "volumes"), "photos")
    assert [(samples[i]["label"], samples[i]["bytes"]) for i in range(2)] == [("cat", png()), ("dog", png(color=1))]
    assert not list((tmp_path / "volumes").glob("packs/*/*"))
    assert not add_path(str(tmp_path / "volumes"), "photos", address, link=True).is_new


def test_objects_that_did_not_change_are_known_by_their_tags(put, tmp_path, monkeypatch):
    monkeypatch.setattr("rosenblatt.data.volumes.sources.stat_index.MIN_AGE_NS", -(10**12))
    address = put({"a.png": png(), "b.png": png(color=1)})
    [chunk] = open_samples(address).chunks()
    index = StatIndex.open(address, tmp_path)
    index.record(chunk.contents.stats, pl.Series(["ha", "hb"]))
    index.save(is_complete=True)
    put({"b.png": png(color=2)})
    [chunk] = open_samples(address).chunks()
    assert StatIndex.open(address, tmp_path).find(chunk.contents.stats).to_list() == ["ha", None]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_at_an_address_is_copied_and_read(put, name, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    frame = pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    buffer = io.BytesIO()
    frame.write_csv(buffer) if name == "t.csv" else frame.write_parquet(buffer)
    address = put({name: buffer.getvalue()})
    source = open_samples(f"{address}/{name}")
    assert (source.kind, source.location) == ("table", f"{address}/{name}")
    assert read(source).drop("id").equals(frame)
    del source
    assert list(tmp_path.iterdir()) == []


def test_what_must_be_read_in_place_is_refused(put, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w"):
        pass
    address = put({"x/t.tar": buffer.getvalue()})
    for location in (address, f"{address}/x/t.tar"):
        with pytest.raises(VolumeError, match=r"read in place\. Copy it to a folder, and add that"):
            open_samples(location)
    assert list(tmp_path.iterdir()) == []


def test_an_address_without_objects_is_refused(s3_root):
    with pytest.raises(VolumeError, match="holds no objects"):
        open_samples(s3_root)
    with pytest.raises(StorageError, match="the bucket does not exist"):
        open_samples("s3://missing-bucket/x/y")


def test_an_object_that_was_changed_or_removed_is_named(put, s3_root):
    [chunk] = open_samples(put({"a.png": png(), "b.png": png()})).chunks()
    open_objects(s3_root).delete(["a.png"])
    put({"b.png": b"other"})
    with pytest.raises(VolumeError, match=r"a.png' was removed after it was listed"):
        chunk.contents.read(0)
    with pytest.raises(VolumeError, match=r"b.png' was changed after it was listed"):
        chunk.contents.read(1)


def test_a_folder_may_be_given_as_a_uri(tmp_path):
    (tmp_path / "a b.csv").write_text("x\n1\n2\n")
    assert read(open_samples((tmp_path / "a b.csv").as_uri()))["x"].to_list() == [1, 2]
