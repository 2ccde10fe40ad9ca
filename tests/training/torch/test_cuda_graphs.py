"""Steps that a GPU can repeat by itself: they ask nothing of the host, and are repeated by what they do."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rosenblatt.training.torch.batches import DeviceTable, LengthRange
from rosenblatt.training.torch.cuda_graphs import MAX_GRAPHS, WARMUP_STEPS, GraphRunner
from rosenblatt.training.torch.engine import load_network
from rosenblatt.training.torch.lanes import LENGTH_MULTIPLE, LaneStack
from rosenblatt.training.torch.sampling import BatchSampler
from tests.training.media import KINDS, make_member, make_rows

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
META = torch.device("meta")  # tensors without numbers: whoever asks for one fails


class OnlyThere(TorchDispatchMode):
    """Refuses whatever comes from another device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, torch.Tensor):
                assert leaf.device == META, f"{func} takes what is on the host"
            assert not isinstance(leaf, torch.device) or leaf == META, f"{func} makes something on the host"
        return func(*args, **kwargs or {})


@pytest.fixture(autouse=True)
def single_precision():
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(previous)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_step_asks_nothing_of_the_host(kind, n_members):
    rows, media = make_rows(kind)
    hyperparameters = {
        "label_smoothing": 0.1,
        "clip_norm": 0.5,
        "l1": 0.001,
        "max_norm": 2.0,
        "cutout": 0.2 * (kind == "cnn"),
    }
    members = [make_member(kind, seed, rows, media, **hyperparameters) for seed in range(n_members)]
    lanes = LaneStack(members[0], rows, META, n_members)
    if kind in ("cnn", "cnn of sequences", "depthwise"):  # whose ways are compared before any lane is filled
        lanes.stack.compute_gradients(
            lanes.device_table.batch_without_augmentation([np.zeros(4, int)] * n_members), None
        )
    for lane, member in enumerate(members):
        lanes.load_member(lane, member)
    lanes._static_batches = lanes.sampler.sample_epoch()
    ranges = tuple(
        fixed_range or LengthRange(LENGTH_MULTIPLE, uniform=False) for fixed_range in lanes.device_table._length_ranges
    )
    with OnlyThere():
        assert lanes._step(ranges).shape == (n_members,)
    assert all(part.is_leaf for part in dict.values(lanes.stack.net.values))  # none is tied to a stream


@pytest.mark.parametrize("kind", ["gru", "texts", "cnn of sequences"])
def test_sequences_that_are_rounded_up_say_the_same(kind):
    rows, media = make_rows(kind)
    member = make_member(kind, 0, rows, media)
    device_table, sampler = DeviceTable(rows, member.architecture, CPU), BatchSampler(member, rows, 1, CPU)
    sampler.load_member(0, member)
    epoch_batches, net = sampler.sample_epoch(), load_network(member.architecture, member.state.theta)
    exact, rounded = (
        device_table.length_ranges(epoch_batches),
        device_table.length_ranges(epoch_batches, LENGTH_MULTIPLE),
    )
    assert len(set(rounded)) < len(set(exact)) or kind == "cnn of sequences"
    for k in range(sampler.n_batches):
        actual, expected = (
            net(device_table.batch(epoch_batches.batch(k), sampler.augmentation, ranges[k])).detach().numpy()
            for ranges in (exact, rounded)
        )
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_a_step_is_recorded_once_it_is_warm_and_then_repeated(monkeypatch):
    calls = []
    runner = GraphRunner(torch.device("cuda"))
    graphs = iter(range(100))
    monkeypatch.setattr(runner, "_run_on_side_stream", lambda step: step())
    monkeypatch.setattr(runner, "_record", lambda step: (_Replayed(next(graphs), calls), torch.tensor([0.5])))
    for kind in ("short", "long"):
        for _ in range(WARMUP_STEPS + 4):
            runner(kind, lambda kind=kind: calls.append(kind) or torch.zeros(1))
    assert calls == ["short"] * WARMUP_STEPS + [0] * 4 + ["long"] * WARMUP_STEPS + [1] * 4
    for kind in range(MAX_GRAPHS + 5):
        for _ in range(WARMUP_STEPS + 1):
            runner(kind, lambda: torch.zeros(1))
    assert len(runner._graphs) == MAX_GRAPHS


class _Replayed:
    def __init__(self, index, calls):
        self.replay = lambda: calls.append(index)


def test_elsewhere_steps_are_just_done():
    assert GraphRunner(torch.device("cpu"))("any", lambda: torch.ones(1)).item() == 1
