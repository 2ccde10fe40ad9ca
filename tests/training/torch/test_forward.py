"""Outputs of stacked networks, compared with PyTorch's modules and with each network alone."""

from itertools import count

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rosenblatt.networks.deep import build_deep
from rosenblatt.networks.layers import InputSpec
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec
from rosenblatt.training.initializers import initialize_deep
from rosenblatt.training.torch.forward import GROUPED, IM2COL, Batch, StackedNetworks
from rosenblatt.training.torch.random import DropoutMasks

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def single_precision():
    """Use single precision, because other tests change PyTorch's default."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(previous)


def make_deep(media, n_outputs=2, n_plain=0, is_per_step=False, **hyperparameters):
    spec = resolve_auto(Spec.from_hyperparameters(**hyperparameters), 1000, n_plain)
    architecture = build_deep(spec.network, media, n_plain, n_outputs, is_per_step=is_per_step)
    theta = np.stack([initialize_deep(architecture, spec.network, np.random.default_rng(k)) for k in range(3)])
    return architecture, torch.from_numpy(theta)


def make_batch(medium, lengths=None, n_plain=0):
    P, B = medium.shape[:2]
    return Batch(torch.randn(P, B, n_plain), (medium,), (lengths,), torch.zeros(P, B, 1), torch.ones(P, B))


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_both_directions_equal_those_of_pytorch_on_packed_sequences(cell):
    torch.manual_seed(0)
    architecture, theta = make_deep(
        (InputSpec("sequence", 3),), kind="rnn", rnn_cell=cell, recurrent_width=5, is_per_step=True
    )
    net = StackedNetworks(architecture, theta[:1])
    layer = architecture.towers[0][0]
    a, lengths = torch.randn(1, 4, 7, 3), torch.tensor([[7, 3, 1, 5]])
    actual = net.forward_layer(layer, a, lengths, count(), None, architecture.towers[0])[0]
    module = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](3, 5, batch_first=True, bidirectional=True)
    names = {
        "weight": "weight_ih_l0",
        "recurrent_weight": "weight_hh_l0",
        "bias": "bias_ih_l0",
        "recurrent_bias": "bias_hh_l0",
    }
    with torch.no_grad():
        for direction, ending in enumerate(("", "_reverse")):
            for name, torch_name in names.items():
                getattr(module, torch_name + ending).copy_(net.values[direction, name][0])
        packed = pack_padded_sequence(a[0], lengths[0], batch_first=True, enforce_sorted=False)
        expected, _ = pad_packed_sequence(module(packed)[0], batch_first=True)
    for row, length in enumerate(lengths[0]):
        torch.testing.assert_close(actual[row, :length], expected[row, :length], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_stacked_recurrent_steps_equal_the_fused_kernel(cell):
    architecture, theta = make_deep(
        (InputSpec("sequence", 3),), kind="rnn", rnn_cell=cell, recurrent_width=5, recurrent_layers=2,
        global_pooling="attention", normalization="layer",
    )  # fmt: skip
    a, lengths = torch.randn(3, 4, 6, 3), torch.randint(1, 7, (3, 4))
    lengths[:, 0] = 6
    together = StackedNetworks(architecture, theta)(make_batch(a, lengths))
    for k in range(3):
        single = StackedNetworks(architecture, theta[k : k + 1])(make_batch(a[k : k + 1], lengths[k : k + 1]))
        torch.testing.assert_close(together[k : k + 1], single, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [*(("rnn", pooling) for pooling in ("last", "mean", "max", "attention")), ("cnn", "mean"), ("cnn", "max")],
)
@pytest.mark.parametrize("networks", [1, 3])
def test_sequences_that_all_have_the_full_length_need_no_lengths(kind, pooling, networks):
    hyperparameters = {"recurrent_width": 5} if kind == "rnn" else {"channels": (4, 6), "block_layers": 1}
    architecture, theta = make_deep((InputSpec("sequence", 3),), kind=kind, global_pooling=pooling, **hyperparameters)
    a, net = torch.randn(networks, 4, 8, 3), StackedNetworks(architecture, theta[:networks])
    filled = torch.full((networks, 4), 8)
    torch.testing.assert_close(net(make_batch(a)), net(make_batch(a, filled)), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "hyperparameters",
    [
        {"block_layers": 2, "residual": True},
        {"residual": False, "pooling": "average", "normalization": "group", "kernel_size": 5, "dilation": 2},
        {"residual": False, "pooling": "stride", "normalization": "layer", "stride": 2, "global_pooling": "max"},
        {
            "convolution": "depthwise",
            "normalization": "none",
            "residual": False,
            "global_pooling": "flatten",
            "kernel_size": 2,
        },
    ],
    ids=["residual", "dilated groups", "strided", "depthwise"],
)
@pytest.mark.parametrize("convolution", [GROUPED, IM2COL])
def test_stacked_convolutions_equal_those_of_each_network(hyperparameters, convolution):
    architecture, theta = make_deep((InputSpec("image", 3, 9, 9),), kind="cnn", channels=(4, 8), **hyperparameters)
    a = torch.randn(3, 5, 3, 9, 9)
    stacked = StackedNetworks(architecture, theta.clone())
    stacked.convolution = convolution
    together = stacked(make_batch(a))
    assert together.shape == (3, 5, 2)
    for k in range(3):
        single = StackedNetworks(architecture, theta[k : k + 1].clone())(make_batch(a[k : k + 1]))
        torch.testing.assert_close(together[k : k + 1], single, atol=1e-5, rtol=1e-4)


def test_a_convolutional_network_equals_that_of_pytorch():
    hyperparameters = {
        "channels": (3, 4),
        "block_layers": 1,
        "residual": False,
        "normalization": "batch",
        "activation": "relu",
    }
    architecture, theta = make_deep((InputSpec("image", 2, 8, 8),), kind="cnn", **hyperparameters)
    net = StackedNetworks(architecture, theta[:1])
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
    torch.testing.assert_close(net(make_batch(a))[0], modules.eval()(a[0]), atol=1e-5, rtol=1e-4)
    training_output = net(make_batch(a), DropoutMasks(torch.zeros(1, dtype=torch.int32), None, None))
    torch.testing.assert_close(training_output[0], modules.train()(a[0]), atol=1e-5, rtol=1e-4)
    net.update_running_stats()
    torch.testing.assert_close(net.values[1, "mean"][0], modules[1].running_mean)
    torch.testing.assert_close(net.values[1, "variance"][0], modules[1].running_var)


def test_dropout_depends_only_on_the_seed_of_the_member():
    seeds, rate = torch.tensor([5, 9], dtype=torch.int32), torch.tensor([0.25, 0.5])
    together = DropoutMasks(seeds, rate, None).drop(torch.ones(2, 400, 50), rate)
    single = DropoutMasks(seeds[1:], rate[1:], None).drop(torch.ones(1, 400, 50), rate[1:])
    torch.testing.assert_close(together[1:], single)
    assert abs((together == 0).float().mean(dim=(1, 2)) - rate).max() < 0.01
    torch.testing.assert_close(together.mean(dim=(1, 2)), torch.ones(2), atol=0.02, rtol=0)
    zeros = (together[0] == 0).float().flatten()
    assert abs(torch.corrcoef(torch.stack([zeros[:-1], zeros[1:]]))[0, 1]) < 0.03


def test_input_dropout_applies_to_all_kinds_of_inputs():
    seeds, rate = torch.tensor([5, 9], dtype=torch.int32), torch.tensor([0.2, 0.4])
    masks = DropoutMasks(seeds, None, rate)
    tokens = masks.drop_inputs(torch.full((2, 300, 20), 7))
    assert tokens.unique().tolist() == [0, 7]  # token 0 is unknown
    assert abs((tokens == 0).float().mean(dim=(1, 2)) - rate).max() < 0.02
    for shape in ((2, 60, 12, 3), (2, 30, 3, 8, 8)):  # steps; images
        output = masks.drop_inputs(torch.ones(shape)).flatten(1)
        assert abs((output == 0).float().mean(dim=1) - rate).max() < 0.03
        torch.testing.assert_close(output.mean(dim=1), torch.ones(2), atol=0.05, rtol=0)
    medium = torch.ones(2, 5, 4)
    assert DropoutMasks(seeds, rate, None).drop_inputs(medium) is medium
