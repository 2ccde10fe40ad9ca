from __future__ import annotations

import os
import stat
from dataclasses import replace

import pytest

from rosenblatt.errors import RunError, StorageError
from rosenblatt.runs.capture.restore import restore
from rosenblatt.runs.capture.source import Source, SourceFile, capture_source
from tests.runs.capture.conftest import git, read_files


@pytest.fixture
def content(artifacts):
    stored = artifacts.store_bytes(b"x\n")
    return SourceFile(hash=stored.hash, root=stored.root, bytes=2)


def test_a_missing_commit_is_fetched_from_the_remote_or_is_an_error(repository, artifacts, store_source, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(repository), str(tmp_path / "remote.git"))
    git(repository, "remote", "add", "origin", str(tmp_path / "remote.git"))
    source = capture_source(repository, store_source)
    repository.rename(tmp_path / "moved")
    restore(source, tmp_path / "fresh", artifacts.fetch)
    assert (tmp_path / "fresh" / "train.py").read_text() == "lr = 1\n"
    with pytest.raises(RunError, match="is no longer in"):
        restore(replace(source, remote=""), tmp_path / "other", artifacts.fetch)


def test_a_source_with_files_outside_its_folder_is_rejected(artifacts, tmp_path, store_source):
    source = Source(root="/x", files={"../evil.py": SourceFile(hash="0", root="r")})
    with pytest.raises(RunError, match="outside its folder"):
        restore(source, tmp_path / "fresh", artifacts.fetch)


@pytest.mark.parametrize("name", ["/evil.py", "a/../../evil.py", "a//b.py", "./a.py", "a\0b", "", "x" * 300])
def test_names_that_are_not_those_of_files_below_the_folder_are_rejected(artifacts, content, tmp_path, name):
    with pytest.raises((RunError, StorageError), match=r"outside its folder|cannot be (restored|written)"):
        restore(Source(root="/x", files={name: content}), tmp_path / "fresh", artifacts.fetch)
    with pytest.raises((RunError, StorageError), match=r"outside its folder|cannot be (restored|written)"):
        restore(Source(root="/x", outside={f"../../../{name}": content}), tmp_path / "other", artifacts.fetch)
    assert not list(tmp_path.glob("**/evil.py"))


@pytest.mark.parametrize("name", [".git/config", ".git", "a/.GIT/hooks/x", ".git./config", ".git /config", "a/git~1/x"])
def test_nothing_of_git_is_restored(artifacts, content, tmp_path, name):
    restored = restore(Source(root="/x", files={name: content, "a.py": content}), tmp_path / "fresh", artifacts.fetch)
    assert restored.left_out == (name,)
    assert read_files(tmp_path / "fresh") == {"a.py": "x\n"}


@pytest.mark.parametrize(
    "links",
    [
        {"l": "/etc"},
        {"l": "../.."},
        {"a": "b/..", "b": "..", "c": "."},
        {"deep/a": "../../x"},
        {"l": ".git/hooks"},
        {"l": "l"},
    ],
)
def test_links_that_lead_out_of_the_folder_are_left_out(artifacts, content, tmp_path, links):
    files = {name: SourceFile(link=target) for name, target in links.items()}
    folder = tmp_path / "fresh"
    restore(Source(root="/x", files={"a.py": content, **files}), folder, artifacts.fetch)
    for path in folder.rglob("*"):
        assert os.path.realpath(path).startswith(str(folder))
    assert read_files(folder) == {"a.py": "x\n"}


@pytest.mark.parametrize("entry", ["file", "link"])
def test_nothing_is_written_through_a_link(artifacts, content, tmp_path, entry):
    (tmp_path / "target").mkdir()
    inner = content if entry == "file" else SourceFile(link="x")
    files = {"out": SourceFile(link=str(tmp_path / "target")), "out/evil.py": inner}
    with pytest.raises(RunError):
        restore(Source(root="/x", files=files), tmp_path / "fresh", artifacts.fetch)
    assert not list((tmp_path / "target").iterdir())


@pytest.mark.parametrize(("mode", "expected"), [(0o6755, 0o755), (0o1777, 0o755), (0o4600, 0o644), (0o000, 0o644)])
def test_only_the_executable_bit_is_restored(artifacts, content, tmp_path, mode, expected):
    files = {"a": replace(content, mode=mode)}
    restore(Source(root="/x", files=files), tmp_path / "fresh", artifacts.fetch)
    assert stat.S_IMODE((tmp_path / "fresh" / "a").stat().st_mode) == expected


@pytest.mark.parametrize("commit", ["--upload-pack=touch x", "HEAD", "main", "-h"])
def test_a_commit_must_be_a_hash(artifacts, repository, tmp_path, commit):
    with pytest.raises(RunError, match="not the hash of a commit"):
        restore(Source(root=str(repository), commit=commit), tmp_path / "fresh", artifacts.fetch)


@pytest.mark.parametrize("remote", ["ext::sh -c id", "-oProxyCommand=id", "ssh://-oProxyCommand=id/x", "fd::17", "x"])
def test_only_remotes_of_known_protocols_are_fetched(artifacts, tmp_path, remote):
    source = Source(root=str(tmp_path / "gone"), commit="a" * 40, remote=remote)
    with pytest.raises(RunError, match="Only addresses of https, ssh and git"):
        restore(source, tmp_path / "fresh", artifacts.fetch)


def test_a_commit_with_other_files_than_were_recorded_is_damaged(artifacts, repository, tmp_path):
    source = Source(root=str(repository), commit=git(repository, "rev-parse", "HEAD"), tree="0" * 40)
    with pytest.raises(RunError, match="damaged"):
        restore(source, tmp_path / "fresh", artifacts.fetch)


def test_the_restored_repository_needs_nothing_of_the_original(artifacts, repository, store_source, tmp_path):
    source = capture_source(repository, store_source)
    before = {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")}
    restore(source, tmp_path / "fresh", artifacts.fetch)
    assert {path: path.stat().st_mtime_ns for path in (repository / ".git").rglob("*")} == before
    repository.rename(tmp_path / "moved")
    assert git(tmp_path / "fresh", "rev-parse", "HEAD") == source.commit
    assert git(tmp_path / "fresh", "status", "--porcelain") == ""
    git(tmp_path / "fresh", "fsck", "--strict")


def test_modules_from_outside_are_restored_in_the_same_relative_place(artifacts, content, tmp_path):
    names = ("../src/package/__init__.py", "../src/package/part.py", "../../other.py")
    source = Source(root="/home/ana/project/app", files={"t.py": content}, outside=dict.fromkeys(names, content))
    folder = tmp_path / "fresh"
    restored = restore(source, folder, artifacts.fetch)
    assert set(read_files(folder)) == {
        "project/app/t.py", "project/src/package/__init__.py", "project/src/package/part.py", "other.py",
    }  # fmt: skip
    assert restored.root == folder / "project" / "app"
    assert set(restored.import_folders) == {folder / "project" / "src", folder}
    assert restored.locate(restored.original_root / "../data/x.csv") == folder / "project" / "data" / "x.csv"
    assert restored.locate(restored.original_root / "../../../x.csv") is None


def test_files_that_were_skipped_are_not_replaced_by_those_of_the_commit(artifacts, repository, store_source, tmp_path):
    (repository / "train.py").unlink()
    (repository / "train.py").symlink_to(tmp_path)
    source = capture_source(repository, store_source)
    assert "train.py" in source.skipped
    restore(source, tmp_path / "fresh", artifacts.fetch)
    assert not os.path.lexists(tmp_path / "fresh" / "train.py")
