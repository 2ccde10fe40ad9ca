"""Encoding of numbers and categories as a few array operations, which every framework has.

With x (n, N) the numbers, `fill` where they are missing, the blocks of features are, in this order:

1. scaled numbers: z = (x - center) factor, squashed to z / sqrt(1 + (z / 3)^2) where `smooth_clip` is set;
2. quantile numbers: the standard normal quantile of the fraction of training values below x (`QuantileColumn`);
3. piecewise-linear parts: (x - part_start) / part_width, clipped to part_min and part_max;
4. 1 where a number is missing, else 0;
5. for each column of categories, the row of a table for its code.

`order` permutes the concatenated blocks to the features of the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rosenblatt.data.encoding.encoder import CategoryEncoding, Encoder, NumberEncoding
from rosenblatt.models.export.signature import Signature

SMOOTH_LIMIT = 3.0  # of numbers that are squashed smoothly
MIN_FRACTION = 1e-3  # fractions are clipped to this and to 1 less this, as `encoder.normal_scores` does


class QuantileColumn(NamedTuple):
    """A number whose feature is the normal quantile of the fraction of training values below it.

    Of Q quantiles, with l of them below x and r of them at most x, the fraction is (l + r - 1) / 2 (Q - 1) if x equals
    one (l < r), or else (l - 1 + (x - q[l - 1]) / (q[l] - q[l - 1])) / (Q - 1), and 0 or 1 outside of all.
    """

    column: int
    quantiles: np.ndarray  # (Q,) float64, sorted


@dataclass(frozen=True)
class FeaturePlan:
    """Array operations that encode numbers and categories. Numbers of columns are positions in `numbers`."""

    fill: np.ndarray  # (N,) float64
    scaled_columns: np.ndarray  # (S,) int64
    center: np.ndarray  # (S,) float64
    factor: np.ndarray  # (S,) float64
    smooth_clip: np.ndarray  # (S,) bool
    quantile_columns: tuple[QuantileColumn, ...]
    part_columns: np.ndarray  # (P,) int64
    part_start: np.ndarray  # (P,) float64
    part_width: np.ndarray  # (P,) float64
    part_min: np.ndarray  # (P,) float64
    part_max: np.ndarray  # (P,) float64
    missing_columns: np.ndarray  # (M,) int64
    category_tables: tuple[np.ndarray, ...]  # (codes, width) float32 for each column of `categories`
    order: np.ndarray  # (F,) int64
    is_identity: bool = False  # whether the numbers themselves are the features, as of a sparse matrix

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.fill) if self.is_identity else len(self.order)


def make_feature_plan(encoder: Encoder, signature: Signature) -> FeaturePlan:
    """The array operations of an encoder."""
    empty, numbers = np.empty(0, np.int64), [e for e in encoder.encodings if isinstance(e, NumberEncoding)]
    if encoder.n_sparse_columns:
        nothing = np.empty(0)
        return FeaturePlan(
            np.zeros(encoder.n_sparse_columns), empty, nothing, nothing, empty.astype(bool), (), empty, nothing,
            nothing, nothing, nothing, empty, (), empty, is_identity=True,
        )  # fmt: skip
    scaled = [i for i, encoding in enumerate(numbers) if not encoding.quantiles]
    quantile = [i for i, encoding in enumerate(numbers) if encoding.quantiles]
    parts = [part for i, encoding in enumerate(numbers) for part in _parts(i, encoding)]
    missing = [i for i, encoding in enumerate(numbers) if encoding.missing_indicator]
    categories = {e.column: e for e in encoder.encodings if isinstance(e, CategoryEncoding)}
    columns = np.array(parts).reshape(-1, 5)
    return FeaturePlan(
        fill=np.array([encoding.fill_value for encoding in numbers], np.float64),
        scaled_columns=np.array(scaled, np.int64),
        center=np.array([numbers[i].center for i in scaled], np.float64),
        factor=np.array([numbers[i].factor for i in scaled], np.float64),
        smooth_clip=np.array([numbers[i].smooth_clip for i in scaled], bool),
        quantile_columns=tuple(QuantileColumn(i, np.asarray(numbers[i].quantiles)) for i in quantile),
        part_columns=columns[:, 0].astype(np.int64),
        part_start=columns[:, 1],
        part_width=columns[:, 2],
        part_min=columns[:, 3],
        part_max=columns[:, 4],
        missing_columns=np.array(missing, np.int64),
        category_tables=tuple(column.features(categories[column.column]) for column in signature.categories),
        order=_feature_order(encoder, signature, scaled, quantile, missing),
    )


def _parts(column: int, encoding: NumberEncoding) -> list[tuple[float, ...]]:
    """Column, start, width and limits of the piecewise-linear parts of a number."""
    edges = encoding.edges
    last = len(edges) - 2
    return [
        (column, start, end - start, 0.0 if k == last or k > 0 else -2.0, 3.0 if k == last and k > 0 else 1.0)
        for k, (start, end) in enumerate(pairwise(edges))
    ]


def _feature_order(
    encoder: Encoder, signature: Signature, scaled: list[int], quantile: list[int], missing: list[int]
) -> np.ndarray:
    """For each feature of the encoder, its position in the concatenated blocks."""
    numbers = [e for e in encoder.encodings if isinstance(e, NumberEncoding)]
    n_parts = [max(len(encoding.edges) - 1, 0) for encoding in numbers]
    first_part = len(numbers) + np.concatenate([[0], np.cumsum(n_parts)]).astype(int)
    first_missing = int(first_part[-1])
    widths = {e.column: e.width for e in encoder.encodings if isinstance(e, CategoryEncoding)}
    starts, start = dict[str, int](), first_missing + len(missing)
    for column in signature.categories:
        starts[column.column], start = start, start + widths[column.column]
    order, number = list[int](), 0
    for encoding in encoder.tabular_encodings:
        if isinstance(encoding, CategoryEncoding):
            order += range(starts[encoding.column], starts[encoding.column] + encoding.width)
            continue
        is_scaled = number in scaled
        order.append(scaled.index(number) if is_scaled else len(scaled) + quantile.index(number))
        order += range(first_part[number], first_part[number] + n_parts[number])
        order += [first_missing + missing.index(number)] if encoding.missing_indicator else []
        number += 1
    return np.array(order, np.int64)
