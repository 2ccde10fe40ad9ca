"""Parameters of layers of convolutional and recurrent networks: names, shapes and order."""

import pytest

from rosenblatt.networks.layers import (
    GATES,
    Activation,
    Conv,
    Dropout,
    Embedding,
    GlobalPooling,
    LayerNorm,
    Norm,
    PerChannelMLP,
    Pool,
    Recurrent,
    Residual,
    iter_parameter_layers,
    parameter_shapes,
)

CONV = Conv(6, 8, (3, 5), (1, 1), 1, 1, bias=True)
SHORTCUT = Conv(6, 8, (1, 1), (2, 2), 1, 1, bias=False)


def shapes(layer):
    return dict(parameter_shapes(layer))


def test_each_group_of_a_convolution_reads_its_share_of_the_channels():
    assert shapes(CONV) == {"weight": (8, 6, 3, 5), "bias": (8,)}
    assert shapes(CONV._replace(groups=2)) == {"weight": (8, 3, 3, 5), "bias": (8,)}
    assert shapes(CONV._replace(bias=False)) == {"weight": (8, 6, 3, 5)}


def test_only_batch_normalization_has_running_statistics():
    affine = {"gain": (4,), "shift": (4,)}
    assert shapes(Norm("batch", 4)) == affine | {"mean": (4,), "variance": (4,)}
    assert shapes(Norm("layer", 4)) == shapes(Norm("group", 4)) == shapes(LayerNorm(4)) == affine


def test_only_attention_gives_global_pooling_a_parameter():
    assert shapes(GlobalPooling("attention", 6)) == {"weight": (6, 1)}
    assert all(not shapes(GlobalPooling(kind, 6)) for kind in ("last", "mean", "max", "flatten"))


def test_layers_without_parameters_are_left_out():
    layers = [Embedding(50, 6), Activation(), Dropout(), Pool("max", (2, 2)), GlobalPooling("mean", 6), LayerNorm(6)]
    assert list(iter_parameter_layers(layers)) == [Embedding(50, 6), LayerNorm(6)]


def test_a_residual_block_lists_its_body_before_its_shortcut():
    norm, inner = Norm("batch", 8), Residual((LayerNorm(8), Activation()), None)
    block = Residual((CONV, norm, Activation(), inner), SHORTCUT)
    assert list(iter_parameter_layers((block, norm))) == [CONV, norm, LayerNorm(8), SHORTCUT, norm]


def test_a_bidirectional_layer_has_the_parameters_of_two_layers_of_a_single_direction():
    layer = Recurrent("gru", 3, 5, 2)
    assert list(iter_parameter_layers([layer])) == [Recurrent("gru", 3, 5, 1)] * 2
    assert list(iter_parameter_layers([layer._replace(directions=1)])) == [Recurrent("gru", 3, 5, 1)]


def test_a_per_channel_network_has_a_weight_for_each_pair_of_sizes():
    layers = list(iter_parameter_layers([PerChannelMLP(3, (16, 8, 4))]))
    assert [shapes(layer) for layer in layers] == [
        {"weight": (3, 16, 8), "bias": (3, 8)},
        {"weight": (3, 8, 4), "bias": (3, 4)},
    ]


@pytest.mark.torch
@pytest.mark.parametrize(("cell", "module"), [("elman", "RNN"), ("gru", "GRU"), ("lstm", "LSTM")])
def test_recurrent_parameters_have_the_shapes_and_order_of_pytorch(cell, module):
    nn = pytest.importorskip("torch").nn
    reference = getattr(nn, module)(3, 5)
    assert cell in GATES
    assert [shape for _, shape in parameter_shapes(Recurrent(cell, 3, 5, 1))] == [
        tuple(parameter.shape) for parameter in reference.parameters()
    ]


@pytest.mark.torch
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_parameters_have_the_shapes_of_pytorch(groups):
    nn = pytest.importorskip("torch").nn
    reference = nn.Conv2d(6, 8, (3, 5), groups=groups)
    expected = {name: tuple(parameter.shape) for name, parameter in reference.named_parameters()}
    assert shapes(CONV._replace(groups=groups)) == expected
