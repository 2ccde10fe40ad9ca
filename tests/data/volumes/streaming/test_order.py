"""Properties of the order of samples: permutations, independence of ranks, exact positions, uncorrelated seeds."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pytest

from rosenblatt.data.volumes.streaming import order as order_module
from rosenblatt.data.volumes.streaming.order import (
    BatchCut,
    FileUnits,
    OrderSettings,
    SampleOrder,
    permutation,
)

SETTINGS = OrderSettings("version", window_bytes=1000)


def make_units(n_rows: list[int], rows_per_pack: int = 7, pack_bytes: int = 300) -> list[FileUnits]:
    return [
        FileUnits(np.arange(n, dtype=np.int32) // rows_per_pack, np.full(-(-n // rows_per_pack), pack_bytes))
        for n in n_rows
    ]


class Volume:
    """Files of some numbers of rows, whose samples are numbered in the order of the version."""

    def __init__(self, n_rows: list[int], settings: OrderSettings = SETTINGS, **options: int) -> None:
        self.n_rows, self.units = n_rows, make_units(n_rows, **options)
        self.order = SampleOrder(n_rows, [100] * len(n_rows), settings)

    def windows(self, epoch: int = 0, position: int = 0):
        """The windows of an epoch, with the numbers of their samples."""
        firsts = np.cumsum([0, *self.n_rows])
        for group in self.order.groups(epoch):
            numbers = np.concatenate([np.arange(firsts[file], firsts[file + 1]) for file in group.files])
            for window in self.order.windows(epoch, group, [self.units[file] for file in group.files], position):
                yield window, numbers[window.rows]

    def samples(self, epoch: int = 0) -> np.ndarray:
        return np.concatenate([numbers for _, numbers in self.windows(epoch)])


N_ROWS = pytest.mark.parametrize(
    "n_rows", [[1], [5], [0, 3, 0], [100], [40, 1, 0, 33, 70], [11] * 40], ids=lambda rows: str(len(rows))
)


@pytest.fixture(params=[4, 256], ids=["small groups", "large groups"])
def group_files(request, monkeypatch) -> None:
    monkeypatch.setattr(order_module, "GROUP_FILES", request.param)


@N_ROWS
@pytest.mark.parametrize("window_bytes", [1, 1000, 10**9])
@pytest.mark.usefixtures("group_files")
def test_each_epoch_is_a_permutation_and_its_windows_are_consecutive(n_rows, window_bytes):
    volume = Volume(n_rows, replace(SETTINGS, window_bytes=window_bytes))
    for epoch in range(3):
        assert sorted(volume.samples(epoch)) == list(range(sum(n_rows)))
        windows = [window for window, _ in volume.windows(epoch)]
        assert [window.start for window in windows] == [0, *(window.end for window in windows[:-1])]


@N_ROWS
@pytest.mark.parametrize("window_bytes", [1, 1000, 10**9])
@pytest.mark.usefixtures("group_files")
def test_without_shuffling_the_order_is_that_of_the_version(n_rows, window_bytes):
    volume = Volume(n_rows, replace(SETTINGS, shuffle=False, window_bytes=window_bytes))
    assert volume.samples().tolist() == list(range(sum(n_rows)))


@pytest.mark.parametrize("shuffle", [True, False])
def test_windows_hold_as_many_packs_as_fit(shuffle):
    volume = Volume([70, 140], replace(SETTINGS, shuffle=shuffle))
    windows = [window for window, _ in volume.windows()]
    assert [len(window.units) for window in windows] == [3] * 10
    for window, _ in volume.windows():
        assert set(window.unit_ranks) == {0, 1, 2}


def test_a_pack_that_is_larger_than_a_window_has_one_of_its_own():
    assert [len(window.units) for window, _ in Volume([70], pack_bytes=5000).windows()] == [1] * 10


def test_the_rows_of_a_pack_need_not_be_neighbours():
    units = [FileUnits(np.arange(60, dtype=np.int32) % 6, np.full(6, 300))]
    for shuffle in (True, False):
        order = SampleOrder([60], [1], replace(SETTINGS, shuffle=shuffle))
        windows = list(order.windows(0, order.groups(0)[0], units))
        assert sorted(np.concatenate([window.rows for window in windows])) == list(range(60))
        for window in windows:
            assert (window.units[window.unit_ranks] == units[0].codes[window.rows]).all()


def test_samples_without_bytes_are_part_of_the_order():
    units = [FileUnits(np.array([0, -1, 0, 1, -1], np.int32), np.array([300, 300]))]
    order = SampleOrder([5], [1], SETTINGS)
    assert sorted(np.concatenate([w.rows for w in order.windows(0, order.groups(0)[0], units)])) == list(range(5))


def test_what_fits_into_one_window_is_shuffled_fully():
    n = 4000
    volume = Volume([n // 4] * 4, replace(SETTINGS, window_bytes=10**9))
    positions = np.stack([np.argsort(volume.samples(epoch)) for epoch in range(50)])
    assert len(list(volume.windows())) == 1
    assert abs(positions.mean(axis=0) - (n - 1) / 2).max() < 5 * n / np.sqrt(12 * 50)
    neighbours = np.abs(np.diff(positions, axis=1)).mean()  # n / 3 for independent positions
    assert abs(neighbours / (n / 3) - 1) < 0.02


def test_only_the_first_group_is_needed_for_the_first_window(monkeypatch):
    monkeypatch.setattr(order_module, "GROUP_ROWS", 100)
    groups = Volume([30] * 10).order.groups(0)
    assert [len(group.files) for group in groups] == [3, 3, 3, 1]
    assert [group.start for group in groups] == [0, 90, 180, 270]


@pytest.mark.parametrize(("n_bytes", "expected"), [(400, 2), (1000, 1), (5000, 1), (1, 10)])
def test_the_metadata_of_a_group_fits_into_a_window(n_bytes, expected):
    groups = SampleOrder([10] * 10, [n_bytes] * 10, SETTINGS).groups(0)
    assert max(len(group.files) for group in groups) == expected


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return abs(np.corrcoef(np.argsort(first), np.argsort(second))[0, 1])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("v", 0, 1), ("v", 1, 0)),
        (("v", 0, 0), ("v", 0, 1)),
        (("v", 0, 0), ("v", 1, 0)),
        (("v", 7, 2), ("w", 7, 2)),
        (("v", 1, 11), ("v", 11, 1)),
        (("v", -1, 0), ("v", 1, 0)),
    ],
)
@pytest.mark.parametrize("window_bytes", [3000, 10**9])
def test_seeds_epochs_and_versions_are_not_correlated(first, second, window_bytes):
    n_rows = [500] * 20
    one, other = (
        Volume(n_rows, OrderSettings(version, seed, window_bytes=window_bytes)).samples(epoch)
        for version, seed, epoch in (first, second)
    )
    assert (one == other).mean() < 0.01
    n_independent = len(n_rows) * (1 if window_bytes == 3000 else 500)
    assert correlation(one, other) < 5 / np.sqrt(n_independent)


def test_the_order_of_a_seed_never_changes():
    volume = Volume([40, 1, 0, 33, 70], OrderSettings("version", seed=3, window_bytes=1000))
    digest = sha256(volume.samples(2).astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "1ac6d2705212d2fb"


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 63, 64, 65, 1000])
def test_permutations_are_permutations(n):
    assert sorted(permutation(n, "key")) == list(range(n))


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("epoch", [0, 3])
def test_an_epoch_can_be_continued_at_each_position(shuffle, epoch):
    volume = Volume([20, 3, 31], replace(SETTINGS, shuffle=shuffle))
    samples = volume.samples(epoch)
    for position in range(len(samples) + 1):
        windows = list(volume.windows(epoch, position))
        assert all(window.end > position for window, _ in windows)
        rest = np.concatenate([numbers for _, numbers in windows] or [np.zeros(0)])
        if windows:
            rest = rest[position - windows[0][0].start :]
        assert rest.tolist() == samples[position:].tolist()


def batches_of(volume: Volume, cut: BatchCut) -> dict[int, list[int]]:
    """The samples of each batch that a process gets."""
    batches = {}
    for window, numbers in volume.windows():
        for index in cut.select(window).tolist():
            batch = (window.start + index - cut.first) // cut.batch_size
            batches.setdefault(batch, []).append(int(numbers[index]))
    return batches


@pytest.mark.parametrize(("n_ranks", "n_workers"), [(1, 1), (2, 1), (3, 1), (8, 1), (30, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize("first", [0, 9, 13])
def test_ranks_and_workers_share_the_global_batches(n_ranks, n_workers, first):
    volume = Volume([40, 1, 0, 33, 70])
    cut = BatchCut(volume.order.n_samples, 9, first)
    expected = batches_of(volume, cut)
    assert sum(map(len, expected.values())) == 144 - first
    shared = {}
    for rank in range(n_ranks):
        for worker in range(n_workers):
            part = batches_of(volume, replace(cut, rank=rank, n_ranks=n_ranks, worker=worker, n_workers=n_workers))
            assert all(batch % n_workers == worker for batch in part)
            for batch, samples in part.items():
                assert len(samples) == len(range(rank, len(expected[batch]), n_ranks))
                shared.setdefault(batch, []).extend(samples)
    assert {batch: sorted(samples) for batch, samples in shared.items()} == {
        batch: sorted(samples) for batch, samples in expected.items()
    }


def test_each_rank_needs_few_packs_of_a_window():
    volume = Volume([6400], OrderSettings("version", window_bytes=32 * 300), rows_per_pack=100)
    for window, _ in volume.windows():
        needed = [
            len(set(window.unit_ranks[BatchCut(6400, 512, rank=rank, n_ranks=8).select(window)])) for rank in range(8)
        ]
        assert max(needed) <= 10  # of 32; 4 would be the fewest
        assert sum(needed) < 2 * 32


def test_an_incomplete_last_batch_can_be_left_out_or_be_given_to_all():
    volume = Volume([25])
    assert list(batches_of(volume, BatchCut(20, 10))) == [0, 1]
    for rank in range(3):
        whole = batches_of(volume, BatchCut(25, 10, rank=rank, n_ranks=3, has_whole_last=True))
        assert [len(samples) for samples in whole.values()][-1] == 5
        assert list(batches_of(volume, BatchCut(20, 10, rank=rank, n_ranks=3))) == [0, 1]


def test_groups_are_made_of_whole_files_in_a_new_order_each_epoch():
    volume = Volume([11] * 300)
    orders = [[file for group in volume.order.groups(epoch) for file in group.files] for epoch in range(3)]
    assert all(sorted(files) == list(range(300)) for files in orders)
    assert all(first != second for first, second in pairwise(orders))
