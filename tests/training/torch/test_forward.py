"""What stacks of networks compute, against PyTorch's own modules and against each network by itself."""

from itertools import count

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rosenblatt.networks.deep import build_deep
from rosenblatt.networks.layers import Medium
from rosenblatt.spec.defaults import resolve
from rosenblatt.spec.spec import Spec
from rosenblatt.training.initializers import first_deep_parameters
from rosenblatt.training.torch.forward import GROUPED, IM2COL, Batch, Stacked, reverse
from rosenblatt.training.torch.random import Noise

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def single_precision():
    """Other tests compare with PyTorch in double precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(before)


def deep_of(media, n_outputs=2, n_plain=0, each_step=False, **named):
    spec = resolve(Spec.of(**named), 1000, n_plain)
    architecture = build_deep(spec.network, media, n_plain, n_outputs, each_step=each_step)
    theta = np.stack([first_deep_parameters(architecture, spec.network, np.random.default_rng(k)) for k in range(3)])
    return architecture, torch.from_numpy(theta)


def batch_of(medium, lengths=None, n_plain=0):
    P, B = medium.shape[:2]
    return Batch(torch.randn(P, B, n_plain), (medium,), (lengths,), torch.zeros(P, B, 1), torch.ones(P, B))


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_two_directions_are_those_of_pytorch_on_packed_sequences(cell):
    torch.manual_seed(0)
    architecture, theta = deep_of((Medium("steps", 3),), kind="rnn", cell=cell, recurrent_width=5, each_step=True)
    net = Stacked(architecture, theta[:1])
    layer = architecture.towers[0][0]
    a, lengths = torch.randn(1, 4, 7, 3), torch.tensor([[7, 3, 1, 5]])
    ours = net.layer(layer, a, lengths, count(), None, architecture.towers[0])[0]
    module = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](3, 5, batch_first=True, bidirectional=True)
    names = {
        "weight": "weight_ih_l0",
        "recurrent_weight": "weight_hh_l0",
        "bias": "bias_ih_l0",
        "recurrent_bias": "bias_hh_l0",
    }
    with torch.no_grad():
        for direction, ending in enumerate(("", "_reverse")):
            for ours_name, theirs in names.items():
                getattr(module, theirs + ending).copy_(net.values[direction, ours_name][0])
        packed = pack_padded_sequence(a[0], lengths[0], batch_first=True, enforce_sorted=False)
        expected, _ = pad_packed_sequence(module(packed)[0], batch_first=True)
    for row, many in enumerate(lengths[0]):
        torch.testing.assert_close(ours[row, :many], expected[row, :many], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_batched_steps_are_the_fused_kernel(cell):
    architecture, theta = deep_of(
        (Medium("steps", 3),), kind="rnn", cell=cell, recurrent_width=5, recurrent_layers=2, summary="attention",
        normalization="layer",
    )  # fmt: skip
    a, lengths = torch.randn(3, 4, 6, 3), torch.randint(1, 7, (3, 4))
    lengths[:, 0] = 6
    together = Stacked(architecture, theta)(batch_of(a, lengths))
    for k in range(3):
        alone = Stacked(architecture, theta[k : k + 1])(batch_of(a[k : k + 1], lengths[k : k + 1]))
        torch.testing.assert_close(together[k : k + 1], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "summary"),
    [*(("rnn", one) for one in ("last", "mean", "max", "attention")), ("cnn", "mean"), ("cnn", "max")],
)
@pytest.mark.parametrize("networks", [1, 3])
def test_sequences_that_all_fill_the_batch_need_no_lengths(kind, summary, networks):
    named = {"recurrent_width": 5} if kind == "rnn" else {"channels": (4, 6), "block_layers": 1}
    architecture, theta = deep_of((Medium("steps", 3),), kind=kind, summary=summary, **named)
    a, net = torch.randn(networks, 4, 8, 3), Stacked(architecture, theta[:networks])
    filled = torch.full((networks, 4), 8)
    torch.testing.assert_close(net(batch_of(a)), net(batch_of(a, filled)), atol=1e-6, rtol=1e-5)


def test_gradients_go_back_through_reversed_sequences():
    a, lengths = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True), torch.tensor([[5, 2, 1], [3, 5, 4]])
    turned = reverse(a, lengths)
    torch.testing.assert_close(turned[0, 1, :2], a[0, 1, :2].flip(0))
    torch.testing.assert_close(turned[0, 1, 2:], a[0, 1, 2:])
    assert torch.autograd.gradcheck(lambda one: reverse(one, lengths), (a,))


@pytest.mark.parametrize(
    "named",
    [
        {"block_layers": 2, "residual": True},
        {"residual": False, "pooling": "average", "normalization": "group", "kernel_size": 5, "dilation": 2},
        {"residual": False, "pooling": "stride", "normalization": "layer", "stride": 2, "summary": "max"},
        {
            "convolution": "depthwise",
            "normalization": "none",
            "residual": False,
            "summary": "flatten",
            "kernel_size": 2,
        },
    ],
    ids=["residual", "dilated groups", "strided", "depthwise"],
)
@pytest.mark.parametrize("way", [GROUPED, IM2COL])
def test_stacked_convolutions_are_those_of_each_network(named, way):
    architecture, theta = deep_of((Medium("image", 3, 9, 9),), kind="cnn", channels=(4, 8), **named)
    a = torch.randn(3, 5, 3, 9, 9)
    stacked = Stacked(architecture, theta.clone())
    stacked.convolve = way
    together = stacked(batch_of(a))
    assert together.shape == (3, 5, 2)
    for k in range(3):
        alone = Stacked(architecture, theta[k : k + 1].clone())(batch_of(a[k : k + 1]))
        torch.testing.assert_close(together[k : k + 1], alone, atol=1e-5, rtol=1e-4)


def test_a_convolutional_network_is_that_of_pytorch():
    how = {"channels": (3, 4), "block_layers": 1, "residual": False, "normalization": "batch", "activation": "relu"}
    architecture, theta = deep_of((Medium("image", 2, 8, 8),), kind="cnn", **how)
    net = Stacked(architecture, theta[:1])
    modules = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 2),
    )  # fmt: skip
    with torch.no_grad():
        modules[0].weight.copy_(net.values[0, "weight"][0])
        modules[4].weight.copy_(net.values[2, "weight"][0])
        modules[9].weight.copy_(net.values[4, "weight"][0].T)
        modules[9].bias.copy_(net.values[4, "bias"][0])
    a = torch.randn(1, 6, 2, 8, 8)
    torch.testing.assert_close(net(batch_of(a))[0], modules.eval()(a[0]), atol=1e-5, rtol=1e-4)
    learning = net(batch_of(a), Noise(torch.zeros(1, dtype=torch.int32), None, None))
    torch.testing.assert_close(learning[0], modules.train()(a[0]), atol=1e-5, rtol=1e-4)
    net.move_on()
    torch.testing.assert_close(net.values[1, "mean"][0], modules[1].running_mean)
    torch.testing.assert_close(net.values[1, "variance"][0], modules[1].running_var)


def test_the_preset_resnet18_has_its_parameters():
    """11.17 million in torchvision's for 32 x 32 images and 10 classes, less the normalization of three shortcuts."""
    spec = resolve(Spec.of(kind="cnn", preset="resnet18"), 50_000, 0)
    architecture = build_deep(spec.network, (Medium("image", 3, 32, 32),), 0, 10)
    running = sum(int(np.prod(part.shape)) for part in architecture.parts if part.name in ("mean", "variance"))
    assert architecture.n_parameters - running == 11_173_962 - 2 * (128 + 256 + 512)


def test_every_direction_reads_to_its_own_end():
    a = torch.arange(12.0).view(1, 2, 6, 1)
    turned = reverse(a, torch.tensor([[3, 6]]))[0, :, :, 0]
    assert turned.tolist() == [[2, 1, 0, 3, 4, 5], [11, 10, 9, 8, 7, 6]]


def test_dropout_depends_on_nothing_but_the_members_seed():
    seeds, rate = torch.tensor([5, 9], dtype=torch.int32), torch.tensor([0.25, 0.5])
    both = Noise(seeds, rate, None).drop(torch.ones(2, 400, 50), rate)
    alone = Noise(seeds[1:], rate[1:], None).drop(torch.ones(1, 400, 50), rate[1:])
    torch.testing.assert_close(both[1:], alone)
    assert abs((both == 0).float().mean(dim=(1, 2)) - rate).max() < 0.01
    torch.testing.assert_close(both.mean(dim=(1, 2)), torch.ones(2), atol=0.02, rtol=0)
    masks = (both[0] == 0).float().flatten()
    assert abs(torch.corrcoef(torch.stack([masks[:-1], masks[1:]]))[0, 1]) < 0.03


def test_inputs_of_all_kinds_are_dropped():
    seeds, rate = torch.tensor([5, 9], dtype=torch.int32), torch.tensor([0.2, 0.4])
    noise = Noise(seeds, None, rate)
    tokens = noise.drop_inputs(torch.full((2, 300, 20), 7))
    assert tokens.unique().tolist() == [0, 7]  # token 0 is unknown
    assert abs((tokens == 0).float().mean(dim=(1, 2)) - rate).max() < 0.02
    for shape in ((2, 60, 12, 3), (2, 30, 3, 8, 8)):  # steps; images
        kept = noise.drop_inputs(torch.ones(shape)).flatten(1)
        assert abs((kept == 0).float().mean(dim=1) - rate).max() < 0.03
        torch.testing.assert_close(kept.mean(dim=1), torch.ones(2), atol=0.05, rtol=0)
    medium = torch.ones(2, 5, 4)
    assert Noise(seeds, rate, None).drop_inputs(medium) is medium
