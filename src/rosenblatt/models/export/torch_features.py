"""Modules of PyTorch that encode numbers, categories, images and sequences as a model does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt.models.export.decoding import DecodingPlan
from rosenblatt.models.export.feature_plan import MIN_FRACTION, SMOOTH_LIMIT, FeaturePlan
from rosenblatt.models.export.torch_layers import embedding


class Features(nn.Module):
    """Numbers (n, N) float64 and codes of categories (n, C) int64 as features (n, F) float32; see `FeaturePlan`."""

    fill: Tensor
    scaled_columns: Tensor
    center: Tensor
    factor: Tensor
    smooth_clip: Tensor
    part_columns: Tensor
    part_start: Tensor
    part_width: Tensor
    part_min: Tensor
    part_max: Tensor
    missing_columns: Tensor
    order: Tensor

    def __init__(self, plan: FeaturePlan) -> None:
        super().__init__()
        self.is_identity, self.n_features = plan.is_identity, plan.n_features
        register_arrays(self, plan)
        self.quantiles = nn.ModuleList(NormalQuantile(*column) for column in plan.quantile_columns)
        self.categories = nn.ModuleList(embedding(table, is_trained=False) for table in plan.category_tables)

    def forward(self, numbers: Tensor | None, categories: Tensor | None) -> Tensor:
        """Return the features (n, F) float32."""
        if self.is_identity and numbers is not None:
            return numbers.float()
        blocks = [] if numbers is None else [block.float() for block in self._number_blocks(numbers.double())]
        if categories is not None:
            blocks += [table(codes) for table, codes in zip(self.categories, categories.unbind(1), strict=True)]
        return torch.cat(blocks, dim=1)[:, self.order]

    def _number_blocks(self, numbers: Tensor) -> Iterator[Tensor]:
        is_missing = numbers.isnan()
        x = torch.where(is_missing, self.fill, numbers)
        if hasattr(self, "scaled_columns"):
            z = (x[:, self.scaled_columns] - self.center) * self.factor
            yield torch.where(self.smooth_clip, z / torch.sqrt(1 + (z / SMOOTH_LIMIT) ** 2), z)
        for quantile in self.quantiles:
            yield quantile(x)
        if hasattr(self, "part_columns"):
            parts = (x[:, self.part_columns] - self.part_start) / self.part_width
            yield torch.minimum(torch.maximum(parts, self.part_min), self.part_max)
        if hasattr(self, "missing_columns"):
            yield is_missing[:, self.missing_columns]


def register_arrays(module: nn.Module, plan: FeaturePlan | DecodingPlan) -> None:
    """Make buffers of the arrays of a plan that are not empty."""
    for field in fields(plan):
        values = getattr(plan, field.name)
        if isinstance(values, np.ndarray) and values.size:
            module.register_buffer(field.name, torch.from_numpy(values))


class NormalQuantile(nn.Module):
    """The normal quantile of the fraction of training values below a number; see `QuantileColumn`."""

    quantiles: Tensor

    def __init__(self, column: int, quantiles: np.ndarray) -> None:
        super().__init__()
        self.column = column
        self.register_buffer("quantiles", torch.from_numpy(quantiles))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 1) for x (n, N)."""
        values, q = x[:, self.column].contiguous(), self.quantiles
        last = q.shape[0] - 1
        left, right = torch.searchsorted(q, values), torch.searchsorted(q, values, right=True)
        lower, upper = q[(left - 1).clamp(0, last)], q[left.clamp(0, last)]
        between = left - 1 + (values - lower) / torch.where(upper > lower, upper - lower, 1.0)
        position = torch.where(right > left, (left + right - 1) / 2, between.clamp(0, last))
        fraction = position / last
        return torch.special.ndtri(fraction.clamp(MIN_FRACTION, 1 - MIN_FRACTION))[:, None]


class StandardizedImage(nn.Module):
    """Pixels (n, C, H, W) with the mean of each channel subtracted, divided by its standard deviation."""

    center: Tensor
    factor: Tensor

    def __init__(self, encoding: Any) -> None:
        super().__init__()
        center, factor = np.asarray(encoding.center), 1 / np.asarray(encoding.scale)
        self.register_buffer("center", torch.tensor(center, dtype=torch.float32)[:, None, None])
        self.register_buffer("factor", torch.tensor(factor, dtype=torch.float32)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        """Return standardized pixels."""
        return (pixels.float() - self.center) * self.factor


class StandardizedSequence(nn.Module):
    """Steps (n, T, C), standardized by channel; missing numbers, and the padding, become 0."""

    center: Tensor
    factor: Tensor

    def __init__(self, encoding: Any) -> None:
        super().__init__()
        center, factor = np.asarray(encoding.center, np.float32), (1 / np.asarray(encoding.scale)).astype(np.float32)
        self.register_buffer("center", torch.from_numpy(center))
        self.register_buffer("factor", torch.from_numpy(factor))

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        """Return standardized steps."""
        is_padding = torch.arange(steps.shape[1], device=steps.device) >= lengths[:, None]
        z = (steps.float() - self.center) * self.factor
        return torch.where(z.isnan() | is_padding[..., None], 0.0, z)


class Tokens(nn.Module):
    """Token ids (n, T), 0 in the padding."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Return the ids without what stands in the padding."""
        is_padding = torch.arange(tokens.shape[1], device=tokens.device) >= lengths[:, None]
        return torch.where(is_padding, 0, tokens)
