"""Which files travel with a script: those of its repository or folder, never secrets, stores or too much."""

from __future__ import annotations

import subprocess
import tarfile

import pytest

from rosenblatt.cluster import script_files
from rosenblatt.cluster.script_files import describe_files, find_script_files
from rosenblatt.errors import ClusterError


@pytest.fixture
def folder(tmp_path):
    files = {
        "train.py": "1", "net.py": "2", "rows.csv": "3", ".env": "KEY=1", ".rosenblatt/runs.db": "4", "sub/a.txt": "5",
        "venv/pyvenv.cfg": "", "venv/lib.py": "6", "__pycache__/net.pyc": "7",
    }  # fmt: skip
    for name, text in files.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "project"


def test_a_folder_travels_without_secrets_stores_environments_and_compiled_modules(folder):
    files = find_script_files(folder, [], [])
    assert sorted(files.names) == ["net.py", "rows.csv", "sub/a.txt", "train.py"]
    assert files.secrets == (".env",)
    assert files.n_bytes == 4
    assert describe_files(files) == f"sending 4 files of '{folder}', 0.0 MB; without '.env', which may hold credentials"


def test_a_repository_travels_from_its_root_without_ignored_files_unless_they_are_data(folder):
    (folder / ".gitignore").write_text("*.csv\nvenv\n__pycache__\n")
    subprocess.run(["git", "init", "-q", folder], check=True)
    files = find_script_files(folder / "sub", [], [])
    assert files.root == folder
    assert sorted(files.names) == [".gitignore", "net.py", "sub/a.txt", "train.py"]
    assert "; without those that git ignores, unless --data names them" in describe_files(files)
    files = find_script_files(folder / "sub", [folder / "rows.csv"], [])
    assert "rows.csv" in files.names


def test_files_of_the_store_stay(folder):
    assert "sub/a.txt" not in find_script_files(folder, [], [f"{folder}/sub/"]).names


def test_links_lead_to_the_same_content_there(folder, tmp_path):
    (tmp_path / "outside.txt").write_text("outside")
    (folder / "file").symlink_to(tmp_path / "outside.txt")
    (folder / "inside").symlink_to("sub")
    (folder / "folder").symlink_to(tmp_path)
    (folder / "broken").symlink_to("nothing")
    files = find_script_files(folder, [], [])
    assert files.outside == ("folder",)
    with files.open_archive() as file, tarfile.open(fileobj=file) as archive:
        archive.extractall(tmp_path / "there", filter="data")
    assert (tmp_path / "there" / "file").read_text() == "outside"
    assert (tmp_path / "there" / "inside" / "a.txt").read_text() == "5"
    assert not (tmp_path / "there" / "broken").exists()


def test_too_many_bytes_are_refused_with_the_largest_files(folder, monkeypatch):
    monkeypatch.setattr(script_files, "MAX_BYTES", 3)
    with pytest.raises(ClusterError, match=r"have more than 0 MB.*Let \.gitignore name"):
        find_script_files(folder, [], [])


def test_data_outside_is_refused(folder, tmp_path):
    (tmp_path / "rows.csv").touch()
    with pytest.raises(ClusterError, match=r"is outside of .*Move it there, or copy it"):
        find_script_files(folder, [tmp_path / "rows.csv"], [])
