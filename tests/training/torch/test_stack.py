"""Steps of stacked members, compared with PyTorch's modules, losses and optimizers in double precision."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.nn import functional as F

from rosenblatt.training.torch.forward import Batch
from rosenblatt.training.torch.stack import CPU, MemberStack
from tests.training.media import TAGS, make_member, make_rows

pytestmark = pytest.mark.torch

PLAIN = {"residual": False, "normalization": "none", "dropout": 0.0, "activation": "tanh", "weight_decay": 0.0,
         "clip_norm": 0.0, "ema_decay": 0.0}  # fmt: skip
B = 10


@pytest.fixture(autouse=True)
def single_precision():
    """Use single precision, because other tests change PyTorch's default."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(previous)


def dense(seed, **hyperparameters):
    """A multilayer perceptron of 3 inputs, 8 and 8 tanh units, and a logit."""
    rows, media = make_rows("mlp")
    return make_member("mlp", seed, rows, media, **PLAIN | hyperparameters)


def make_stack(*members):
    stack = MemberStack(members[0], len(members))
    for lane, member in enumerate(members):
        stack.load_member(lane, member)
    return stack


def make_batch(n_members, seed=0):
    """Return different rows for each member; their weights sum to 1."""
    rng = np.random.default_rng(seed)
    x, t = rng.normal(size=(n_members, B, 3)), rng.integers(0, 2, (n_members, B, 1))
    weight = rng.uniform(0.5, 1.5, (n_members, B))
    weight /= weight.sum(axis=1, keepdims=True)
    x, t, weight = (torch.from_numpy(array).float() for array in (x, t, weight))
    return Batch(x, (), (), t, weight)


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


def flat(module, values):
    """One value of each parameter of a module, in the order of a member's flat array."""
    linears = [layer for layer in module if isinstance(layer, nn.Linear)]
    return torch.cat([part for linear in linears for part in (values(linear.weight).T.flatten(), values(linear.bias))])


def summed_loss(module, batch, lane):
    z = module(batch.x[lane].double())
    return F.binary_cross_entropy_with_logits(z, batch.t[lane].double(), batch.weight[lane, :, None].double(),
                                              reduction="sum")  # fmt: skip


def seeds(n_members):
    return torch.arange(n_members, dtype=torch.int32)


def constant(n_members, rate=1.0, decay=1.0):
    """Factors of learning rate, dropout and decay of each member."""
    return torch.tensor([[rate, 1.0, decay]] * n_members)


def test_losses_and_gradients_equal_those_of_pytorch():
    members = [dense(seed) for seed in range(3)]
    stack, batch = make_stack(*members), make_batch(3)
    losses = stack.compute_gradients(batch, None)
    for lane, member in enumerate(members):
        module = to_torch_module(member)
        expected = summed_loss(module, batch, lane)
        expected.backward()
        assert losses[lane].item() == pytest.approx(expected.item(), rel=1e-5)
        gradient = flat(module, lambda parameter: parameter.grad)
        torch.testing.assert_close(stack.gradient[lane].double(), gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_updates_equal_adamw_with_the_rate_and_decay_of_each_member(decay):
    members = [dense(seed, optimizer="adamw", weight_decay=0.1 * (1 + seed)) for seed in range(3)]
    modules = [to_torch_module(member) for member in members]
    optimizers = []
    for member, module in zip(members, modules, strict=True):
        named = list(module.named_parameters())
        groups = [
            {
                "params": [p for name, p in named if "weight" in name],
                "weight_decay": member.spec["weight_decay"] * decay,
            },
            {"params": [p for name, p in named if "bias" in name], "weight_decay": 0.0},
        ]
        betas = member.spec.training.beta1, member.spec.training.beta2
        optimizers.append(torch.optim.AdamW(groups, member.spec["learning_rate"] / 2, betas, eps=1e-8))
    stack = make_stack(*members)
    for seed in range(5):
        batch = make_batch(3, seed)
        stack.step(batch, constant(3, rate=0.5, decay=decay), seeds(3))
        for lane, (module, optimizer) in enumerate(zip(modules, optimizers, strict=True)):
            optimizer.zero_grad()
            summed_loss(module, batch, lane).backward()
            optimizer.step()
    for lane, module in enumerate(modules):
        expected = flat(module, lambda parameter: parameter.detach())
        torch.testing.assert_close(stack.theta[lane].double(), expected, atol=1e-5, rtol=1e-5)


def test_gradients_are_clipped_to_the_norm_of_each_member():
    members = [dense(seed, optimizer="sgd", clip_norm=limit) for seed, limit in enumerate((0.01, 0.02, 1000.0))]
    stack, batch = make_stack(*members), make_batch(3)
    stack.compute_gradients(batch, None)
    before, gradient = stack.theta.clone(), stack.gradient.clone()
    stack.step(batch, constant(3), seeds(3))
    rates = torch.tensor([[member.spec["learning_rate"]] for member in members])
    steps = (before - stack.theta) / rates
    torch.testing.assert_close(steps[:2].norm(dim=1), torch.tensor([0.01, 0.02]), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(steps[2], gradient[2], atol=1e-4, rtol=1e-2)
    cosine = F.cosine_similarity(steps, gradient)
    torch.testing.assert_close(cosine, torch.ones(3), atol=1e-3, rtol=0)


def test_max_norm_scales_down_only_units_above_the_limit_of_their_member():
    members = [dense(seed, optimizer="sgd", max_norm=limit) for seed, limit in enumerate((1.0, 1000.0))]
    stack = make_stack(*members)
    before = stack.theta.clone().numpy()
    stack.step(make_batch(2), constant(2, rate=0.0), seeds(2))
    np.testing.assert_array_equal(stack.theta[1].numpy(), before[1])
    norms = []
    new, old = (members[0].architecture.layers(theta[0]) for theta in (stack.theta.numpy(), before))
    for (weights, biases), (old_weights, old_biases) in zip(new, old, strict=True):
        norms.append(np.linalg.norm(old_weights, axis=0))
        np.testing.assert_allclose(weights, old_weights * np.minimum(1, 1 / norms[-1]), rtol=1e-5)
        np.testing.assert_array_equal(biases, old_biases)
    assert min(map(min, norms)) < 1 < max(map(max, norms))


def test_an_l1_penalty_moves_weights_towards_zero_but_not_beyond_it():
    member = dense(1, optimizer="sgd", l1=50.0)
    stack = make_stack(member)
    stack.compute_gradients(make_batch(1), None)
    rate = member.spec["learning_rate"]
    plain = (stack.theta - rate * stack.gradient)[0].numpy()
    stack.step(make_batch(1), constant(1), seeds(1))
    for (weights, biases), (expected, expected_biases) in zip(
        member.architecture.layers(stack.theta[0].numpy()), member.architecture.layers(plain), strict=True
    ):
        shrunk = np.sign(expected) * np.maximum(np.abs(expected) - rate * 50, 0)
        np.testing.assert_allclose(weights, shrunk, atol=1e-6)
        assert 0 < (weights == 0).mean() < 1
        np.testing.assert_allclose(biases, expected_biases, atol=1e-6)


def test_the_running_average_of_parameters_moves_faster_in_the_first_steps():
    members = [dense(seed, optimizer="sgd", ema_decay=decay) for seed, decay in enumerate((0.1, 0.999))]
    stack = make_stack(*members)
    expected = stack.theta.double().clone()
    for step in range(1, 4):
        stack.step(make_batch(2, step), constant(2), seeds(2))
        decay = torch.tensor(
            [[min(max_decay, (1 + step) / (10 + step))] for max_decay in (0.1, 0.999)], dtype=torch.float64
        )
        expected = decay * expected + (1 - decay) * stack.theta.double()
    torch.testing.assert_close(stack.mean.double(), expected, atol=1e-6, rtol=1e-5)


def test_a_single_member_with_shared_arrays_is_trained_as_in_a_stack():
    hyperparameters = {
        "optimizer": "adam",
        "weight_decay": 0.1,
        "clip_norm": 0.1,
        "max_norm": 1.0,
        "l1": 0.1,
        "ema_decay": 0.9,
    }
    shared, stacked = dense(1, **hyperparameters), dense(1, **hyperparameters)
    single, stack = MemberStack(shared, 1, CPU, shared=True), make_stack(stacked)
    for seed in range(3):
        a = single.step(make_batch(1, seed), constant(1, rate=0.5).numpy().astype(np.float64), seeds(1))
        b = stack.step(make_batch(1, seed), constant(1, rate=0.5), seeds(1))
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    stack.store_members([stacked])
    assert shared.state.step[0] == stacked.state.step[0] == 3  # the shared state needs no `store_members`
    for actual, expected in zip(shared.state[:4], stacked.state[:4], strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_loading_and_storing_a_member_changes_nothing_and_empty_lanes_are_skipped():
    first, second = dense(0, ema_decay=0.9), dense(1, ema_decay=0.9)
    second.state.step[0] = 1000
    second.state.m[:], second.state.v[:] = np.arange(second.state.m.size), 0.5
    stack, back = make_stack(first, second), second.copy()
    for array in back.state[:4]:
        array[:] = -1
    stack.store_members([None, back])
    for actual, expected in zip(back.state, second.state, strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_a_cleared_lane_trains_nothing_and_does_not_affect_the_others():
    members = [dense(seed, optimizer="adam") for seed in range(2)]
    stack, expected = make_stack(*members), make_stack(*members)
    stack.clear_lane(0)
    for seed in range(3):
        stack.step(make_batch(2, seed), constant(2), seeds(2))
        expected.step(make_batch(2, seed), constant(2), seeds(2))
    assert not stack.theta[0].any()
    assert torch.isfinite(stack.theta).all()
    torch.testing.assert_close(stack.theta[1], expected.theta[1], atol=1e-6, rtol=1e-5)


def test_mixup_weights_the_losses_of_both_targets():
    member = dense(0)
    stack, batch = make_stack(member), make_batch(1)
    other_targets = 1 - batch.t
    losses = [stack.compute_gradients(variant, None).item() for variant in (batch, batch._replace(t=other_targets))]
    mixed = stack.compute_gradients(
        batch._replace(mixup_targets=other_targets, mixup_weight=torch.tensor([[0.3]])), None
    )
    assert mixed.item() == pytest.approx(0.3 * losses[0] + 0.7 * losses[1], rel=1e-5)


def test_steps_after_the_end_of_a_sequence_have_no_loss():
    rows, media = make_rows("tags")
    stack = make_stack(*(make_member("tags", seed, rows, media) for seed in range(2)))
    z, t = torch.randn(2, 4, 6, TAGS, generator=torch.manual_seed(0)), torch.full((2, 4, 8), -1.0)
    for row, steps in enumerate((6, 1, 3, 4)):
        t[:, row, :steps] = torch.arange(steps) % TAGS
    batch = Batch(torch.zeros(2, 4, 0), (), (), t, torch.full((2, 4), 0.25))
    losses = stack.mean_loss(z, batch)
    for lane in range(2):
        expected = F.cross_entropy(z[lane].flatten(0, 1), t[lane, :, :6].flatten().long(), ignore_index=-1)
        assert losses[lane].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_seed_of_a_lane_determines_which_units_are_dropped():
    expected_biases = [dense(0, dropout=0.5) for _ in range(3)]
    stack, batch = make_stack(*expected_biases), make_batch(1)
    batch = batch._replace(x=batch.x.repeat(3, 1, 1), t=batch.t.repeat(3, 1, 1), weight=batch.weight.repeat(3, 1))
    a, b, c = stack.step(batch, constant(3), torch.tensor([5, 5, 6], dtype=torch.int32)).tolist()
    assert a == pytest.approx(b, rel=1e-6)
    assert a != pytest.approx(c, rel=1e-3)
