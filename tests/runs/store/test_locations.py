"""Which local files belong to a store, and so count neither as source nor as input of a run."""

from __future__ import annotations

import pytest

from rosenblatt.runs.store.locations import store_prefixes, store_url


def belongs(path, url):
    return f"{path}/".startswith(store_prefixes(url))


@pytest.mark.parametrize(
    ("name", "is_of_store"),
    [
        ("runs.db", True),
        ("runs.db-wal", True),
        ("runs.db.damaged-20260101-120000", True),
        ("artifacts/ab/cd", True),
        ("state/4kd9", True),
        ("data.csv", False),
        ("artifacts.csv", False),
        ("", False),
    ],
)
def test_of_a_folder_that_the_user_names_only_the_files_of_the_store_belong_to_it(tmp_path, name, is_of_store):
    assert belongs(tmp_path / name, store_url(str(tmp_path))) is is_of_store


def test_all_of_a_folder_of_its_own_belongs_to_a_store(tmp_path):
    url = store_url(str(tmp_path / ".rosenblatt"))
    assert belongs(tmp_path / ".rosenblatt", url)
    assert belongs(tmp_path / ".rosenblatt" / "notes.txt", url)
    assert not belongs(tmp_path / "notes.txt", url)


def test_paths_belong_to_a_store_with_and_without_resolved_links(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    url = store_url(str(tmp_path / "link"))
    assert belongs(tmp_path / "link" / "runs.db", url)
    assert belongs(tmp_path / "disk" / "runs.db", url)


def test_the_files_of_a_store_are_known_for_a_user_without_a_home(tmp_path, monkeypatch):
    for variable in ("XDG_DATA_HOME", "XDG_STATE_HOME", "ROSENBLATT_SPOOL"):
        monkeypatch.delenv(variable, raising=False)

    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", fail)
    assert belongs(tmp_path / "runs.db", store_url(str(tmp_path)))
