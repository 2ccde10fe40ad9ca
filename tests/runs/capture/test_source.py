from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import rosenblatt
from rosenblatt.runs.capture import source as sources
from rosenblatt.runs.capture.restore import restore
from rosenblatt.runs.capture.source import Source, SourceCapture, capture_source, source_hash
from tests.runs.capture.conftest import git, read_files


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
    (repository / "big.json").write_bytes(b"x" * 101)
    (repository / "a.py").write_bytes(b"x" * 90)
    (repository / "b.py").write_bytes(b"x" * 90)
    (repository / ".env").write_text("KEY=1")
    source = capture_source(repository, store_source)
    assert set(source.files) == {"a.py"}
    assert "files up to 100" in source.skipped["big.json"]
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


def test_a_repository_without_a_commit_is_captured_as_its_files(artifacts, tmp_path, store_source):
    git(tmp_path, "init", "-q", str(tmp_path / "empty"))
    (tmp_path / "empty" / "a.py").write_text("a")
    source = capture_source(tmp_path / "empty", store_source)
    restore(source, tmp_path / "fresh", artifacts.fetch)
    assert read_files(tmp_path / "fresh") == {"a.py": "a"}


def test_a_script_that_git_ignores_is_captured(repository, store_source):
    (repository / "data").mkdir()
    (repository / "data" / "script.py").write_text("x\n")
    assert set(capture_source(repository / "data" / "script.py", store_source).files) == {"data/script.py"}


def test_modules_that_git_ignores_and_those_from_outside_are_captured(repository, store_source, tmp_path):
    (repository / "data").mkdir()
    (repository / "data" / "ignored.py").write_text("x\n")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "outer.py").write_text("y\n")
    capture = SourceCapture(repository / "train.py", store_source)
    modules = [repository / "train.py", repository / "data" / "ignored.py", repository / ".." / "lib" / "outer.py"]
    assert capture.add(modules)
    assert not capture.add(modules)
    assert set(capture.source.files) == {"data/ignored.py"}
    assert set(capture.source.outside) == {"../lib/outer.py"}


def test_python_its_packages_and_this_library_are_not_source(repository, store_source, tmp_path):
    package = tmp_path / "env" / "site-packages" / "package.py"
    package.parent.mkdir(parents=True)
    package.write_text("x\n")
    assert not SourceCapture(repository, store_source).add(map(Path, [package, json.__file__, rosenblatt.__file__]))


def test_submodules_are_captured_with_their_own_changes(repository, store_source, artifacts, tmp_path):
    git(tmp_path, "clone", "-q", str(repository), str(tmp_path / "library"))
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(tmp_path / "library"), "lib")
    git(repository, "commit", "-q", "-m", "second")
    hashes = [source_hash(capture_source(repository, store_source))]
    (repository / "lib" / "train.py").write_text("lr = 5\n")
    source = capture_source(repository, store_source)
    hashes.append(source_hash(source))
    (repository / "lib" / "train.py").write_text("lr = 6\n")
    hashes.append(source_hash(capture_source(repository, store_source)))
    assert len(set(hashes)) == 3
    assert set(source.nested["lib"].files) == {"train.py"}
    restore(source, tmp_path / "fresh", artifacts.fetch)
    assert (tmp_path / "fresh" / "lib" / "train.py").read_text() == "lr = 5\n"
    assert source_hash(capture_source(tmp_path / "fresh", store_source)) == hashes[1]


def test_a_submodule_that_is_not_checked_out_is_listed(repository, store_source, tmp_path):
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{git(repository, 'rev-parse', 'HEAD')},lib")
    git(repository, "commit", "-q", "-m", "second")
    (repository / "lib").mkdir()
    assert capture_source(repository, store_source).skipped == {"lib": "a submodule that is not checked out"}


def test_a_link_out_of_the_source_is_captured_as_the_file_it_names(repository, store_source, artifacts, tmp_path):
    (tmp_path / "outer.py").write_text("outer\n")
    (repository / "inner.py").symlink_to("train.py")
    (repository / "absolute.py").symlink_to(repository / "train.py")
    (repository / "outer.py").symlink_to("../outer.py")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "links")
    (repository / "folder.py").symlink_to(tmp_path)
    source = capture_source(repository, store_source)
    assert "outside of the source" in source.skipped["folder.py"]
    restore(source, tmp_path / "fresh", artifacts.fetch)
    assert (tmp_path / "fresh" / "inner.py").readlink() == Path("train.py")
    assert (tmp_path / "fresh" / "absolute.py").readlink() == Path("train.py")
    assert not (tmp_path / "fresh" / "outer.py").is_symlink()
    assert (tmp_path / "fresh" / "outer.py").read_text() == "outer\n"
    assert source_hash(capture_source(tmp_path / "fresh", store_source)) != source_hash(Source())


def test_the_content_of_a_skipped_file_is_part_of_the_hash(repository, store_source, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 5)
    hashes = set()
    for content in (b"1234567", b"1234568"):
        (repository / "big.py").write_bytes(content)
        source = capture_source(repository, store_source)
        assert "files up to 5" in source.skipped["big.py"]
        hashes.add(source_hash(source))
    assert len(hashes) == 2


def test_the_executable_bit_and_links_are_part_of_the_hash(repository, store_source):
    hashes = [source_hash(capture_source(repository, store_source))]
    (repository / "train.py").chmod(0o755)
    hashes.append(source_hash(capture_source(repository, store_source)))
    (repository / "link").symlink_to("train.py")
    hashes.append(source_hash(capture_source(repository, store_source)))
    (repository / "link").unlink()
    (repository / "link").symlink_to("deep/net.py")
    hashes.append(source_hash(capture_source(repository, store_source)))
    assert len(set(hashes)) == 4


def test_results_and_stores_are_not_source(repository, store_source):
    expected = source_hash(capture_source(repository, store_source))
    for name in ("model.pt", "results/metrics.json", "store/files/a.py", ".rosenblatt/x.py"):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("{}")
    outputs = {str(repository / "results" / "metrics.json"): hashlib.sha256(b"{}").hexdigest()}
    source = SourceCapture(repository, store_source, [f"{repository}/store/"], lambda: outputs).source
    assert source_hash(source) == expected
    assert source.not_source == {
        "model.pt": "not tracked by git, and neither code nor configuration",
        "results/metrics.json": "written by recorded runs",
    }
    (repository / "results" / "metrics.json").write_text("edited by hand")
    source = SourceCapture(repository, store_source, [f"{repository}/store/"], lambda: outputs).source
    assert set(source.files) == {"results/metrics.json"}


def test_a_repository_that_cannot_be_read_is_captured_as_plain_files(tmp_path, store_source):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / ".git").write_text("gitdir: ../gone\n")
    (tmp_path / "project" / "a.py").write_text("a")
    source = capture_source(tmp_path / "project" / "a.py", store_source)
    assert set(source.files) == {"a.py"}
    assert "is missing" in source.skipped[".git"]
