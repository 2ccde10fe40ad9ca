"""Split a text into rows of tokens, with the next token of each as its target."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from rosenblatt.data.encoding.vocabulary import Vocabulary

MAX_PREDICTIONS = 30_000_000  # probabilities that are predicted at once


def split_into_rows(text: str, vocabulary: Vocabulary, max_length: int) -> list[str]:
    """The text in pieces of so many tokens, the last of which may be shorter."""
    starts = [start for start, _ in vocabulary.spans(text)[::max_length]]
    return [text[a:b] for a, b in pairwise([*starts, len(text)])]


def next_token_targets(pieces: list[str], vocabulary: Vocabulary, max_length: int) -> tuple[list[str], np.ndarray]:
    """Pieces of a text, and for each token the one that follows it, (n, longest); -1 where none does.

    A piece in which no token follows another is left out.
    """
    tokens = [vocabulary.encode(piece) for piece in pieces]
    targets = np.full((len(pieces), max_length), -1.0)
    for row, (piece_tokens, following_tokens) in enumerate(
        zip(tokens, [*tokens[1:], tokens[0][:0]] if tokens else [], strict=True)
    ):
        next_tokens = np.concatenate([piece_tokens[1:], following_tokens[:1]])[:max_length]
        targets[row, : next_tokens.size] = next_tokens
    has_target = np.flatnonzero(targets.max(axis=1, initial=-1) >= 0)
    return [pieces[row] for row in has_target], targets[has_target]


def limit_rows(
    rows: list[str], targets: np.ndarray, vocabulary: Vocabulary, label: str, messages: list[str]
) -> tuple[list[str], np.ndarray]:
    """As many rows as there is memory for the probabilities of all tokens; what is left out is said."""
    max_rows = max(MAX_PREDICTIONS // (targets.shape[1] * vocabulary.size), 1)
    if len(rows) > max_rows:
        messages.append(f"{label}: the first {max_rows:,} of {len(rows):,} rows, as there are many tokens")
    return rows[:max_rows], targets[:max_rows]
