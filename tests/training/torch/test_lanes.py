"""Lanes of a stack: which members share a stack, how members enter and leave it, and training of an epoch."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.nn import functional as F

from rosenblatt.errors import SpecError
from rosenblatt.training.torch.lanes import (
    MAX_LANES,
    LaneStack,
    OutOfMemory,
    choose_n_lanes,
    find_device,
    group_by_stack_key,
    is_out_of_memory,
    stack_key,
    train_lanes,
)
from tests.training.media import N_TRAIN, make_member, make_rows

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
GO, HALT = np.zeros(1, np.uint8), np.ones(1, np.uint8)
PLAIN = {
    "optimizer": "sgd", "batch_order": "in_order", "batch_size": 13, "residual": False, "normalization": "none",
    "dropout": 0.0, "activation": "tanh", "weight_decay": 0.0, "clip_norm": 0.0, "ema_decay": 0.0,
    "learning_rate": 0.1, "schedule": "constant",
}  # fmt: skip


@pytest.fixture(autouse=True)
def single_precision():
    """Use single precision, because other tests change PyTorch's default."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(previous)


@pytest.fixture
def rows():
    """Rows with three numbers, a class and a weight."""
    return make_rows("mlp")[0]


def dense(rows, seed=0, **hyperparameters):
    """A multilayer perceptron of 3 inputs, 8 and 8 tanh units, and a logit."""
    return make_member("mlp", seed, rows, (), **PLAIN | hyperparameters)


def make_lanes(rows, members, size=None):
    lanes = LaneStack(members[0], rows, CPU, size or len(members))
    for lane, member in enumerate(members):
        lanes.load_member(lane, member)
    return lanes


def to_torch_module(member):
    """Build the same network from PyTorch's modules, in double precision."""
    layers = []
    for weights, biases in member.architecture.layers(member.state.theta):
        linear = nn.Linear(*weights.shape, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weights.T))
            linear.bias.copy_(torch.from_numpy(biases))
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def flat(module):
    """Return the parameters of a module in the order of a member's flat array."""
    linears = [layer for layer in module if isinstance(layer, nn.Linear)]
    return np.concatenate([p.detach().numpy() for linear in linears for p in (linear.weight.T.flatten(), linear.bias)])


def summed_loss(module, rows, index):
    x, t, weight = (torch.from_numpy(array[index]).double() for array in (rows.x, rows.t, rows.weight))
    return F.binary_cross_entropy_with_logits(module(x), t, weight[:, None], reduction="sum")


class Trainer:
    """Trains members in lanes for some epochs each, and records the calls of `on_epoch_end`."""

    def __init__(self, members, epochs):
        self.waiting, self.epochs = list(members[1:]), epochs
        self.n_epochs = dict.fromkeys(map(id, members), 0)
        self.calls = []

    def next_member(self, key):
        return self.waiting.pop(0) if self.waiting else None

    def on_epoch_end(self, member, loss, validation_result):
        self.calls.append((member, loss, validation_result))
        self.n_epochs[id(member)] += 1
        return self.n_epochs[id(member)] < self.epochs[id(member)]


def test_out_of_memory_errors_are_distinguished_from_others():
    for message in (
        "CUDA error: out of memory",
        "CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate",
        "Out Of Memory",
    ):
        assert is_out_of_memory(RuntimeError(message))
    assert is_out_of_memory(OutOfMemory("tried to allocate"))
    assert not is_out_of_memory(RuntimeError("device-side assert triggered"))


def test_a_device_is_found_by_its_name_and_an_unknown_one_is_rejected():
    assert find_device("cpu") == CPU
    for name in ("cuda:99", "gpu", ""):
        with pytest.raises(SpecError, match=f"Device {name!r} is not available; .*'cpu'.* --device"):
            find_device(name)


@pytest.mark.parametrize(
    "hyperparameters", [{"learning_rate": 0.3}, {"clip_norm": 1.0}, {"weight_decay": 0.1}, {"seed": 7}]
)
def test_members_that_differ_only_in_numbers_share_a_stack(rows, hyperparameters):
    assert stack_key(dense(rows, **hyperparameters)) == stack_key(dense(rows))


@pytest.mark.parametrize(
    "hyperparameters",
    [
        {"hidden_sizes": (8, 4)},
        {"optimizer": "adam"},
        {"batch_size": 26},
        {"batch_order": "shuffled"},
        {"dropout": 0.1},
        {"l1": 0.1},
        {"ema_decay": 0.9},
    ],
)
def test_members_whose_steps_have_different_parts_do_not_share_a_stack(rows, hyperparameters):
    assert stack_key(dense(rows, **hyperparameters)) != stack_key(dense(rows))


def test_members_are_grouped_by_stack_key_in_their_order(rows):
    members = [dense(rows, seed, hidden_sizes=(width,)) for seed, width in enumerate((4, 6, 4, 8, 6))]
    assert [[m.state.counter[0] for m in group] for group in group_by_stack_key(members)] == [
        [members[k].state.counter[0] for k in group] for group in ([0, 2], [1, 4], [3])
    ]


def test_a_cpu_has_a_lane_for_each_waiting_member_up_to_a_limit(rows):
    member = dense(rows)
    assert [choose_n_lanes(member, rows, CPU, waiting) for waiting in (0, 1, 7, 10**6)] == [1, 1, 7, MAX_LANES]


def test_an_epoch_of_all_lanes_equals_gradient_descent_in_pytorch(rows):
    members = [dense(rows, seed, learning_rate=0.1 * (1 + seed)) for seed in range(3)]
    modules = [to_torch_module(member) for member in members]
    lanes = make_lanes(rows, members)
    for _ in range(2):
        losses = lanes.train_epoch(GO)
        for lane, (member, module) in enumerate(zip(members, modules, strict=True)):
            optimizer, total = torch.optim.SGD(module.parameters(), member.spec["learning_rate"]), 0.0
            for first in range(0, N_TRAIN, 13):
                optimizer.zero_grad()
                loss = summed_loss(module, rows, slice(first, first + 13)) / 13
                loss.backward()
                optimizer.step()
                total += loss.item()
            assert losses[lane] == pytest.approx(total / (N_TRAIN / 13), rel=1e-4)
    lanes.store_members()
    for member, module in zip(members, modules, strict=True):
        np.testing.assert_allclose(member.state.theta, flat(module), atol=1e-5)
        assert member.state.step[0] == 2 * N_TRAIN / 13


def test_members_are_unchanged_until_they_are_stored(rows):
    member = dense(rows)
    theta = member.state.theta.copy()
    lanes = make_lanes(rows, [member])
    lanes.train_epoch(GO)
    np.testing.assert_array_equal(member.state.theta, theta)
    lanes.store_members()
    assert not np.array_equal(member.state.theta, theta)


def test_a_stopped_epoch_has_no_losses(rows):
    assert make_lanes(rows, [dense(rows)]).train_epoch(HALT) is None


def test_a_cleared_lane_is_free_and_takes_another_member(rows):
    first, second, third = (dense(rows, seed) for seed in range(3))
    lanes = make_lanes(rows, [first, second], 3)
    assert lanes.free_lanes == [2]
    lanes.train_epoch(GO)
    lanes.clear_lane(0)
    assert lanes.free_lanes == [0, 2]
    assert (lanes.train_epoch(GO) > 0).tolist() == [False, True, False]  # a free lane has no loss
    lanes.load_member(0, third)
    assert lanes.free_lanes == [2]
    single = dense(rows, 2)
    for stack in (lanes, expected := make_lanes(rows, [single])):
        stack.train_epoch(GO)
        stack.store_members()
    assert expected.free_lanes == []
    np.testing.assert_allclose(third.state.theta, single.state.theta, atol=1e-6)
    assert first.state.step[0] == 0  # it was removed before it was stored


def test_outputs_and_losses_of_validation_rows_equal_those_of_pytorch(rows):
    members = [dense(rows, seed) for seed in range(2)]
    members[0].validation = members[0].validation[:5]  # fewer than the other member has
    without = dense(rows, 2)
    without.validation = without.validation[:0]
    results = make_lanes(rows, [*members, without]).validate()
    assert set(results) == {0, 1}
    for lane, member in enumerate(members):
        outputs, loss = results[lane]
        with torch.no_grad():
            z = to_torch_module(member)(torch.from_numpy(rows.x[member.validation]).double())
            expected = (
                summed_loss(to_torch_module(member), rows, member.validation) / rows.weight[member.validation].sum()
            )
        np.testing.assert_allclose(outputs, torch.sigmoid(z).numpy(), atol=1e-6)
        assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_each_member_is_trained_for_its_epochs_if_there_are_fewer_lanes_than_members(rows):
    members = [dense(rows, seed) for seed in range(5)]
    epochs = {id(member): 1 + index for index, member in enumerate(members)}
    trainer = Trainer(members, epochs)
    train_lanes(members[0], rows, CPU, 2, trainer.next_member, trainer.on_epoch_end, GO)
    assert trainer.n_epochs == epochs
    assert [member.state.step[0] for member in members] == [N_TRAIN / 13 * (1 + index) for index in range(5)]
    assert all(
        validation_result[0].shape == (member.validation.size, 1) for member, _, validation_result in trainer.calls
    )
    losses = [loss for member, loss, _ in trainer.calls if member is members[4]]
    assert losses[-1] < losses[0]


def test_nothing_is_trained_if_the_stop_flag_is_set(rows):
    members = [dense(rows, seed) for seed in range(2)]
    before = [member.state.theta.copy() for member in members]
    trainer = Trainer(members, dict.fromkeys(map(id, members), 3))
    train_lanes(members[0], rows, CPU, 2, trainer.next_member, trainer.on_epoch_end, HALT)
    assert trainer.calls == []
    for member, theta in zip(members, before, strict=True):
        np.testing.assert_array_equal(member.state.theta, theta)
