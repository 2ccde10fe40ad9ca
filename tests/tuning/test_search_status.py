"""What a search does is seen in a file while its driver runs, and not afterwards."""

from __future__ import annotations

import os
import stat

import pytest

from rosenblatt.tuning.search_status import (
    CONTROLLER_VARIABLE,
    FOLDER_VARIABLE,
    MAX_AGE_S,
    MachineWork,
    StatusFile,
    read_searches,
)

WORK = MachineWork(address="10.0.0.1", threads=2, trials=(3, 7))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "searches"))
    monkeypatch.setenv(CONTROLLER_VARIABLE, "ann@lab: fit")
    return tmp_path / "searches"


def test_a_search_is_seen_while_it_runs_by_this_user_only(folder):
    file = StatusFile()
    assert read_searches(folder) == ()
    file.write([WORK])
    [search] = read_searches(folder)
    assert (search.controller, search.machines) == ("ann@lab: fit", (WORK,))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    file.remove()
    assert read_searches(folder) == ()


def test_files_of_killed_drivers_and_damaged_files_are_left_out(folder):
    StatusFile().write([WORK])
    [path] = folder.iterdir()
    (folder / "1.json").write_text("{")
    assert len(read_searches(folder)) == 1
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - MAX_AGE_S - 1))
    assert read_searches(folder) == ()


def test_nothing_is_written_without_a_folder_or_where_it_cannot_be_made(tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    StatusFile().write([WORK])
    StatusFile().remove()
    (tmp_path / "file").touch()
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "file" / "searches"))
    file = StatusFile()
    file.write([WORK])
    file.remove()
