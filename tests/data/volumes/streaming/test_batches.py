"""Tests of batches: exact resume, ranks and workers, and policies for damaged samples."""

from __future__ import annotations

import pickle
from itertools import islice

import numpy as np
import polars as pl
import pytest

from rosenblatt.data.volumes.storage.objects import FolderObjects
from rosenblatt.data.volumes.storage.packs import pack_path
from rosenblatt.data.volumes.streaming import reader as reader_module
from rosenblatt.data.volumes.streaming.batches import Batches
from rosenblatt.data.volumes.streaming.files import StreamSource
from rosenblatt.data.volumes.streaming.reader import PackReader
from rosenblatt.errors import DamagedDataError, VolumeError
from tests.data.volumes.streaming.samples import (
    CONTENTS,
    SMALL_WINDOW,
    check_samples,
    flatten,
    flip,
    labels,
    make_source,
    options,
)


@pytest.mark.parametrize("window_bytes", [1, SMALL_WINDOW, 10**9])
@pytest.mark.parametrize("shuffle", [True, False])
def test_each_epoch_has_each_sample_once_with_its_own_bytes(source, window_bytes, shuffle):
    batches = Batches(source, options(window_bytes=window_bytes, shuffle=shuffle))
    epochs = []
    for epoch in range(3):
        assert (batches.epoch, batches.position) == (epoch, 0)
        collected = list(batches)
        for batch in collected:
            check_samples(batch)
        assert [len(batch) for batch in collected] == [16] * 8 + [2]
        assert len(collected) == len(batches)
        epochs.append(flatten(labels(collected)))
        assert sorted(epochs[-1]) == list(range(130))
    assert (epochs[0] == epochs[1] == list(range(130))) == (not shuffle)


def test_a_selection_is_streamed_in_its_order(source):
    selection = [np.array([3, 1]), np.zeros(0, np.int64), np.array([59, 0, 30])]
    source = StreamSource(**{**vars(source), "selection": selection})
    assert source.n_samples == 5
    (batch,) = Batches(source, options(shuffle=False))
    assert batch.frame["label"].to_list() == [3, 1, 129, 70, 100]
    check_samples(batch)
    assert sorted(flatten(labels(Batches(source, options(batch_size=2))))) == [1, 3, 70, 100, 129]


def test_the_state_of_another_selection_of_as_many_samples_is_refused(source):
    first, second = (StreamSource(**{**vars(source), "selection": [np.array([i])] * 3}) for i in range(2))
    with pytest.raises(VolumeError, match="cannot be continued: its selection is"):
        Batches(second, options()).load_state_dict(Batches(first, options()).state_dict())


@pytest.mark.parametrize("fraction", [0.1, 0.6, 1])
def test_the_order_does_not_depend_on_where_the_root_is(frames, root, bucket, cache, monkeypatch, fraction):
    monkeypatch.setattr(reader_module, "MAX_GAP_BYTES", 1024)
    random = np.random.default_rng(0)
    selection = [np.flatnonzero(random.random(frame.height) < fraction) for frame in frames]
    readers = PackReader(FolderObjects(root), None), PackReader(bucket, cache)
    orders = [
        labels(Batches(make_source(frames, reader, selection), options(batch_size=4, window_bytes=5000)))
        for reader in readers
    ]
    assert orders[0] == orders[1]
    assert len(flatten(orders[0])) == sum(map(len, selection))


def test_nothing_is_streamed_of_an_empty_selection(source):
    source = StreamSource(**{**vars(source), "selection": [np.zeros(0, np.int64)] * 3})
    assert list(Batches(source, options())) == []


@pytest.mark.parametrize("window_bytes", [1, SMALL_WINDOW, 10**9])
def test_streaming_continues_exactly_at_each_position(source, window_bytes):
    expected = labels(Batches(source, options(window_bytes=window_bytes)))
    for n in range(len(expected) + 1):
        batches = Batches(source, options(window_bytes=window_bytes))
        assert labels(islice(batches, n)) == expected[:n]
        state = pickle.loads(pickle.dumps(batches.state_dict()))
        batches.close()
        resumed = Batches(source, options(window_bytes=window_bytes, n_threads=2))
        resumed.load_state_dict(state)
        assert labels(resumed) == expected[n:]
        assert (resumed.epoch, resumed.position) == (1, 0)


def test_a_loop_that_was_left_is_continued_by_the_next(source):
    expected = labels(Batches(source, options()))
    batches = Batches(source, options())
    for batch in batches:
        if batch.positions[0] == 32:
            break
    assert labels(batches) == expected[3:]


def test_other_ranks_continue_what_some_have_begun(source):
    expected = [sorted(batch) for batch in labels(Batches(source, options()))]
    begun = [Batches(source, options(rank=rank, n_ranks=4)) for rank in range(4)]
    parts = [labels(islice(batches, 3)) for batches in begun]
    assert [sorted(flatten(batch)) for batch in zip(*parts, strict=True)] == expected[:3]
    states = [batches.state_dict() for batches in begun]
    for batches in begun:
        batches.close()
    assert all(state == states[0] for state in states)
    rest = []
    for rank in range(3):
        batches = Batches(source, options(rank=rank, n_ranks=3))
        batches.load_state_dict(states[0])
        rest.append(labels(batches))
    assert [sorted(flatten(batch)) for batch in zip(*rest, strict=True)] == expected[3:]


@pytest.mark.parametrize(("last", "n_batches", "sizes"), [("keep", 9, {0, 1}), ("drop", 8, {4}), ("pad", 9, {4})])
def test_all_ranks_get_the_same_number_of_batches(source, last, n_batches, sizes):
    ranks = [list(Batches(source, options(rank=rank, n_ranks=4, last=last))) for rank in range(4)]
    assert {len(batches) for batches in ranks} == {n_batches}
    assert {len(batch) for batches in ranks for batch in batches[:-1]} == {4}
    assert {len(batches[-1]) for batches in ranks} == sizes
    for batches in ranks:
        for batch in batches:
            check_samples(batch)
            assert batch.frame.columns == ["id", "label"]
    assert len({label for batches in ranks for label in flatten(labels(batches))}) == (128 if last == "drop" else 130)


def test_the_incomplete_last_batch_is_padded_with_its_own_samples(source):
    *_, kept = Batches(source, options())
    *_, padded = Batches(source, options(last="pad"))
    assert padded.frame["label"].to_list() == kept.frame["label"].to_list() * 8
    check_samples(padded)


@pytest.mark.parametrize("n_workers", [2, 3])
@pytest.mark.parametrize("n_begun", [0, 4])
def test_workers_take_turns(source, n_workers, n_begun):
    expected = labels(Batches(source, options()))
    workers = []
    for worker in range(n_workers):
        batches = Batches(source, options(worker=worker, n_workers=n_workers))
        batches.load_state_dict(batches.state_dict() | {"position": 16 * n_begun, "n_workers": 1})
        workers.append(iter(batches))
    collected = []
    for number in range(9 - n_begun):
        collected += labels([next(workers[number % n_workers])])
    assert collected == expected[n_begun:]
    assert [next(worker, None) for worker in workers] == [None] * n_workers


def test_a_worker_continues_its_own_batches(source):
    expected = labels(Batches(source, options()))
    batches = Batches(source, options(worker=1, n_workers=2))
    batches.load_state_dict(batches.state_dict() | {"position": 16, "n_workers": 1})  # batches 2, 4, 6 and 8
    assert labels(islice(batches, 2)) == [expected[2], expected[4]]
    resumed = Batches(source, options(worker=1, n_workers=2))
    resumed.load_state_dict(batches.state_dict())
    assert labels(resumed) == [expected[6], expected[8]]


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"shuffle": False}, {"window_bytes": 7}, {"version": "other"}, {"n_samples": 5}]
)
def test_a_state_of_another_order_is_refused(source, change):
    batches = Batches(source, options())
    with pytest.raises(VolumeError, match=f"cannot be continued: its {next(iter(change))} is"):
        batches.load_state_dict(batches.state_dict() | change)


@pytest.mark.parametrize(
    "change",
    [
        {"batch_size": 0}, {"n_ranks": 0}, {"rank": 1}, {"rank": -1}, {"worker": 2, "n_workers": 2},
        {"batch_size": "64"}, {"window_bytes": 1e9}, {"batch_size": True}, {"seed": "a"}, {"n_threads": None},
        {"window_bytes": 0}, {"last": "repeat"}, {"on_damage": "ignore"}, {"n_threads": 0},
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(change):
    with pytest.raises(VolumeError, match=f"{next(iter(change))} is .*expected"):
        options(**change)


def test_samples_are_decoded_in_order(photos):
    batches = Batches(photos, options(decode=lambda view: bytes(view)[::-1]))
    for batch in batches:
        assert batch.samples == [CONTENTS[label][::-1] for label in batch.frame["label"]]


def test_rows_have_nothing_to_decode(frames):
    with pytest.raises(VolumeError, match="nothing to decode"):
        Batches(make_source(frames, None), options(decode=bytes))


def damage_sample(root, frames, label: int) -> None:
    frame = pl.concat(frames)
    path = root / pack_path(frame["pack"][label])
    path.write_bytes(flip(path.read_bytes(), frame["offset"][label]))


def decode_some(bad: set[int]):
    """A decoder that fails for some samples."""
    contents = {CONTENTS[label] for label in bad}

    def decode(view):
        if bytes(view) in contents:
            raise ValueError("not an image")
        return bytes(view)

    return decode


BAD = {5, 77, 100}


@pytest.fixture(params=["damaged", "undecodable"])
def bad_options(request, root, frames):
    """Options with a decoder, for a volume of which three samples cannot be used."""
    if request.param == "undecodable":
        return {"decode": decode_some(BAD), "reason": "'sample 5' cannot be decoded: not an image"}
    for label in BAD:
        damage_sample(root, frames, label)
    return {"decode": bytes, "reason": "'sample 5' is damaged, because pack .* does not match its hash"}


def test_a_damaged_sample_raises_an_error_by_default(photos, bad_options):
    reason = bad_options.pop("reason")
    with pytest.raises(DamagedDataError, match=f"photos@2: sample {reason}"):
        list(Batches(photos, options(shuffle=False, **bad_options)))


def test_no_sample_is_lost_by_an_error(photos):
    batches = Batches(photos, options(shuffle=False, decode=decode_some({20})))
    with pytest.raises(DamagedDataError):
        labels(batches)
    assert batches.position == 16
    resumed = Batches(photos, options(shuffle=False, decode=bytes))
    resumed.load_state_dict(batches.state_dict())
    assert flatten(labels(resumed)) == list(range(16, 130))


def test_a_decoder_without_memory_is_no_damaged_sample(photos):
    def decode(view):
        raise MemoryError

    with pytest.raises(MemoryError):
        list(Batches(photos, options(on_damage="skip", decode=decode)))


def test_damaged_samples_can_be_left_out_and_are_listed(photos, bad_options):
    messages = []
    bad_options.pop("reason")
    batches = Batches(photos, options(on_damage="skip", shuffle=False, notify=messages.append, **bad_options))
    collected = list(batches)
    assert [len(batch) for batch in collected] == [15, 16, 16, 16, 15, 16, 15, 16, 2]
    for batch in collected:
        check_samples(batch)
        assert batch.positions.tolist() == batch.frame["label"].to_list()
    assert set(flatten(labels(collected))) == set(range(130)) - BAD
    assert [(sample.id, sample.position, sample.epoch) for sample in batches.damaged] == [
        (f"sample {label}", label, 0) for label in sorted(BAD)
    ]
    (message,) = messages
    assert "3 of 130 samples are damaged or cannot be decoded ('sample 5', 'sample 77' and 'sample 100')" in message
    assert "left out" in message
    list(batches)
    assert len(messages) == 2
    assert len(batches.damaged) == 6


def test_damaged_samples_can_be_replaced_by_their_neighbours(photos, bad_options):
    bad_options.pop("reason")
    messages = []
    batches = Batches(photos, options(on_damage="replace", shuffle=False, notify=messages.append, **bad_options))
    collected = list(batches)
    for batch in collected:
        check_samples(batch)
    expected = [4 if label == 5 else 76 if label == 77 else 99 if label == 100 else label for label in range(130)]
    assert flatten(labels(collected)) == expected
    assert "replaced" in messages[0]


def test_a_summary_is_a_warning_by_default(photos):
    with pytest.warns(UserWarning, match=r"photos@2: 1 of 130 samples .* left out\. First: .*not an image"):
        list(Batches(photos, options(on_damage="skip", decode=decode_some({3}))))


@pytest.mark.parametrize("policy", ["skip", "replace"])
def test_more_than_five_percent_of_damaged_samples_are_an_error(photos, policy):
    list(Batches(photos, options(on_damage=policy, decode=decode_some(set(range(6))), notify=lambda _: None)))
    batches = Batches(photos, options(on_damage=policy, decode=decode_some(set(range(7)))))
    with pytest.raises(DamagedDataError, match=r"7 of 130 samples .* more than 5%.*not an image"):
        list(batches)


def test_a_batch_of_damaged_samples_only_cannot_be_replaced(photos):
    batches = Batches(photos, options(on_damage="replace", batch_size=1, shuffle=False, decode=decode_some({0})))
    with pytest.raises(DamagedDataError, match="all samples of a batch are damaged"):
        list(batches)


def test_ranks_stay_in_step_when_samples_are_left_out(photos):
    for rank in range(2):
        batches = Batches(
            photos,
            options(
                on_damage="skip", decode=decode_some({5}), batch_size=2, rank=rank, n_ranks=2, notify=lambda _: None
            ),
        )
        assert len(list(batches)) == 65


def test_a_missing_pack_is_an_error_with_its_name(photos, root, frames):
    (root / pack_path(frames[0]["pack"][0])).unlink()
    with pytest.raises(DamagedDataError, match=f"pack {frames[0]['pack'][0]} .* is missing"):
        list(Batches(photos, options(shuffle=False)))
