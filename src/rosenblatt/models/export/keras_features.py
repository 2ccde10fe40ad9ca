"""Operations of Keras that encode numbers, categories, images and sequences as a model does, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from keras import layers, ops

from rosenblatt.models.export.feature_plan import MIN_FRACTION, SMOOTH_LIMIT, FeaturePlan, QuantileColumn
from rosenblatt.models.export.single_precision import CENTER, MAX_TAIL, TAIL, shift_plan

Tensor: TypeAlias = Any  # symbolic, a KerasTensor


class Steps(NamedTuple):
    """Which steps of sequences exist."""

    positions: Tensor  # (n, T) int32: 0, 1, ...
    lengths: Tensor  # (n, 1) int32

    @property
    def mask(self) -> Tensor:
        """Whether a step exists, (n, T) bool."""
        return self.positions < self.lengths


def make_steps(sequence: Tensor, lengths: Tensor) -> Steps:
    """The steps of sequences (n, T) or (n, T, C) with their numbers of steps (n,)."""
    first_channel = sequence if len(sequence.shape) == 2 else sequence[:, :, 0]
    positions = ops.cumsum(ops.ones_like(first_channel, dtype="int32"), axis=1) - 1
    return Steps(positions, ops.expand_dims(ops.cast(lengths, "int32"), 1))


def encode_features(
    plan: FeaturePlan, numbers: Tensor | None, rest: Tensor | None, categories: Tensor | None, prefix: str
) -> Tensor:
    """Numbers, their rest (both (n, N) float32) and codes (n, C) as features (n, F); see `FeaturePlan`.

    Tables of categories are layers named after the prefix, which are not trained.
    """
    if plan.is_identity:
        return numbers
    blocks = [] if numbers is None else list(_number_blocks(plan, numbers, rest))
    if categories is not None:
        for column, table in enumerate(plan.category_tables):
            layer = layers.Embedding(
                *table.shape, trainable=False, name=f"{prefix}_categories{column}", dtype="float32"
            )
            layer.build(None)
            layer.set_weights([table])
            blocks.append(layer(categories[:, column]))
    features = ops.concatenate(blocks, axis=1) if len(blocks) > 1 else blocks[0]
    if np.array_equal(plan.order, np.arange(plan.n_features)):
        return features
    return ops.take(features, plan.order, axis=1)


def _number_blocks(plan: FeaturePlan, numbers: Tensor, rest: Tensor | None) -> Iterator[Tensor]:
    plan, anchor, anchor_rest = shift_plan(plan, has_rest=rest is not None)
    is_missing = ops.isnan(numbers)
    x = (numbers - anchor) + (-anchor_rest if rest is None else rest - anchor_rest)
    x = ops.where(is_missing, plan.fill, x)
    if plan.scaled_columns.size:
        z = (ops.take(x, plan.scaled_columns, axis=1) - plan.center) * plan.factor
        if plan.smooth_clip.any():
            z = ops.where(plan.smooth_clip, z / ops.sqrt(1 + ops.square(z / SMOOTH_LIMIT)), z)
        yield z
    for column in plan.quantile_columns:
        yield normal_quantiles(column, x)
    if plan.part_columns.size:
        parts = (ops.take(x, plan.part_columns, axis=1) - plan.part_start) / plan.part_width
        yield ops.minimum(ops.maximum(parts, plan.part_min), plan.part_max)
    if plan.missing_columns.size:
        yield ops.cast(ops.take(is_missing, plan.missing_columns, axis=1), "float32")


def normal_quantiles(quantile: QuantileColumn, x: Tensor) -> Tensor:
    """The normal quantile (n, 1) of the fraction of training values below a number; see `QuantileColumn`.

    Positions are counted from both ends, as float32 has no digits for fractions close to 1."""
    values, q = x[:, quantile.column], quantile.quantiles
    last = len(q) - 1
    lower, gap = q[[0, *range(last + 1)]], np.array([1.0, *np.diff(q), 1.0], np.float32)
    gap[gap == 0] = 1.0
    left, right = ops.searchsorted(q, values, side="left"), ops.searchsorted(q, values, side="right")
    is_tied, middle = right > left, ops.cast(left + right - 1, "float32") / 2
    index = ops.cast(left, "float32")
    part = (values - ops.take(lower, left, axis=0)) / ops.take(gap, left, axis=0)
    from_start = ops.where(is_tied, middle, index - 1 + part)
    from_end = ops.where(is_tied, last - middle, last + 1 - index - part)
    p = ops.clip(ops.minimum(from_start, from_end) / last, MIN_FRACTION, 0.5)
    z = _normal_quantile(p)
    return ops.expand_dims(ops.where(from_start < from_end, z, -z), 1)


def _normal_quantile(p: Tensor) -> Tensor:
    """The normal quantile of p, up to 0.5."""
    r = ops.sqrt(-ops.log(p)) - 1.6
    tail = -_polynomial(TAIL[0], r) / _polynomial(TAIL[1], r)
    q = p - 0.5
    r = 0.180625 - ops.square(q)
    center = q * _polynomial(CENTER[0], r) / _polynomial(CENTER[1], r)
    return ops.where(p < MAX_TAIL, tail, center)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    out: Tensor = coefficients[0]
    for coefficient in coefficients[1:]:
        out = out * x + coefficient
    return out


def standardize_image(encoding: Any, pixels: Tensor) -> Tensor:
    """Pixels (n, H, W, C) with the mean of each channel subtracted, divided by its standard deviation."""
    center, factor = np.asarray(encoding.center, np.float32), (1 / np.asarray(encoding.scale)).astype(np.float32)
    return (pixels - center) * factor


def standardize_sequence(encoding: Any, sequence: Tensor, steps: Steps) -> Tensor:
    """Steps (n, T, C), standardized by channel; missing numbers, and the padding, become 0."""
    center, factor = np.asarray(encoding.center, np.float32), (1 / np.asarray(encoding.scale)).astype(np.float32)
    z = (sequence - center) * factor
    is_number = ops.logical_and(ops.logical_not(ops.isnan(z)), ops.expand_dims(steps.mask, 2))
    return ops.where(is_number, z, ops.zeros_like(z))


def mask_tokens(tokens: Tensor, steps: Steps) -> Tensor:
    """Token ids (n, T), 0 in the padding."""
    return ops.where(steps.mask, tokens, ops.zeros_like(tokens))
