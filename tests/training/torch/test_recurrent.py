"""Recurrent layers: sequences in reverse, and kernels that some processors lack."""

import pytest

pytest.importorskip("torch")

import torch

from rosenblatt.training.population import train
from rosenblatt.training.torch import recurrent
from rosenblatt.training.torch.recurrent import reverse
from tests.training.media import make_member, make_rows

pytestmark = pytest.mark.torch


def test_gradients_flow_through_reversed_sequences():
    a, lengths = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True), torch.tensor([[5, 2, 1], [3, 5, 4]])
    reversed_ = reverse(a, lengths)
    torch.testing.assert_close(reversed_[0, 1, :2], a[0, 1, :2].flip(0))
    torch.testing.assert_close(reversed_[0, 1, 2:], a[0, 1, 2:])
    assert torch.autograd.gradcheck(lambda pooling: reverse(pooling, lengths), (a,))


def test_sequences_are_reversed_within_their_lengths():
    a = torch.arange(12.0).view(1, 2, 6, 1)
    reversed_ = reverse(a, torch.tensor([[3, 6]]))[0, :, :, 0]
    assert reversed_.tolist() == [[2, 1, 0, 3, 4, 5], [11, 10, 9, 8, 7, 6]]


def test_lstms_train_in_32_bits_where_the_processor_has_no_kernel_for_16(monkeypatch):
    lstm = torch.lstm

    def lstm_of_32_bits(*args):
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor")
        return lstm(*args)

    rows, media = make_rows("lstm")
    exact, mixed = (make_member("lstm", 0, rows, media, precision=precision) for precision in ("float32", "mixed"))
    monkeypatch.setattr(torch, "lstm", lstm_of_32_bits)
    recurrent._has_bfloat16_lstm.cache_clear()
    list(train([exact, mixed], rows))
    recurrent._has_bfloat16_lstm.cache_clear()
    assert not mixed.failure
    assert mixed.history[-1].loss == pytest.approx(exact.history[-1].loss, rel=0.02)
