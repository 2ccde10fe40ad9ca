"""Split a text into rows of tokens, each token with the next one as its target."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from rosenblatt.data.encoding.vocabulary import Vocabulary

TEXT = "text"  # the column of texts
MAX_PREDICTIONS = 30_000_000  # limit on the probabilities predicted at once: rows * tokens per row * vocabulary


@dataclass(frozen=True)
class TokenRows:
    """Rows of a text, and the next token of each of their tokens."""

    texts: list[str]
    targets: np.ndarray  # (n, max_length) token ids, -1 after the last target of a row

    @property
    def frame(self) -> pl.DataFrame:
        """The rows as a table of one column of texts."""
        return pl.DataFrame({TEXT: pl.Series(self.texts, dtype=pl.String)})

    def limit(self, vocabulary: Vocabulary, part: str, messages: list[str]) -> TokenRows:
        """The first rows, as many as there is memory for the probabilities of all their tokens.

        `part` says what the rows are for, such as "test"; `messages` receives a message if rows are left out.
        """
        max_rows = max(MAX_PREDICTIONS // (self.targets.shape[1] * vocabulary.size), 1)
        if len(self.texts) > max_rows:
            messages.append(f"{part}: only the first {max_rows:,} of {len(self.texts):,} rows are used, to save memory")
        return TokenRows(self.texts[:max_rows], self.targets[:max_rows])


def split_into_rows(text: str, vocabulary: Vocabulary, max_length: int) -> list[str]:
    """Cut a text into rows of `max_length` tokens; the last row may be shorter."""
    starts = [start for start, _ in vocabulary.spans(text)[::max_length]]
    return [text[a:b] for a, b in pairwise([*starts, len(text)])]


def next_token_rows(rows: list[str], vocabulary: Vocabulary, max_length: int) -> TokenRows:
    """Find the next token of each token of consecutive rows; rows without any are left out."""
    tokens = [vocabulary.encode(row) for row in rows]
    targets = np.full((len(rows), max_length), -1.0)
    for index, row_tokens in enumerate(tokens):
        first_of_next_row = tokens[index + 1][:1] if index + 1 < len(tokens) else row_tokens[:0]
        next_tokens = np.concatenate([row_tokens[1:], first_of_next_row])[:max_length]
        targets[index, : next_tokens.size] = next_tokens
    has_target = np.flatnonzero(targets.max(axis=1, initial=-1) >= 0)
    return TokenRows([rows[index] for index in has_target], targets[has_target])
