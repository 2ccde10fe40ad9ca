"""CUDA graphs: steps do not synchronize with the host, and are replayed after a warm-up."""

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
META = torch.device("meta")  # tensors without values, so that reading a value fails


class NoHostTensors(TorchDispatchMode):
    """Fails if an operation uses or creates a tensor on another device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, torch.Tensor):
                assert leaf.device == META, f"{func} uses a tensor on the host"
            assert not isinstance(leaf, torch.device) or leaf == META, f"{func} creates a tensor on the host"
        return func(*args, **kwargs or {})


@pytest.fixture(autouse=True)
def single_precision():
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(previous)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_step_does_not_synchronize_with_the_host(kind, n_members):
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
    if kind in ("cnn", "cnn of sequences", "depthwise"):  # their convolutions are timed before lanes are filled
        lanes.stack.compute_gradients(
            lanes.device_table.batch_without_augmentation([np.zeros(4, int)] * n_members), None
        )
    for lane, member in enumerate(members):
        lanes.load_member(lane, member)
    lanes._static_batches = lanes.sampler.sample_epoch()
    ranges = tuple(
        fixed_range or LengthRange(LENGTH_MULTIPLE, uniform=False) for fixed_range in lanes.device_table._length_ranges
    )
    with NoHostTensors():
        assert lanes._step(ranges).shape == (n_members,)
    assert all(part.is_leaf for part in dict.values(lanes.stack.net.values))  # no parameter is tied to a stream


@pytest.mark.parametrize("kind", ["gru", "texts", "cnn of sequences"])
def test_rounded_up_lengths_do_not_change_the_logits(kind):
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


def test_a_step_is_recorded_after_a_warm_up_and_then_replayed(monkeypatch):
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


def test_steps_on_a_cpu_are_run_directly():
    assert GraphRunner(torch.device("cpu"))("any", lambda: torch.ones(1)).item() == 1
