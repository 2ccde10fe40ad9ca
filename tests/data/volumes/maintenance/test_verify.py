"""`verify` names exactly what is damaged."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from rosenblatt.data.volumes.maintenance.repair import repair
from rosenblatt.data.volumes.maintenance.verify import verify
from rosenblatt.errors import DamagedDataError, StorageError
from tests.data.volumes.faulty_proxy import Action
from tests.data.volumes.servers import serve_files


@pytest.fixture
def added(photos):
    photos.add()
    return photos


def test_an_intact_version_is_read_whole(added):
    report = verify(added.name)
    assert report.is_intact
    assert (report.n_files, report.n_packs, report.n_samples) == (1, len(added.packs()), 12)
    assert report.n_bytes == sum(added.objects.info(path).size for path in added.packs() + added.files())


@pytest.mark.parametrize(("position", "samples"), [(600, ("00.bin",)), (10, ()), (3100, ("01.bin",))])
def test_the_damaged_samples_of_a_pack_are_named(added, position, samples):
    pack = next(path for path in added.packs() if _holds(added, path, "00.bin"))
    added.damage(pack, position)
    (damage,) = verify(added.name).damages
    assert (damage.kind, damage.reason, damage.samples) == ("pack", "does not match its name", samples)
    assert pack.endswith(f"{damage.name}.tar")


def _holds(photos, pack, name):
    return (photos.originals / name).read_bytes() in photos.objects.read(pack)


def test_missing_packs_and_metadata_files_are_named(added):
    added.objects.delete([added.packs()[0]])
    (damage,) = verify(added.name).damages
    assert damage.reason == "is missing"
    assert len(damage.samples) in (4, 3, 2)
    files = added.files()
    added.objects.delete(files)
    (damage,) = verify(added.name).damages
    assert (damage.kind, damage.name, damage.samples) == ("metadata file", files[0].removeprefix("photos/"), ())


def test_a_changed_log_is_refused(added):
    path = f"photos/_delta_log/{1:020}.json"
    content = added.objects.read(path).replace(b'"size": ', b'"size": 1')
    added.objects.put(path, content)
    with pytest.raises(DamagedDataError, match=r"its log in .* was changed"):
        verify(added.name)


def test_linked_files_that_were_changed_are_named(photos):
    photos.add(link=True)
    assert verify(photos.name).is_intact
    (photos.originals / "03.bin").write_bytes(b"x" * 2000)
    (photos.originals / "05.bin").unlink()
    damages = verify(photos.name).damages
    assert [damage.samples for damage in damages] == [("03.bin",), ("05.bin",)]
    assert {damage.kind for damage in damages} == {"linked file"}


def test_volumes_on_a_web_server_are_verified(added):
    with serve_files(Path(added.root)) as address:
        assert verify(f"{address}/photos").is_intact
        added.damage(added.packs()[0])
        assert len(verify(f"{address}/photos@1").damages) == 1
        with pytest.raises(StorageError, match="is a web server"):
            repair(f"{address}/photos")


def test_a_fault_of_a_transfer_is_no_damage(photos, s3_root, s3_proxy):
    photos.root = s3_root
    photos.add()
    for path in ("/packs/../", "/photos/data/"):
        fault = s3_proxy.inject(Action.FLIP, method="GET", path=path, count=1)
        assert verify(photos.name).is_intact
        assert fault.hits == 1
    s3_proxy.inject(Action.FLIP, method="GET", path="/packs/../")
    assert len(verify(photos.name).damages) == len(photos.packs())


def test_the_command_fails_if_something_is_damaged(added, run):
    assert run("data", "verify", added.name)[0] == 0
    added.damage(added.packs()[0], random.Random(0).randrange(2000))
    status, output, error = run("data", "verify", added.name, "--json")
    assert status == 2
    assert json.loads(output)["damages"][0]["kind"] == "pack"
    assert "photos@1 is damaged: pack" in error
    status, output, error = run("data", "verify", added.name)
    assert "does not match its name" in output
