from __future__ import annotations

import io
import tarfile
import threading

import pytest

from rosenblatt.data.volumes.storage import pack_writer, packs
from rosenblatt.data.volumes.storage.objects import open_objects
from rosenblatt.data.volumes.storage.pack_writer import PackWriter
from rosenblatt.data.volumes.storage.packs import PackBuilder, content_hash, is_pack_name, pack_path
from rosenblatt.errors import StorageError


def build(contents: list[bytes]) -> tuple[packs.Pack, list[int]]:
    builder = PackBuilder()
    offsets = [builder.add(content, content_hash(content), "bin") for content in contents]
    return builder.finish(), offsets


@pytest.mark.parametrize("sizes", [[0], [1], [511, 512, 513], [10_000, 0, 7]])
def test_a_pack_is_a_tar_and_offsets_lead_to_its_contents(sizes):
    contents = [bytes([k]) * size for k, size in enumerate(sizes)]
    pack, offsets = build(contents)
    assert [pack.content[start : start + len(content)] for start, content in zip(offsets, contents, strict=True)] == (
        contents
    )
    with tarfile.open(fileobj=io.BytesIO(pack.content)) as tar:
        assert [tar.extractfile(member).read() for member in tar] == contents
        assert tar.getnames() == [f"{content_hash(content)}.bin" for content in contents]


@pytest.mark.parametrize("extension", ["", "7z", "abcdefgh"])
def test_headers_are_those_of_tarfile(extension):
    sizes, builder, expected = [0, 1, 8**5 + 3], PackBuilder(), io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for size in sizes:
            hash_ = content_hash(bytes(size))
            builder.add(bytes(size), hash_, extension)
            info = tarfile.TarInfo(f"{hash_}.{extension or 'bin'}")
            info.size, info.mode = size, 0o644
            tar.addfile(info, io.BytesIO(bytes(size)))
    pack = builder.finish()
    assert pack.content.rstrip(b"\0") == expected.getvalue().rstrip(b"\0")
    assert len(pack.content) % 512 == 0


def test_equal_contents_give_equal_packs():
    assert build([b"a", b"b"])[0] == build([b"a", b"b"])[0]
    assert build([b"a", b"b"])[0].name != build([b"b", b"a"])[0].name


def test_names_of_packs_differ_from_uris():
    assert is_pack_name(build([b"a"])[0].name)
    assert not is_pack_name("file:///photos/" + "a" * 50)


def write(root: str, contents: list[bytes]) -> PackWriter:
    with PackWriter(open_objects(root)) as writer:
        for content in contents:
            writer.add(content, content_hash(content), "bin")
        writer.places = writer.flush()
    return writer


def test_every_content_is_found_where_the_writer_says(tmp_path, monkeypatch):
    monkeypatch.setattr(packs, "TARGET_PACK_BYTES", 4000)
    contents = [b"%d" % k * (k % 700 + 1) for k in range(100)]
    writer = write(str(tmp_path), contents)
    places = {hash_: place for hash_, *place in writer.places.iter_rows()}
    assert len({pack for pack, _ in places.values()}) > 5
    for content in contents:
        pack, offset = places[content_hash(content)]
        assert (tmp_path / pack_path(pack)).read_bytes()[offset : offset + len(content)] == content


def test_packs_that_are_there_are_not_written_again(tmp_path):
    assert write(str(tmp_path), [b"a", b"b", b"a"]).n_bytes > 0
    assert write(str(tmp_path), [b"a", b"b"]).n_bytes == 0


def test_old_packs_are_written_again_so_that_garbage_collection_spares_them(tmp_path, monkeypatch):
    write(str(tmp_path), [b"a"])
    monkeypatch.setattr(pack_writer, "MAX_REUSE_SECONDS", -1.0)
    assert write(str(tmp_path), [b"a"]).n_bytes > 0


def test_a_pack_that_cannot_be_written_is_reported_and_no_thread_is_left(tmp_path):
    (tmp_path / "packs").write_text("not a folder")
    with pytest.raises(StorageError):
        write(str(tmp_path), [b"a"])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("packs")]
