"""How rows are dealt into batches: each once an epoch, alike on every device, whatever other members there are."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.training.member import Record
from rosenblatt.training.torch.engine import strata_of
from rosenblatt.training.torch.sampling import Deck
from tests.training.media import LEARNT, member_of, rows_of

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")


def deck_of(kind, seeds=(0,), sizes=(LEARNT,), **changed):
    """A deck with a member for each seed, which learn from so many rows each."""
    rows, media = rows_of(kind)
    members = [member_of(kind, seed, rows, media, **changed) for seed in seeds]
    for member, size in zip(members, sizes * len(seeds), strict=False):
        kept = member.state.order[:size]
        member.state = member.state._replace(order=kept)
        if len(strata_of(member)) == 2:
            member.recipe = member.recipe._replace(strata=np.array([0, size]))
    deck = Deck(members[0], rows, len(members), CPU)
    for lane, member in enumerate(members):
        deck.put(lane, member, strata_of(member))
    return deck, members, rows


def met(dealt, lane):
    """The rows of each batch that count."""
    return [rows[weight > 0].tolist() for rows, weight in zip(dealt.rows[lane], dealt.weight[lane], strict=True)]


@pytest.mark.parametrize("kind", ["cnn", "gru", "mlp", "texts"])
@pytest.mark.parametrize("batches", ["shuffled", "stratified", "in_order"])
def test_every_row_is_met_once_in_an_epoch(kind, batches):
    deck, members, _ = deck_of(kind, (0, 1, 2), batches=batches)
    dealt = deck.deal()
    for lane, member in enumerate(members):
        assert sorted(row for batch in met(dealt, lane) for row in batch) == sorted(member.state.order.tolist())
    assert {len(batch) for batch in met(dealt, 0)} <= {deck.size, deck.size - 1}


@pytest.mark.parametrize("kind", ["cnn", "gru"])
def test_what_a_member_meets_depends_on_nothing_but_itself(kind):
    together, _, _ = deck_of(kind, (0, 1, 2), sizes=(78, 76, 77), rotate=10 * (kind == "cnn"))
    all_of_them = together.deal()
    for lane in range(3):
        alone, _, _ = deck_of(kind, (lane,), sizes=((78, 76, 77)[lane],), rotate=10 * (kind == "cnn"))
        one = alone.deal()
        assert met(all_of_them, lane) == met(one, 0)
        assert torch.equal(all_of_them.seeds[lane], one.seeds[0])
        if kind == "cnn":
            for ours, theirs in zip(all_of_them.changes[0], one.changes[0], strict=True):
                assert ours is theirs is None or torch.equal(ours[lane], theirs[0])
    assert met(all_of_them, 0) != met(all_of_them, 1)


def test_another_epoch_is_another_deal_and_one_that_goes_on_meets_what_it_would_have_met():
    deck, (member,), _ = deck_of("cnn")
    first, ahead = deck.deal(), deck.deal(2)
    assert met(first, 0) != met(ahead, 0)
    member.history += [Record(0, 1, 0.5, 0.0), Record(0, 2, 0.5, 0.0)]
    assert torch.equal(deck.deal().rows, ahead.rows)
    assert torch.equal(deck.deal().seeds, ahead.seeds)


def test_rows_are_shuffled_evenly():
    deck, (member,), _ = deck_of("mlp")
    places = np.zeros((LEARNT, LEARNT))
    for epoch in range(400):
        for place, row in enumerate(row for batch in met(deck.deal(epoch), 0) for row in batch):
            places[row, place] += 1
    expected, free = 400 / LEARNT, (LEARNT - 1) ** 2
    assert ((places - expected) ** 2 / expected).sum() < free + 4 * np.sqrt(2 * free)  # chi squared
    assert member.history == []


def test_stratified_batches_have_the_same_share_of_each_class():
    deck, _, rows = deck_of("mlp", batches="stratified")
    shares = [rows.t[batch, 0].mean() for batch in met(deck.deal(), 0)]
    assert max(shares) - min(shares) < 0.1


def test_batches_in_order_hold_what_stands_side_by_side():
    deck, (member,), _ = deck_of("mlp", batches="in_order")
    assert [row for batch in met(deck.deal(3), 0) for row in batch] == member.state.order.tolist()


def test_sequences_of_about_one_length_stand_together_and_members_meet_long_ones_together():
    deck, _, rows = deck_of("gru", (0, 1))
    dealt = deck.deal()
    lengths = rows.media[0].lengths
    for lane in range(2):
        assert np.mean([np.ptp(lengths[batch]) for batch in met(dealt, lane)]) < 0.5 * np.ptp(lengths)
    means = np.array([[lengths[batch].mean() for batch in met(dealt, lane)] for lane in range(2)])
    assert np.corrcoef(means)[0, 1] > 0.9
    assert not np.array_equal(means[0], np.sort(means[0]))


def test_rows_that_fill_up_and_lanes_without_a_member_weigh_nothing():
    deck, _, _ = deck_of("mlp", (0, 1), sizes=(78, 77))
    deck.clear(0)
    dealt = deck.deal()
    assert dealt.weight[0].max() == 0
    assert (dealt.weight[1] > 0).sum() == 77
    assert dealt.rows.max() < 120


def test_the_weights_of_a_batch_are_those_of_its_rows_by_their_number():
    deck, _, rows = deck_of("mlp")
    dealt = deck.deal()
    for k, batch in enumerate(met(dealt, 0)):
        np.testing.assert_allclose(dealt.weight[0, k, : len(batch)], rows.weight[batch] / len(batch), rtol=1e-6)


def test_images_are_changed_as_much_as_each_member_asks_for():
    deck, _, _ = deck_of("cnn", (0, 1), flip=True, crop=0.25, rotate=30, color_jitter=0.4, cutout=0.5)
    deck.put(1, member_of("cnn", 1, *rows_of("cnn"), flip=True, crop=0.125, rotate=30, color_jitter=0.1, cutout=0.5),
             np.array([0, LEARNT]))  # fmt: skip
    many = [deck.deal(epoch).changes[0] for epoch in range(20)]
    move = torch.stack([one.move for one in many])
    assert move[:, 0].unique().tolist() == [-2, -1, 0, 1, 2]
    assert move[:, 1].unique().tolist() == [-1, 0, 1]
    flips = torch.stack([one.flip for one in many]).float()
    assert 0.45 < flips.mean() < 0.55
    jitter = torch.stack([one.jitter for one in many]).abs()
    assert 0.38 < jitter[:, 0].max() <= 0.4
    assert 0.09 < jitter[:, 1].max() <= 0.1
    assert torch.stack([one.angle for one in many]).abs().max() <= np.deg2rad(30)
    hole = torch.stack([one.hole for one in many])
    assert 0 <= hole.min() < 0.02
    assert 0.98 < hole.max() < 1


def test_what_is_not_asked_for_is_not_drawn():
    deck, _, _ = deck_of("cnn", flip=False, crop=0.0, rotate=0, color_jitter=0.0, cutout=0.0, mixup=0.0)
    assert set(deck.deal().changes[0]) == {None}
    assert deck.deal().share is None


def test_rows_are_mixed_in_shares_by_the_beta_distribution():
    deck, _, _ = deck_of("cnn", mixup=0.4)
    shares = torch.stack([deck.deal(epoch).share for epoch in range(300)])
    assert 0 <= shares.min() <= shares.max() <= 1
    assert abs(float(shares.var()) - 0.25 / 1.8) < 0.02  # of Beta(a, a): 1 / (4 (2 a + 1))


def test_a_batch_by_a_number_on_the_device_is_that_by_a_number():
    deck, _, _ = deck_of("cnn", (0, 1), mixup=0.4)
    dealt = deck.deal()
    for ours, theirs in zip(dealt.batch(torch.tensor([2])).tensors(), dealt.batch(2).tensors(), strict=True):
        assert torch.equal(ours, theirs)
