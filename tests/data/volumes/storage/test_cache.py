"""Tests of the cache of one machine: one fetch for all, leases, evictions, damage, and folders that cannot be used."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Barrier, Event
from types import SimpleNamespace

import pytest

from rosenblatt.data.volumes.storage import cache as cache_module
from rosenblatt.data.volumes.storage.cache import DamagedEntryError, MachineCache
from rosenblatt.errors import DamagedDataError, StorageError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the cache needs flock")

FETCHER = """
import sys, time
from hashlib import sha256
from pathlib import Path
from rosenblatt.data.volumes.storage.cache import MachineCache

folder, name, action = Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def fetch(file):
    with (folder.parent / "fetches.log").open("a") as log:
        log.write("fetch\\n")
    file.write(b"half")
    file.flush()
    if action == "hang":
        print("begun", flush=True)
        sys.stdin.read()
    file.seek(0)
    file.write(b"content of a pack")

def verify(content):
    assert sha256(content).hexdigest() == name

cache = MachineCache(folder, max_bytes=10_000)
print("ready", flush=True)
sys.stdin.readline()
lease = cache.fetch(name, 17, fetch, verify)
print(bytes(lease.content).decode(), flush=True)
sys.stdin.read()  # the lease is held until the parent closes the pipe
"""
CONTENT = b"content of a pack"


class Pack:
    """Content with its name, which counts how often it is fetched and verified."""

    def __init__(self, content: bytes = CONTENT, arriving: list[bytes] | None = None) -> None:
        self.name, self.content = sha256(content).hexdigest(), content
        self.arriving = arriving or []  # what the first fetches yield instead
        self.n_fetches = self.n_verifications = 0

    def fetch(self, file) -> None:
        self.n_fetches += 1
        file.write(self.arriving.pop(0) if self.arriving else self.content)

    def verify(self, content) -> None:
        self.n_verifications += 1
        if sha256(content).hexdigest() != self.name:
            raise DamagedDataError("the pack is damaged")

    def lease(self, cache: MachineCache):
        return cache.fetch(self.name, len(self.content), self.fetch, self.verify)


@pytest.fixture
def cache(tmp_path) -> MachineCache:
    return MachineCache(tmp_path / "cache", max_bytes=1000)


def entries(cache: MachineCache) -> set[str]:
    return {path.name for path in (cache.folder / "entries").rglob("*") if path.is_file()}


def leftovers(cache: MachineCache) -> list:
    return list((cache.folder / "fetches").glob("*"))


def test_an_entry_is_fetched_and_verified_once_per_process(cache):
    pack = Pack()
    for _ in range(3):
        with pack.lease(cache) as lease:
            assert bytes(lease.content) == lease.path.read_bytes() == CONTENT
    assert (pack.n_fetches, pack.n_verifications) == (1, 1)
    assert entries(cache) == {pack.name}
    assert not leftovers(cache)


def test_threads_that_want_the_same_entry_share_one_fetch_and_one_map(cache):
    pack, barrier = Pack(), Barrier(8)

    def lease(_):
        barrier.wait()
        return pack.lease(cache)

    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lease, range(8)))
    assert (pack.n_fetches, pack.n_verifications) == (1, 1)
    assert len({id(lease.content) for lease in leases}) == 1


def test_another_process_verifies_what_it_finds_and_fetches_nothing(cache):
    Pack().lease(cache)
    pack = Pack()
    pack.lease(MachineCache(cache.folder, max_bytes=1000))
    assert (pack.n_fetches, pack.n_verifications) == (0, 1)


def start_fetcher(cache, action="fetch"):
    command = [sys.executable, "-c", FETCHER, str(cache.folder), Pack().name, action]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def go(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def test_processes_that_want_the_same_entry_share_one_fetch_and_their_leases_keep_it(cache, tmp_path):
    processes = [start_fetcher(cache) for _ in range(3)]
    for process in processes:
        go(process)
    assert [process.stdout.readline() for process in processes] == [f"{CONTENT.decode()}\n"] * 3
    assert (tmp_path / "fetches.log").read_text() == "fetch\n"

    assert cache.available_bytes() == 1000 - len(CONTENT)
    with pytest.raises(StorageError, match=r"in use.*ROSENBLATT_CACHE_GB"):
        Pack(bytes(990)).lease(cache)
    for process in processes:
        process.communicate()
    assert cache.available_bytes() == 1000
    Pack(bytes(990)).lease(cache)
    assert entries(cache) == {Pack(bytes(990)).name}


def test_a_killed_fetcher_leaves_no_lock_and_no_half_entry(cache):
    process = start_fetcher(cache, "hang")
    go(process)
    assert process.stdout.readline() == "begun\n"
    pack = Pack()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(pack.lease, cache)
        assert not waiting.done()
        process.kill()
        process.communicate()
        assert bytes(waiting.result().content) == CONTENT
    assert pack.n_fetches == 1
    assert not leftovers(cache)


def test_what_killed_fetchers_left_is_deleted_when_space_is_needed(cache):
    process = start_fetcher(cache, "hang")
    go(process)
    assert process.stdout.readline() == "begun\n"
    process.kill()
    process.communicate()
    assert len(leftovers(cache)) == 2
    Pack(b"other content").lease(cache)
    assert not leftovers(cache)


def test_a_failed_fetch_leaves_nothing(cache):
    def fetch(file):
        file.write(b"half")
        raise StorageError("the network is down")

    with pytest.raises(StorageError, match="the network is down"):
        cache.fetch("ab12", 17, fetch, lambda content: None)
    assert not entries(cache)
    assert not leftovers(cache)


def test_a_missing_pack_stays_a_missing_pack(cache):
    def fetch(file):
        raise FileNotFoundError("packs/ab/ab12.tar")

    with pytest.raises(FileNotFoundError, match=r"ab12\.tar"):
        cache.fetch("ab12", 17, fetch, lambda content: None)


def test_the_least_recently_used_entry_goes_first(cache):
    packs = [Pack(bytes([number]) * 300) for number in range(4)]
    for age, pack in enumerate(reversed(packs[:3])):  # the first is the most recently used
        lease = pack.lease(cache)
        os.utime(lease.path, (1000 + age, lease.path.stat().st_mtime))
        lease.close()
        del lease
    packs[1].lease(cache).close()  # which makes it recent
    cache._allowance = 0
    packs[3].lease(cache)
    assert entries(cache) == {packs[0].name, packs[1].name, packs[3].name}


def test_a_view_of_content_keeps_it_in_the_cache_after_its_lease_was_closed(cache):
    pack = Pack(bytes(600))
    lease = pack.lease(cache)
    view = lease.content[10:20]
    lease.close()
    cache._allowance = 0
    with pytest.raises(StorageError, match="is full"):
        Pack(bytes(601)).lease(cache)
    assert bytes(view) == bytes(10)
    del view
    Pack(bytes(601)).lease(cache)
    assert entries(cache) == {Pack(bytes(601)).name}


def test_a_closed_lease_has_no_content(cache):
    lease = Pack().lease(cache)
    lease.close()
    with pytest.raises(ValueError, match="closed"):
        _ = lease.content


def test_a_damaged_entry_is_fetched_again(cache):
    path = Pack().lease(cache).path
    path.write_bytes(b"c0ntent of a pack")
    pack = Pack()
    assert bytes(pack.lease(MachineCache(cache.folder, max_bytes=1000)).content) == CONTENT
    assert (pack.n_fetches, path.read_bytes()) == (1, CONTENT)


@pytest.mark.parametrize("damaged", [b"c0ntent of a pack", b"content", b"", CONTENT + b"!"])
def test_content_that_arrives_damaged_is_fetched_again(cache, damaged):
    pack = Pack(arriving=[damaged])
    assert bytes(pack.lease(cache).content) == CONTENT
    assert pack.n_fetches == 2


def test_content_that_is_damaged_twice_is_put_in_quarantine(cache):
    pack = Pack(arriving=[b"c0ntent", b"c0nten7"])
    with pytest.raises(DamagedEntryError, match=r"damaged, and so was a second copy.*quarantine") as info:
        pack.lease(cache)
    assert info.value.path.read_bytes() == b"c0nten7"
    assert not entries(cache)
    assert not leftovers(cache)
    assert bytes(pack.lease(cache).content) == CONTENT


class FullDisk:
    """A file system that has no space left for writes until something was deleted."""

    def __init__(self, cache: MachineCache, capacity: int) -> None:
        self.cache, self.capacity = cache, capacity

    def fetch(self, pack: Pack):
        def write(file):
            if len(pack.content) + self.used() > self.capacity:
                raise OSError(errno.ENOSPC, "No space left on device")
            pack.fetch(file)

        return write

    def used(self) -> int:
        return sum(path.stat().st_size for path in (self.cache.folder / "entries").rglob("*") if path.is_file())


def test_on_a_full_disk_what_is_not_in_use_goes(cache):
    disk, old, new = FullDisk(cache, 500), Pack(bytes(300)), Pack(bytes(301))
    lease = old.lease(cache)
    with pytest.raises(StorageError, match=r"The disk of the cache .* is full.*ROSENBLATT_CACHE"):
        cache.fetch(new.name, 301, disk.fetch(new), new.verify)
    assert not leftovers(cache)
    lease.close()
    cache.fetch(new.name, 301, disk.fetch(new), new.verify)
    assert entries(cache) == {new.name}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # threads and forks
def test_a_cache_survives_a_fork_while_another_thread_fetches(cache):
    begun, end = Event(), Event()

    def fetch(file):
        begun.set()
        end.wait(30)
        file.write(CONTENT)

    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(cache.fetch, Pack().name, 17, fetch, Pack().verify)
        begun.wait(30)
        child = os.fork()
        if not child:
            os._exit(0 if bytes(Pack(b"other").lease(cache).content) == b"other" else 1)
        end.set()
        assert os.waitpid(child, 0)[1] == 0
        assert bytes(fetching.result().content) == CONTENT


def test_a_pickled_cache_uses_the_same_folder(cache):
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.folder, copy.max_bytes) == (cache.folder, 1000)


def test_the_folder_and_limit_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert MachineCache().folder == tmp_path / "home/rosenblatt/volumes"
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "named"))
    monkeypatch.setenv("ROSENBLATT_CACHE_GB", "1.5")
    assert (MachineCache().folder, MachineCache().max_bytes) == (tmp_path / "named", 1_500_000_000)
    assert (tmp_path / "named").stat().st_mode & 0o777 == 0o700


def test_the_default_limit_is_half_of_the_disk_that_is_free_or_the_caches(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    cache = MachineCache(tmp_path / "cache", max_bytes=5000)
    Pack(bytes(600)).lease(cache)
    assert MachineCache(tmp_path / "cache").max_bytes == 800


@pytest.mark.parametrize("limit", ["many", "-1", "0", "nan", "inf"])
def test_a_limit_that_is_no_size_is_refused(tmp_path, monkeypatch, limit):
    monkeypatch.setenv("ROSENBLATT_CACHE_GB", limit)
    with pytest.raises(StorageError, match="expected a number of gigabytes"):
        MachineCache(tmp_path)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_folder_that_others_can_write_to_is_refused(tmp_path, mode):
    tmp_path.chmod(mode)
    with pytest.raises(StorageError, match=r"other users can write to it.*chmod go-w.*ROSENBLATT_CACHE"):
        MachineCache(tmp_path)


def test_a_folder_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module.os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(StorageError, match=r"belongs to another user.*ROSENBLATT_CACHE"):
        MachineCache(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module.os, "access", lambda *_: False)
    with pytest.raises(StorageError, match=r"cannot be written.*ROSENBLATT_CACHE"):
        MachineCache(tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="File exists"):
        MachineCache(tmp_path / "file")


@pytest.mark.parametrize("name", ["../escape", "", "a/b"])
def test_names_that_are_no_hashes_are_refused(cache, name):
    with pytest.raises(ValueError, match="is not a hash"):
        cache.fetch(name, 1, lambda file: None, lambda content: None)


def test_a_file_system_without_locks_is_named(cache, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(cache_module.fcntl, "flock", flock)
    with pytest.raises(StorageError, match=r"No locks available\. Name another folder with ROSENBLATT_CACHE"):
        Pack().lease(cache)


def test_there_is_room_for_what_fits_beside_the_entries_in_use(cache):
    lease, unused = Pack(bytes(400)).lease(cache), Pack(bytes(300))
    unused.lease(cache).close()
    assert cache.has_room({"new": 300})
    assert cache.has_room({"new": 600})  # in place of what is not used
    assert not cache.has_room({"new": 601})
    assert cache.has_room({"new": 600, Pack(bytes(400)).name: 400})  # what is in use already is counted once
    lease.close()
    assert cache.has_room({"new": 1000})
