"""Steps that a GPU can repeat by itself: they ask nothing of the host, and are repeated by what they do."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rosenblatt.training.torch.batches import Resident, Span
from rosenblatt.training.torch.cuda_graphs import MOST, WARM, Repeater
from rosenblatt.training.torch.engine import stacked, strata_of
from rosenblatt.training.torch.lanes import ROUND, Lanes
from rosenblatt.training.torch.sampling import Deck
from tests.training.media import KINDS, member_of, rows_of

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
META = torch.device("meta")  # tensors without numbers: whoever asks for one fails


class OnlyThere(TorchDispatchMode):
    """Refuses whatever comes from another device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for one in tree_leaves((args, kwargs)):
            if isinstance(one, torch.Tensor):
                assert one.device == META, f"{func} takes what is on the host"
            assert not isinstance(one, torch.device) or one == META, f"{func} makes something on the host"
        return func(*args, **kwargs or {})


@pytest.fixture(autouse=True)
def single_precision():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("many", [1, 3])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_step_asks_nothing_of_the_host(kind, many):
    rows, media = rows_of(kind)
    more = {"label_smoothing": 0.1, "clip_norm": 0.5, "l1": 0.001, "max_norm": 2.0, "cutout": 0.2 * (kind == "cnn")}
    members = [member_of(kind, seed, rows, media, **more) for seed in range(many)]
    lanes = Lanes(members[0], rows, META, many)
    if kind in ("cnn", "cnn of sequences", "depthwise"):  # whose ways are compared before any lane is filled
        lanes.stack.learn_from(lanes.resident.plain([np.zeros(4, int)] * many), None)
    for lane, member in enumerate(members):
        lanes.fill(lane, member)
    lanes._dealt = lanes.deck.deal()
    spans = tuple(known or Span(ROUND, even=False) for known in lanes.resident._spans)
    with OnlyThere():
        assert lanes._step(spans).shape == (many,)
    assert all(part.is_leaf for part in dict.values(lanes.stack.net.values))  # none is tied to a stream


@pytest.mark.parametrize("kind", ["gru", "texts", "cnn of sequences"])
def test_sequences_that_are_rounded_up_say_the_same(kind):
    rows, media = rows_of(kind)
    member = member_of(kind, 0, rows, media)
    resident, deck = Resident(rows, member.architecture, CPU), Deck(member, rows, 1, CPU)
    deck.put(0, member, strata_of(member))
    dealt, net = deck.deal(), stacked(member.architecture, member.state.theta)
    exact, rounded = resident.spans(dealt), resident.spans(dealt, ROUND)
    assert len(set(rounded)) < len(set(exact)) or kind == "cnn of sequences"
    for k in range(deck.batches):
        ours, theirs = (
            net(resident.batch(dealt.batch(k), deck.way, spans[k])).detach().numpy() for spans in (exact, rounded)
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_step_is_recorded_once_it_is_warm_and_then_repeated(monkeypatch):
    told = []
    repeat = Repeater(torch.device("cuda"))
    graphs = iter(range(100))
    monkeypatch.setattr(repeat, "_aside", lambda step: step())
    monkeypatch.setattr(repeat, "_record", lambda step: (_Replayed(next(graphs), told), torch.tensor([0.5])))
    for kind in ("short", "long"):
        for _ in range(WARM + 4):
            repeat(kind, lambda kind=kind: told.append(kind) or torch.zeros(1))
    assert told == ["short"] * WARM + [0] * 4 + ["long"] * WARM + [1] * 4
    for kind in range(MOST + 5):
        for _ in range(WARM + 1):
            repeat(kind, lambda: torch.zeros(1))
    assert len(repeat._recorded) == MOST


class _Replayed:
    def __init__(self, number, told):
        self.replay = lambda: told.append(number)


def test_elsewhere_steps_are_just_done():
    assert Repeater(torch.device("cpu"))("any", lambda: torch.ones(1)).item() == 1
