"""Random choices of a query: a part of a split by hash, a fold, a sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from rosenblatt.data.volumes.query.hashing import draw, is_between
from rosenblatt.data.volumes.query.language import Query
from rosenblatt.data.volumes.query.options import DEFAULT_SHARES, PARTS


@dataclass(frozen=True)
class Draw:
    """Samples whose random number is between two fractions, or all others."""

    purpose: str  # draws of several purposes are independent
    low: Fraction
    high: Fraction
    is_excluded: bool = False

    def choose(self, hashes: np.ndarray, seed: int) -> np.ndarray:
        """Which samples are chosen (n,) bool, by the hashes of their identities (n,) uint64."""
        return is_between(draw(hashes, self.purpose, seed), self.low, self.high) != self.is_excluded


def plan_draws(query: Query, *, has_parts: bool) -> Iterator[Draw]:
    """The random choices of a query; `has_parts` if a column of the volume takes the place of the split."""
    if query.split and not has_parts:
        shares, place = query.split.shares or DEFAULT_SHARES, PARTS.index(query.split.part)
        yield Draw("split", sum(shares[:place], Fraction(0)), sum(shares[: place + 1], Fraction(0)))
    if query.fold:
        number, count = query.fold.number, query.fold.count
        yield Draw("fold", Fraction(number - 1, count), Fraction(number, count), query.fold.is_excluded)
    if query.sample:
        yield Draw("sample", Fraction(0), query.sample)
