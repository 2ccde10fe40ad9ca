"""Architecture of convolutional and recurrent networks: parameter counts, layout and summary."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from rosenblatt.networks.deep import DeepArchitecture, architecture_from_dict, build_deep, conv_output_size
from rosenblatt.networks.dense import DenseArchitecture
from rosenblatt.networks.layers import Conv, GlobalPooling, InputSpec, Pool, Residual
from rosenblatt.spec.defaults import resolve_auto
from rosenblatt.spec.spec import Spec

IMAGE, STEPS, TOKENS = InputSpec("image", 3, 32, 32), InputSpec("sequence", 2), InputSpec("text", 50)
RUNNING = ("mean", "variance")  # statistics that PyTorch keeps as buffers, not as parameters


def build(*media, n_plain=0, n_outputs=4, member=0, is_per_step=False, **changes):
    spec = resolve_auto(Spec.from_hyperparameters(**changes), 1000, n_plain)
    return build_deep(spec.network, media, n_plain, n_outputs, is_per_step=is_per_step, member=member)


def cnn(*media, **changes):
    plain = {"kind": "cnn", "channels": (8, 12), "block_layers": 1, "residual": False, "normalization": "none"}
    return build(*(media or (IMAGE,)), **(plain | changes))


def rnn(*media, **changes):
    return build(*(media or (STEPS,)), **({"kind": "rnn", "recurrent_width": 6, "bidirectional": False} | changes))


def count_trainable(architecture):
    return sum(part.end - part.start for part in architecture.parts if part.name not in RUNNING)


def count_torch_parameters(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def tower_layers(architecture, kind):
    return [layer for layer in architecture.towers[0] if isinstance(layer, kind)]


EXAMPLES = {
    "cnn": lambda: cnn(normalization="batch", residual=True, block_layers=3, n_plain=5),
    "depthwise": lambda: cnn(convolution="depthwise", normalization="group"),
    "rnn": lambda: rnn(STEPS, TOKENS, n_plain=1, bidirectional=True, recurrent_layers=2, global_pooling="attention"),
    "channel_mlp": lambda: build(InputSpec("image", 3, 4, 4), kind="channel_mlp", hidden_sizes=(8, 4)),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_parameters_fill_the_flat_array_without_gaps_and_are_views_of_it(name):
    architecture = EXAMPLES[name]()
    starts = [part.start for part in architecture.parts]
    assert starts == [0, *(part.end for part in architecture.parts[:-1])]
    theta = np.arange(architecture.n_parameters, dtype=np.float32)
    parameters = architecture.parameters_by_name(theta)
    assert len(parameters) == len(architecture.parts)  # each pair of layer and name is unique
    np.testing.assert_array_equal(np.concatenate([value.ravel() for value in parameters.values()]), theta)
    assert {layer for layer, _ in parameters} == set(range(architecture.n_layers))
    last = parameters[architecture.n_layers - 1, "bias"]
    last[:] = -1
    np.testing.assert_array_equal(theta[-4:], [-1] * 4)


@pytest.mark.torch
def test_convolutional_networks_have_as_many_parameters_as_in_pytorch():
    nn = pytest.importorskip("torch").nn
    head = nn.Linear(12, 4)
    plain = count_torch_parameters(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 12, 3), head)
    assert cnn().n_parameters == plain
    assert cnn(kernel_size=5).n_parameters == count_torch_parameters(nn.Conv2d(3, 8, 5), nn.Conv2d(8, 12, 5), head)
    normalized = count_torch_parameters(nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 12, 3, bias=False), head)
    normalized += count_torch_parameters(nn.BatchNorm2d(8), nn.BatchNorm2d(12))
    assert count_trainable(cnn(normalization="batch")) == normalized
    assert count_trainable(cnn(normalization="group")) == normalized
    assert cnn(normalization="batch").n_parameters == normalized + 2 * (8 + 12)  # with the running statistics
    first = nn.Conv2d(3, 3, 3, groups=3, bias=False), nn.Conv2d(3, 8, 1)
    second = nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.Conv2d(8, 12, 1)
    assert cnn(convolution="depthwise").n_parameters == count_torch_parameters(*first, *second, head)
    assert cnn(global_pooling="flatten").n_parameters == plain - count_torch_parameters(head) + count_torch_parameters(
        nn.Linear(12 * 16 * 16, 4)
    )
    sequence = count_torch_parameters(nn.Conv1d(2, 8, 3), nn.Conv1d(8, 12, 3), head)
    assert cnn(STEPS).n_parameters == sequence


@pytest.mark.torch
@pytest.mark.parametrize(("cell", "module"), [("elman", "RNN"), ("gru", "GRU"), ("lstm", "LSTM")])
def test_recurrent_networks_have_as_many_parameters_as_in_pytorch(cell, module):
    nn = pytest.importorskip("torch").nn
    recurrent = getattr(nn, module)
    assert rnn(rnn_cell=cell).n_parameters == count_torch_parameters(recurrent(2, 6), nn.Linear(6, 4))
    bidirectional = recurrent(2, 6, num_layers=2, bidirectional=True)
    architecture = rnn(rnn_cell=cell, bidirectional=True, recurrent_layers=2, normalization="layer", n_plain=3)
    assert architecture.n_parameters == count_torch_parameters(
        bidirectional, nn.LayerNorm(12), nn.LayerNorm(12), nn.Linear(12 + 3, 4)
    )
    texts = rnn(TOKENS, rnn_cell=cell, embedding_size=5, hidden_sizes=(7,), global_pooling="attention")
    attention = nn.Linear(6, 1, bias=False)
    expected = count_torch_parameters(nn.Embedding(50, 5), recurrent(5, 6), attention, nn.Linear(6, 7), nn.Linear(7, 4))
    assert texts.n_parameters == expected


def test_resnet18_has_the_published_number_of_parameters():
    architecture = build(IMAGE, kind="cnn", preset="resnet18", n_outputs=10)
    published = 11_173_962  # for images of 32 x 32 pixels and 10 classes, github.com/kuangliu/pytorch-cifar
    shortcuts = 2 * (128 + 256 + 512)  # its three 1 x 1 convolutions are normalized, ours are not
    assert count_trainable(architecture) == published - shortcuts
    blocks = tower_layers(architecture, Residual)
    assert [block.shortcut is not None for block in blocks] == [False, False, True, False, True, False, True, False]
    assert blocks[2].shortcut == Conv(64, 128, (1, 1), (2, 2), 1, 1, bias=False)


def test_a_channel_mlp_has_a_separate_network_for_each_color():
    architecture = build(InputSpec("image", 3, 4, 4), kind="channel_mlp", hidden_sizes=(8, 5), n_outputs=2)
    n_per_channel = (16 * 8 + 8) + (8 * 5 + 5)
    assert architecture.n_parameters == 3 * n_per_channel + (3 * 5 * 2 + 2)
    assert architecture.head.sizes == (15, 2)
    assert architecture.summary == "4x4x3 image -> 3 x (16 pixels -> 8 relu -> 5 relu) -> 2 outputs"


@pytest.mark.torch
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_convolutions_have_the_output_size_of_pytorch(stride):
    torch = pytest.importorskip("torch")
    for side in range(1, 12):
        out = torch.nn.functional.conv1d(torch.zeros(1, 1, side), torch.ones(1, 1, 3), stride=stride, padding=1)
        assert conv_output_size(side, stride) == out.shape[-1]
    assert conv_output_size(0, stride) == 0  # sequences have no fixed length


def test_images_are_halved_between_stages_by_pooling_or_strides():
    pooled = cnn(channels=(4, 6, 8), pooling="average")
    assert tower_layers(pooled, Pool) == [Pool("average", (2, 2))] * 2
    assert [conv.stride for conv in tower_layers(pooled, Conv)] == [(1, 1)] * 3
    strided = cnn(channels=(4, 6, 8), pooling="stride", stride=2)
    assert tower_layers(strided, Pool) == []
    assert [conv.stride for conv in tower_layers(strided, Conv)] == [(2, 2)] * 3
    assert cnn(InputSpec("image", 1, 7, 7), global_pooling="flatten").head.sizes == (
        12 * 3 * 3,
        4,
    )  # 7 // 2 pixels a side


def test_sequences_are_neither_convolved_nor_pooled_across_their_width():
    architecture = cnn(STEPS, kernel_size=5, stride=2)
    assert [conv.kernel for conv in tower_layers(architecture, Conv)] == [(5, 1)] * 2
    assert tower_layers(architecture, Conv)[0].stride == (2, 1)
    assert tower_layers(architecture, Pool) == [Pool("max", (2, 1))]


def test_the_head_takes_all_towers_and_the_tabular_inputs():
    architecture = rnn(IMAGE, STEPS, TOKENS, n_plain=5, channels=(8, 12), recurrent_width=6, hidden_sizes=(9,))
    assert len(architecture.towers) == 3
    assert architecture.sizes == (12 + 6 + 6 + 5, 9, 4)
    assert tower_layers(architecture, Conv)  # a recurrent network has convolutions for images
    assert " + (5 inputs) -> 9 relu -> 4 outputs" in architecture.summary


def test_a_network_that_predicts_each_step_has_no_global_pooling():
    assert tower_layers(rnn(global_pooling="mean"), GlobalPooling) == [GlobalPooling("mean", 6)]
    per_step = rnn(is_per_step=True)
    assert tower_layers(per_step, GlobalPooling) == []
    assert per_step.summary == "sequence of 2 channels -> lstm 6 -> 4 outputs per step"


def test_the_summary_names_each_layer():
    assert cnn(global_pooling="flatten").summary == (
        "32x32x3 image -> conv 3x3 8 -> max pool -> conv 3x3 12 -> flatten -> 4 outputs"
    )
    assert cnn(residual=True, block_layers=2, channels=(8,)).summary == (
        "32x32x3 image -> conv 3x3 8 -> residual (conv 3x3 8 -> conv 3x3 8) -> global mean pool -> 4 outputs"
    )
    assert rnn(TOKENS, bidirectional=True, embedding_size=5, global_pooling="last", n_outputs=1).summary == (
        "text of 50 tokens -> embedding 5 -> bidirectional lstm 6 -> last step -> 1 output"
    )


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_the_summary_shows_every_stride_above_1(stride):
    assert f"conv 3x3 8 stride {stride} -> max pool -> conv 3x3 12 ->" in cnn(stride=stride).summary
    assert f"conv 3x1 8 stride {stride} ->" in cnn(STEPS, stride=stride).summary
    assert "stride" not in cnn().summary


def test_members_take_turns_with_the_activations():
    names = [rnn(activation=("relu", "silu"), member=member).activation for member in range(3)]
    assert names == ["relu", "silu", "relu"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_architecture_survives_json(name):
    architecture = EXAMPLES[name]()
    assert architecture_from_dict(json.loads(json.dumps(asdict(architecture)))) == architecture
    assert architecture_from_dict(asdict(architecture)) == architecture
    other = replace(architecture, n_outputs=5)
    assert isinstance(other, DeepArchitecture)
    assert architecture_from_dict(json.loads(json.dumps(asdict(other)))) != architecture
    dense = DenseArchitecture("mlp", (3, 4, 1), "relu", residual=True)
    assert architecture_from_dict(json.loads(json.dumps(asdict(dense)))) == dense
