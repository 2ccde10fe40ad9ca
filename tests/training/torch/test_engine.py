"""The promises of the torch engine, over all kinds of deep networks; and that it means the same as the dense one."""

from collections import deque

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.data.media.images import Pictures, as_cell
from rosenblatt.errors import SpecError
from rosenblatt.training.compiled.losses import LOSSES
from rosenblatt.training.compiled.optimizers import OPTIMIZERS
from rosenblatt.training.population import advance, noted, train
from rosenblatt.training.torch import lanes as torch_lanes
from rosenblatt.training.torch.engine import on_cores, sums_of
from rosenblatt.training.torch.lanes import Lanes, device_of, shape_of, train_lanes
from rosenblatt.training.torch.losses import LOSSES as STACKED_LOSSES
from rosenblatt.training.torch.optimizers import OPTIMIZERS as STACKED_OPTIMIZERS
from tests.training.media import KINDS, N, member_of, rows_of

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
GO = np.zeros(1, np.uint8)
DEEP = [kind for kind in KINDS if kind != "mlp"]
PRECISE = [(kind, "float32") for kind in DEEP] + [(kind, "mixed") for kind in ("cnn", "depthwise", "gru", "lstm")]


@pytest.fixture(autouse=True, params=["float32"])
def default_precision(request):
    """Whatever precision the user's own networks have, ours have theirs."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, request.param))
    yield
    torch.set_default_dtype(before)


def trained(members, rows, **how):
    list(train(members, rows, **how))
    return members


@pytest.mark.parametrize(("kind", "precision"), PRECISE)
def test_a_member_among_others_equals_it_alone_bit_for_bit(kind, precision):
    rows, media = rows_of(kind)
    among = trained([member_of(kind, seed, rows, media, precision=precision) for seed in range(3)], rows, threads=2)
    (alone,) = trained([member_of(kind, 1, rows, media, precision=precision)], rows)
    np.testing.assert_array_equal(among[1].state.theta, alone.state.theta)
    assert [record[1:] for record in among[1].history] == [record[1:] for record in alone.history]
    assert not np.array_equal(among[0].state.theta, among[1].state.theta)


@pytest.mark.parametrize(("kind", "precision"), PRECISE)
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(kind, precision):
    rows, media = rows_of(kind)
    (whole,) = trained([member_of(kind, 0, rows, media, precision=precision)], rows)
    parts = member_of(kind, 0, rows, media, precision=precision)
    list(advance(parts, rows, None, GO, until=2))
    moved = parts.copy()
    list(advance(moved, rows, None, GO))
    np.testing.assert_array_equal(moved.state.theta, whole.state.theta)
    np.testing.assert_array_equal(moved.best, whole.best)


@pytest.mark.parametrize(("kind", "precision"), PRECISE)
def test_networks_learn(kind, precision):
    rows, media = rows_of(kind)
    easy = rows if kind == "tags" else rows._replace(x=np.repeat(rows.t * 2 - 1, 3, axis=1).astype(np.float32))
    (member,) = trained(
        [
            member_of(
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
    assert member.best_score > -0.6
    assert member.history[-1].loss < member.history[0].loss


@pytest.mark.parametrize("default_precision", ["float32", "float64"], indirect=True)
@pytest.mark.parametrize("kind", list(KINDS))
def test_stacked_lanes_that_are_refilled_equal_members_alone(kind):
    rows, media = rows_of(kind)
    calm = {
        "optimizer": "sgd",
        "learning_rate": 0.01,
    }  # Adam makes steps of its own of what rounding leaves of a zero gradient
    stacked = [member_of(kind, seed, rows, media, **calm) for seed in range(5)]
    alone = [member_of(kind, seed, rows, media, **calm) for seed in range(5)]
    waiting, seen = iter(stacked[1:]), []

    def told(member, loss, validated):
        record = noted(member, loss, validated, None)
        seen.append(id(member))
        return record is not None and record.epoch < (2 if member is stacked[0] else 4)  # one stops early

    lanes = Lanes(stacked[0], rows, CPU, 2)
    torch_lanes._train(lanes, deque([stacked[0]]), lambda _: next(waiting, None), told, GO)
    assert len(set(seen)) == 5
    list(advance(alone[0], rows, None, GO, until=2))
    for member in alone[1:]:
        if kind == "mlp":
            one = Lanes(member, rows, CPU, 1)
            torch_lanes._train(
                one, deque([member]), lambda _: None, lambda m, *rest: noted(m, *rest, None).epoch < 4, GO
            )
        else:
            list(advance(member, rows, None, GO))
    for ours, theirs in list(zip(stacked, alone, strict=True))[kind == "mlp" :]:
        np.testing.assert_allclose(ours.state.theta, theirs.state.theta, atol=2e-4)
        np.testing.assert_allclose(ours.best_score, theirs.best_score, atol=2e-4)
        assert ours.state.step[0] == theirs.state.step[0]


@pytest.mark.parametrize("kind", DEEP)
def test_weights_of_a_unit_are_bounded_and_small_ones_become_none(kind):
    rows, media = rows_of(kind)
    bounded = {"max_norm": 0.3, "l1": 1.0, "learning_rate": 0.01}
    (alone,) = trained([member_of(kind, 0, rows, media, **bounded)], rows)
    stacked = member_of(kind, 0, rows, media, **bounded)
    torch_lanes._train(
        Lanes(stacked, rows, CPU, 2),
        deque([stacked]),
        lambda _: None,
        lambda m, *rest: noted(m, *rest, None).epoch < 4,
        GO,
    )
    for member in (alone, stacked):
        named = member.architecture.named(member.state.theta)
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
    rows, media = rows_of("gru")
    one, other = (member_of("gru", seed, rows, media, dropout=0.1 + 0.1 * seed) for seed in (0, 1))
    wider = member_of("gru", 0, rows, media, recurrent_width=7)
    assert shape_of(one) == shape_of(other) != shape_of(wider)


def test_too_little_memory_is_told_as_such():
    with pytest.raises(MemoryError, match="a batch of rows does not fit"), on_cores(1):
        torch.empty(2**50, dtype=torch.uint8)


@pytest.mark.parametrize("where", ["__init__", "epoch", "validated", "choose_convolution"])
def test_lanes_are_halved_where_the_memory_is_not_enough_and_nothing_is_learnt_twice(monkeypatch, where):
    rows, media = rows_of("elman")
    members = [member_of("elman", seed, rows, media, optimizer="sgd") for seed in range(4)]
    whole, sizes = getattr(Lanes, where), []

    def little(self, *arguments):
        many = arguments[3] if where == "__init__" else len(self.members)
        sizes.append(many)
        if many > 1:
            raise torch_lanes.OutOfMemory("too much")
        return whole(self, *arguments)

    monkeypatch.setattr(Lanes, where, little)
    waiting = iter(members[1:])
    train_lanes(
        members[0], rows, CPU, 4, lambda _: next(waiting, None), lambda m, *rest: noted(m, *rest, None).epoch < 2, GO
    )
    assert sizes[:3] == [4, 2, 1]
    assert [len(member.history) for member in members] == [2] * 4
    for seed, member in enumerate(members):
        alone = member_of("elman", seed, rows, media, optimizer="sgd")
        list(advance(alone, rows, None, GO, until=2))
        np.testing.assert_allclose(member.state.theta, alone.state.theta, atol=1e-5)


def test_one_network_that_does_not_fit_is_told_as_such(monkeypatch):
    rows, media = rows_of("elman")

    def little(self, stop):
        raise torch_lanes.OutOfMemory("too much")

    monkeypatch.setattr(Lanes, "epoch", little)
    with pytest.raises(MemoryError, match="one network does not fit into that of cpu"):
        train_lanes(member_of("elman", 0, rows, media), rows, CPU, 4, lambda _: None, lambda *_: True, GO)


@pytest.mark.parametrize("lanes", [0, 3])
def test_a_member_that_diverges_ends_and_stops_no_other(lanes):
    rows, media = rows_of("elman")
    wild = {"learning_rate": 1000, "weight_decay": 1, "clip_norm": 0}
    members = [member_of("elman", seed, rows, media, **(wild if seed == 1 else {})) for seed in range(3)]
    if lanes:
        stack = Lanes(members[0], rows, CPU, lanes)

        def told(member, loss, validated):
            record = noted(member, loss, validated, None)
            return record is not None and record.epoch < member.epochs

        torch_lanes._train(stack, deque(members), lambda _: None, told, GO)
    else:
        trained(members, rows)
    assert "not finite" in members[1].failure or "nan" in members[1].failure
    assert [len(member.history) for member in members[::2]] == [4, 4]
    assert not any(member.failure for member in members[::2])
    assert all(np.isfinite(member.best).all() for member in members[::2])


def test_a_device_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(SpecError, match="There is no device 'cuda:7'; this machine has 'cpu'"):
        device_of("cuda:7")


@pytest.mark.parametrize("loss", list(LOSSES))
def test_losses_are_those_of_the_dense_engine(loss):
    rng = np.random.default_rng(2)
    of_classes = loss in ("cross_entropy", "focal", "hinge_of_classes", "perceptron_of_classes")
    z = rng.normal(size=(40, 3)).astype(np.float32)
    t = rng.integers(0, 3, (40, 1)) if of_classes else rng.integers(0, 2, (40, 3))
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
    ours = [rng.normal(size=50).astype(np.float32), np.zeros(50, np.float32), np.zeros(50, np.float32)]
    theirs = [torch.from_numpy(one.copy())[None] for one in ours]
    for step in range(1, 6):
        g = rng.normal(size=50).astype(np.float32)
        theta, m, v = ours
        OPTIMIZERS[optimizer](theta, g, m, v, 0.01, 0.999, 0.9, 0.99, step)
        numbers = [torch.tensor([[value]], dtype=torch.float32) for value in (0.01, 0.999, 0.9, 0.99, float(step))]
        STACKED_OPTIMIZERS[optimizer](theirs[0], torch.from_numpy(g)[None], theirs[1], theirs[2], *numbers)
        np.testing.assert_allclose(theirs[0][0].numpy(), theta, atol=1e-6)


@pytest.mark.parametrize(
    "changed",
    [
        {"normalization": "layer", "residual": True, "optimizer": "nadam"},
        {"normalization": "batch", "parametric": True, "optimizer": "momentum"},
        {
            "front_scale": True,
            "l1": 0.01,
            "max_norm": 1.0,
            "weight_decay": 0.1,
            "averaging": 0.9,
            "layer_rates": "0.5,1,2",
        },
        {"activation": "mish", "optimizer": "rmsprop", "clip_norm": 0.05, "schedule": "cosine", "bias_rate": 0.3},
    ],
    ids="-".join,
)
def test_dense_networks_come_to_the_same_on_both_engines(changed):
    rows, _ = rows_of("mlp")
    how = {
        "normalization": "none",
        "residual": False,
        "dropout": 0.0,
        "batches": "in_order",
        "batch_size": 13,  # none is filled up
        "label_smoothing": 0.1,
        **changed,
    }
    dense, stacked = (member_of("mlp", 0, rows, (), **how) for _ in range(2))
    trained([dense], rows)
    lanes = Lanes(stacked, rows, CPU, 1)
    torch_lanes._train(lanes, deque([stacked]), lambda _: None, lambda m, *rest: noted(m, *rest, None).epoch < 4, GO)
    np.testing.assert_allclose(stacked.state.theta, dense.state.theta, atol=3e-4)
    np.testing.assert_allclose(stacked.best_score, dense.best_score, atol=1e-4)
    if changed.get("averaging"):
        np.testing.assert_allclose(stacked.state.mean, dense.state.mean, atol=3e-4)


@pytest.mark.parametrize("kind", ["gru", "lstm", "elman", "texts", "cnn of sequences"])
def test_what_is_said_of_a_row_does_not_depend_on_the_rows_beside_it(kind):
    rows, media = rows_of(kind)
    (member,) = trained([member_of(kind, 0, rows, media)], rows)
    together = sums_of(member.architecture, member.best, rows, np.arange(N))
    one_by_one = np.concatenate([sums_of(member.architecture, member.best, rows, np.array([k])) for k in range(N)])
    np.testing.assert_allclose(together, one_by_one, atol=1e-5)


def test_images_that_do_not_fit_into_memory_are_decoded_for_each_batch_and_train_the_same():
    rows, media = rows_of("cnn")
    rng = np.random.default_rng(1)
    rng.normal(size=(N, 3))
    streamed = Pictures(rows.media[0].cells, 8, 3, "resize", "uint8", (128.0,) * 3, (1 / 74,) * 3, memory=0)
    assert streamed.pixels is None
    (held,) = trained([member_of("cnn", 0, rows, media)], rows)
    lazy = rows._replace(media=(streamed,))
    (ours,) = trained([member_of("cnn", 0, lazy, media)], lazy)
    np.testing.assert_array_equal(ours.state.theta, held.state.theta)
    assert as_cell(np.zeros((2, 2), np.uint8)).startswith(b"\x93NUMPY")
