"""The copy of a search's state in a bucket can be resumed from, whenever it was made."""

from __future__ import annotations

import pytest

from rosenblatt.errors import StorageError
from rosenblatt.runs.maintenance import cleanup
from rosenblatt.runs.store.artifacts import Artifacts
from rosenblatt.runs.store.store import Store
from rosenblatt.workflows import state_copy
from rosenblatt.workflows.state_copy import StateCopy
from tests.data.volumes.servers import BUCKET, s3_settings
from tests.waiting import wait_until

pytest.importorskip("obstore", reason="obstore is not installed: pip install 'rosenblatt[objects]'")


@pytest.fixture
def store(tmp_path, monkeypatch, request, s3_server):
    for name, value in s3_settings(s3_server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ROSENBLATT_ARTIFACTS", f"s3://{BUCKET}/{request.node.name}")
    opened = Store(f"sqlite:///{tmp_path / 'store' / 'runs.db'}")
    yield opened
    opened.close()


@pytest.fixture
def bucket(store):
    return Artifacts(store.url, store).state_bucket("search")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def files(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def copy(folder, bucket):
    """Copy a folder once."""
    state = StateCopy(folder, bucket, pytest.fail)
    state.update()
    state.close()


def test_a_machine_without_the_state_gets_it(folder, bucket, tmp_path):
    (folder / "search.jsonl").write_text("header\nfirst\n")
    (folder / "trial-0.safetensors").write_text("members")
    (folder / "trial-1.safetensors.part").write_text("half")
    copy(folder, bucket)
    assert StateCopy(tmp_path / "there", bucket, pytest.fail).fetch()
    assert files(tmp_path / "there") == {"search.jsonl": "header\nfirst\n", "trial-0.safetensors": "members"}


def test_the_longer_journal_is_resumed_from(folder, bucket):
    (folder / "search.jsonl").write_text("header\nfirst\n")
    copy(folder, bucket)
    (folder / "search.jsonl").write_text("header\nfirst\nsecond\n")
    state = StateCopy(folder, bucket, pytest.fail)
    assert not state.fetch()
    assert files(folder) == {"search.jsonl": "header\nfirst\nsecond\n"}
    copy(folder, bucket)
    (folder / "search.jsonl").write_text("header\nfirst\n")
    assert state.fetch()
    assert files(folder) == {"search.jsonl": "header\nfirst\nsecond\n"}


def test_files_are_copied_before_the_journal_that_refers_to_them(folder, bucket, monkeypatch):
    names, put = [], bucket.put
    monkeypatch.setattr(bucket, "put", lambda name, file: names.append(name) or put(name, file))
    (folder / "search.jsonl").write_text("header\n")
    for number in range(3):
        (folder / f"trial-{number}.safetensors").write_text("members")
    state = StateCopy(folder, bucket, pytest.fail)
    state._copy(state._take_snapshot())
    assert (len(names), names[-1]) == (4, "search.jsonl")
    (folder / "trial-0.safetensors").unlink()
    (folder / "trial-1.safetensors").write_text("other members")
    state._copy(state._take_snapshot())
    assert names[4:] == ["trial-1.safetensors", "search.jsonl"]
    assert {name for name, _ in bucket.list_files()} == {"search.jsonl", "trial-1.safetensors", "trial-2.safetensors"}


def test_the_copy_is_of_one_moment_whatever_the_search_changes_meanwhile(folder, bucket, tmp_path, monkeypatch):
    put = bucket.put

    def put_late(name, file):
        if (folder / "trial-0-1.safetensors").exists():  # the search replaces files before the first is copied
            (folder / "trial-0-1.safetensors").unlink()
            (folder / "trial-0-2.safetensors").write_text("members after the second inheritance")
            (folder / "search.jsonl").write_text("header\nfirst\nsecond\n")
        put(name, file)

    monkeypatch.setattr(bucket, "put", put_late)
    (folder / "search.jsonl").write_text("header\nfirst\n")
    (folder / "trial-0-1.safetensors").write_text("members after the first inheritance")
    state = StateCopy(folder, bucket, pytest.fail)
    state.update()
    wait_until(lambda: state._is_idle)
    assert StateCopy(tmp_path / "first", bucket, pytest.fail).fetch()
    assert files(tmp_path / "first") == {
        "search.jsonl": "header\nfirst\n", "trial-0-1.safetensors": "members after the first inheritance"
    }  # fmt: skip
    state.close()
    assert StateCopy(tmp_path / "last", bucket, pytest.fail).fetch()
    assert files(tmp_path / "last") == {
        "search.jsonl": "header\nfirst\nsecond\n",
        "trial-0-2.safetensors": "members after the second inheritance",
    }


def test_changes_are_copied_while_the_search_goes_on(folder, bucket, monkeypatch):
    monkeypatch.setattr(state_copy, "COPY_INTERVAL_S", 0.0)
    monkeypatch.setattr(state_copy, "MAX_COPY_FRACTION", 1e9)
    state = StateCopy(folder, bucket, pytest.fail)
    for content in ("header\n", "header\nfirst\n"):
        (folder / "search.jsonl").write_text(content)
        state.update()
        wait_until(lambda content=content: state._is_idle and bucket.has("search.jsonl", len(content)))
    state.remove()
    assert not list(bucket.list_files())


def test_a_search_goes_on_without_its_bucket_and_says_so_once(folder, bucket, monkeypatch):
    def fail(*_):
        raise StorageError("no route to the bucket")

    monkeypatch.setattr(bucket, "put", fail)
    messages = []
    (folder / "search.jsonl").write_text("header\n")
    state = StateCopy(folder, bucket, messages.append)
    state.update()
    state.close()
    assert messages == ["the search continues, but its state cannot be copied to the bucket: no route to the bucket"]


def test_a_machine_that_cannot_read_the_bucket_does_not_begin_again(folder, bucket, monkeypatch):
    def fail(*_):
        raise StorageError("no route to the bucket")

    monkeypatch.setattr(bucket, "get", fail)
    with pytest.raises(StorageError, match="no route"):
        StateCopy(folder, bucket, pytest.fail).fetch()
    assert not files(folder)


def test_copies_of_removed_searches_are_tidied_only_as_shared_files(store, folder, bucket):
    (folder / "search.jsonl").write_text("header\n")
    copy(folder, bucket)
    assert cleanup(store).removed_states == 0
    assert list(bucket.list_files())
    assert cleanup(store, shared=True).removed_states == 1
    assert not list(bucket.list_files())
