"""Fixtures for tests of captured and restored sources: a repository, and a store of files."""

from __future__ import annotations

import subprocess

import pytest

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
