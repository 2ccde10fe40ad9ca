from __future__ import annotations

import json

import pytest

from rosenblatt.data.volumes.storage.log import VolumeLog
from rosenblatt.errors import DamagedDataError
from tests.data.volumes.storage.test_log import commit_versions


@pytest.mark.parametrize(
    "name", ["notes.json", f"{1:020}.{2:020}.compacted.json", f"{1:020}.checkpoint.{1:010}.{2:010}.parquet", "7.json"]
)
def test_files_of_other_programs_in_a_log_are_left_alone(root, name):
    log = commit_versions(root, 2)
    log.objects.put(f"v/_delta_log/{name}", b"{}")
    assert VolumeLog(log.objects, "v").open().commit.version == 2


@pytest.mark.parametrize("change", [{"size": -1}, {"stats": '{"numRecords": 1000000000000}'}, {"stats": "{}"}])
def test_impossible_numbers_of_a_log_are_refused(tmp_path, change):
    log = commit_versions(str(tmp_path), 1)
    path = f"v/_delta_log/{1:020}.json"
    actions = [json.loads(line) for line in log.objects.read(path).splitlines()]
    for action in actions:
        if "add" in action:
            action["add"] |= change
    log.objects.put(path, "\n".join(map(json.dumps, actions)).encode())
    with pytest.raises(DamagedDataError, match="impossible size or number of rows"):
        VolumeLog(log.objects, "v").open()


def test_a_log_in_a_folder_is_read_without_copies(tmp_path, monkeypatch):
    log = commit_versions(str(tmp_path), 3)
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: pytest.fail("a temporary folder is made"))
    log = VolumeLog(log.objects, "v")
    assert log.open().commit.version == len(list(log.history())) == 3
    assert len(log.every_file()) == 1
