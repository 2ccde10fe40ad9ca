import gzip
import io
import json
import tarfile

import pytest

from rosenblatt.data.volumes.sources.open import open_samples
from rosenblatt.errors import TableError, VolumeError
from tests.data.volumes.sources.files import png, read, read_bytes, wav


def write_tar(path, files):
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            data = content if isinstance(content, bytes) else content.encode()
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def sample(key, color=0, **metadata):
    return {f"{key}.json": json.dumps(metadata), f"{key}.cls": str(color % 2), f"{key}.png": png(color=color)}


def test_members_of_one_key_are_a_sample_that_is_read_in_place(tmp_path):
    files = sample("a/0", 0, width=5, tags=["x"]) | sample("a/1", 1, width=6, tags=[]) | {"a/1.txt": "words"}
    path = write_tar(tmp_path / "t.tar", files)
    source = open_samples(path)
    assert (source.kind, source.id_origin, source.target) == ("images", "path", "label")
    assert read(source).rows(named=True) == [
        {"id": "a/0", "width_source": 5, "tags": ["x"], "label": 0, "text": None},
        {"id": "a/1", "width_source": 6, "tags": [], "label": 1, "text": "words"},
    ]
    assert read_bytes(source) == [png(), png(color=1)]
    [chunk] = source.chunks()
    uri, offset, length = chunk.contents.locations.row(1)
    assert (uri, path.read_bytes()[offset : offset + length]) == (path.as_uri(), png(color=1))
    assert chunk.contents.extension(0) == "png"


def test_linked_members_are_read_in_place(tmp_path):
    pytest.importorskip("deltalake", reason="deltalake is not installed: pip install 'rosenblatt[volumes]'")
    from tests.data.volumes.helpers import add_path, open_version

    path = write_tar(tmp_path / "t.tar", sample("a") | sample("b", 1))
    add_path(str(tmp_path / "volumes"), "photos", path, link=True)
    samples = open_version(str(tmp_path / "volumes"), "photos")
    assert [samples[i]["bytes"] for i in range(2)] == [png(), png(color=1)]
    assert not list((tmp_path / "volumes").glob("packs/*/*"))


def test_an_own_id_is_a_column_or_identifies_samples_on_request(tmp_path):
    path = write_tar(tmp_path / "t.tar", sample("a", id=7) | sample("b", id=8))
    assert read(open_samples(path)).select("id", "id_source").rows() == [("a", 7), ("b", 8)]
    source = open_samples(path, id_column="id")
    assert source.id_origin == "column"
    assert read(source).rows() == [(7, 0, "a"), (8, 0, "b")]


def test_shards_of_a_folder_follow_one_another(tmp_path):
    write_tar(tmp_path / "1.tar", sample("x"))
    write_tar(tmp_path / "0.tar", sample("y", 1))
    assert read(open_samples(tmp_path))["id"].to_list() == ["y", "x"]


def test_keys_that_repeat_in_other_shards_are_told_apart_by_the_shard(tmp_path):
    for name in ("a.tar", "b.tar"):
        write_tar(tmp_path / name, sample("000"))
    source = open_samples(tmp_path)
    assert read(source)["id"].to_list() == ["a/000", "b/000"]
    assert "keys repeat in several archives: ids start with the name of the archive" in source.notes


def test_members_that_give_nothing_are_counted(tmp_path):
    files = sample("a") | {"a.npz": b"\0", "a.seg.png": png()} | sample("b") | {"b.npz": b"\0"}
    notes = open_samples(write_tar(tmp_path / "t.tar", files)).notes
    assert notes == ("members that give no column left out: 2 .npz, 1 .seg.png",)


def test_sounds_and_texts_alone_are_samples(tmp_path):
    assert open_samples(write_tar(tmp_path / "s.tar", {"a.wav": wav(), "a.txt": "yes"})).kind == "audio"
    texts = open_samples(write_tar(tmp_path / "t.tar", {"a.txt": "yes", "b.txt": "no"}))
    assert (texts.kind, read(texts).rows()) == ("table", [("a", "yes"), ("b", "no")])


@pytest.mark.parametrize(("files", "message"), [
    ({"../a.png": png()}, "paths outside of the archive"),
    (sample("a") | {"b.json": "{}"}, "'b' in .* has no image or sound, unlike the samples before it"),
    ({"a.png": png(), "a.json": "{"}, "'a.json' in .* is not JSON"),
    (sample("a") | sample("b") | {"a.cls": "2", "a.png": png()}, "several samples of one key"),
    ({}, "holds no samples"),
])  # fmt: skip
def test_archives_that_cannot_be_added_are_refused(tmp_path, files, message):
    path = tmp_path / "t.tar"
    if "several" in message:
        with tarfile.open(path, "w") as archive:
            for name in ("a.png", "b.png", "a.png"):
                info = tarfile.TarInfo(name)
                info.size = len(png())
                archive.addfile(info, io.BytesIO(png()))
    else:
        write_tar(path, files)
    with pytest.raises(VolumeError, match=message):
        open_samples(path)


def test_links_and_hidden_members_are_counted(tmp_path):
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name in ("._a.png", "a.png"):
            info = tarfile.TarInfo(name)
            info.size = len(png())
            archive.addfile(info, io.BytesIO(png()))
    source = open_samples(tmp_path / "t.tar")
    assert source.n_samples == 1
    assert source.notes == ("hidden files, links or devices in t.tar left out: 2, such as 'link.png' and '._a.png'",)


def test_cut_and_compressed_archives_are_refused(tmp_path):
    path = write_tar(tmp_path / "t.tar", {"a.png": bytes(5000)})
    content = path.read_bytes()
    path.write_bytes(content[:2000])
    with pytest.raises(TableError, match=r"t.tar' cannot be read: .*may be damaged"):
        open_samples(path)
    path.write_bytes(gzip.compress(content))
    with pytest.raises(TableError, match=r"t.tar' is a compressed tar archive. Decompress it"):
        open_samples(path)
