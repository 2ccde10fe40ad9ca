"""Recurrent layers in one direction: PyTorch's kernels for a single network, and the steps of stacked ones."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from rosenblatt.networks.layers import Recurrent


def run_single(layer: Recurrent, a: Tensor, parts: list[Tensor]) -> Tensor:
    """Run one network's layer over sequences (B, T, C) with PyTorch's kernel; returns (B, T, units)."""
    lacks_kernel = a.is_cpu and layer.cell == "lstm" and torch.is_autocast_enabled("cpu") and not _has_bfloat16_lstm()
    if a.is_cuda or lacks_kernel:  # autocast would choose float16 on CUDA
        with torch.autocast(a.device.type, enabled=False):
            return run_fused(layer, a.float(), parts)[0]
    return run_fused(layer, a, parts)[0]


def run_fused(layer: Recurrent, a: Tensor, parts: list[Tensor], state: Any = None) -> tuple[Tensor, Any]:
    """Run one network's layer in one direction with PyTorch's kernel; return (B, T, units) and the final state."""
    zero = a.new_zeros(1, a.shape[0], layer.units)
    common = (parts, True, 1, 0.0, True, False, True)  # biases, layers, dropout, training, directions, batch first
    if layer.cell == "lstm":
        out, h, c = torch.lstm(a, state or (zero, zero), *common)
        return out, (h, c)
    kernel = torch.gru if layer.cell == "gru" else torch.rnn_tanh
    out, h = kernel(a, zero if state is None else state, *common)
    return out, h


@cache
def _has_bfloat16_lstm() -> bool:
    """Whether this processor has a training kernel for LSTMs in bfloat16; oneDNN reports only at its use if not."""
    layer = Recurrent("lstm", n_in=2, units=2, directions=1)
    parts = [torch.zeros(shape, dtype=torch.float32, requires_grad=True) for shape in ((8, 2), (8, 2), (8,), (8,))]
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        try:
            run_fused(layer, torch.zeros(1, 1, 2, dtype=torch.float32), parts)[0].sum().backward()
        except RuntimeError:
            return False
    return True


def cell(kind: str, input_part: Tensor, recurrent_part: Tensor, h: Tensor, cell_state: Tensor) -> tuple[Tensor, Tensor]:
    """Run one step of a recurrent cell; return its output and cell state (gates and biases as in PyTorch)."""
    if kind == "elman":
        return torch.tanh(input_part + recurrent_part), cell_state
    if kind == "gru":  # Cho et al. 2014, with the reset gate after the product
        r, z, n = input_part.chunk(3, dim=-1)
        hr, hz, hn = recurrent_part.chunk(3, dim=-1)
        update_gate = torch.sigmoid(z + hz)
        candidate = torch.tanh(n + torch.sigmoid(r + hr) * hn)
        return candidate + update_gate * (h - candidate), cell_state
    i, f, g, o = (input_part + recurrent_part).chunk(4, dim=-1)  # Hochreiter & Schmidhuber 1997; Gers et al. 2000
    cell_state = torch.sigmoid(f) * cell_state + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(cell_state), cell_state


def reverse(a: Tensor, lengths: Tensor) -> Tensor:
    """Reverse sequences (P, B, T, C) within their lengths; padding stays in place."""
    P, B, T, _ = a.shape
    steps = torch.arange(T, device=a.device)
    source_steps = torch.where(steps < lengths[:, :, None], lengths[:, :, None] - 1 - steps, steps)
    first = torch.arange(0, P * B * T, T, device=a.device).view(P, B, 1)
    reversed_rows: Tensor = _PermuteRows.apply(a.flatten(0, 2), (first + source_steps).flatten())
    return reversed_rows.view(a.shape)


class _PermuteRows(torch.autograd.Function):
    """Permutation of rows by swaps: the gradients are permuted the same way, without summing."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, ctx.saved_tensors[0]), None
