"""Maintenance of volumes in buckets, while requests fail now and then."""

from __future__ import annotations

import pytest

from rosenblatt.data.volumes.maintenance.erase import erase
from rosenblatt.data.volumes.maintenance.garbage import collect_garbage
from rosenblatt.data.volumes.maintenance.repair import repair
from rosenblatt.data.volumes.maintenance.verify import verify
from rosenblatt.data.volumes.storage import buckets
from rosenblatt.data.volumes.volume import volume
from rosenblatt.errors import ErasedDataError
from tests.data.volumes.faulty_proxy import Action


@pytest.fixture(params=["s3", "azure"])
def remote(request, photos, monkeypatch):
    """The volume in a bucket, behind a link on which a fifth of the requests fail."""
    monkeypatch.setitem(buckets.BACKOFF, "init_backoff", buckets.timedelta(milliseconds=1))
    monkeypatch.setitem(buckets.BACKOFF, "max_backoff", buckets.timedelta(milliseconds=5))
    photos.root = request.getfixturevalue(f"{request.param}_root")
    proxy = request.getfixturevalue(f"{request.param}_proxy")
    for action in (Action.UNAVAILABLE, Action.DROP_REQUEST, Action.DROP_ANSWER):
        proxy.inject(action, probability=0.07)
    return photos


def test_data_is_verified_repaired_erased_and_collected(remote):
    remote.add()
    assert verify(remote.name).is_intact
    before = remote.damage(remote.packs()[0])
    assert not verify(remote.name).is_intact
    assert not repair(remote.name).damages
    assert remote.objects.read(remote.packs()[0]) == before
    assert erase(remote.name, ["00.bin"], lambda _: None).new_versions == ("photos@2",)
    assert verify(remote.name).is_intact
    assert len(volume(remote.name)) == 11
    with pytest.raises(ErasedDataError, match="This version can no longer be read"):
        volume(f"{remote.name}@1").to_polars()
    (remote.originals / "00.bin").unlink()
    remote.add("other")
    assert collect_garbage(remote.root, delete=True).paths == ()
    assert list(remote.objects.list("gc")) == []
    for name in ("photos", "other"):
        assert verify(f"{remote.root}/{name}").is_intact
