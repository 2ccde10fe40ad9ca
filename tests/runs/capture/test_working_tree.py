from __future__ import annotations

import os

import pytest

from rosenblatt.runs.capture.source import capture_source, source_hash
from rosenblatt.runs.capture.working_tree import portable_link
from tests.runs.capture.conftest import git


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_changes_that_git_does_not_look_for_are_captured(repository, store_source, flag):
    git(repository, "update-index", flag, "train.py")
    (repository / "train.py").write_text("lr = 2\n")
    assert set(capture_source(repository, store_source).files) == {"train.py"}


def test_files_that_git_converts_are_captured_as_a_run_sees_them(repository, store_source):
    (repository / ".gitattributes").write_text("*.txt text eol=crlf\n")
    (repository / "a.txt").write_text("a\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "attributes")
    (repository / "a.txt").unlink()
    git(repository, "checkout", "-q", "a.txt")
    assert (repository / "a.txt").read_bytes() == b"a\r\n"
    hashes = set()
    for _ in range(2):
        source = capture_source(repository, store_source)
        assert set(source.files) == {"a.txt"}
        hashes.add(source_hash(source))
        git(repository, "status")
    assert len(hashes) == 1


def test_a_file_of_equal_size_and_time_is_compared_by_its_content(repository, store_source):
    path = repository / "train.py"
    before = path.stat()
    path.write_text("lr = 7\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert set(capture_source(repository, store_source).files) == {"train.py"}


def test_a_touched_file_is_unchanged(repository, store_source):
    os.utime(repository / "train.py", (0, 0))
    assert capture_source(repository, store_source).files == {}


def test_a_folder_that_became_a_link_and_a_file_that_became_a_folder(repository, store_source, tmp_path):
    (repository / "deep").rename(repository / "moved")
    (repository / "deep").symlink_to("moved")
    (repository / "gone.py").unlink()
    (repository / "gone.py").mkdir()
    (repository / "gone.py" / "inner.py").write_text("x")
    files = capture_source(repository, store_source).files
    assert {name for name, file in files.items() if file is None} == {"deep/net.py", "gone.py"}
    assert {name for name, file in files.items() if file} == {"deep", "moved/net.py", "gone.py/inner.py"}


def test_special_files_are_skipped_and_not_opened(repository, store_source):
    (repository / "train.py").unlink()
    os.mkfifo(repository / "train.py")
    os.mkfifo(repository / ".gitattributes")
    assert capture_source(repository, store_source).skipped["train.py"] == "not a regular file"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("b.py", "b.py"),
        ("../b.py", ""),
        ("deep/../b.py", "deep/../b.py"),
        ("../{root}/b.py", "b.py"),
        ("{path}/b.py", "b.py"),
    ],
)
def test_links_are_recorded_by_ways_that_stay_in_the_folder(tmp_path, target, expected):
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "b.py").write_text("b")
    (root / "link").symlink_to(target.format(root="root", path=root))
    assert portable_link(str(root / "link"), root) == expected
