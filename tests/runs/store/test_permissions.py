"""Stores are private unless their folder is open for a group, and those of others are used only if they are named."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat

import pytest

from rosenblatt.errors import StoreError
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.locations import store_url
from rosenblatt.runs.store.permissions import find_other_writers
from rosenblatt.runs.store.queries import find_runs, run_details
from rosenblatt.runs.store.records import RecordBatch
from rosenblatt.runs.store.store import Store
from rosenblatt.runs.tracking.run import track
from tests.runs.conftest import add_run_with_curves

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
OTHER_USER = 12345


@pytest.fixture(params=[0o022, 0o000, 0o077])
def umask(request):
    previous = os.umask(request.param)
    yield request.param
    os.umask(previous)


def modes(folder):
    """The permissions of a folder and everything in it."""
    return {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}


def record(folder):
    """Record a run with a file; returns its id. The store stays open, with its write-ahead log."""
    with track("modes", store=str(folder)) as run:
        run.log({"loss": 1.0})
        run.log_bytes("model", b"content")
    return run


@pytest.mark.usefixtures("umask")
def test_a_new_store_is_readable_only_by_its_user(tmp_path):
    run = record(tmp_path / "new" / "store")
    found = modes(tmp_path / "new" / "store")
    assert {"runs.db", "runs.db-wal", "artifacts"} <= found.keys()
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}
    assert run.flush()


@pytest.mark.usefixtures("umask")
def test_a_store_in_a_folder_of_a_group_belongs_to_the_group(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    os.chown(folder, -1, os.getgroups()[-1] if os.geteuid() else 54321)
    folder.chmod(0o2770)
    record(folder)
    found = modes(folder)
    for name, mode in found.items():
        path = folder / name
        assert oct(mode) == ("0o2770" if path.is_dir() else "0o660"), name
        assert path.stat().st_gid == folder.stat().st_gid


def test_a_folder_that_others_may_list_does_not_share_its_store(tmp_path):
    (tmp_path / "store").mkdir(mode=0o755)
    record(tmp_path / "store")
    assert {name for name, mode in modes(tmp_path / "store").items() if mode & 0o077} == {"."}


def give_away(path):
    os.chown(path, OTHER_USER, -1, follow_symlinks=False)


def link(path):
    """Replace a file or folder by a link to it."""
    target = path.with_name("target")
    path.rename(target)
    path.symlink_to(target)


def link_and_give_away(path):
    link(path)
    give_away(path)


def link_to_given_away(path):
    link(path)
    give_away(path.with_name("target"))


def remove_and_plant_link(path):
    path.unlink()
    path.symlink_to("nowhere")
    give_away(path)


def open_for_all(path):
    path.chmod(0o777)


@pytest.mark.parametrize("start", [".", "deep/below"])
@pytest.mark.parametrize(
    ("change", "name"),
    [
        pytest.param(give_away, ".rosenblatt", marks=only_root),
        pytest.param(give_away, ".rosenblatt/runs.db", marks=only_root),
        pytest.param(link_and_give_away, ".rosenblatt", marks=only_root),
        pytest.param(link_to_given_away, ".rosenblatt", marks=only_root),
        pytest.param(link_and_give_away, ".rosenblatt/runs.db", marks=only_root),
        pytest.param(link_to_given_away, ".rosenblatt/runs.db", marks=only_root),
        pytest.param(remove_and_plant_link, ".rosenblatt/runs.db", marks=only_root),
        (open_for_all, ".rosenblatt"),
        (open_for_all, ".rosenblatt/runs.db"),
    ],
)
def test_a_store_that_others_may_have_planted_is_refused_unless_it_is_named(work_folder, change, name, start):
    Store(store_url()).close()
    change(work_folder / name)
    (work_folder / start).mkdir(parents=True, exist_ok=True)
    named = f"--store {re.escape(str(work_folder / '.rosenblatt'))} "
    with pytest.raises(StoreError, match=named):
        store_url(start=work_folder / start)
    with pytest.raises(StoreError, match="is not used"):
        track()
    assert store_url(str(work_folder / ".rosenblatt")) == f"sqlite:///{work_folder / '.rosenblatt' / 'runs.db'}"


@pytest.mark.parametrize("name", [".rosenblatt", ".rosenblatt/runs.db"])
def test_links_of_the_user_are_followed(work_folder, name):
    store = Store(store_url())
    store.write(add_run_with_curves(RecordBatch()))
    store.close()
    link(work_folder / name)
    store = Store(store_url())
    assert len(find_runs(store)) == 1
    store.close()


@only_root
def test_with_sudo_a_store_of_the_caller_is_used_and_keeps_its_owner(work_folder, monkeypatch):
    (work_folder / ".rosenblatt").mkdir()
    give_away(work_folder / ".rosenblatt")
    monkeypatch.setenv("SUDO_UID", str(OTHER_USER))
    with track("sudo") as run:
        run.log_bytes("model", b"content")
    owners = {path.stat().st_uid for path in (work_folder / ".rosenblatt").rglob("*")}
    assert owners == {OTHER_USER}


@only_root
@pytest.mark.parametrize(("caller", "owner"), [(OTHER_USER, OTHER_USER), (OTHER_USER + 1, 0), (None, 0)])
def test_with_sudo_a_new_store_belongs_to_the_caller_in_whose_folder_it_is(work_folder, monkeypatch, caller, owner):
    give_away(work_folder)
    if caller is not None:
        monkeypatch.setenv("SUDO_UID", str(caller))
    for _ in range(2):
        with track("sudo") as run:
            run.log({"loss": 1.0})
            run.log_bytes("model", b"content")
    store = work_folder / ".rosenblatt"
    assert {path.stat().st_uid for path in (store, *store.rglob("*"))} == {owner}
    assert len(find_runs(Store(store_url()))) == 2


def test_a_run_records_its_user(tmp_path):
    run = record(tmp_path / "store")
    store = Store(run.url)
    details = run_details(store, run.id)
    assert details.user_id == os.geteuid()
    assert details.user
    store.close()


def test_damaged_files_are_stored_again(tmp_path):
    store = Store(f"sqlite:///{tmp_path / 'runs.db'}")
    artifacts = Artifacts(store.url, store)
    stored = artifacts.store_bytes(b"content")
    path = tmp_path / "artifacts" / stored.hash[:2] / stored.hash
    for damage in (lambda: path.write_bytes(b"damaged"), lambda: path.write_bytes(b""), lambda: os.mkfifo(path)):
        path.unlink()
        damage()
        artifacts.store_bytes(b"content")
        assert path.read_bytes() == b"content"
    store.close()


@pytest.mark.parametrize(
    ("name", "mode", "owner", "expected"),
    [
        ("runs.db", 0o600, -1, ""),
        ("runs.db", 0o644, -1, ""),
        ("runs.db", 0o646, -1, "everybody"),
        ("", 0o777, -1, "everybody"),
        pytest.param("runs.db", 0o660, -1, "the group with id 54321", marks=only_root),
        pytest.param("", 0o770, -1, "the group with id 54321", marks=only_root),
        pytest.param("runs.db", 0o600, OTHER_USER, f"the user with id {OTHER_USER}", marks=only_root),
        pytest.param("", 0o700, OTHER_USER, f"the user with id {OTHER_USER}", marks=only_root),
    ],
)
def test_it_is_known_who_else_can_write_to_a_store(tmp_path, name, mode, owner, expected):
    record(tmp_path / "store")
    path = tmp_path / "store" / name
    if owner != -1 or "group" in expected:
        os.chown(path, owner, 54321)
    path.chmod(mode)
    assert find_other_writers(tmp_path / "store" / "runs.db") == expected


def test_the_private_group_of_a_user_is_nobody_else(tmp_path):
    record(tmp_path / "store")
    user = pwd.getpwuid(os.geteuid())
    group = grp.getgrgid(user.pw_gid)
    if group.gr_name != user.pw_name or set(group.gr_mem) - {user.pw_name}:
        pytest.skip("this user has no private group")
    for path in (tmp_path / "store", tmp_path / "store" / "runs.db"):
        os.chown(path, -1, group.gr_gid)
        path.chmod(path.stat().st_mode | 0o070)
    assert find_other_writers(tmp_path / "store" / "runs.db") == ""
