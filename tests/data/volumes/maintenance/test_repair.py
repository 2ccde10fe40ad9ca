"""`repair` writes back exactly what was there, from whichever copy is right, and drops samples only on request."""

from __future__ import annotations

import json
import shutil

import pytest

from rosenblatt.data.volumes.maintenance.repair import repair
from rosenblatt.data.volumes.maintenance.verify import verify
from rosenblatt.data.volumes.volume import volume
from rosenblatt.errors import VolumeError


@pytest.fixture
def added(photos):
    photos.add()
    return photos


def lose_originals(photos):
    shutil.rmtree(photos.originals)


@pytest.mark.parametrize("position", [600, 10, 520, 3000, 3100])
def test_a_damaged_pack_is_built_again_from_the_original_files(added, position):
    contents = {path: added.damage(path, position) for path in added.packs()}
    report = repair(added.name)
    assert len(report.repaired) == len(contents)
    assert not report.damages
    assert {path: added.objects.read(path) for path in added.packs()} == contents


def test_a_missing_pack_is_built_again_from_files_at_another_place(added, tmp_path):
    pack = added.packs()[0]
    content = added.objects.read(pack)
    added.objects.delete([pack])
    shutil.move(added.originals, tmp_path / "moved")
    assert repair(added.name).damages
    assert not repair(added.name, [str(tmp_path / "moved")]).damages
    assert added.objects.read(pack) == content


def test_copies_of_another_root_are_used_if_they_are_intact(added, tmp_path):
    shutil.copytree(added.root, tmp_path / "backup")
    lose_originals(added)
    shutil.copytree(tmp_path / "backup", tmp_path / "bad backup")
    before = {path: added.damage(path) for path in added.packs() + added.files()}
    for path in added.packs() + added.files():
        (tmp_path / "bad backup" / path).write_bytes(b"damaged as well")
    assert repair(added.name, [str(tmp_path / "bad backup")]).damages
    assert not repair(added.name, [str(tmp_path / "bad backup"), str(tmp_path / "backup")]).damages
    assert {path: added.objects.read(path) for path in before} == before


def test_original_files_that_were_changed_are_not_used(added):
    added.damage(added.packs()[0])
    for path in added.originals.iterdir():
        path.write_bytes(b"changed")
    report = repair(added.name)
    assert (report.repaired, len(report.damages), report.new_version) == ((), 1, "")


def test_a_version_without_damaged_samples_is_committed_on_request(added):
    rows = volume(added.name).to_polars()
    lose_originals(added)
    added.damage(added.packs()[0])
    (damage,) = verify(added.name).damages
    report = repair(added.name, drop=True)
    assert (report.new_version, report.dropped) == ("photos@2", damage.samples)
    assert verify(added.name).is_intact
    after = volume(added.name).to_polars()
    assert after["id"].to_list() == [id_ for id_ in rows["id"] if id_ not in damage.samples]
    assert after["hash"].to_list() == rows.filter(~rows["id"].is_in(list(damage.samples)))["hash"].to_list()
    assert volume(added.name).commit.removed == len(damage.samples)
    assert not verify(f"{added.name}@1").is_intact
    with pytest.raises(VolumeError, match="is not the latest version"):
        repair(f"{added.name}@1", drop=True)


def test_all_samples_of_a_lost_metadata_file_are_dropped_on_request(added, run):
    lose_originals(added)
    added.objects.delete(added.files())
    assert run("data", "repair", added.name)[0] == 2
    status, output, error = run("data", "repair", added.name, "--drop", "--json")
    assert status == 0, error
    assert json.loads(output)["new_version"] == "photos@2"
    assert "all 12 samples" in error
    assert len(volume(added.name)) == 0
    assert volume(added.name).to_polars().height == 0


def test_the_command_repairs(added, run):
    assert run("data", "repair", added.name)[1] == "photos@1 is intact; nothing to repair\n"
    added.damage(added.packs()[0])
    status, output, _ = run("data", "repair", added.name, "--from", str(added.originals))
    assert status == 0
    assert "was written again from a copy" in output
