"""Lanes of a stack: which members share one, how members enter and leave it, and what an epoch of all of them is."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.nn import functional as F

from rosenblatt.errors import SpecError
from rosenblatt.training.torch.lanes import (
    MOST,
    Lanes,
    OutOfMemory,
    by_shape,
    device_of,
    is_of_memory,
    lanes_for,
    shape_of,
    train_lanes,
)
from tests.training.media import LEARNT, member_of, rows_of

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
GO, HALT = np.zeros(1, np.uint8), np.ones(1, np.uint8)
PLAIN = {
    "optimizer": "sgd", "batches": "in_order", "batch_size": 13, "residual": False, "normalization": "none",
    "dropout": 0.0, "activation": "tanh", "weight_decay": 0.0, "clip_norm": 0.0, "averaging": 0.0,
    "learning_rate": 0.1, "schedule": "constant",
}  # fmt: skip


@pytest.fixture(autouse=True)
def single_precision():
    """Other tests compare with PyTorch in double precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def rows():
    """Rows of three numbers and a class, with weights."""
    return rows_of("mlp")[0]


def dense(rows, seed=0, **changed):
    """A multilayer perceptron of 3 inputs, 8 and 8 tanh units, and a logit."""
    return member_of("mlp", seed, rows, (), **PLAIN | changed)


def lanes_of(rows, members, size=None):
    lanes = Lanes(members[0], rows, CPU, size or len(members))
    for lane, member in enumerate(members):
        lanes.fill(lane, member)
    return lanes


def module_of(member):
    """The same network made of PyTorch's modules, in double precision."""
    layers = []
    for weights, biases in member.architecture.layers(member.state.theta):
        linear = nn.Linear(*weights.shape, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weights.T))
            linear.bias.copy_(torch.from_numpy(biases))
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def flat(module):
    """The parameters of a module in the order of a member's flat array."""
    linears = [layer for layer in module if isinstance(layer, nn.Linear)]
    return np.concatenate([p.detach().numpy() for one in linears for p in (one.weight.T.flatten(), one.bias)])


def loss_of(module, rows, index):
    x, t, weight = (torch.from_numpy(array[index]).double() for array in (rows.x, rows.t, rows.weight))
    return F.binary_cross_entropy_with_logits(module(x), t, weight[:, None], reduction="sum")


class Trainer:
    """Trains members in lanes for some epochs each, and records what it is called with."""

    def __init__(self, members, epochs):
        self.waiting, self.epochs = list(members[1:]), epochs
        self.done = dict.fromkeys(map(id, members), 0)
        self.calls = []

    def following(self, shape):
        return self.waiting.pop(0) if self.waiting else None

    def told(self, member, loss, validated):
        self.calls.append((member, loss, validated))
        self.done[id(member)] += 1
        return self.done[id(member)] < self.epochs[id(member)]


def test_errors_of_a_full_memory_are_told_from_others():
    for words in ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", "Out Of Memory"):
        assert is_of_memory(RuntimeError(words))
    assert is_of_memory(OutOfMemory("tried to allocate"))
    assert not is_of_memory(RuntimeError("device-side assert triggered"))


def test_a_device_is_found_by_its_name_or_refused_with_the_option_to_change():
    assert device_of("cpu") == CPU
    for name in ("cuda:99", "gpu", ""):
        with pytest.raises(SpecError, match=f"There is no device {name!r}; .*'cpu'.* --device"):
            device_of(name)


@pytest.mark.parametrize("changed", [{"learning_rate": 0.3}, {"clip_norm": 1.0}, {"weight_decay": 0.1}, {"seed": 7}])
def test_members_that_differ_in_amounts_only_share_a_stack(rows, changed):
    assert shape_of(dense(rows, **changed)) == shape_of(dense(rows))


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden_sizes": (8, 4)},
        {"optimizer": "adam"},
        {"batch_size": 26},
        {"batches": "shuffled"},
        {"dropout": 0.1},
        {"l1": 0.1},
        {"averaging": 0.9},
    ],
)
def test_members_of_which_a_step_has_other_parts_do_not_share_a_stack(rows, changed):
    assert shape_of(dense(rows, **changed)) != shape_of(dense(rows))


def test_members_are_grouped_by_shape_in_their_order(rows):
    members = [dense(rows, seed, hidden_sizes=(width,)) for seed, width in enumerate((4, 6, 4, 8, 6))]
    assert [[m.state.counter[0] for m in group] for group in by_shape(members)] == [
        [members[k].state.counter[0] for k in group] for group in ([0, 2], [1, 4], [3])
    ]


def test_on_a_cpu_there_are_lanes_for_all_that_wait_up_to_a_limit(rows):
    member = dense(rows)
    assert [lanes_for(member, rows, CPU, waiting) for waiting in (0, 1, 7, 10**6)] == [1, 1, 7, MOST]


def test_an_epoch_of_all_lanes_is_that_of_gradient_descent_in_pytorch(rows):
    members = [dense(rows, seed, learning_rate=0.1 * (1 + seed)) for seed in range(3)]
    modules = [module_of(member) for member in members]
    lanes = lanes_of(rows, members)
    for _ in range(2):
        losses = lanes.epoch(GO)
        for lane, (member, module) in enumerate(zip(members, modules, strict=True)):
            optimizer, total = torch.optim.SGD(module.parameters(), member.spec["learning_rate"]), 0.0
            for first in range(0, LEARNT, 13):
                optimizer.zero_grad()
                loss = loss_of(module, rows, slice(first, first + 13)) / 13
                loss.backward()
                optimizer.step()
                total += loss.item()
            assert losses[lane] == pytest.approx(total / (LEARNT / 13), rel=1e-4)
    lanes.keep()
    for member, module in zip(members, modules, strict=True):
        np.testing.assert_allclose(member.state.theta, flat(module), atol=1e-5)
        assert member.state.step[0] == 2 * LEARNT / 13


def test_members_are_unchanged_until_their_lanes_are_kept(rows):
    member = dense(rows)
    before = member.state.theta.copy()
    lanes = lanes_of(rows, [member])
    lanes.epoch(GO)
    np.testing.assert_array_equal(member.state.theta, before)
    lanes.keep()
    assert not np.array_equal(member.state.theta, before)


def test_an_epoch_that_is_stopped_has_no_losses(rows):
    assert lanes_of(rows, [dense(rows)]).epoch(HALT) is None


def test_a_lane_that_was_emptied_is_free_and_takes_another_member(rows):
    first, second, third = (dense(rows, seed) for seed in range(3))
    lanes = lanes_of(rows, [first, second], 3)
    assert lanes.free == [2]
    lanes.epoch(GO)
    lanes.empty(0)
    assert lanes.free == [0, 2]
    assert (lanes.epoch(GO) > 0).tolist() == [False, True, False]  # a free lane has no loss
    lanes.fill(0, third)
    assert lanes.free == [2]
    alone = dense(rows, 2)
    for one in (lanes, expected := lanes_of(rows, [alone])):
        one.epoch(GO)
        one.keep()
    assert expected.free == []
    np.testing.assert_allclose(third.state.theta, alone.state.theta, atol=1e-6)
    assert first.state.step[0] == 0  # it had left before it was kept


def test_outputs_and_losses_of_validation_rows_are_those_of_pytorch(rows):
    members = [dense(rows, seed) for seed in range(2)]
    members[0].validation = members[0].validation[:5]  # fewer than the other has
    without = dense(rows, 2)
    without.validation = without.validation[:0]
    found = lanes_of(rows, [*members, without]).validated()
    assert set(found) == {0, 1}
    for lane, member in enumerate(members):
        outputs, loss = found[lane]
        with torch.no_grad():
            z = module_of(member)(torch.from_numpy(rows.x[member.validation]).double())
            expected = loss_of(module_of(member), rows, member.validation) / rows.weight[member.validation].sum()
        np.testing.assert_allclose(outputs, torch.sigmoid(z).numpy(), atol=1e-6)
        assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_all_members_are_trained_for_their_own_epochs_although_there_are_fewer_lanes(rows):
    members = [dense(rows, seed) for seed in range(5)]
    epochs = {id(member): 1 + number for number, member in enumerate(members)}
    trainer = Trainer(members, epochs)
    train_lanes(members[0], rows, CPU, 2, trainer.following, trainer.told, GO)
    assert trainer.done == epochs
    assert [member.state.step[0] for member in members] == [LEARNT / 13 * (1 + number) for number in range(5)]
    assert all(validated[0].shape == (member.validation.size, 1) for member, _, validated in trainer.calls)
    losses = [loss for member, loss, _ in trainer.calls if member is members[4]]
    assert losses[-1] < losses[0]


def test_nothing_is_trained_once_the_flag_to_stop_is_set(rows):
    members = [dense(rows, seed) for seed in range(2)]
    before = [member.state.theta.copy() for member in members]
    trainer = Trainer(members, dict.fromkeys(map(id, members), 3))
    train_lanes(members[0], rows, CPU, 2, trainer.following, trainer.told, HALT)
    assert trainer.calls == []
    for member, theta in zip(members, before, strict=True):
        np.testing.assert_array_equal(member.state.theta, theta)
