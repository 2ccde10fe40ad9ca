from __future__ import annotations

import numpy as np
import pytest

from rosenblatt.data.media.contents import cell_name, hash_content, open_contents, read_content
from rosenblatt.data.volumes.cells import VolumeContents, is_remote
from rosenblatt.data.volumes.storage.packs import content_hash
from rosenblatt.data.volumes.table import to_table
from rosenblatt.errors import VolumeError
from tests.data.volumes.helpers import add_path, open_version, write_files


def _cells(root, query=""):
    volume = open_version(root, "photos")
    return to_table(volume.query(query) if query else volume).frame["image"].to_list()


@pytest.fixture
def cells(tmp_path, make_photos):
    add_path(str(tmp_path / "v"), "photos", make_photos(tmp_path / "photos", {"cat": 3, "dog": 2}))
    return _cells(str(tmp_path / "v"))


def test_the_hash_of_a_sample_is_known_without_reading_it(cells, tmp_path):
    expected = [content_hash(read_content(cell))[:32] for cell in cells]
    for pack in (tmp_path / "v").glob("packs/*/*.tar"):
        pack.unlink()
    assert [hash_content(cell, lambda _: b"").hex() for cell in cells] == expected


def test_cells_of_one_version_are_read_together_and_others_one_by_one(cells, tmp_path):
    add_path(str(tmp_path / "other"), "photos", tmp_path / "photos")
    assert isinstance(open_contents(cells), VolumeContents)
    for mixed in ([*cells, *_cells(str(tmp_path / "other"))], [*cells, b"bytes"]):
        contents = open_contents(mixed)
        assert not isinstance(contents, VolumeContents)
        assert contents.blocks is None
        with contents.reading([np.arange(len(mixed))]) as reading:
            assert [reading.read(row) for row in range(len(mixed))] == [read_content(cell) for cell in mixed]
            reading.finish(0)


def test_samples_whose_header_could_not_be_read_are_known_to_be_damaged(tmp_path, make_photos):
    photos = make_photos(tmp_path / "photos", {"cat": 3})
    write_files(photos, {"cat/1.png": b"no image", "cat/2.png": b""})
    add_path(str(tmp_path / "v"), "photos", photos)
    assert list(open_contents(_cells(str(tmp_path / "v"))).damaged()) == [1, 2]


def test_a_cell_is_as_short_for_a_long_query_and_reads_only_its_sample(cells, tmp_path, s3_root, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    long_query = "id in (" + ", ".join(f"'cat/{k}.png'" for k in range(1000)) + ")"
    assert _cells(str(tmp_path / "v"), long_query) == cells[:3]
    add_path(s3_root, "photos", tmp_path / "photos")
    assert len(read_content(_cells(s3_root)[3])) > 0
    packs = open_version(s3_root, "photos").metadata(["pack"])["pack"]
    assert not set(packs) & {path.name for path in (tmp_path / "cache").rglob("*")}


def test_blocks_are_packs_within_metadata_files_with_the_sizes_of_what_is_read(cells, tmp_path):
    blocks = open_contents(cells).blocks
    assert blocks.numbers.tolist() == [0] * 5
    assert blocks.n_bytes.tolist() == [*(pack.stat().st_size for pack in tmp_path.rglob("*.tar")), 0]


def test_cells_of_buckets_are_readable_anywhere():
    assert is_remote("volume-sample:0:1:00:19:0:s3://bucket/photos@2a.png")
    assert not is_remote("volume-sample:0:1:00:16:0:/volumes/photos@2a.png")


@pytest.mark.parametrize("cell", ["volume-sample:", "volume-sample:a:1:00:1:xy", "volume-sample:1:1"])
def test_cells_that_name_no_sample_are_refused(cell):
    with pytest.raises(VolumeError, match="names no sample of a volume"):
        read_content(cell)
    assert cell_name(cell) == cell
