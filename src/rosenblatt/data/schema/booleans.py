"""Columns of two words that mean no and yes: find the pair of words of a column, and read cells of another pair."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import polars as pl

Pair = tuple[str, str]

WORD_PAIRS: tuple[Pair, ...] = (("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))
_ALL_PAIRS = (*WORD_PAIRS, ("0", "1"), ("0.0", "1.0"))


def find_pair(words: Iterable[str]) -> Pair | None:
    """The pair of words of a column, given its distinct words; None if the column has others.

    Case does not matter, unless two spellings may be two values: those of a single letter, or all words there are.
    """
    spellings = defaultdict(set)
    for word in words:
        spellings[word.lower()].add(word)
    pair = next((pair for pair in WORD_PAIRS if spellings.keys() <= {*pair}), None)
    has_variants = any(len(group) > 1 for group in spellings.values())
    if pair is None or (has_variants and (len(spellings) == 1 or len(pair[0]) == 1)):
        return None
    return pair


def is_yes(word: str) -> bool:
    """Whether a word is the second one of a pair."""
    return any(word.lower() == yes for _, yes in WORD_PAIRS)


def read_booleans(text: pl.Series, pair: Pair) -> tuple[pl.Series, Pair]:
    """Read cells as "false" and "true", null for other words.

    Cells are of the given pair; if none is, of the pair that most cells are of. Returns that pair, too.
    """
    lowered = text.str.to_lowercase()
    counts = {other: int(lowered.is_in(list(other)).sum() or 0) for other in (pair, *_ALL_PAIRS)}
    used = pair if counts[pair] or not any(counts.values()) else max(counts, key=counts.__getitem__)
    values = lowered.replace_strict(list(used), ["false", "true"], default=None, return_dtype=pl.String)
    return values.alias(text.name), used
