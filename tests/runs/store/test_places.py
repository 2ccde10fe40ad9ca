"""Places of files keep what they are given, and say what they lack."""

from __future__ import annotations

import hashlib
import io
import os

import pytest

from rosenblatt.errors import StorageError
from rosenblatt.runs.store.places import file_hash, join_address, open_place
from tests.data.volumes.servers import BUCKET, s3_settings

CONTENT = b"content"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return open_place(str(tmp_path / "files"))
    pytest.importorskip("obstore", reason="obstore is not installed: pip install 'rosenblatt[objects]'")
    for name, value in s3_settings(request.getfixturevalue("s3_server")).items():
        monkeypatch.setenv(name, value)
    return open_place(f"s3://{BUCKET}/places-{os.getpid()}")


def test_a_file_is_there_until_it_is_removed(place, tmp_path):
    assert not place.has(DIGEST, len(CONTENT))
    with pytest.raises(FileNotFoundError):
        place.get(DIGEST, tmp_path / "copy")
    place.put(DIGEST, io.BytesIO(CONTENT))
    assert place.has(DIGEST, len(CONTENT))
    assert not place.has(DIGEST, len(CONTENT) + 1)
    assert [name for name, _ in place.list_files()] == [DIGEST]
    place.get(DIGEST, tmp_path / "copy")
    assert file_hash(tmp_path / "copy") == DIGEST
    place.remove(DIGEST)
    assert not list(place.list_files())


def test_a_folder_stores_nothing_under_the_hash_of_other_content(tmp_path):
    place = open_place(str(tmp_path / "files"))
    with pytest.raises(StorageError, match="it changed while it was stored"):
        place.put(DIGEST, io.BytesIO(b"other content"))
    assert not list(place.list_files())


@pytest.mark.parametrize(
    ("address", "joined"),
    [
        ("/files", "/files/part"),
        ("s3://bucket/files/", "s3://bucket/files/part"),
        ("https://ana:word@host/files?key=1", "https://ana:word@host/files/part?key=1"),
    ],
)
def test_a_part_of_an_address_comes_before_its_query(address, joined):
    assert join_address(address, "part") == joined
