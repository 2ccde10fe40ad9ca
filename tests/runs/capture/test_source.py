from __future__ import annotations

import subprocess
import sys

import pytest

from rosenblatt.errors import RunError
from rosenblatt.runs.capture import source as sources
from rosenblatt.runs.capture.source import Source, SourceFile, capture_source, restore, source_hash
from rosenblatt.runs.store.artifacts import Artifacts


def git(folder, *arguments):
    return subprocess.run(
        ["git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "project"
    (folder / "deep").mkdir(parents=True)
    git(tmp_path, "init", "-q", "-b", "main", str(folder))
    for name, content in {
        "train.py": "lr = 1\n",
        "deep/net.py": "net\n",
        "gone.py": "x\n",
        ".gitignore": "data/\n*.log\n",
    }.items():
        (folder / name).write_text(content)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "first")
    return folder


@pytest.fixture
def artifacts(tmp_path):
    return Artifacts(f"sqlite:///{tmp_path / 'runs.db'}", None)


@pytest.fixture
def store_source(artifacts):
    def keep_file(path):
        stored = artifacts.store_file(path)
        return stored.hash, stored.root

    return keep_file


def read_files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.parts
    }


def test_the_exact_working_tree_is_restored(repository, artifacts, store_source, tmp_path):
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
    source = capture_source(repository / "train.py", store_source)
    assert source.commit == git(repository, "rev-parse", "HEAD")
    assert source.branch == "main"
    restore(source, tmp_path / "fresh", artifacts.fetch)
    expected = read_files(repository)
    del expected["data/huge.csv"]
    assert read_files(tmp_path / "fresh") == expected
    assert (tmp_path / "fresh" / "link").is_symlink()
    assert (tmp_path / "fresh" / "run.sh").stat().st_mode & 0o111
    assert source_hash(capture_source(tmp_path / "fresh", store_source)) == source_hash(source)


def test_any_change_changes_the_hash(repository, store_source):
    hashes = [source_hash(capture_source(repository, store_source))]
    for change in (
        lambda: (repository / "train.py").write_text("lr = 3\n"),
        lambda: (repository / "untracked.py").write_text("x"),
        (repository / "gone.py").unlink,
        lambda: git(repository, "commit", "-q", "-a", "-m", "second"),
    ):
        change()
        hashes.append(source_hash(capture_source(repository, store_source)))
    assert len(set(hashes)) == 5
    (repository / "some.log").write_text("ignored by git")
    assert source_hash(capture_source(repository, store_source)) == hashes[-1]


def test_large_and_secret_files_are_skipped_and_listed(repository, store_source, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 100)
    monkeypatch.setattr(sources, "MAX_TOTAL_BYTES", 150)
    (repository / "big.bin").write_bytes(b"x" * 101)
    (repository / "a.py").write_bytes(b"x" * 90)
    (repository / "b.py").write_bytes(b"x" * 90)
    (repository / ".env").write_text("KEY=1")
    source = capture_source(repository, store_source)
    assert set(source.files) == {"a.py"}
    assert "files up to 100" in source.skipped["big.bin"]
    assert "150 are captured in all" in source.skipped["b.py"]
    assert "credentials" in source.skipped[".env"]


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("https://ana:hunter2@git.example/x.git", "https://git.example/x.git"),
        ("https://hunter2@git.example/x.git", "https://git.example/x.git"),
        ("ssh://git@git.example:22/x.git", "ssh://git@git.example:22/x.git"),
        ("ssh://ana:hunter2@git.example/x.git", "ssh://ana@git.example/x.git"),
        ("git@git.example:ana/x.git", "git@git.example:ana/x.git"),
        ("/a/folder", "/a/folder"),
    ],
)
def test_the_url_of_the_remote_is_recorded_without_its_password(repository, store_source, remote, expected):
    git(repository, "remote", "add", "origin", remote)
    assert capture_source(repository, store_source).remote == expected


def test_a_missing_commit_is_cloned_from_the_remote_or_is_an_error(repository, artifacts, store_source, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(tmp_path / "remote.git"))
    git(repository, "remote", "add", "origin", str(tmp_path / "remote.git"))
    source = capture_source(repository, store_source)
    repository.rename(tmp_path / "moved")
    restore(source, tmp_path / "fresh", artifacts.fetch)
    assert (tmp_path / "fresh" / "train.py").read_text() == "lr = 1\n"
    with pytest.raises(RunError, match="is no longer in"):
        restore(source.model_copy(update={"remote": ""}), tmp_path / "other", artifacts.fetch)


def test_a_repository_without_a_commit_is_captured_as_its_files(artifacts, tmp_path, store_source):
    git(tmp_path, "init", "-q", str(tmp_path / "empty"))
    (tmp_path / "empty" / "a.py").write_text("a")
    source = capture_source(tmp_path / "empty", store_source)
    restore(source, tmp_path / "fresh", artifacts.fetch)
    assert read_files(tmp_path / "fresh") == {"a.py": "a"}


def test_without_git_the_script_and_the_modules_it_imported_are_captured(tmp_path, store_source, monkeypatch):
    from rosenblatt.runs.capture.snapshot import RunSnapshot

    folder = tmp_path / "plain"
    (folder / "part").mkdir(parents=True)
    for name in ("script.py", "part/__init__.py", "part/model.py", "other.py"):
        (folder / name).write_text("x = 1\n")
    snapshot = RunSnapshot(folder / "script.py", store_source)
    assert set(snapshot.source.files) == {"script.py"}
    monkeypatch.syspath_prepend(str(folder))
    try:
        import part.model  # noqa: F401

        assert snapshot.capture_modules()
    finally:
        for name in ("part", "part.model"):
            sys.modules.pop(name, None)
    assert set(snapshot.source.files) == {"script.py", "part/__init__.py", "part/model.py"}


def test_a_source_with_files_outside_its_folder_is_rejected(artifacts, tmp_path, store_source):
    source = Source(root="/x", files={"../evil.py": SourceFile(hash="0", root="r")})
    with pytest.raises(RunError, match="outside its folder"):
        restore(source, tmp_path / "fresh", artifacts.fetch)
