"""Versions in the log: each commit exactly once, whatever the store does, and nothing foreign or rewritten opened."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from rosenblatt.data.volumes.storage import buckets
from rosenblatt.data.volumes.storage.log import CHECKPOINT_INTERVAL, Commit, VolumeLog, compute_root, new_token
from rosenblatt.data.volumes.storage.metadata_files import MetadataFiles
from rosenblatt.data.volumes.storage.objects import open_objects
from rosenblatt.errors import ConflictError, DamagedDataError, StorageError, VolumeError
from tests.data.volumes.faulty_proxy import Action

FRAME = pl.DataFrame({"id": ["a", "b"], "x": [1, 2]})


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(buckets, "MAX_RETRIES", 0)
    monkeypatch.setattr("rosenblatt.data.volumes.storage.log.COMMIT_CHECKS_S", (0.0, 0.0, 0.01))


def prepare(root: str, version: int, frame: pl.DataFrame = FRAME, number: int = 0):
    """A log, and what `commit` needs for a version with one metadata file."""
    objects = open_objects(root)
    file = MetadataFiles(objects, "v").write(number, frame)
    files = pl.DataFrame({"path": [file.path], "size": [file.size], "rows": [file.rows]})
    commit = Commit(
        version=version, root=compute_root(frame.schema, files), token=new_token(), who="ann", created=time.time(),
        kind="table", id_origin="column", n_samples=frame.height,
    )  # fmt: skip
    return VolumeLog(objects, "v"), commit, file


def commit_versions(root: str, n: int) -> VolumeLog:
    for version in range(1, n + 1):
        log, commit, file = prepare(root, version)
        log.create(FRAME.schema)
        log.commit(commit, None, [file] if version == 1 else [], [])
    return log


def entry_path(root: Path, version: int) -> Path:
    return root / "v" / "_delta_log" / f"{version:020}.json"


def test_a_version_opens_with_its_files_and_statistics(root):
    version = commit_versions(root, 1).open()
    assert version.commit.version == 1
    assert version.schema == FRAME.schema
    assert version.files.select("rows", "min.x", "max.x", "null_count.x").rows() == [(2, 1, 2, 0)]


def test_every_version_opens_before_and_after_a_checkpoint(root):
    log = commit_versions(root, CHECKPOINT_INTERVAL + 2)
    for version in (1, CHECKPOINT_INTERVAL - 1, CHECKPOINT_INTERVAL, CHECKPOINT_INTERVAL + 2):
        assert VolumeLog(log.objects, "v").open(version).commit.version == version
    assert [commit.version for commit in log.history()] == list(range(CHECKPOINT_INTERVAL + 2, 0, -1))


def test_a_commit_succeeds_even_if_its_checkpoint_cannot_be_written(s3_proxy, s3_root):
    log = commit_versions(s3_root, CHECKPOINT_INTERVAL - 1)
    fault = s3_proxy.inject(Action.UNAVAILABLE, method="PUT", path="checkpoint")
    _, commit, _ = prepare(s3_root, CHECKPOINT_INTERVAL)
    log.commit(commit, None, [], [])
    assert fault.hits
    assert VolumeLog(log.objects, "v").open().commit.token == commit.token


def test_a_web_server_serves_all_versions(tmp_path):
    from tests.data.volumes.servers import serve_files

    commit_versions(str(tmp_path), 5)
    with serve_files(tmp_path) as address:
        log = VolumeLog(open_objects(address), "v")
        assert log.latest() == 5
        assert log.open(3).commit.version == 3


def test_a_version_that_does_not_exist_is_refused(tmp_path):
    log = commit_versions(str(tmp_path), 2)
    for version in (0, 3, -1):
        with pytest.raises(VolumeError, match=f"has the versions 1 to 2, but not {version}"):
            log.open(version)
    with pytest.raises(VolumeError, match="has no version"):
        VolumeLog(log.objects, "other").open()


def test_the_second_of_two_commits_from_one_base_is_told_who_was_first(root):
    log, commit, file = prepare(root, 1)
    log.create(FRAME.schema)
    log.commit(commit, None, [file], [])
    with pytest.raises(ConflictError, match="v@1 was committed by ann in the meantime"):
        log.commit(commit.model_copy(update={"token": new_token()}), None, [file], [])
    assert log.latest() == 1


def test_of_many_writers_at_once_one_commits(root):
    log, commit, file = prepare(root, 1)
    log.create(FRAME.schema)
    commits = [commit.model_copy(update={"token": new_token(), "who": str(k)}) for k in range(8)]

    def write(own: Commit) -> bool:
        try:
            VolumeLog(open_objects(root), "v").commit(own, None, [file], [])
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        landed = list(pool.map(write, commits))
    assert sum(landed) == 1
    assert log.open().commit.token == commits[landed.index(True)].token


@pytest.mark.parametrize("action", [Action.DROP_ANSWER, Action.UNAVAILABLE, Action.DROP_REQUEST])
def test_a_commit_whose_answer_is_lost_is_recognized_and_one_that_failed_is_reported(s3_proxy, s3_root, action):
    log, commit, file = prepare(s3_root, 1)
    log.create(FRAME.schema)
    s3_proxy.inject(action, method="PUT", path=r"_delta_log/0*1\.json", count=1)
    try:
        log.commit(commit, None, [file], [])
    except StorageError:
        assert action != Action.DROP_ANSWER
        assert log.latest() == 0
        log.commit(commit, None, [file], [])
    assert log.open().commit.token == commit.token
    assert log.latest() == 1


def test_whether_a_commit_landed_is_not_guessed(s3_proxy, s3_root):
    log, commit, file = prepare(s3_root, 1)
    log.create(FRAME.schema)
    s3_proxy.inject(Action.DROP_ANSWER, method="PUT", path=r"_delta_log/0*1\.json")
    s3_proxy.inject(Action.UNAVAILABLE, method="GET", path=r"_delta_log/0*1\.json")
    with pytest.raises(StorageError, match="It is not known whether v@1 was committed"):
        log.commit(commit, None, [file], [])


def test_a_rewritten_log_is_refused(tmp_path):
    log = commit_versions(str(tmp_path), 1)
    path = entry_path(tmp_path, 1)
    path.write_text(path.read_text().replace('"size": ', '"size": 1'))
    with pytest.raises(DamagedDataError, match=r"v@1 is not what was committed: its log .* was changed"):
        log.open()


def test_versions_of_other_programs_are_refused(tmp_path):
    log = commit_versions(str(tmp_path), 1)
    FRAME.write_delta(f"{tmp_path}/v", mode="append")
    with pytest.raises(VolumeError, match="was not committed by this version of rosenblatt"):
        log.open()
    assert log.open(1).commit.version == 1


def test_a_table_with_features_of_a_later_reader_is_refused(tmp_path):
    log = commit_versions(str(tmp_path), 1)
    lines = entry_path(tmp_path, 1).read_text().splitlines()
    protocol = {"minReaderVersion": 2, "minWriterVersion": 5}
    entry_path(tmp_path, 1).write_text("\n".join([*lines, json.dumps({"protocol": protocol})]) + "\n")
    with pytest.raises(VolumeError, match=r"features of Delta Lake \(reader version 2\)"):
        log.open()


def test_a_damaged_entry_is_reported(tmp_path):
    log = commit_versions(str(tmp_path), 1)
    entry_path(tmp_path, 0).write_text("no JSON")
    with pytest.raises(DamagedDataError, match=r"The log in .*/v/_delta_log cannot be read"):
        log.open()
    entry_path(tmp_path, 1).write_text("no JSON")
    with pytest.raises(VolumeError, match="was not committed by this version"):
        log.open()
