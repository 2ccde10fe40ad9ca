"""In: a text, and the tokens there are. Out: rows of so many tokens, and for each token the one that follows it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from rosenblatt.data.encoding.vocabulary import Vocabulary

MOST_SAID = 30_000_000  # probabilities that are predicted at once


def pieces(text: str, vocabulary: Vocabulary, longest: int) -> list[str]:
    """The text in pieces of so many tokens, the last of which may be shorter."""
    starts = [start for start, _ in vocabulary.spans(text)[::longest]]
    return [text[a:b] for a, b in pairwise([*starts, len(text)])]


def with_next(some: list[str], vocabulary: Vocabulary, longest: int) -> tuple[list[str], np.ndarray]:
    """Pieces of a text, and for each token the one that follows it, (n, longest); -1 where none does.

    A piece in which no token follows another is left out.
    """
    tokens = [vocabulary.encode(piece) for piece in some]
    answers = np.full((len(some), longest), -1.0)
    for place, (ours, after) in enumerate(zip(tokens, [*tokens[1:], tokens[0][:0]] if tokens else [], strict=True)):
        following = np.concatenate([ours[1:], after[:1]])[:longest]
        answers[place, : following.size] = following
    known = np.flatnonzero(answers.max(axis=1, initial=-1) >= 0)
    return [some[place] for place in known], answers[known]


def first_rows(
    rows: list[str], answers: np.ndarray, vocabulary: Vocabulary, what: str, say: Callable[[str], None]
) -> tuple[list[str], np.ndarray]:
    """As many rows as there is memory for the probabilities of all tokens; what is left out is said."""
    most = max(MOST_SAID // (answers.shape[1] * vocabulary.size), 1)
    if len(rows) > most:
        say(f"{what}: the first {most:,} of {len(rows):,} rows, as there are many tokens")
    return rows[:most], answers[:most]
