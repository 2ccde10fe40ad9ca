"""`gc` deletes only what no version refers to, also while data is being added, step by step."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from rosenblatt.data.volumes.maintenance.garbage import collect_garbage
from rosenblatt.data.volumes.maintenance.verify import verify
from rosenblatt.data.volumes.storage.folders import FolderObjects
from rosenblatt.data.volumes.storage.packs import pack_path
from rosenblatt.data.volumes.volume import volume
from rosenblatt.errors import StorageError, VolumeError
from tests.data.volumes.maintenance.conftest import N_SAMPLES

DAY = 86_400.0


def make_old(photos, days=8.0):
    """Let all packs and metadata files of the root be of some days ago."""
    then = time.time() - days * DAY
    for path in Path(photos.root).rglob("*"):
        if path.suffix in (".tar", ".parquet"):
            os.utime(path, (then, then))


@pytest.fixture
def interrupted(photos):
    """A volume of one sample, and old packs and a metadata file of an addition that was not committed."""
    hidden = photos.originals.with_name("hidden")
    shutil.move(photos.originals, hidden)
    photos.originals.mkdir()
    shutil.move(hidden / "00.bin", photos.originals)
    photos.add()
    for path in hidden.iterdir():
        shutil.move(path, photos.originals)
    photos.add()
    (Path(photos.root) / "photos" / "_delta_log" / f"{2:020}.json").unlink()
    make_old(photos)
    shutil.copytree(photos.root, f"{photos.root} before")
    return photos


def unused_paths(photos):
    """Packs and metadata files that version 1 does not refer to."""
    used = volume(f"{photos.name}@1")
    paths = {pack_path(pack) for pack in used.to_polars()["pack"]} | {f"photos/{file.path}" for file in used.data_files}
    return sorted({*photos.packs(), *photos.files()} - paths)


def test_nothing_of_any_version_of_any_volume_is_deleted(photos):
    photos.add()
    (photos.originals / "00.bin").write_bytes(b"changed")
    photos.add()
    photos.add("copy")
    make_old(photos)
    assert collect_garbage(photos.root, delete=True).paths == ()
    for name in ("photos@1", "photos@2", "copy@1"):
        assert verify(f"{photos.root}/{name}").is_intact


def test_what_is_old_and_unused_is_deleted_on_request(interrupted):
    paths, n_objects = unused_paths(interrupted), len(interrupted.packs()) + len(interrupted.files())
    report = collect_garbage(interrupted.root)
    assert (sorted(report.paths), report.is_deleted, report.n_referenced) == (paths, False, n_objects - len(paths))
    assert report.n_bytes == sum(interrupted.objects.info(path).size for path in paths)
    assert unused_paths(interrupted) == paths != []
    assert collect_garbage(interrupted.root, delete=True).is_deleted
    assert unused_paths(interrupted) == []
    assert verify(interrupted.name).is_intact


def test_what_is_younger_than_a_week_is_kept(interrupted):
    make_old(interrupted, 6.9)
    paths = unused_paths(interrupted)
    report = collect_garbage(interrupted.root, delete=True)
    assert (report.paths, report.n_recent) == ((), len(paths))
    assert unused_paths(interrupted) == paths


@pytest.mark.parametrize("damage", ["entry", "metadata file"])
def test_nothing_is_deleted_while_it_is_unknown_what_a_volume_refers_to(photos, damage):
    photos.add()
    (photos.originals / "00.bin").write_bytes(b"changed")
    photos.add()
    make_old(photos)
    packs, log = photos.packs(), Path(photos.root) / "photos" / "_delta_log"
    if damage == "entry":
        (log / f"{1:020}.json").unlink()
    else:
        photos.objects.delete(photos.files()[:1])
    with pytest.raises(VolumeError):
        collect_garbage(photos.root, delete=True)
    assert photos.packs() == packs


@pytest.mark.parametrize("first_entry", [False, True])
def test_a_volume_without_versions_keeps_what_it_refers_to(photos, first_entry):
    """Its log is lost, or its first addition was interrupted, or has not ended."""
    photos.add()
    make_old(photos)
    packs, log, notes = photos.packs(), Path(photos.root) / "photos" / "_delta_log", []
    shutil.move(log, photos.originals.parent / "log")
    if first_entry:
        log.mkdir()
        shutil.copy(photos.originals.parent / "log" / f"{0:020}.json", log)
    assert collect_garbage(photos.root, notes.append, delete=True).paths == ()
    assert "photos has no version" in notes[0]
    assert photos.packs() == packs
    shutil.rmtree(log, ignore_errors=True)
    shutil.move(photos.originals.parent / "log", log)
    assert verify(photos.name).is_intact


def test_markers_of_killed_processes_are_removed(photos):
    photos.add()
    photos.objects.put("gc/commit-dead", b"")
    os.utime(photos.objects.local_path("gc/commit-dead"), (0, 0))
    collect_garbage(photos.root, delete=True)
    assert list(photos.objects.list("gc")) == []


def test_what_interrupted_commands_left_is_deleted(photos):
    photos.add()
    root = Path(photos.root)
    remains = [
        root / "packs" / "ab" / f".ab{'0' * 62}.tar.12345678.part",
        root / "photos" / "data" / f".00000007-{'0' * 64}.parquet.12345678.part",
        root / "probes" / f"{1:032x}",
    ]
    for path in remains:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"1")
    assert collect_garbage(photos.root, delete=True).paths == ()
    for path in remains:
        os.utime(path, (0, 0))
    assert len(collect_garbage(photos.root, delete=True).paths) == 3
    assert not any(path.exists() for path in remains)
    assert verify(photos.name).is_intact


class Interleaving:
    """Runs a task in a thread of its own as soon as all others have made a number of requests to a root."""

    METHODS = ("put", "create", "delete", "list")

    def __init__(self, monkeypatch, step, task):
        self._step, self._task, self._lock = step, task, threading.Lock()
        self._n_requests, self.error = 0, None
        self._goes_on = threading.Event()
        self._thread = threading.Thread(target=self._run)
        for name in self.METHODS:
            monkeypatch.setattr(FolderObjects, name, self._counted(getattr(FolderObjects, name)))

    def _counted(self, method):
        def call(objects, *arguments):
            if threading.current_thread() is not self._thread:
                with self._lock:
                    is_step = self._n_requests == self._step
                    self._n_requests += 1
                if is_step:
                    self._thread.start()
                    assert self._goes_on.wait(60), "the task neither ends nor waits"
            return method(objects, *arguments)

        return call

    def _run(self):
        try:
            self._task(lambda _: self._goes_on.set())
        except StorageError as error:
            self.error = error
        finally:
            self._goes_on.set()

    def finish(self):
        """Wait for the task; returns whether it was started."""
        if self._thread.ident is None:
            return False
        self._thread.join()
        return True


def all_steps(monkeypatch, run_main, task):
    """Run a main task with another one at each of its steps; yields after each run."""
    for step in range(1000):
        with monkeypatch.context() as patch:
            interleaving, error = Interleaving(patch, step, task), None
            try:
                run_main()
            except StorageError as raised:
                error = raised
            if not interleaving.finish():
                return
        yield error or interleaving.error


def check_added(photos, error):
    """What was acknowledged is intact; what was refused succeeds at the next try. Then start over."""
    if error:
        assert "was deleted in the meantime" in str(error)
        photos.add()
    assert len(volume(photos.name)) == N_SAMPLES
    for version in (1, 2):
        assert verify(f"{photos.name}@{version}").is_intact
    shutil.rmtree(photos.root)
    shutil.copytree(f"{photos.root} before", photos.root)


@pytest.mark.slow
@pytest.mark.parametrize("days", [8.0, 2.0])
def test_an_addition_is_safe_whenever_a_collection_runs(interrupted, monkeypatch, days):
    """The addition reuses or renews the packs of an interrupted one, which the collection takes for garbage."""
    n_steps = 0
    make_old(interrupted, days)
    for error in all_steps(
        monkeypatch, interrupted.add, lambda notify: collect_garbage(interrupted.root, notify, delete=True)
    ):
        n_steps += 1
        check_added(interrupted, error)
        make_old(interrupted, days)
    assert n_steps > 10


@pytest.mark.slow
def test_a_collection_is_safe_whenever_an_addition_runs(interrupted, monkeypatch):
    n_steps = 0
    for error in all_steps(
        monkeypatch,
        lambda: collect_garbage(interrupted.root, delete=True),
        lambda notify: interrupted.add(notify=notify),
    ):
        n_steps += 1
        check_added(interrupted, error)
        make_old(interrupted)
    assert n_steps > 10


@pytest.mark.slow
def test_an_addition_notices_a_collection_that_ends_at_any_of_its_steps(interrupted, monkeypatch):
    """The collection has listed the old packs, and deletes them after the addition has gone on for some steps.

    The addition may write them anew before they are deleted, and then commit after the collection has ended.
    """
    for step in range(1000):
        with monkeypatch.context() as patch:
            both = PausedAddition(patch, interrupted, step)
            collect_garbage(interrupted.root, both.notes.append, delete=True)
            is_over = both.finish()
        check_added(interrupted, both.error)
        if is_over:
            break
    assert step > 8


class PausedAddition:
    """An addition that begins when a collection is about to delete, and pauses at one of its steps until that ends."""

    def __init__(self, monkeypatch, photos, step):
        self._photos, self._step, self._n_requests = photos, step, 0
        self.error, self.notes = None, []
        self._pauses, self._resumed = threading.Event(), threading.Event()
        self._collector = threading.current_thread()
        self._thread = threading.Thread(target=self._add)
        for name in Interleaving.METHODS:
            monkeypatch.setattr(FolderObjects, name, self._watched(getattr(FolderObjects, name)))

    def _watched(self, method):
        def call(objects, *arguments):
            if threading.current_thread() is not self._collector:
                self._n_requests += 1
                if self._n_requests == self._step + 1:
                    self._pauses.set()
                    assert self._resumed.wait(60)
            elif method.__name__ == "delete" and self._thread.ident is None and len(arguments[0]) > 1:
                self._thread.start()
                assert self._pauses.wait(60)
            return method(objects, *arguments)

        return call

    def _add(self):
        try:
            self._photos.add(notify=lambda _: self._pauses.set())
        except StorageError as error:
            self.error = error
        finally:
            self._pauses.set()

    def finish(self):
        """Let the addition go on after the collection has ended; returns whether it has less steps."""
        self._resumed.set()
        self._thread.join()
        return self._n_requests <= self._step


def test_the_command_lists_before_it_deletes(interrupted, run):
    status, output, _ = run("data", "gc", interrupted.root)
    assert status == 0
    assert all(path in output for path in unused_paths(interrupted))
    assert "can be deleted with --delete" in output
    assert json.loads(run("data", "gc", interrupted.root, "--delete", "--json")[1])["is_deleted"]
    assert unused_paths(interrupted) == []


def test_files_of_the_user_in_the_folder_of_a_root_are_left_alone(photos):
    photos.add()
    root = Path(photos.root)
    own = ["photos/data/7.png", "photos/data/.7.png.0a1b2c3d.part", "packs/mine.tar", "packs/ab/notes.txt",
           "probes/a", "project/data/x.csv", "project/.download.part", "locations/.x/y.part"]  # fmt: skip
    then = time.time() - 30 * DAY
    for path in own:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("mine")
        os.utime(root / path, (then, then))
    assert collect_garbage(photos.root, delete=True).paths == ()
    assert all((root / path).exists() for path in own)
