from __future__ import annotations

import polars as pl
import pytest

from rosenblatt.data.volumes.add import AddOptions, add
from rosenblatt.data.volumes.listing import list_known_volumes
from rosenblatt.data.volumes.locations import is_volume
from rosenblatt.data.volumes.volume import volume
from rosenblatt.errors import StorageError, VolumeError
from tests.data.volumes.helpers import add_frame

PEOPLE = pl.DataFrame({"id": ["a", "b"], "age": [31, 7]})


def test_a_name_alone_stays_the_name_of_the_volume_that_had_it_first(tmp_path, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_VOLUMES", str(tmp_path / "default"))
    add_frame(str(tmp_path / "default"), "people", PEOPLE, tmp_path)
    notes, source = list[str](), str(tmp_path / "source.parquet")
    add(f"{tmp_path}/other/people", source, notify=notes.append)
    assert any("'people' alone names the volume in" in note for note in notes)
    assert volume("people").objects.address == str(tmp_path / "default")
    (tmp_path / "default" / "locations").mkdir()
    (tmp_path / "default" / "locations" / "broken").write_text("{")
    with pytest.raises(VolumeError, match="which says where the volume 'broken' is, is damaged"):
        volume("broken")
    assert [item.name for item in list_known_volumes(notify=notes.append)] == ["people"]


@pytest.mark.parametrize("text", ["x" * 5000, "a\0b", "", "/", "a b", "https://host/x", "missing.csv", "missing/"])
def test_texts_that_name_no_volume_are_not_taken_for_one(text):
    assert not is_volume(text)


@pytest.mark.parametrize(
    "address", ["https://h/v/x@1?token=hidden", "https://h/v?token=hidden/x", "https://h/x?sig=hidden"]
)
def test_queries_of_addresses_are_refused_and_not_shown(tmp_path, monkeypatch, address):
    monkeypatch.setenv("ROSENBLATT_VOLUMES", str(tmp_path / "default"))
    for read in (volume, lambda place: add("v", place)):
        with pytest.raises(StorageError, match="has a query") as caught:
            read(address)
        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("address", ["s3://", "s3:/", "s3:///v", "gs:/bucket/v", "https:///v"])
def test_an_address_without_bucket_is_no_folder(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    add_frame(str(tmp_path / "volumes"), "people", PEOPLE, tmp_path)
    with pytest.raises(StorageError, match="names no bucket or server"):
        add("v", str(tmp_path / "source.parquet"), AddOptions(to=address))
    with pytest.raises(StorageError, match="names no bucket or server"):
        volume(f"{address}/people")
