"""Erased samples are gone from everything that is stored, and only they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from rosenblatt.data.volumes.add import AddOptions, add
from rosenblatt.data.volumes.maintenance.erase import erase
from rosenblatt.data.volumes.maintenance.garbage import collect_garbage
from rosenblatt.data.volumes.maintenance.verify import verify
from rosenblatt.data.volumes.storage.folders import FolderObjects
from rosenblatt.data.volumes.volume import volume
from rosenblatt.errors import ErasedDataError, StorageError, VolumeError
from tests.data.volumes.helpers import add_frame
from tests.data.volumes.maintenance.test_garbage import Interleaving


@pytest.fixture
def versions(photos):
    """Three versions: all samples; a label of one changed; another one added."""
    photos.add()
    (photos.originals / "11.bin").write_bytes(b"changed")
    photos.add()
    (photos.originals / "12.bin").write_bytes(b"new" * 100)
    photos.add()
    return photos


def everything(root):
    """The contents of all stored files."""
    return b"".join(path.read_bytes() for path in sorted(Path(root).rglob("*")) if path.is_file())


def test_rows_and_bytes_are_gone_from_all_versions(versions):
    contents = {path.name: path.read_bytes() for path in versions.originals.iterdir()}
    before = volume(versions.name).to_polars()
    report = erase(versions.name, ["00.bin"], lambda _: None)
    assert (report.new_versions, report.unreadable_versions) == (("photos@4",), ("photos@1", "photos@2", "photos@3"))
    stored = everything(versions.root)
    assert contents.pop("00.bin") not in stored
    assert b"00.bin" not in stored
    after = volume(versions.name).to_polars()
    assert after["id"].to_list() == [id_ for id_ in before["id"] if id_ != "00.bin"]
    assert after["hash"].to_list() == before.filter(before["id"] != "00.bin")["hash"].to_list()
    assert verify(versions.name).is_intact
    assert all(content in stored for content in contents.values())
    commit = volume(versions.name).commit
    assert (commit.removed, commit.n_samples, commit.message) == (1, 12, "1 sample erased")
    assert commit.n_bytes == sum(map(len, contents.values()))


def test_old_versions_say_that_samples_were_erased(versions):
    erase(versions.name, ["00.bin"], lambda _: None)
    for version in (1, 2, 3):
        with pytest.raises(ErasedDataError, match=r"can no longer be read: .* erased samples of it on 20"):
            volume(f"{versions.name}@{version}").to_polars()


def test_versions_that_never_had_the_sample_are_read_as_before(photos):
    late = photos.originals.parent / "late.bin"
    photos.add()
    before = volume(f"{photos.name}@1").to_polars()
    shutil.move(photos.originals / "00.bin", late)
    (photos.originals / "99.bin").write_bytes(b"late" * 1000)
    add(photos.name, str(photos.originals), AddOptions(kind="files"), lambda _: None)
    report = erase(photos.name, ["99.bin"], lambda _: None)
    assert report.unreadable_versions == ("photos@2",)
    assert volume(f"{photos.name}@1").to_polars().equals(before)
    assert verify(f"{photos.name}@1").is_intact
    assert verify(photos.name).is_intact


def test_bytes_that_other_samples_have_stay_and_are_named(versions):
    shutil.copy(versions.originals / "00.bin", versions.originals / "copy.bin")
    versions.add()
    versions.add("other")
    report = erase(versions.name, ["00.bin"], lambda _: None)
    assert set(report.shared_with) == {"photos: copy.bin", "other: 00.bin", "other: copy.bin"}
    assert report.n_packs == 0
    assert verify(versions.name).is_intact
    report = erase(versions.name, ["copy.bin"], lambda _: None)
    report = erase(f"{versions.root}/other", ["00.bin", "copy.bin"], lambda _: None)
    assert (report.shared_with, report.n_packs) == ((), 1)
    assert (versions.originals / "00.bin").read_bytes() not in everything(versions.root)
    for name in (versions.name, f"{versions.root}/other"):
        assert verify(name).is_intact


def test_packs_that_other_volumes_share_are_replaced_there_as_well(versions):
    (versions.originals / "00.bin").unlink()
    versions.add("other")
    report = erase(versions.name, ["00.bin"], lambda _: None)
    assert report.new_versions == ("other@2", "photos@4")
    assert len(volume(f"{versions.root}/other")) == 12
    assert verify(f"{versions.root}/other").is_intact


def test_packs_of_interrupted_additions_are_searched(versions):
    shutil.rmtree(Path(versions.root) / "photos")
    (versions.originals / "00.bin").rename(versions.originals / "01.bin")  # in another pack
    versions.add()
    erase(versions.name, ["01.bin"], lambda _: None)
    assert (versions.originals / "01.bin").read_bytes() not in everything(versions.root)


def test_rows_of_a_table_are_erased(photos, tmp_path):
    (tmp_path / "people.csv").write_text("id,age\n1,30\n2,40\n777123,50\n")
    name = f"{photos.root}/people"
    add(name, str(tmp_path / "people.csv"), AddOptions(), lambda _: None)
    report = erase(name, ["777123"], lambda _: None)
    assert report.unreadable_versions == ("people@1",)
    assert volume(name).to_polars().rows() == [(1, 30), (2, 40)]
    assert b"777123" not in everything(f"{photos.root}/people/_delta_log")
    erase(name, ["1", "2"], lambda _: None)
    assert volume(name).to_polars().height == 0


def test_linked_files_stay_where_they_are(photos):
    photos.add(link=True)
    notes = []
    report = erase(photos.name, ["00.bin"], notes.append)
    assert (report.n_packs, report.new_versions) == (0, ("photos@2",))
    assert "linked files, which stay where they are" in notes[0]
    assert len(volume(photos.name)) == 11
    assert verify(photos.name).is_intact
    assert (photos.originals / "00.bin").exists()


def test_unknown_samples_are_refused(versions):
    stored = everything(versions.root)
    with pytest.raises(VolumeError, match=r"No version of 'photos' has '00.bmp'. Did you mean '00.bin'\?"):
        erase(versions.name, ["01.bin", "00.bmp"], lambda _: None)
    assert everything(versions.root) == stored
    with pytest.raises(VolumeError, match="There is no volume 'other'"):
        erase(f"{versions.root}/other", ["01.bin"], lambda _: None)


def test_what_was_erased_can_be_added_again(versions):
    erase(versions.name, ["00.bin"], lambda _: None)
    versions.add()
    assert len(volume(versions.name)) == 13
    assert verify(versions.name).is_intact
    collect_garbage(versions.root, delete=True)
    erase(versions.name, ["00.bin"], lambda _: None)
    assert (versions.originals / "00.bin").read_bytes() not in everything(versions.root)


@pytest.mark.slow
def test_an_interrupted_erasure_is_completed_by_running_it_again(versions, monkeypatch):
    content, step = (versions.originals / "00.bin").read_bytes(), 0
    backup = Path(versions.root).with_name("backup")
    shutil.copytree(versions.root, backup)
    while True:
        writes = 0

        def interrupted(method, step=step):
            def call(objects, *arguments):
                nonlocal writes
                if writes == step:
                    raise StorageError("interrupted")
                writes += not str(arguments[0]).startswith("gc/")
                return method(objects, *arguments)

            return call

        with monkeypatch.context() as patch:
            for name in ("put", "create", "delete"):
                patch.setattr(FolderObjects, name, interrupted(getattr(FolderObjects, name)))
            try:
                erase(versions.name, ["00.bin"], lambda _: None)
            except StorageError:
                is_complete = False
            else:
                is_complete = True
        if is_complete:
            break
        try:
            erase(versions.name, ["00.bin"], lambda _: None)
        except VolumeError:  # nothing was left to do
            assert b"00.bin" not in everything(versions.root)
        assert content not in everything(versions.root), step
        assert verify(versions.name).is_intact
        shutil.rmtree(versions.root)
        shutil.copytree(backup, versions.root)
        step += 1
    assert step > 5


@pytest.mark.slow
def test_an_addition_notices_an_erasure_at_each_of_its_steps(versions, monkeypatch):
    """It adds the bytes of other samples to another volume, which are in the pack that is erased."""
    backup, step = Path(versions.root).with_name("backup"), 0
    shutil.copytree(versions.root, backup)
    (versions.originals / "00.bin").unlink()
    while True:
        with monkeypatch.context() as patch:
            both = Interleaving(patch, step, lambda notify: erase(versions.name, ["00.bin"], notify))
            error = None
            try:
                versions.add("other")
            except StorageError as raised:
                error = raised
            if not both.finish():
                break
        assert both.error is None
        if error:
            assert "was deleted in the meantime" in str(error)
            versions.add("other")
        for name in ("photos", "other"):
            assert verify(f"{versions.root}/{name}").is_intact
        shutil.rmtree(versions.root)
        shutil.copytree(backup, versions.root)
        step += 1
    assert step > 10


def test_the_command_asks_first(versions, run):
    assert "Confirm it with --yes" in run("data", "erase", versions.name, "00.bin")[2]
    status, output, error = run("data", "erase", versions.name, "00.bin", "01.bin", "--yes")
    assert status == 0, error
    assert "2 samples erased from photos" in output
    assert "cannot be read any more: photos@1, photos@2, photos@3" in output
    assert "copies in caches of other machines and in backups are not erased" in output
    status, output, _ = run("data", "erase", versions.name, "02.bin", "--yes", "--json")
    assert json.loads(output)["new_versions"] == ["photos@5"]


@pytest.mark.parametrize(
    "columns",
    [
        {"pack": [1, 2, 3], "hash": [[1], [2], [3]], "length": ["x", "y", "z"]},
        {"pack": ["a" * 64] * 3, "offset": [0, 1, 2], "length": [1, 1, 1], "hash": ["b" * 64] * 3},
    ],
)
def test_a_table_with_columns_named_like_those_of_bytes_is_maintained_as_any_other(photos, tmp_path, columns):
    frame = pl.DataFrame({"id": ["a", "b", "c"]} | columns)
    add_frame(photos.root, "table", frame, tmp_path)
    assert verify(f"{photos.root}/table").is_intact
    assert collect_garbage(photos.root).paths == ()
    assert erase(f"{photos.root}/table", ["b"], lambda _: None).new_versions == ("table@2",)
    assert volume(f"{photos.root}/table").to_polars().equals(frame.filter(pl.col("id") != "b"))
    assert volume(f"{photos.root}/table").commit.n_bytes == 0


def test_a_version_is_refused_because_all_versions_lose_the_samples(versions):
    with pytest.raises(VolumeError, match=r"erased from all versions. Name the volume without @"):
        erase(f"{versions.name}@1", ["00.bin"], lambda _: None)
    assert len(volume(f"{versions.name}@1")) == 12
