"""Vocabularies of characters, words or subwords, and texts encoded as token ids."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property, lru_cache
from importlib import import_module
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from rosenblatt.errors import SpecError

TokenUnit = Literal["characters", "words", "subwords"]
UNKNOWN = 0  # id of tokens that are not in the vocabulary
MAX_MEDIAN_CHARACTERS = 40  # median length of texts up to which `auto` chooses characters, not words
WORD_PATTERN = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


class Vocabulary(BaseModel):
    """The known tokens, whose ids count from 1; id 0 stands for all other tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: TokenUnit
    tokens: tuple[str, ...]
    tokenizer_json: str = ""  # the tokenizer of subwords, as JSON

    @classmethod
    def fit(cls, texts: Sequence[str], unit: TokenUnit | Literal["auto"], max_size: int, min_count: int) -> Vocabulary:
        """Collect the `max_size` most frequent tokens of texts that occur at least `min_count` times."""
        if unit == "auto":
            median_length = np.median([len(text) for text in texts]) if texts else 0
            unit = "characters" if median_length <= MAX_MEDIAN_CHARACTERS else "words"
        if unit == "subwords":
            tokenizer = _train_bpe(texts, max_size)
            token_ids = tokenizer.get_vocab()
            return cls(
                unit=unit, tokens=tuple(sorted(token_ids, key=token_ids.__getitem__)), tokenizer_json=tokenizer.to_str()
            )
        counts = Counter[str]()
        for text in texts:
            counts.update(text if unit == "characters" else _split_words(text))
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:max_size]
        return cls(unit=unit, tokens=tuple(sorted(token for token, count in ranked if count >= min_count)))

    @property
    def size(self) -> int:
        """The number of token ids, with that of unknown tokens."""
        return len(self.tokens) + 1

    @cached_property
    def _token_ids(self) -> dict[str, int]:
        return {token: token_id for token_id, token in enumerate(self.tokens, 1)}

    @cached_property
    def _code_points(self) -> tuple[np.ndarray, np.ndarray]:
        """The sorted code points of the characters, and their token ids."""
        points = np.array([ord(token) for token in self.tokens], np.uint32)
        order = np.argsort(points)
        return points[order], (order + 1).astype(np.int32)

    def encode(self, text: str) -> np.ndarray:
        """The token ids of a text, (T,) int32."""
        if self.unit == "subwords":
            return np.array(_load_tokenizer(self.tokenizer_json).encode(text).ids, np.int32) + 1
        if self.unit == "words":
            return np.array([self._token_ids.get(word, UNKNOWN) for word in _split_words(text)], np.int32)
        points, numbers = self._code_points
        text_points = np.frombuffer(text.encode("utf-32-le", errors="replace"), np.uint32)
        if not points.size:
            return np.zeros(text_points.size, np.int32)
        index = np.minimum(np.searchsorted(points, text_points), points.size - 1)
        return np.where(points[index] == text_points, numbers[index], UNKNOWN).astype(np.int32)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The start and end of each token in a text."""
        if self.unit == "subwords":
            return list(_load_tokenizer(self.tokenizer_json).encode(text).offsets)
        if self.unit == "characters":
            return [(start, start + 1) for start in range(len(text))]
        return [match.span() for match in WORD_PATTERN.finditer(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids; unknown tokens are left out."""
        token_ids = [int(token) for token in tokens if token != UNKNOWN]
        if self.unit == "subwords":
            return str(_load_tokenizer(self.tokenizer_json).decode([token - 1 for token in token_ids]))
        strings = [self.tokens[token - 1] for token in token_ids]
        if self.unit == "characters":
            return "".join(strings)
        return re.sub(r"\s+([.,;:!?)\]}’'])", r"\1", " ".join(strings))


def _split_words(text: str) -> list[str]:
    return [word.lower() for word in WORD_PATTERN.findall(text)]


def _import_tokenizers() -> Any:
    try:
        return import_module("tokenizers")
    except ImportError:
        raise SpecError(
            "tokens subwords needs the library tokenizers. Install it with pip install 'rosenblatt[text]', or choose "
            "words or characters."
        ) from None


def _train_bpe(texts: Sequence[str], max_size: int) -> Any:
    """Train byte-pair encoding (Sennrich et al. 2016) on bytes, so that no text has unknown tokens."""
    library = _import_tokenizers()
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(
        vocab_size=max(max_size, len(alphabet)), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@lru_cache(maxsize=16)
def _load_tokenizer(serialized: str) -> Any:
    return _import_tokenizers().Tokenizer.from_str(serialized)
