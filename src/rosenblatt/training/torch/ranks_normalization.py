"""Batch normalization over the rows of all ranks that train one network."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rosenblatt.training.compiled.normalization import EPSILON, RUNNING_MOMENTUM
from rosenblatt.training.torch.ranks import Ranks


class _SumOverRanks(torch.autograd.Function):
    """Sum of a tensor over ranks, of whose losses the whole loss is the sum: its gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        total = tensor.clone()
        ranks.sum(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        ctx.ranks.sum(total)
        return total, None


def moments_over_ranks(a: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,) and variance (C,) of channels (B, C, ...) over the rows of all ranks, and the number of values.

    The moments of each rank are combined as by Chan et al. (1983), so that one sum over ranks is enough.
    """
    values, shape = a.float(), (1, -1) + (1,) * (a.dim() - 2)
    axes = [axis for axis in range(a.dim()) if axis != 1]
    local_mean = values.mean(dim=axes)
    squares = (values - local_mean.view(shape)).square().sum(dim=axes)
    n_values = values.new_tensor([a.numel() / a.shape[1]])
    local = torch.cat([local_mean, squares, n_values])
    all_ranks = F.pad(local[None], (0, 0, ranks.rank, ranks.size - 1 - ranks.rank))  # (ranks, 2 C + 1)
    gathered: Tensor = _SumOverRanks.apply(all_ranks, ranks)
    means, sums, counts = gathered[:, : a.shape[1]], gathered[:, a.shape[1] : -1], gathered[:, -1:]
    n = counts.sum()
    mean = (counts * means).sum(dim=0) / n
    variance = (sums + counts * (means - mean).square()).sum(dim=0) / n
    return mean, variance, n.detach()


def batch_norm_over_ranks(
    a: Tensor, gain: Tensor, shift: Tensor, running_statistics: list[Tensor], ranks: Ranks
) -> tuple[Tensor, list[Tensor]]:
    """Normalize channels (B, C, ...) of one network by the statistics of all ranks.

    A single value has no variance: it is normalized by the running statistics.

    Returns:
        The normalized channels, and the running statistics after this batch.
    """
    mean, variance, n = moments_over_ranks(a, ranks)
    updated = running_statistics
    if n > 1:
        batch_statistics = mean.detach(), (variance * (n / (n - 1))).detach()
        updated = [
            running.lerp(value, RUNNING_MOMENTUM)
            for running, value in zip(running_statistics, batch_statistics, strict=True)
        ]
    else:
        mean, variance = running_statistics
    shape = (1, -1) + (1,) * (a.dim() - 2)
    scale = gain * torch.rsqrt(variance + EPSILON)
    return ((a - mean.view(shape)) * scale.view(shape) + shift.view(shape)).to(a.dtype), updated
