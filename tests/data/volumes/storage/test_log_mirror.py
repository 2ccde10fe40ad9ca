from __future__ import annotations

import pytest

from rosenblatt.data.volumes.storage.log import VolumeLog
from tests.data.volumes.storage.test_log import commit_versions


@pytest.mark.parametrize(
    "name", ["notes.json", f"{1:020}.{2:020}.compacted.json", f"{1:020}.checkpoint.{1:010}.{2:010}.parquet", "7.json"]
)
def test_files_of_other_programs_in_a_log_are_left_alone(root, name):
    log = commit_versions(root, 2)
    log.objects.put(f"v/_delta_log/{name}", b"{}")
    assert VolumeLog(log.objects, "v").open().commit.version == 2
