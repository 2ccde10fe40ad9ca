"""What is captured when a run begins, and the identity that follows from it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rosenblatt.errors import RunError
from rosenblatt.runs.capture.snapshot import RunSnapshot, default_experiment, fingerprint_data, read_seeds
from rosenblatt.runs.recorded import InputFile


@pytest.fixture
def script(tmp_path):
    """A script beside a package, in a folder without a repository."""
    folder = tmp_path / "plain"
    (folder / "part").mkdir(parents=True)
    for name in ("script.py", "part/__init__.py", "part/model.py", "other.py"):
        (folder / name).write_text("x = 1\n")
    return folder / "script.py"


@pytest.fixture
def import_model(script, monkeypatch):
    """Import the module `part.model` in this process."""
    monkeypatch.syspath_prepend(str(script.parent))
    yield lambda: __import__("part.model")
    for name in ("part", "part.model"):
        sys.modules.pop(name, None)


def test_without_git_the_script_and_the_modules_it_imported_are_captured(script, store_source, import_model):
    snapshot = RunSnapshot(script, store_source)
    assert set(snapshot.source.files) == {"script.py"}
    import_model()
    assert snapshot.capture_modules()
    assert not snapshot.capture_modules()
    assert set(snapshot.source.files) == {"script.py", "part/__init__.py", "part/model.py"}


def test_modules_of_this_process_are_no_source_of_a_script_in_another(script, store_source, import_model):
    import_model()
    snapshot = RunSnapshot(script, store_source, of_this_process=False)
    assert set(snapshot.source.files) == {"script.py"}
    assert snapshot.source.outside == {}


def test_imports_are_looked_for_at_most_every_two_seconds(script, store_source, import_model, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    snapshot = RunSnapshot(script, store_source)
    import_model()
    assert not snapshot.refresh_modules()
    now[0] += 2.0
    assert snapshot.refresh_modules()


def test_kind_spec_source_and_data_are_part_of_an_identity(script, store_source):
    snapshot = RunSnapshot(script, store_source, of_this_process=False)
    data = [InputFile(name="a", path=str(script.with_name("a")), hash="1")]
    others = [
        ("fit", {"x": 1}, data, ""),
        ("track", {"x": 2}, data, ""),
        ("track", {"x": 1}, [], ""),
        ("track", {"x": 1}, [replace(data[0], hash="2")], ""),
        ("track", {"x": 1}, [replace(data[0], path=str(script.with_name("b")))], ""),
        ("track", {"x": 1}, data, "another source"),
    ]
    identities = {snapshot.identify("track", {"x": 1}, data), *(snapshot.identify(*other) for other in others)}
    assert len(identities) == len(others) + 1
    assert snapshot.identify("track", {"x": 1}, data) in identities


def test_data_are_hashed_by_content_and_names_in_folders(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a").write_text("1")
    before = fingerprint_data(folder)
    (folder / "a").rename(folder / "b")
    assert (before.bytes, fingerprint_data(folder).bytes) == (1, 1)
    assert fingerprint_data(folder).hash != before.hash
    assert fingerprint_data(folder / "b", "named").name == "named"
    with pytest.raises(RunError, match="cannot be read: No such file"):
        fingerprint_data(folder / "a")


def test_the_seed_of_hashes_is_read_if_it_is_set(monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    assert read_seeds()["PYTHONHASHSEED"] == 7
    monkeypatch.setenv("PYTHONHASHSEED", "random")
    assert "PYTHONHASHSEED" not in read_seeds()


def test_the_experiment_is_named_after_the_script_or_the_folder(script):
    assert default_experiment(script) == "script"
    assert default_experiment(Path(script.parent)) == "plain"
