from __future__ import annotations

import subprocess
import sys

import pytest

from rosenblatt.errors import RunError
from rosenblatt.runs.capture import source as sources
from rosenblatt.runs.capture.source import capture, hash_of, restore
from rosenblatt.runs.store.artifacts import fetch, keep


def git(folder, *words):
    return subprocess.run(
        ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *words],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "project"
    (folder / "deep").mkdir(parents=True)
    git(tmp_path, "init", "-q", "-b", "main", str(folder))
    for name, words in {
        "train.py": "lr = 1\n",
        "deep/net.py": "net\n",
        "gone.py": "x\n",
        ".gitignore": "data/\n*.log\n",
    }.items():
        (folder / name).write_text(words)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture
def kept(tmp_path):
    def keep_file(path):
        found = keep(path, str(tmp_path / "artifacts"), "sqlite:///x")
        return found.hash, found.root

    return keep_file


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }


def test_the_exact_working_tree_comes_back(repository, kept, tmp_path):
    (repository / "train.py").write_text("lr = 2\n")
    (repository / "gone.py").unlink()
    (repository / "new file ü.py").write_text("new\n")
    (repository / "run.sh").write_text("#!/bin/sh\n")
    (repository / "run.sh").chmod(0o755)
    (repository / "link").symlink_to("train.py")
    (repository / "staged.py").write_text("staged\n")
    git(repository, "add", "staged.py")
    (repository / "data").mkdir()
    (repository / "data" / "huge.csv").write_text("ignored\n")
    found = capture(repository / "train.py", kept)
    assert found["commit"] == git(repository, "rev-parse", "HEAD")
    assert found["branch"] == "main"
    restore(found, tmp_path / "fresh", fetch)
    expected = files_of(repository)
    del expected["data/huge.csv"]
    assert files_of(tmp_path / "fresh") == expected
    assert (tmp_path / "fresh" / "link").is_symlink()
    assert (tmp_path / "fresh" / "run.sh").stat().st_mode & 0o111
    assert hash_of(capture(tmp_path / "fresh", kept)) == hash_of(found)


def test_any_change_changes_the_hash(repository, kept):
    hashes = [hash_of(capture(repository, kept))]
    for change in (
        lambda: (repository / "train.py").write_text("lr = 3\n"),
        lambda: (repository / "untracked.py").write_text("x"),
        (repository / "gone.py").unlink,
        lambda: git(repository, "commit", "-q", "-a", "-m", "second"),
    ):
        change()
        hashes.append(hash_of(capture(repository, kept)))
    assert len(set(hashes)) == 5
    (repository / "some.log").write_text("ignored by git")
    assert hash_of(capture(repository, kept)) == hashes[-1]


def test_what_is_too_large_or_secret_is_left_out_and_listed(repository, kept, monkeypatch):
    monkeypatch.setattr(sources, "LARGEST", 100)
    monkeypatch.setattr(sources, "MOST", 150)
    (repository / "big.bin").write_bytes(b"x" * 101)
    (repository / "a.py").write_bytes(b"x" * 90)
    (repository / "b.py").write_bytes(b"x" * 90)
    (repository / ".env").write_text("KEY=1")
    found = capture(repository, kept)
    assert set(found["files"]) == {"a.py"}
    assert "files up to 100" in found["left_out"]["big.bin"]
    assert "150 are captured in all" in found["left_out"]["b.py"]
    assert "credentials" in found["left_out"][".env"]


@pytest.mark.parametrize(
    ("remote", "kept_as"),
    [
        ("https://ana:hunter2@git.example/x.git", "https://git.example/x.git"),
        ("https://hunter2@git.example/x.git", "https://git.example/x.git"),
        ("ssh://git@git.example:22/x.git", "ssh://git@git.example:22/x.git"),
        ("ssh://ana:hunter2@git.example/x.git", "ssh://ana@git.example/x.git"),
        ("git@git.example:ana/x.git", "git@git.example:ana/x.git"),
        ("/a/folder", "/a/folder"),
    ],
)
def test_the_remote_is_kept_as_it_can_be_cloned_without_its_password(repository, kept, remote, kept_as):
    git(repository, "remote", "add", "origin", remote)
    assert capture(repository, kept)["remote"] == kept_as


def test_a_commit_that_is_gone_is_taken_from_the_remote_or_told(repository, kept, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(tmp_path / "remote.git"))
    git(repository, "remote", "add", "origin", str(tmp_path / "remote.git"))
    found = capture(repository, kept)
    repository.rename(tmp_path / "moved")
    restore(found, tmp_path / "fresh", fetch)
    assert (tmp_path / "fresh" / "train.py").read_text() == "lr = 1\n"
    with pytest.raises(RunError, match="no longer to be had from"):
        restore(found | {"remote": ""}, tmp_path / "other", fetch)


def test_a_repository_without_a_commit_is_captured_as_its_files(tmp_path, kept):
    git(tmp_path, "init", "-q", str(tmp_path / "empty"))
    (tmp_path / "empty" / "a.py").write_text("a")
    found = capture(tmp_path / "empty", kept)
    restore(found, tmp_path / "fresh", fetch)
    assert files_of(tmp_path / "fresh") == {"a.py": "a"}


def test_without_git_the_script_and_the_modules_it_imported_are_captured(tmp_path, kept, monkeypatch):
    from rosenblatt.runs.capture.snapshot import Captured

    folder = tmp_path / "plain"
    (folder / "part").mkdir(parents=True)
    for name in ("script.py", "part/__init__.py", "part/model.py", "other.py"):
        (folder / name).write_text("x = 1\n")
    captured = Captured(folder / "script.py", kept)
    assert set(captured.source["files"]) == {"script.py"}
    monkeypatch.syspath_prepend(str(folder))
    try:
        import part.model  # noqa: F401

        assert captured.take_modules()
    finally:
        for name in ("part", "part.model"):
            sys.modules.pop(name, None)
    assert set(captured.source["files"]) == {"script.py", "part/__init__.py", "part/model.py"}


def test_a_source_that_names_files_outside_of_its_folder_is_refused(tmp_path, kept):
    source = {
        "root": "/x",
        "files": {"../evil.py": {"hash": "0", "root": "r", "mode": 0o644, "bytes": 1}},
        "left_out": {},
    }
    with pytest.raises(RunError, match="outside of its folder"):
        restore(source, tmp_path / "fresh", fetch)
