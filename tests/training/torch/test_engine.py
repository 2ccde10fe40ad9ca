"""The promises of the torch engine, over all kinds of deep networks; and that it means the same as the dense one."""

from collections import deque

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.data.media.images import ImageDataset, encode_image
from rosenblatt.errors import SpecError
from rosenblatt.training.compiled.losses import LOSSES
from rosenblatt.training.compiled.optimizers import OPTIMIZERS
from rosenblatt.training.population import record_epoch, train, train_member
from rosenblatt.training.torch import lanes as torch_lanes
from rosenblatt.training.torch.engine import limit_threads, logits
from rosenblatt.training.torch.lanes import LaneStack, find_device, stack_key, train_lanes
from rosenblatt.training.torch.losses import LOSSES as STACKED_LOSSES
from rosenblatt.training.torch.optimizers import OPTIMIZERS as STACKED_OPTIMIZERS
from tests.training.media import KINDS, N, make_member, make_rows

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
GO = np.zeros(1, np.uint8)
DEEP = [kind for kind in KINDS if kind != "mlp"]
PRECISE = [(kind, "float32") for kind in DEEP] + [(kind, "mixed") for kind in ("cnn", "depthwise", "gru", "lstm")]


@pytest.fixture(autouse=True, params=["float32"])
def default_precision(request):
    """Whatever precision the user's own networks have, ours have theirs."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, request.param))
    yield
    torch.set_default_dtype(previous)


def train_members(members, rows, **options):
    list(train(members, rows, **options))
    return members


@pytest.mark.parametrize(("kind", "precision"), PRECISE)
def test_a_member_among_others_equals_it_alone_bit_for_bit(kind, precision):
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
def test_stacked_lanes_that_are_refilled_equal_members_alone(kind):
    rows, media = make_rows(kind)
    hyperparameters = {
        "optimizer": "sgd",
        "learning_rate": 0.01,
    }  # Adam makes steps of its own of what rounding leaves of a zero gradient
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
def test_weights_of_a_unit_are_bounded_and_small_ones_become_none(kind):
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


def test_members_of_one_shape_are_stacked_whatever_their_rates():
    rows, media = make_rows("gru")
    first_member, second_member = (make_member("gru", seed, rows, media, dropout=0.1 + 0.1 * seed) for seed in (0, 1))
    wider = make_member("gru", 0, rows, media, recurrent_width=7)
    assert stack_key(first_member) == stack_key(second_member) != stack_key(wider)


def test_too_little_memory_is_told_as_such():
    with pytest.raises(MemoryError, match="a batch of rows does not fit"), limit_threads(1):
        torch.empty(2**50, dtype=torch.uint8)


@pytest.mark.parametrize("method", ["__init__", "train_epoch", "validate", "choose_convolution"])
def test_lanes_are_halved_where_the_memory_is_not_enough_and_nothing_is_learnt_twice(monkeypatch, method):
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


def test_one_network_that_does_not_fit_is_told_as_such(monkeypatch):
    rows, media = make_rows("elman")

    def raise_out_of_memory(self, stop):
        raise torch_lanes.OutOfMemory("too much")

    monkeypatch.setattr(LaneStack, "train_epoch", raise_out_of_memory)
    with pytest.raises(MemoryError, match="one network does not fit into the memory of cpu"):
        train_lanes(make_member("elman", 0, rows, media), rows, CPU, 4, lambda _: None, lambda *_: True, GO)


@pytest.mark.parametrize("lanes", [0, 3])
def test_a_member_that_diverges_ends_and_stops_no_other(lanes):
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


def test_a_device_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(SpecError, match="Device 'cuda:7' is not available; this machine has 'cpu'"):
        find_device("cuda:7")


@pytest.mark.parametrize("loss", list(LOSSES))
def test_losses_are_those_of_the_dense_engine(loss):
    rng = np.random.default_rng(2)
    is_multiclass = loss in ("cross_entropy", "focal", "hinge_of_classes", "perceptron_of_classes")
    z = rng.normal(size=(40, 3)).astype(np.float32)
    t = rng.integers(0, 3, (40, 1)) if is_multiclass else rng.integers(0, 2, (40, 3))
    a, b = 0.1 if "cross_entropy" in loss else 0.0, 0.0 if loss.startswith("perceptron") else 0.7
    d = np.empty_like(z)
    total = LOSSES[loss](z.copy(), t.astype(np.float32), np.ones(40, np.float32), d, a, b)
    leaf = torch.from_numpy(z)[None].requires_grad_()
    column = [torch.full((1, 1), value, dtype=torch.float32) for value in (a, b)]
    cost = STACKED_LOSSES[loss](leaf, torch.from_numpy(t)[None].float(), *column)
    assert cost.shape == (1, 40)
    cost.sum().backward()
    np.testing.assert_allclose(cost.sum().item(), total, rtol=1e-4)
    np.testing.assert_allclose(leaf.grad[0].numpy(), d, atol=1e-4)


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_optimizers_are_those_of_the_dense_engine(optimizer):
    rng = np.random.default_rng(3)
    compiled = [rng.normal(size=50).astype(np.float32), np.zeros(50, np.float32), np.zeros(50, np.float32)]
    stacked = [torch.from_numpy(array.copy())[None] for array in compiled]
    for step in range(1, 6):
        g = rng.normal(size=50).astype(np.float32)
        theta, m, v = compiled
        OPTIMIZERS[optimizer](theta, g, m, v, 0.01, 0.999, 0.9, 0.99, step)
        numbers = [torch.tensor([[value]], dtype=torch.float32) for value in (0.01, 0.999, 0.9, 0.99, float(step))]
        STACKED_OPTIMIZERS[optimizer](stacked[0], torch.from_numpy(g)[None], stacked[1], stacked[2], *numbers)
        np.testing.assert_allclose(stacked[0][0].numpy(), theta, atol=1e-6)


@pytest.mark.parametrize(
    "hyperparameters",
    [
        {"normalization": "layer", "residual": True, "optimizer": "nadam"},
        {"normalization": "batch", "parametric_activation": True, "optimizer": "momentum"},
        {
            "scaling_layer": True,
            "l1": 0.01,
            "max_norm": 1.0,
            "weight_decay": 0.1,
            "ema_decay": 0.9,
            "layer_lr_multipliers": "0.5,1,2",
        },
        {
            "activation": "mish",
            "optimizer": "rmsprop",
            "clip_norm": 0.05,
            "schedule": "cosine",
            "bias_lr_multiplier": 0.3,
        },
    ],
    ids="-".join,
)
def test_dense_networks_come_to_the_same_on_both_engines(hyperparameters):
    rows, _ = make_rows("mlp")
    options = {
        "normalization": "none",
        "residual": False,
        "dropout": 0.0,
        "batch_order": "in_order",
        "batch_size": 13,  # none is filled up
        "label_smoothing": 0.1,
        **hyperparameters,
    }
    dense, stacked = (make_member("mlp", 0, rows, (), **options) for _ in range(2))
    train_members([dense], rows)
    lanes = LaneStack(stacked, rows, CPU, 1)
    torch_lanes._train(
        lanes, deque([stacked]), lambda _: None, lambda m, *result: record_epoch(m, *result, None).epoch < 4, GO
    )
    np.testing.assert_allclose(stacked.state.theta, dense.state.theta, atol=3e-4)
    np.testing.assert_allclose(stacked.best_score, dense.best_score, atol=1e-4)
    if hyperparameters.get("ema_decay"):
        np.testing.assert_allclose(stacked.state.mean, dense.state.mean, atol=3e-4)


@pytest.mark.parametrize("kind", ["gru", "lstm", "elman", "texts", "cnn of sequences"])
def test_what_is_said_of_a_row_does_not_depend_on_the_rows_beside_it(kind):
    rows, media = make_rows(kind)
    (member,) = train_members([make_member(kind, 0, rows, media)], rows)
    together = logits(member.architecture, member.best, rows, np.arange(N))
    one_by_one = np.concatenate([logits(member.architecture, member.best, rows, np.array([k])) for k in range(N)])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)


def test_images_that_do_not_fit_into_memory_are_decoded_for_each_batch_and_train_the_same():
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
