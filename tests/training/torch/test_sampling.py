"""Batches of an epoch: every row once, the same on every device, and independent of the other members."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.data.media.contents import Blocks
from rosenblatt.data.media.images import ImageDataset
from rosenblatt.errors import SpecError
from rosenblatt.training.member import EpochRecord
from rosenblatt.training.torch.sampling import BatchSampler
from tests.training.media import N_TRAIN, N, make_member, make_rows

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


def make_sampler(kind, seeds=(0,), sizes=(N_TRAIN,), **hyperparameters):
    """Return a sampler with a member for each seed; `sizes` are their numbers of training rows."""
    rows, media = make_rows(kind)
    members = [make_member(kind, seed, rows, media, **hyperparameters) for seed in seeds]
    for member, size in zip(members, sizes * len(seeds), strict=False):
        order = member.state.order[:size]
        member.state = member.state._replace(order=order)
        if len(member.config.strata) == 2:
            member.config = member.config._replace(strata=np.array([0, size]))
    sampler = BatchSampler(members[0], rows, len(members), CPU)
    for lane, member in enumerate(members):
        sampler.load_member(lane, member)
    return sampler, members, rows


def counted_rows(epoch_batches, lane):
    """Return the rows of each batch whose weight is not 0."""
    return [
        rows[weight > 0].tolist()
        for rows, weight in zip(epoch_batches.rows[lane], epoch_batches.weight[lane], strict=True)
    ]


@pytest.mark.parametrize("kind", ["cnn", "gru", "mlp", "texts"])
@pytest.mark.parametrize("batch_order", ["shuffled", "stratified", "in_order"])
def test_every_row_is_sampled_once_in_an_epoch(kind, batch_order):
    sampler, members, _ = make_sampler(kind, (0, 1, 2), batch_order=batch_order)
    epoch_batches = sampler.sample_epoch()
    for lane, member in enumerate(members):
        assert sorted(row for batch in counted_rows(epoch_batches, lane) for row in batch) == sorted(
            member.state.order.tolist()
        )
    assert {len(batch) for batch in counted_rows(epoch_batches, 0)} <= {sampler.batch_size, sampler.batch_size - 1}


@pytest.mark.parametrize("kind", ["cnn", "gru"])
def test_the_batches_of_a_member_do_not_depend_on_the_other_members(kind):
    sampler, _, _ = make_sampler(kind, (0, 1, 2), sizes=(78, 76, 77), rotate=10 * (kind == "cnn"))
    epoch_batches = sampler.sample_epoch()
    for lane in range(3):
        single_sampler, _, _ = make_sampler(kind, (lane,), sizes=((78, 76, 77)[lane],), rotate=10 * (kind == "cnn"))
        single = single_sampler.sample_epoch()
        assert counted_rows(epoch_batches, lane) == counted_rows(single, 0)
        assert torch.equal(epoch_batches.seeds[lane], single.seeds[0])
        if kind == "cnn":
            for actual, expected in zip(epoch_batches.augmentations[0], single.augmentations[0], strict=True):
                assert actual is expected is None or torch.equal(actual[lane], expected[0])
    assert counted_rows(epoch_batches, 0) != counted_rows(epoch_batches, 1)


def test_each_epoch_has_new_batches_and_a_resumed_member_gets_the_same_ones():
    sampler, (member,), _ = make_sampler("cnn")
    first, later = sampler.sample_epoch(), sampler.sample_epoch(2)
    assert counted_rows(first, 0) != counted_rows(later, 0)
    member.history += [EpochRecord(0, 1, 0.5, 0.0), EpochRecord(0, 2, 0.5, 0.0)]
    assert torch.equal(sampler.sample_epoch().rows, later.rows)
    assert torch.equal(sampler.sample_epoch().seeds, later.seeds)


def test_rows_are_shuffled_evenly():
    sampler, (member,), _ = make_sampler("mlp")
    places = np.zeros((N_TRAIN, N_TRAIN))
    for epoch in range(400):
        for position, row in enumerate(row for batch in counted_rows(sampler.sample_epoch(epoch), 0) for row in batch):
            places[row, position] += 1
    expected, free = 400 / N_TRAIN, (N_TRAIN - 1) ** 2
    assert ((places - expected) ** 2 / expected).sum() < free + 4 * np.sqrt(2 * free)  # chi squared
    assert member.history == []


def test_stratified_batches_have_the_same_share_of_each_class():
    sampler, _, rows = make_sampler("mlp", batch_order="stratified")
    shares = [rows.t[batch, 0].mean() for batch in counted_rows(sampler.sample_epoch(), 0)]
    assert max(shares) - min(shares) < 0.1


def test_batches_in_order_hold_consecutive_rows():
    sampler, (member,), _ = make_sampler("mlp", batch_order="in_order")
    assert [row for batch in counted_rows(sampler.sample_epoch(3), 0) for row in batch] == member.state.order.tolist()


def test_batches_hold_sequences_of_similar_length_and_long_ones_are_aligned_across_members():
    sampler, _, rows = make_sampler("gru", (0, 1))
    epoch_batches = sampler.sample_epoch()
    lengths = rows.media[0].lengths
    for lane in range(2):
        assert np.mean([np.ptp(lengths[batch]) for batch in counted_rows(epoch_batches, lane)]) < 0.5 * np.ptp(lengths)
    means = np.array([[lengths[batch].mean() for batch in counted_rows(epoch_batches, lane)] for lane in range(2)])
    assert np.corrcoef(means)[0, 1] > 0.9
    assert not np.array_equal(means[0], np.sort(means[0]))


def test_padding_and_empty_lanes_have_weight_0():
    sampler, _, _ = make_sampler("mlp", (0, 1), sizes=(78, 77))
    sampler.clear_lane(0)
    epoch_batches = sampler.sample_epoch()
    assert epoch_batches.weight[0].max() == 0
    assert (epoch_batches.weight[1] > 0).sum() == 77
    assert epoch_batches.rows.max() < 120


def test_weights_in_a_batch_are_row_weights_divided_by_the_batch_size():
    sampler, _, rows = make_sampler("mlp")
    epoch_batches = sampler.sample_epoch()
    for k, batch in enumerate(counted_rows(epoch_batches, 0)):
        np.testing.assert_allclose(epoch_batches.weight[0, k, : len(batch)], rows.weight[batch] / len(batch), rtol=1e-6)


def test_augmentations_have_the_strength_of_each_member():
    sampler, _, _ = make_sampler("cnn", (0, 1), flip=True, crop=0.25, rotate=30, color_jitter=0.4, cutout=0.5)
    sampler.load_member(
        1,
        make_member("cnn", 1, *make_rows("cnn"), flip=True, crop=0.125, rotate=30, color_jitter=0.1, cutout=0.5),
    )
    augmentations = [sampler.sample_epoch(epoch).augmentations[0] for epoch in range(20)]
    shift = torch.stack([augmentation.shift for augmentation in augmentations])
    assert shift[:, 0].unique().tolist() == [-2, -1, 0, 1, 2]
    assert shift[:, 1].unique().tolist() == [-1, 0, 1]
    flips = torch.stack([augmentation.flip for augmentation in augmentations]).float()
    assert 0.45 < flips.mean() < 0.55
    jitter = torch.stack([augmentation.jitter for augmentation in augmentations]).abs()
    assert 0.38 < jitter[:, 0].max() <= 0.4
    assert 0.09 < jitter[:, 1].max() <= 0.1
    assert torch.stack([augmentation.angle for augmentation in augmentations]).abs().max() <= np.deg2rad(30)
    cutout_center = torch.stack([augmentation.cutout_center for augmentation in augmentations])
    assert 0 <= cutout_center.min() < 0.02
    assert 0.98 < cutout_center.max() < 1


def test_augmentations_that_are_off_are_not_sampled():
    sampler, _, _ = make_sampler("cnn", flip=False, crop=0.0, rotate=0, color_jitter=0.0, cutout=0.0, mixup=0.0)
    assert set(sampler.sample_epoch().augmentations[0]) == {None}
    assert sampler.sample_epoch().mixup_weight is None


def test_mixup_weights_follow_the_beta_distribution():
    sampler, _, _ = make_sampler("cnn", mixup=0.4)
    shares = torch.stack([sampler.sample_epoch(epoch).mixup_weight for epoch in range(300)])
    assert 0 <= shares.min() <= shares.max() <= 1
    assert abs(float(shares.var()) - 0.25 / 1.8) < 0.02  # of Beta(a, a): 1 / (4 (2 a + 1))


def test_a_batch_can_be_selected_by_an_index_on_the_device():
    sampler, _, _ = make_sampler("cnn", (0, 1), mixup=0.4)
    epoch_batches = sampler.sample_epoch()
    for actual, expected in zip(
        epoch_batches.batch(torch.tensor([2])).tensors(), epoch_batches.batch(2).tensors(), strict=True
    ):
        assert torch.equal(actual, expected)


BLOCK_ROWS = 5


@pytest.fixture
def blocks(monkeypatch):
    """Images in blocks of five, of 1 kB each."""
    numbers = (np.arange(N) // BLOCK_ROWS).astype(np.int32)
    blocks = Blocks(numbers, np.full(N // BLOCK_ROWS + 1, 1000))
    monkeypatch.setattr(ImageDataset, "blocks", blocks)
    return blocks


def block_order(epoch_batches, lane, blocks):
    """The blocks in which the rows of an epoch are, in order."""
    return [int(blocks.numbers[row]) for batch in counted_rows(epoch_batches, lane) for row in batch]


def test_images_of_a_large_volume_are_shuffled_in_windows_of_random_blocks(blocks):
    sampler, members, _ = make_sampler("cnn", (0, 1), shuffle_window_gb=4e-6, batch_size=4)
    epoch_batches = sampler.sample_epoch()
    for lane, member in enumerate(members):
        rows = [row for batch in counted_rows(epoch_batches, lane) for row in batch]
        assert sorted(rows) == sorted(member.state.order.tolist())
        order = block_order(epoch_batches, lane, blocks)
        first, last = (
            {block: k for k, block in sequence} for sequence in (reversed(list(enumerate(order))), enumerate(order))
        )
        n_open = [sum(first[block] <= k <= last[block] for block in first) for k in range(len(order))]
        assert max(n_open) <= 4
        assert n_open[0] == 1  # the first windows are small
        assert order != sorted(order)
    orders = [list(dict.fromkeys(block_order(epoch_batches, lane, blocks))) for lane in range(2)]
    assert orders[0] != orders[1]
    shared = [k for k in range(1, len(orders[0]) + 1) if set(orders[0][:k]) == set(orders[1][:k])]
    assert np.diff([0, *shared]).max() <= 4  # windows have the same blocks for all members


def test_windows_differ_from_epoch_to_epoch_and_do_not_depend_on_others(blocks):
    sampler, _, _ = make_sampler("cnn", (0, 1), shuffle_window_gb=4e-6)
    single, _, _ = make_sampler("cnn", (1,), shuffle_window_gb=4e-6)
    for epoch in range(2):
        assert counted_rows(sampler.sample_epoch(epoch), 1) == counted_rows(single.sample_epoch(epoch), 0)
    assert block_order(single.sample_epoch(0), 0, blocks) != block_order(single.sample_epoch(1), 0, blocks)


def test_a_volume_that_fits_a_window_is_shuffled_as_images_that_are_stored_elsewhere(blocks, monkeypatch):
    windowed, _, _ = make_sampler("cnn", shuffle_window_gb=1)
    monkeypatch.setattr(ImageDataset, "blocks", None)
    plain, _, _ = make_sampler("cnn", shuffle_window_gb=1)
    assert counted_rows(windowed.sample_epoch(), 0) == counted_rows(plain.sample_epoch(), 0)


@pytest.mark.usefixtures("blocks")
def test_stratified_batches_of_a_volume_that_is_shuffled_in_windows_are_refused():
    with pytest.raises(SpecError, match="batch_order stratified needs all images at a time"):
        make_sampler("cnn", shuffle_window_gb=4e-6, batch_order="stratified")
