from __future__ import annotations

import polars as pl
import pytest

from rosenblatt.data.volumes.columns import BYTES_SCHEMA
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.storage.objects import open_objects
from rosenblatt.data.volumes.storage.pack_writer import STORED_SCHEMA, StoredPlace
from rosenblatt.data.volumes.storage.packs import content_hash
from rosenblatt.data.volumes.stored_contents import StoredContents

HASHES = [content_hash(b"%d" % k) for k in range(200)]
PLACES = [StoredPlace(content_hash(b"pack %d" % (k // 10)), k) for k in range(200)]


@pytest.fixture
def files(tmp_path):
    """Metadata files with 50 samples each."""
    files = MetadataFiles(open_objects(str(tmp_path)), "v")
    data_files = []
    for k in range(0, 200, 50):
        part = slice(k, k + 50)
        rows = [(h, *place, 1, h) for h, place in zip(HASHES[part], PLACES[part], strict=True)]
        frame = pl.DataFrame(rows, schema={"id": pl.String, **BYTES_SCHEMA}, orient="row")
        data_files.append(files.write(k // 50, frame))
    return files, data_files


@pytest.fixture
def stored(files):
    stored = StoredContents()
    stored.add_files(*files)
    stored.optimize()
    return stored


def find(stored: StoredContents, hashes: list[str]) -> dict[str, StoredPlace]:
    """What is found, by hash, each once."""
    rows = stored.find(pl.Series(hashes))
    assert rows["hash"].is_unique().all()
    return {hash_: StoredPlace(*place) for hash_, *place in rows.iter_rows()}


def test_contents_are_found_by_their_whole_hash(stored):
    twin = HASHES[7][:16] + "0" * 48  # begins as another hash
    assert find(stored, [twin, *HASHES[::-1], "f" * 64]) == dict(zip(HASHES, PLACES, strict=True))
    assert stored.may_hold([twin, "f" * 64, HASHES[0]]) == [True, False, True]
    stored.add(pl.DataFrame([(twin, "q", 3)], STORED_SCHEMA, orient="row"))
    assert find(stored, [twin, HASHES[7]]) == {twin: StoredPlace("q", 3), HASHES[7]: PLACES[7]}


def test_nothing_is_found_where_nothing_is_stored():
    stored = StoredContents()
    stored.optimize()
    stored.add(pl.DataFrame(schema=STORED_SCHEMA))
    assert stored.may_hold(["0" * 64]) == [False]
    assert not find(stored, ["0" * 64])


def test_only_metadata_files_are_read_that_may_hold_a_content(files, monkeypatch):
    read, read_places = list[int](), MetadataFiles.read_places
    monkeypatch.setattr(
        MetadataFiles,
        "read_places",
        lambda self, file, *args: read.append(file.number) or read_places(self, file, *args),
    )
    stored = StoredContents()
    for _ in range(2):  # as files of two versions, with the same samples
        stored.add_files(*files)
    read.clear()
    assert not find(stored, ["f" * 64])
    assert not read
    assert len(find(stored, HASHES[60:70])) == 10
    assert read == [1]


def test_linked_files_are_not_stored(tmp_path):
    files = MetadataFiles(open_objects(str(tmp_path)), "v")
    rows = [("a", "file:///a", 0, 1, HASHES[0]), ("b", *PLACES[1], 1, HASHES[1]), ("c", None, None, 1, HASHES[2])]
    frame = pl.DataFrame(rows, schema={"id": pl.String, **BYTES_SCHEMA}, orient="row")
    stored = StoredContents()
    stored.add_files(files, [files.write(0, frame)])
    assert stored.may_hold(HASHES[:3]) == [False, True, False]
    assert find(stored, HASHES[:3]) == {HASHES[1]: PLACES[1]}


def test_links_are_not_stored_contents_however_long_their_uris_are(tmp_path):
    uri = "file:///" + "a" * 56  # as long as the name of a pack
    frame = pl.DataFrame([("x", uri, 0, 1, HASHES[0])], schema={"id": pl.String, **BYTES_SCHEMA}, orient="row")
    files, stored = MetadataFiles(open_objects(str(tmp_path)), "v"), StoredContents()
    stored.add_files(files, [files.write(0, frame)])
    assert stored.may_hold(HASHES[:1]) == [False]
