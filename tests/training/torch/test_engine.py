"""Promises of the PyTorch engine for all kinds of deep networks."""

from collections import deque

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.data.media.images import ImageDataset, encode_image
from rosenblatt.training.population import record_epoch, train, train_member
from rosenblatt.training.torch import lanes as torch_lanes
from rosenblatt.training.torch.engine import limit_threads, logits
from rosenblatt.training.torch.lanes import LaneStack, stack_key, train_lanes
from tests.training.media import KINDS, N, make_member, make_rows

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
GO = np.zeros(1, np.uint8)
DEEP = [kind for kind in KINDS if kind != "mlp"]
PRECISE = [(kind, "float32") for kind in DEEP] + [(kind, "mixed") for kind in ("cnn", "depthwise", "gru", "lstm")]


@pytest.fixture(autouse=True, params=["float32"])
def default_precision(request):
    """Set PyTorch's default precision, which must not affect our networks."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, request.param))
    yield
    torch.set_default_dtype(previous)


def train_members(members, rows, **options):
    list(train(members, rows, **options))
    return members


@pytest.mark.parametrize(("kind", "precision"), PRECISE)
def test_a_member_trained_with_others_equals_one_trained_alone_bit_for_bit(kind, precision):
    rows, media = make_rows(kind)
    together = train_members(
        [make_member(kind, seed, rows, media, precision=precision) for seed in range(3)], rows, threads=2
    )
    (single,) = train_members([make_member(kind, 1, rows, media, precision=precision)], rows)
    np.testing.assert_array_equal(together[1].state.theta, single.state.theta)
    assert [record[1:] for record in together[1].history] == [record[1:] for record in single.history]
    assert not np.array_equal(together[0].state.theta, together[1].state.theta)


@pytest.mark.parametrize(("kind", "precision"), PRECISE)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(kind, precision):
    rows, media = make_rows(kind)
    (uninterrupted,) = train_members([make_member(kind, 0, rows, media, precision=precision)], rows)
    parts = make_member(kind, 0, rows, media, precision=precision)
    list(train_member(parts, rows, None, GO, target_epochs=2))
    moved = parts.copy()
    list(train_member(moved, rows, None, GO))
    np.testing.assert_array_equal(moved.state.theta, uninterrupted.state.theta)
    np.testing.assert_array_equal(moved.best, uninterrupted.best)


def test_a_finished_member_without_training_state_is_not_trained_again():
    """A search that is killed between saving its members and its journal has such members when it is resumed."""
    rows, media = make_rows("gru")
    (member,) = train_members([make_member("gru", 0, rows, media)], rows)
    best, n_epochs = member.best.copy(), len(member.history)
    member.release_training_state()
    assert list(train_member(member, rows, None, GO)) == []
    assert (len(member.history), member.failure) == (n_epochs, "")
    np.testing.assert_array_equal(member.best, best)


@pytest.mark.parametrize(("kind", "precision"), PRECISE)
def test_networks_learn(kind, precision):
    rows, media = make_rows(kind)
    easy = rows if kind == "tags" else rows._replace(x=np.repeat(rows.t * 2 - 1, 3, axis=1).astype(np.float32))
    (member,) = train_members(
        [
            make_member(
                kind,
                0,
                easy,
                media,
                precision=precision,
                epochs=30,
                learning_rate=0.03,
                input_dropout=0.0,
                mixup=0.0,
                dropout=0.0,
            )
        ],
        easy,
    )
    assert member.best_score < 0.6
    assert member.history[-1].loss < member.history[0].loss


@pytest.mark.parametrize("default_precision", ["float32", "float64"], indirect=True)
@pytest.mark.parametrize("kind", list(KINDS))
def test_refilled_lanes_equal_members_trained_alone(kind):
    rows, media = make_rows(kind)
    # Adam would amplify gradients of 0 up to rounding
    hyperparameters = {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 32}
    stacked = [make_member(kind, seed, rows, media, **hyperparameters) for seed in range(5)]
    single = [make_member(kind, seed, rows, media, **hyperparameters) for seed in range(5)]
    waiting, trained_ids = iter(stacked[1:]), []

    def on_epoch_end(member, loss, validation_result):
        record = record_epoch(member, loss, validation_result, None)
        trained_ids.append(id(member))
        return record is not None and record.epoch < (2 if member is stacked[0] else 4)  # one stops early

    lanes = LaneStack(stacked[0], rows, CPU, 2)
    torch_lanes._train(lanes, deque([stacked[0]]), lambda _: next(waiting, None), on_epoch_end, GO)
    assert len(set(trained_ids)) == 5
    list(train_member(single[0], rows, None, GO, target_epochs=2))
    for member in single[1:]:
        if kind == "mlp":
            stack = LaneStack(member, rows, CPU, 1)
            torch_lanes._train(
                stack, deque([member]), lambda _: None, lambda m, *result: record_epoch(m, *result, None).epoch < 4, GO
            )
        else:
            list(train_member(member, rows, None, GO))
    for actual, expected in list(zip(stacked, single, strict=True))[kind == "mlp" :]:
        np.testing.assert_allclose(actual.state.theta, expected.state.theta, atol=2e-4)
        np.testing.assert_allclose(actual.best_score, expected.best_score, atol=2e-4)
        assert actual.state.step[0] == expected.state.step[0]


@pytest.mark.parametrize("kind", DEEP)
def test_max_norm_bounds_the_weights_of_units_and_l1_sets_small_weights_to_0(kind):
    rows, media = make_rows(kind)
    bounded = {"max_norm": 0.3, "l1": 1.0, "learning_rate": 0.01}
    (single,) = train_members([make_member(kind, 0, rows, media, **bounded)], rows)
    stacked = make_member(kind, 0, rows, media, **bounded)
    torch_lanes._train(
        LaneStack(stacked, rows, CPU, 2),
        deque([stacked]),
        lambda _: None,
        lambda m, *result: record_epoch(m, *result, None).epoch < 4,
        GO,
    )
    for member in (single, stacked):
        named = member.architecture.parameters_by_name(member.state.theta)
        for (_, name), part in named.items():
            if name == "recurrent_weight":
                assert np.linalg.norm(part, axis=1).max() <= 0.3 + 1e-5
            if name == "weight" and part.ndim == 2 and part.shape[1] == 1:  # of the last unit, and of attention
                assert np.linalg.norm(part) <= 0.3 + 1e-5
        first = next(part for (_, name), part in named.items() if name == "weight")
        inputs = tuple(range(1, first.ndim)) if member.architecture.kind != "channel_mlp" else 1
        assert np.sqrt((first**2).sum(axis=inputs)).max() <= 0.3 + 1e-5
        weights = np.concatenate([part.ravel() for (_, name), part in named.items() if name.endswith("weight")])
        assert (weights == 0).mean() > 0.05


def test_members_with_different_rates_share_a_stack():
    rows, media = make_rows("gru")
    first_member, second_member = (make_member("gru", seed, rows, media, dropout=0.1 + 0.1 * seed) for seed in (0, 1))
    wider = make_member("gru", 0, rows, media, recurrent_width=7)
    assert stack_key(first_member) == stack_key(second_member) != stack_key(wider)


def test_running_out_of_memory_raises_a_memory_error():
    with pytest.raises(MemoryError, match="a batch of rows does not fit"), limit_threads(1):
        torch.empty(2**50, dtype=torch.uint8)


@pytest.mark.parametrize("method", ["__init__", "train_epoch", "validate", "choose_convolution"])
def test_lanes_are_halved_if_memory_runs_out_and_no_epoch_is_trained_twice(monkeypatch, method):
    rows, media = make_rows("elman")
    members = [make_member("elman", seed, rows, media, optimizer="sgd") for seed in range(4)]
    original, sizes = getattr(LaneStack, method), []

    def raise_out_of_memory(self, *arguments):
        n_lanes = arguments[3] if method == "__init__" else len(self.members)
        sizes.append(n_lanes)
        if n_lanes > 1:
            raise torch_lanes.OutOfMemory("too much")
        return original(self, *arguments)

    monkeypatch.setattr(LaneStack, method, raise_out_of_memory)
    waiting = iter(members[1:])
    train_lanes(
        members[0],
        rows,
        CPU,
        4,
        lambda _: next(waiting, None),
        lambda m, *result: record_epoch(m, *result, None).epoch < 2,
        GO,
    )
    assert sizes[:3] == [4, 2, 1]
    assert [len(member.history) for member in members] == [2] * 4
    for seed, member in enumerate(members):
        single = make_member("elman", seed, rows, media, optimizer="sgd")
        list(train_member(single, rows, None, GO, target_epochs=2))
        np.testing.assert_allclose(member.state.theta, single.state.theta, atol=1e-5)


def test_a_network_that_does_not_fit_into_memory_raises_a_memory_error(monkeypatch):
    rows, media = make_rows("elman")

    def raise_out_of_memory(self, stop):
        raise torch_lanes.OutOfMemory("too much")

    monkeypatch.setattr(LaneStack, "train_epoch", raise_out_of_memory)
    with pytest.raises(MemoryError, match="one network does not fit into the memory of cpu"):
        train_lanes(make_member("elman", 0, rows, media), rows, CPU, 4, lambda _: None, lambda *_: True, GO)


@pytest.mark.parametrize("lanes", [0, 3])
def test_a_member_that_diverges_ends_and_the_others_continue(lanes):
    rows, media = make_rows("elman")
    wild = {"learning_rate": 1000, "weight_decay": 1, "clip_norm": 0}
    members = [make_member("elman", seed, rows, media, **(wild if seed == 1 else {})) for seed in range(3)]
    if lanes:
        stack = LaneStack(members[0], rows, CPU, lanes)

        def on_epoch_end(member, loss, validation_result):
            record = record_epoch(member, loss, validation_result, None)
            return record is not None and record.epoch < member.epochs

        torch_lanes._train(stack, deque(members), lambda _: None, on_epoch_end, GO)
    else:
        train_members(members, rows)
    assert "not finite" in members[1].failure or "nan" in members[1].failure
    assert [len(member.history) for member in members[::2]] == [4, 4]
    assert not any(member.failure for member in members[::2])
    assert all(np.isfinite(member.best).all() for member in members[::2])


@pytest.mark.parametrize("kind", ["gru", "lstm", "elman", "texts", "cnn of sequences"])
def test_the_logits_of_a_row_do_not_depend_on_the_other_rows(kind):
    rows, media = make_rows(kind)
    (member,) = train_members([make_member(kind, 0, rows, media)], rows)
    together = logits(member.architecture, member.best, rows, np.arange(N))
    one_by_one = np.concatenate([logits(member.architecture, member.best, rows, np.array([k])) for k in range(N)])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)


def test_streamed_images_train_to_the_same_parameters_as_images_in_memory():
    rows, media = make_rows("cnn")
    rng = np.random.default_rng(1)
    rng.normal(size=(N, 3))
    streamed = ImageDataset(rows.media[0].cells, 8, 3, "resize", "uint8", (128.0,) * 3, (74.0,) * 3, memory_limit=0)
    assert streamed.pixels is None
    (in_memory,) = train_members([make_member("cnn", 0, rows, media)], rows)
    lazy = rows._replace(media=(streamed,))
    (actual,) = train_members([make_member("cnn", 0, lazy, media)], lazy)
    np.testing.assert_array_equal(actual.state.theta, in_memory.state.theta)
    assert encode_image(np.zeros((2, 2), np.uint8)).startswith(b"\x93NUMPY")
